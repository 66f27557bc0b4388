-- Double entry. Every rule of ledger/domain.py stands here a second time.

CREATE TABLE ledger.account (
    account_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    coin text NOT NULL CHECK (coin <> ''),
    owner text NOT NULL CHECK (owner <> ''),
    bucket text NOT NULL CHECK (bucket IN ('external', 'immature', 'payable', 'paid')),
    -- Where money comes from, and what pays network fees.
    may_overdraw boolean NOT NULL GENERATED ALWAYS AS (
        (owner = 'chain:coinbase' AND bucket = 'external') OR (owner = 'pool:fee' AND bucket = 'payable')
    ) STORED,
    -- Atomic units. Written by the trigger on ledger.transfer and by nothing else.
    debits_posted bigint NOT NULL DEFAULT 0 CHECK (debits_posted >= 0),
    credits_posted bigint NOT NULL DEFAULT 0 CHECK (credits_posted >= 0),
    debits_pending bigint NOT NULL DEFAULT 0 CHECK (debits_pending >= 0),
    credits_pending bigint NOT NULL DEFAULT 0 CHECK (credits_pending >= 0),
    UNIQUE (coin, owner, bucket),
    CONSTRAINT only_the_coinbase_is_external CHECK ((owner = 'chain:coinbase') = (bucket = 'external')),
    CONSTRAINT owner_is_known CHECK (
        owner !~ '^(chain|pool):' OR owner IN ('chain:coinbase', 'pool:fee', 'pool:remainder', 'pool:network_fee')
    ),
    CONSTRAINT not_overdrawn CHECK (may_overdraw OR credits_posted - debits_posted - debits_pending >= 0)
);

CREATE INDEX account_payable ON ledger.account (coin, owner) WHERE bucket = 'payable';

CREATE TABLE ledger.transfer (
    transfer_id uuid PRIMARY KEY,
    -- The order in which transfers were applied; has holes where a transaction was rolled back.
    transfer_seq bigint GENERATED ALWAYS AS IDENTITY UNIQUE,
    coin text NOT NULL,
    debit_account_id bigint NOT NULL REFERENCES ledger.account,
    credit_account_id bigint NOT NULL REFERENCES ledger.account,
    amount_atomic bigint NOT NULL CHECK (amount_atomic > 0),
    phase text NOT NULL CHECK (phase IN ('posted', 'pending', 'post', 'void')),
    code text NOT NULL CHECK (
        code IN ('block_credit', 'pool_fee', 'remainder', 'maturity', 'reversal', 'payout', 'network_fee')
    ),
    reference text NOT NULL CHECK (reference <> ''),
    pending_id uuid,
    reverses_id uuid,
    create_time timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- The phase that the transfer named by pending_id or reverses_id must have.
    named_phase text GENERATED ALWAYS AS (
        CASE WHEN pending_id IS NOT NULL THEN 'pending' WHEN reverses_id IS NOT NULL THEN 'posted' END
    ) STORED,
    CONSTRAINT two_accounts CHECK (debit_account_id <> credit_account_id),
    CONSTRAINT resolving_names_a_pending_transfer CHECK ((phase IN ('post', 'void')) = (pending_id IS NOT NULL)),
    CONSTRAINT reversal_names_a_transfer CHECK ((code = 'reversal') = (reverses_id IS NOT NULL)),
    CONSTRAINT only_payouts_are_reserved CHECK ((code = 'payout') = (phase <> 'posted')),
    UNIQUE (transfer_id, debit_account_id, credit_account_id, amount_atomic, phase),
    -- A resolution carries the accounts and the amount of what it resolves; a reversal mirrors what it reverses.
    CONSTRAINT resolves_what_was_reserved
        FOREIGN KEY (pending_id, debit_account_id, credit_account_id, amount_atomic, named_phase)
        REFERENCES ledger.transfer (transfer_id, debit_account_id, credit_account_id, amount_atomic, phase),
    CONSTRAINT mirrors_what_it_reverses
        FOREIGN KEY (reverses_id, credit_account_id, debit_account_id, amount_atomic, named_phase)
        REFERENCES ledger.transfer (transfer_id, debit_account_id, credit_account_id, amount_atomic, phase)
);

CREATE UNIQUE INDEX transfer_resolved_once ON ledger.transfer (pending_id) WHERE pending_id IS NOT NULL;
CREATE UNIQUE INDEX transfer_reversed_once ON ledger.transfer (reverses_id) WHERE reverses_id IS NOT NULL;
CREATE INDEX transfer_reference ON ledger.transfer (coin, reference);

CREATE FUNCTION ledger.moves_as_coded(
    code text, debit_owner text, debit_bucket text, credit_owner text, credit_bucket text
) RETURNS boolean LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE code
        WHEN 'block_credit' THEN
            debit_bucket = 'external' AND credit_bucket = 'immature' AND credit_owner !~ '^(chain|pool):'
        WHEN 'pool_fee' THEN
            debit_bucket = 'external' AND credit_bucket = 'immature' AND credit_owner = 'pool:fee'
        WHEN 'remainder' THEN
            debit_bucket = 'external' AND credit_bucket = 'immature' AND credit_owner = 'pool:remainder'
        WHEN 'maturity' THEN
            debit_bucket = 'immature' AND credit_bucket = 'payable' AND debit_owner = credit_owner
        WHEN 'reversal' THEN
            debit_bucket = 'immature' AND credit_bucket = 'external'
        WHEN 'payout' THEN
            debit_bucket = 'payable' AND credit_bucket = 'paid' AND debit_owner = credit_owner
            AND debit_owner !~ '^(chain|pool):'
        WHEN 'network_fee' THEN
            debit_bucket = 'payable' AND credit_bucket = 'paid' AND debit_owner = 'pool:fee'
            AND credit_owner = 'pool:network_fee'
        ELSE false
    END
$$;

-- The only writer of the counters: what is appended to ledger.transfer moves them, so neither can be without the other.
CREATE FUNCTION ledger.book_transfers() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    wrong uuid;
BEGIN
    SELECT a.transfer_id INTO wrong
    FROM appended a
    JOIN ledger.account d ON d.account_id = a.debit_account_id
    JOIN ledger.account c ON c.account_id = a.credit_account_id
    WHERE d.coin <> a.coin OR c.coin <> a.coin
       OR NOT ledger.moves_as_coded(a.code, d.owner, d.bucket, c.owner, c.bucket)
    LIMIT 1;
    IF wrong IS NOT NULL THEN
        RAISE EXCEPTION 'transfer % does not move money as its code says', wrong USING ERRCODE = 'check_violation';
    END IF;

    UPDATE ledger.account AS account SET
        debits_posted = account.debits_posted + change.debits_posted,
        credits_posted = account.credits_posted + change.credits_posted,
        debits_pending = account.debits_pending + change.debits_pending,
        credits_pending = account.credits_pending + change.credits_pending
    FROM (
        SELECT account_id, sum(debits_posted)::bigint AS debits_posted, sum(credits_posted)::bigint AS credits_posted,
            sum(debits_pending)::bigint AS debits_pending, sum(credits_pending)::bigint AS credits_pending
        FROM (
            SELECT debit_account_id AS account_id,
                CASE WHEN phase IN ('posted', 'post') THEN amount_atomic ELSE 0 END AS debits_posted,
                0 AS credits_posted,
                CASE phase WHEN 'pending' THEN amount_atomic WHEN 'posted' THEN 0 ELSE -amount_atomic END
                    AS debits_pending,
                0 AS credits_pending
            FROM appended
            UNION ALL
            SELECT credit_account_id,
                0,
                CASE WHEN phase IN ('posted', 'post') THEN amount_atomic ELSE 0 END,
                0,
                CASE phase WHEN 'pending' THEN amount_atomic WHEN 'posted' THEN 0 ELSE -amount_atomic END
            FROM appended
        ) AS sides
        GROUP BY account_id
    ) AS change
    WHERE account.account_id = change.account_id;
    RETURN NULL;
END
$$;

CREATE TRIGGER transfer_books AFTER INSERT ON ledger.transfer
    REFERENCING NEW TABLE AS appended
    FOR EACH STATEMENT EXECUTE FUNCTION ledger.book_transfers();

CREATE FUNCTION ledger.refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% on %.% is refused: the ledger is only appended to', TG_OP, TG_TABLE_SCHEMA, TG_TABLE_NAME
        USING ERRCODE = 'restrict_violation';
END
$$;

CREATE TRIGGER transfer_is_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON ledger.transfer
    FOR EACH STATEMENT EXECUTE FUNCTION ledger.refuse_change();
CREATE TRIGGER account_is_kept BEFORE DELETE OR TRUNCATE ON ledger.account
    FOR EACH STATEMENT EXECUTE FUNCTION ledger.refuse_change();
-- Depth 0 is a statement of a client; the booking trigger updates at depth 1.
CREATE TRIGGER account_moves_by_transfers BEFORE UPDATE ON ledger.account
    FOR EACH STATEMENT WHEN (pg_trigger_depth() < 1) EXECUTE FUNCTION ledger.refuse_change();

CREATE FUNCTION ledger.refuse_opening_balance() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'an account is opened with nothing in it' USING ERRCODE = 'check_violation';
END
$$;

CREATE TRIGGER account_is_opened_empty BEFORE INSERT ON ledger.account
    FOR EACH ROW
    WHEN (NEW.debits_posted <> 0 OR NEW.credits_posted <> 0 OR NEW.debits_pending <> 0 OR NEW.credits_pending <> 0)
    EXECUTE FUNCTION ledger.refuse_opening_balance();
