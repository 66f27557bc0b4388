-- Key tables: strings once, integers in the slices.
CREATE TABLE coin (
    coin_key smallint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    coin text NOT NULL UNIQUE CHECK (coin <> ''),
    -- Everything ever booked for the coin, also what retention has removed from the slices.
    work numeric(40) NOT NULL DEFAULT 0 CHECK (work >= 0),
    accepted_count bigint NOT NULL DEFAULT 0 CHECK (accepted_count >= 0),
    stale_count bigint NOT NULL DEFAULT 0 CHECK (stale_count >= 0),
    duplicate_count bigint NOT NULL DEFAULT 0 CHECK (duplicate_count >= 0),
    low_difficulty_count bigint NOT NULL DEFAULT 0 CHECK (low_difficulty_count >= 0),
    invalid_count bigint NOT NULL DEFAULT 0 CHECK (invalid_count >= 0),
    late_share_count bigint NOT NULL DEFAULT 0 CHECK (late_share_count >= 0),
    best_hash_work bigint NOT NULL DEFAULT 0 CHECK (best_hash_work >= 0),
    best_worker_id integer,
    -- Milliseconds since the Unix epoch; zero when there was no accepted share.
    first_share_time_ms bigint NOT NULL DEFAULT 0,
    last_share_time_ms bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 50);

-- One book for each coin and scheme. Slices up to closed_height belong to windows that are fixed: their work stands.
CREATE TABLE book (
    book_id smallint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    coin_key smallint NOT NULL REFERENCES coin,
    scheme text COLLATE "C" NOT NULL CHECK (scheme <> ''),
    closed_height bigint NOT NULL DEFAULT -1 CHECK (closed_height >= -1),
    UNIQUE (coin_key, scheme)
);

CREATE TABLE account (
    account_id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    coin_key smallint NOT NULL REFERENCES coin,
    account text COLLATE "C" NOT NULL CHECK (account <> ''),
    UNIQUE (coin_key, account)
);

-- A worker and everything ever booked for it. No index on what changes with each share, so that updates stay in the page.
CREATE TABLE worker (
    worker_id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account_id integer NOT NULL REFERENCES account,
    worker text COLLATE "C" NOT NULL,
    work numeric(40) NOT NULL DEFAULT 0 CHECK (work >= 0),
    accepted_count bigint NOT NULL DEFAULT 0 CHECK (accepted_count >= 0),
    stale_count bigint NOT NULL DEFAULT 0 CHECK (stale_count >= 0),
    duplicate_count bigint NOT NULL DEFAULT 0 CHECK (duplicate_count >= 0),
    low_difficulty_count bigint NOT NULL DEFAULT 0 CHECK (low_difficulty_count >= 0),
    invalid_count bigint NOT NULL DEFAULT 0 CHECK (invalid_count >= 0),
    best_hash_work bigint NOT NULL DEFAULT 0 CHECK (best_hash_work >= 0),
    last_share_time_ms bigint NOT NULL DEFAULT 0,
    UNIQUE (account_id, worker)
) WITH (fillfactor = 70);

ALTER TABLE coin ADD FOREIGN KEY (best_worker_id) REFERENCES worker;

-- The shares of one worker at one height in one minute. Read by height for windows, by account for a miner's page.
CREATE TABLE slice (
    work numeric(40) NOT NULL CHECK (work >= 0),
    height bigint NOT NULL CHECK (height >= 0),
    accepted_count bigint NOT NULL CHECK (accepted_count >= 0),
    best_hash_work bigint NOT NULL CHECK (best_hash_work >= 0),
    minute integer NOT NULL CHECK (minute >= 0),
    worker_id integer NOT NULL,
    account_id integer NOT NULL,
    stale_count integer NOT NULL CHECK (stale_count >= 0),
    duplicate_count integer NOT NULL CHECK (duplicate_count >= 0),
    low_difficulty_count integer NOT NULL CHECK (low_difficulty_count >= 0),
    invalid_count integer NOT NULL CHECK (invalid_count >= 0),
    coin_key smallint NOT NULL,
    book_id smallint NOT NULL,
    PRIMARY KEY (coin_key, height, minute, worker_id, book_id),
    CHECK (accepted_count > 0 OR work = 0)
) WITH (fillfactor = 85);
CREATE INDEX slice_account_index ON slice (account_id, height, minute);

-- Sums of the slices of a book by height and minute: finds a window's edge and serves the pool's page.
CREATE TABLE pool_slice (
    book_id smallint NOT NULL REFERENCES book,
    coin_key smallint NOT NULL REFERENCES coin,
    height bigint NOT NULL CHECK (height >= 0),
    minute integer NOT NULL CHECK (minute >= 0),
    work numeric(40) NOT NULL CHECK (work >= 0),
    accepted_count bigint NOT NULL CHECK (accepted_count >= 0),
    stale_count bigint NOT NULL CHECK (stale_count >= 0),
    duplicate_count bigint NOT NULL CHECK (duplicate_count >= 0),
    low_difficulty_count bigint NOT NULL CHECK (low_difficulty_count >= 0),
    invalid_count bigint NOT NULL CHECK (invalid_count >= 0),
    PRIMARY KEY (book_id, height, minute)
) WITH (fillfactor = 70);
CREATE INDEX pool_slice_minute_index ON pool_slice (coin_key, minute);
CREATE INDEX pool_slice_height_index ON pool_slice (coin_key, height);

-- Accepted work by worker in longer spans, for hashrates over an hour and a day. bucket = minute / span_min.
CREATE TABLE tally (
    worker_id integer NOT NULL,
    span_min smallint NOT NULL CHECK (span_min IN (10, 60)),
    bucket integer NOT NULL CHECK (bucket >= 0),
    work numeric(40) NOT NULL CHECK (work >= 0),
    PRIMARY KEY (worker_id, span_min, bucket)
) WITH (fillfactor = 70);

-- What each instance's stream has brought, summed apart from the slices.
CREATE TABLE instance (
    instance text COLLATE "C" PRIMARY KEY CHECK (instance <> ''),
    coin_key smallint NOT NULL REFERENCES coin,
    last_seq bigint NOT NULL CHECK (last_seq >= 0),
    seen_time_ms bigint NOT NULL,
    mark_seq bigint NOT NULL CHECK (mark_seq >= 0),
    mark_height bigint NOT NULL CHECK (mark_height >= 0),
    mark_time_ms bigint NOT NULL,
    is_closed boolean NOT NULL,
    work numeric(40) NOT NULL CHECK (work >= 0),
    accepted_count bigint NOT NULL CHECK (accepted_count >= 0),
    stale_count bigint NOT NULL CHECK (stale_count >= 0),
    duplicate_count bigint NOT NULL CHECK (duplicate_count >= 0),
    low_difficulty_count bigint NOT NULL CHECK (low_difficulty_count >= 0),
    invalid_count bigint NOT NULL CHECK (invalid_count >= 0)
) WITH (fillfactor = 50);
CREATE INDEX instance_coin_index ON instance (coin_key);

-- Shares that an instance counted and that never came.
CREATE TABLE gap (
    instance text COLLATE "C" NOT NULL REFERENCES instance,
    first_seq bigint NOT NULL CHECK (first_seq > 0),
    last_seq bigint NOT NULL,
    found_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (instance, first_seq),
    CHECK (last_seq >= first_seq)
);

-- Records that could not be booked, for the operator.
CREATE TABLE poison (
    topic text NOT NULL,
    partition integer NOT NULL,
    log_offset bigint NOT NULL,
    payload bytea NOT NULL,
    error text NOT NULL,
    found_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (topic, partition, log_offset)
);

-- Where the consumer goes on: committed with the effects of what it has read.
CREATE TABLE position (
    topic text NOT NULL,
    partition integer NOT NULL CHECK (partition >= 0),
    next_offset bigint NOT NULL CHECK (next_offset >= 0),
    -- Everything that the log took before this time is booked. Milliseconds since the Unix epoch.
    booked_time_ms bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (topic, partition)
) WITH (fillfactor = 50);

-- Fixed windows; the same request_id gets the same answer for ever.
CREATE TABLE fixed_window (
    request_id text PRIMARY KEY CHECK (request_id <> ''),
    book_id smallint NOT NULL REFERENCES book,
    end_height bigint NOT NULL CHECK (end_height >= 0),
    start_height bigint NOT NULL CHECK (start_height >= 0),
    start_minute integer NOT NULL CHECK (start_minute >= 0),
    total_work numeric(40) NOT NULL CHECK (total_work >= 0),
    instances_missing text[] NOT NULL,
    fixed_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE TABLE window_account (
    request_id text NOT NULL REFERENCES fixed_window,
    account_id integer NOT NULL REFERENCES account,
    work numeric(40) NOT NULL CHECK (work > 0),
    accepted_count bigint NOT NULL CHECK (accepted_count > 0),
    PRIMARY KEY (request_id, account_id)
);

-- How far the stream was booked when a book's heights were closed: with it the slices can be rebuilt from the log.
CREATE TABLE closing (
    book_id smallint NOT NULL REFERENCES book,
    closed_height bigint NOT NULL CHECK (closed_height >= 0),
    topic text NOT NULL,
    partition integer NOT NULL,
    next_offset bigint NOT NULL CHECK (next_offset >= 0),
    PRIMARY KEY (book_id, closed_height, topic, partition)
);

-- Sums of slices that retention has removed, and the first minute that is complete.
CREATE TABLE pruned (
    coin_key smallint PRIMARY KEY REFERENCES coin,
    start_minute integer NOT NULL,
    work numeric(40) NOT NULL CHECK (work >= 0),
    accepted_count bigint NOT NULL CHECK (accepted_count >= 0),
    stale_count bigint NOT NULL CHECK (stale_count >= 0),
    duplicate_count bigint NOT NULL CHECK (duplicate_count >= 0),
    low_difficulty_count bigint NOT NULL CHECK (low_difficulty_count >= 0),
    invalid_count bigint NOT NULL CHECK (invalid_count >= 0)
);

CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '%.% is append-only', TG_TABLE_SCHEMA, TG_TABLE_NAME;
END
$$;
CREATE TRIGGER fixed_window_append_only BEFORE UPDATE OR DELETE ON fixed_window
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER window_account_append_only BEFORE UPDATE OR DELETE ON window_account
    FOR EACH ROW EXECUTE FUNCTION refuse_change();

-- Closed heights never open again.
CREATE FUNCTION refuse_reopening() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'book %: closed height % cannot fall to %', OLD.book_id, OLD.closed_height, NEW.closed_height;
END
$$;
CREATE TRIGGER book_stays_closed BEFORE UPDATE ON book
    FOR EACH ROW WHEN (NEW.closed_height < OLD.closed_height) EXECUTE FUNCTION refuse_reopening();
