CREATE TABLE rewards.position (
    topic text NOT NULL,
    partition integer NOT NULL CHECK (partition >= 0),
    next_offset bigint NOT NULL CHECK (next_offset >= 0),
    PRIMARY KEY (topic, partition)
);

-- Records of topic blocks that could not be booked. A block is money: the audit names each of them.
CREATE TABLE rewards.poison (
    topic text NOT NULL,
    partition integer NOT NULL,
    log_offset bigint NOT NULL,
    payload bytea NOT NULL,
    error text NOT NULL,
    create_time timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (topic, partition, log_offset)
);

CREATE TABLE rewards.block (
    coin text NOT NULL CHECK (coin <> ''),
    block_hash_hex text COLLATE "C" NOT NULL CHECK (block_hash_hex ~ '^[0-9a-f]{64}$'),
    height bigint NOT NULL CHECK (height > 0),
    found_time_ms bigint NOT NULL,
    account text NOT NULL CHECK (account <> '' AND account !~ '^(chain|pool):'),
    worker text NOT NULL,
    scheme text NOT NULL CHECK (scheme IN ('pplns', 'prop', 'solo')),
    reward_atomic bigint NOT NULL CHECK (reward_atomic > 0),
    fees_atomic bigint NOT NULL CHECK (fees_atomic BETWEEN 0 AND reward_atomic),
    network_work numeric(78) NOT NULL CHECK (network_work > 0),
    coinbase_txid_hex text NOT NULL,
    instance text NOT NULL,
    -- The pool's fee when the block was found, millionths.
    fee_ppm integer NOT NULL CHECK (fee_ppm BETWEEN 0 AND 1000000),
    status text NOT NULL DEFAULT 'candidate' CHECK (status IN ('candidate', 'immature', 'mature', 'orphaned')),
    -- How many times it was credited: once, and once more for each time it came back after being orphaned.
    generation integer NOT NULL DEFAULT 0 CHECK (generation >= 0),
    confirmations bigint NOT NULL DEFAULT 0,
    is_credited boolean NOT NULL DEFAULT false,
    pool_fee_atomic bigint NOT NULL DEFAULT 0 CHECK (pool_fee_atomic >= 0),
    remainder_atomic bigint NOT NULL DEFAULT 0 CHECK (remainder_atomic >= 0),
    window_work numeric(78) NOT NULL DEFAULT 0 CHECK (window_work >= 0),
    round_work numeric(78) NOT NULL DEFAULT 0 CHECK (round_work >= 0),
    hold_reason text NOT NULL DEFAULT '',
    create_time timestamptz NOT NULL DEFAULT clock_timestamp(),
    update_time timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (coin, block_hash_hex),
    CONSTRAINT credited_before_immature CHECK (is_credited OR status IN ('candidate', 'orphaned')),
    CONSTRAINT credited_has_a_generation CHECK (is_credited = (generation > 0)),
    CONSTRAINT nothing_before_crediting CHECK (is_credited OR pool_fee_atomic + remainder_atomic + window_work = 0)
);

CREATE INDEX block_by_height ON rewards.block (coin, height DESC, block_hash_hex DESC);
CREATE INDEX block_by_account ON rewards.block (coin, account, height DESC, block_hash_hex DESC);
CREATE INDEX block_open ON rewards.block (coin, height) WHERE status IN ('candidate', 'immature');

CREATE TABLE rewards.credit (
    coin text NOT NULL,
    block_hash_hex text COLLATE "C" NOT NULL,
    account text NOT NULL CHECK (account <> '' AND account !~ '^(chain|pool):'),
    height bigint NOT NULL,
    -- Expected hashes in the window; zero in a solo block.
    work numeric(78) NOT NULL CHECK (work >= 0),
    amount_atomic bigint NOT NULL CHECK (amount_atomic >= 0),
    PRIMARY KEY (coin, block_hash_hex, account),
    FOREIGN KEY (coin, block_hash_hex) REFERENCES rewards.block
);

CREATE INDEX credit_by_account ON rewards.credit (coin, account, height DESC, block_hash_hex DESC);

-- Credits are written before their block is marked as credited, and never after.
CREATE FUNCTION rewards.refuse_late_credit() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    late text;
BEGIN
    SELECT b.block_hash_hex INTO late
    FROM appended a JOIN rewards.block b USING (coin, block_hash_hex)
    WHERE b.is_credited OR b.height <> a.height
    LIMIT 1;
    IF late IS NOT NULL THEN
        RAISE EXCEPTION 'block % takes no more credits', late USING ERRCODE = 'check_violation';
    END IF;
    RETURN NULL;
END
$$;

CREATE TRIGGER credit_comes_first AFTER INSERT ON rewards.credit
    REFERENCING NEW TABLE AS appended
    FOR EACH STATEMENT EXECUTE FUNCTION rewards.refuse_late_credit();

CREATE FUNCTION rewards.refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% on %.% is refused', TG_OP, TG_TABLE_SCHEMA, TG_TABLE_NAME
        USING ERRCODE = 'restrict_violation';
END
$$;

CREATE TRIGGER credit_is_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON rewards.credit
    FOR EACH STATEMENT EXECUTE FUNCTION rewards.refuse_change();
CREATE TRIGGER block_is_kept BEFORE DELETE OR TRUNCATE ON rewards.block
    FOR EACH STATEMENT EXECUTE FUNCTION rewards.refuse_change();

-- Credits + fee + remainder = reward, at the moment at which the block becomes credited; fixed from then on.
CREATE FUNCTION rewards.check_block() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    credited numeric;
BEGIN
    IF (OLD.coin, OLD.block_hash_hex, OLD.height, OLD.account, OLD.scheme, OLD.reward_atomic, OLD.fee_ppm)
        IS DISTINCT FROM (NEW.coin, NEW.block_hash_hex, NEW.height, NEW.account, NEW.scheme, NEW.reward_atomic, NEW.fee_ppm)
    THEN
        RAISE EXCEPTION 'what was found of block % does not change', OLD.block_hash_hex
            USING ERRCODE = 'restrict_violation';
    END IF;
    IF OLD.is_credited THEN
        IF NOT NEW.is_credited OR NEW.generation < OLD.generation
            OR (OLD.pool_fee_atomic, OLD.remainder_atomic, OLD.window_work)
                <> (NEW.pool_fee_atomic, NEW.remainder_atomic, NEW.window_work)
        THEN
            RAISE EXCEPTION 'the distribution of block % does not change', OLD.block_hash_hex
                USING ERRCODE = 'restrict_violation';
        END IF;
    ELSIF NEW.is_credited THEN
        SELECT coalesce(sum(amount_atomic), 0) INTO credited
        FROM rewards.credit WHERE coin = NEW.coin AND block_hash_hex = NEW.block_hash_hex;
        IF credited + NEW.pool_fee_atomic + NEW.remainder_atomic <> NEW.reward_atomic THEN
            RAISE EXCEPTION 'block %: credits % + fee % + remainder % are not the reward %', NEW.block_hash_hex,
                credited, NEW.pool_fee_atomic, NEW.remainder_atomic, NEW.reward_atomic
                USING ERRCODE = 'check_violation';
        END IF;
    END IF;
    RETURN NEW;
END
$$;

CREATE TRIGGER block_is_checked BEFORE UPDATE ON rewards.block
    FOR EACH ROW EXECUTE FUNCTION rewards.check_block();
