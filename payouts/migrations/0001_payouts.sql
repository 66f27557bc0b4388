-- Batches of payments. Every rule of payouts/domain.py that a table can hold stands here a second time.

CREATE TABLE payer (
    coin text PRIMARY KEY CHECK (coin <> ''),
    is_held boolean NOT NULL DEFAULT false,
    hold_reason text NOT NULL DEFAULT '',
    wait_reason text NOT NULL DEFAULT '',
    -- Outputs of the next batch while transactions turn out too heavy; 0 means outputs_max of the settings.
    outputs_limit integer NOT NULL DEFAULT 0 CHECK (outputs_limit >= 0),
    CHECK (is_held OR hold_reason = '')
);

CREATE TABLE batch (
    batch_id uuid PRIMARY KEY,
    batch_number bigint GENERATED ALWAYS AS IDENTITY UNIQUE,
    coin text NOT NULL CHECK (coin <> ''),
    status text NOT NULL CHECK (status IN ('reserved', 'signed', 'broadcast', 'confirmed', 'review', 'voided')),
    amount_atomic bigint NOT NULL CHECK (amount_atomic > 0),
    payout_count integer NOT NULL CHECK (payout_count > 0),
    fee_rate_min_sat_per_kvb bigint NOT NULL CHECK (fee_rate_min_sat_per_kvb > 0),
    fee_rate_max_sat_per_kvb bigint NOT NULL CHECK (fee_rate_max_sat_per_kvb >= fee_rate_min_sat_per_kvb),
    fee_atomic_max bigint NOT NULL CHECK (fee_atomic_max > 0),
    raw bytea CHECK (length(raw) > 0),
    txid_hex text CHECK (txid_hex ~ '^[0-9a-f]{64}$'),
    fee_atomic bigint CHECK (fee_atomic > 0),
    weight bigint CHECK (weight > 0),
    confirmations bigint NOT NULL DEFAULT 0,
    reason text NOT NULL DEFAULT '',
    create_time_ms bigint NOT NULL CHECK (create_time_ms > 0),
    update_time_ms bigint NOT NULL CHECK (update_time_ms > 0),
    send_time_ms bigint CHECK (send_time_ms > 0),
    confirm_time_ms bigint CHECK (confirm_time_ms > 0),
    UNIQUE (batch_id, coin),
    CONSTRAINT batch_signed_whole CHECK (num_nulls(raw, txid_hex, fee_atomic, weight) IN (0, 4)),
    CONSTRAINT batch_bytes_fit_status CHECK (
        CASE status
            WHEN 'reserved' THEN raw IS NULL
            WHEN 'review' THEN true
            WHEN 'voided' THEN true
            ELSE raw IS NOT NULL
        END
    ),
    CONSTRAINT batch_fee_below_ceiling CHECK (fee_atomic <= fee_atomic_max),
    CONSTRAINT batch_confirm_time CHECK ((status = 'confirmed') = (confirm_time_ms IS NOT NULL)),
    CONSTRAINT batch_reason_given CHECK (status NOT IN ('review', 'voided') OR reason <> '')
);

-- At most one batch of a coin that is not yet with a node.
CREATE UNIQUE INDEX batch_one_unsent ON batch (coin) WHERE status IN ('reserved', 'signed');
CREATE UNIQUE INDEX batch_txid ON batch (txid_hex);
CREATE INDEX batch_by_number ON batch (coin, batch_number DESC);
CREATE INDEX batch_unfinished ON batch (coin, batch_number) WHERE status IN ('broadcast', 'review');

CREATE TABLE item (
    payout_id uuid PRIMARY KEY,
    item_number bigint GENERATED ALWAYS AS IDENTITY UNIQUE,
    batch_id uuid NOT NULL,
    coin text NOT NULL,
    account text NOT NULL CHECK (account <> ''),
    amount_atomic bigint NOT NULL CHECK (amount_atomic > 0),
    FOREIGN KEY (batch_id, coin) REFERENCES batch (batch_id, coin),
    UNIQUE (batch_id, account)
);

CREATE INDEX item_by_number ON item (coin, item_number DESC);
CREATE INDEX item_by_account ON item (coin, account, item_number DESC);

-- The way of each batch, written by the trigger below.
CREATE TABLE batch_step (
    batch_id uuid NOT NULL REFERENCES batch (batch_id),
    step_number integer NOT NULL CHECK (step_number > 0),
    from_status text,
    to_status text NOT NULL,
    reason text NOT NULL,
    time_ms bigint NOT NULL,
    PRIMARY KEY (batch_id, step_number)
);

CREATE TABLE isolated (
    coin text NOT NULL CHECK (coin <> ''),
    account text NOT NULL CHECK (account <> ''),
    reason text NOT NULL CHECK (reason <> ''),
    create_time_ms bigint NOT NULL CHECK (create_time_ms > 0),
    PRIMARY KEY (coin, account)
);

CREATE TABLE request (
    request_id text PRIMARY KEY CHECK (request_id <> ''),
    method text NOT NULL CHECK (method <> ''),
    subject text NOT NULL,
    create_time_ms bigint NOT NULL CHECK (create_time_ms > 0)
);

CREATE FUNCTION guard_batch() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        IF NEW.status <> 'reserved' THEN
            RAISE EXCEPTION 'batch % begins as reserved, not %', NEW.batch_id, NEW.status
                USING ERRCODE = 'integrity_constraint_violation';
        END IF;
        RETURN NEW;
    END IF;
    IF NEW.status <> OLD.status AND (OLD.status, NEW.status) NOT IN (
        ('reserved', 'signed'), ('reserved', 'voided'), ('reserved', 'review'),
        ('signed', 'broadcast'), ('signed', 'review'),
        ('broadcast', 'confirmed'), ('broadcast', 'review'),
        ('review', 'broadcast'), ('review', 'voided')
    ) THEN
        RAISE EXCEPTION 'batch % does not go from % to %', NEW.batch_id, OLD.status, NEW.status
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    IF (NEW.batch_id, NEW.coin, NEW.amount_atomic, NEW.payout_count, NEW.fee_rate_min_sat_per_kvb,
        NEW.fee_rate_max_sat_per_kvb, NEW.fee_atomic_max, NEW.create_time_ms)
       IS DISTINCT FROM
       (OLD.batch_id, OLD.coin, OLD.amount_atomic, OLD.payout_count, OLD.fee_rate_min_sat_per_kvb,
        OLD.fee_rate_max_sat_per_kvb, OLD.fee_atomic_max, OLD.create_time_ms)
    THEN
        RAISE EXCEPTION 'what batch % intends does not change', NEW.batch_id
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    IF (NEW.raw, NEW.txid_hex, NEW.fee_atomic, NEW.weight)
       IS DISTINCT FROM (OLD.raw, OLD.txid_hex, OLD.fee_atomic, OLD.weight)
       AND NOT (OLD.status = 'reserved' AND NEW.status = 'signed')
    THEN
        RAISE EXCEPTION 'the signed transaction of batch % does not change', NEW.batch_id
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    IF OLD.status IN ('confirmed', 'voided') AND NEW IS DISTINCT FROM OLD THEN
        RAISE EXCEPTION 'batch % is %, which is final', NEW.batch_id, OLD.status
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END
$$;

CREATE TRIGGER batch_guard BEFORE INSERT OR UPDATE ON batch FOR EACH ROW EXECUTE FUNCTION guard_batch();

CREATE FUNCTION log_batch_step() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    before_status text := NULL;
BEGIN
    IF TG_OP = 'UPDATE' THEN
        IF NEW.status = OLD.status THEN
            RETURN NULL;
        END IF;
        before_status := OLD.status;
    END IF;
    EXECUTE format(
        'INSERT INTO %1$I.batch_step (batch_id, step_number, from_status, to_status, reason, time_ms)
         SELECT $1, count(*) + 1, $2, $3, $4, $5 FROM %1$I.batch_step WHERE batch_id = $1', TG_TABLE_SCHEMA)
        USING NEW.batch_id, before_status, NEW.status, NEW.reason, NEW.update_time_ms;
    RETURN NULL;
END
$$;

CREATE TRIGGER batch_steps AFTER INSERT OR UPDATE ON batch FOR EACH ROW EXECUTE FUNCTION log_batch_step();

CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'rows of %.% are not changed or deleted', TG_TABLE_SCHEMA, TG_TABLE_NAME
        USING ERRCODE = 'integrity_constraint_violation';
END
$$;

CREATE TRIGGER batch_kept BEFORE DELETE OR TRUNCATE ON batch FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER item_kept BEFORE UPDATE OR DELETE OR TRUNCATE ON item FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER batch_step_kept BEFORE UPDATE OR DELETE OR TRUNCATE ON batch_step
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- A batch is the sum of its items, from the transaction that makes it on.
CREATE FUNCTION check_batch_sum() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    item_sum numeric;
    item_count bigint;
    wanted record;
BEGIN
    EXECUTE format('SELECT amount_atomic, payout_count FROM %I.batch WHERE batch_id = $1', TG_TABLE_SCHEMA)
        INTO wanted USING NEW.batch_id;
    EXECUTE format('SELECT coalesce(sum(amount_atomic), 0), count(*) FROM %I.item WHERE batch_id = $1', TG_TABLE_SCHEMA)
        INTO item_sum, item_count USING NEW.batch_id;
    IF item_sum <> wanted.amount_atomic OR item_count <> wanted.payout_count THEN
        RAISE EXCEPTION 'batch % is not the sum of its items: % in %, expected % in %',
            NEW.batch_id, item_sum, item_count, wanted.amount_atomic, wanted.payout_count
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NULL;
END
$$;

CREATE CONSTRAINT TRIGGER batch_is_sum AFTER INSERT ON batch DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION check_batch_sum();
CREATE CONSTRAINT TRIGGER item_in_sum AFTER INSERT ON item DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION check_batch_sum();
