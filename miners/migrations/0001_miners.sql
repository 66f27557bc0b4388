-- An account is a payout address that has mined here.
CREATE TABLE account (
    account_id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    coin text COLLATE "C" NOT NULL CHECK (coin <> ''),
    account text COLLATE "C" NOT NULL CHECK (account <> ''),
    -- First and last accepted share, milliseconds since the Unix epoch.
    create_time_ms bigint NOT NULL,
    last_share_time_ms bigint NOT NULL,
    -- Zero means the pool's default.
    payout_threshold_atomic bigint NOT NULL DEFAULT 0 CHECK (payout_threshold_atomic >= 0),
    UNIQUE (coin, account),
    CHECK (create_time_ms <= last_share_time_ms)
) WITH (fillfactor = 70);

CREATE TABLE worker (
    worker_id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account_id integer NOT NULL REFERENCES account,
    worker text COLLATE "C" NOT NULL,
    create_time_ms bigint NOT NULL,
    last_share_time_ms bigint NOT NULL,
    -- The last accepted shares, oldest first, and how long after the last of them the worker counts as offline.
    recent_times_ms bigint[] NOT NULL CHECK (cardinality(recent_times_ms) BETWEEN 1 AND 8),
    offline_after_ms bigint NOT NULL CHECK (offline_after_ms > 0),
    scheme text NOT NULL,
    user_agent text NOT NULL,
    UNIQUE (account_id, worker),
    CHECK (create_time_ms <= last_share_time_ms)
) WITH (fillfactor = 70);
CREATE INDEX worker_name_index ON worker (worker, account_id);

-- What of each instance's stream has been seen.
CREATE TABLE instance (
    instance text COLLATE "C" PRIMARY KEY CHECK (instance <> ''),
    last_seq bigint NOT NULL CHECK (last_seq >= 0)
) WITH (fillfactor = 50);

CREATE TABLE position (
    topic text NOT NULL,
    partition integer NOT NULL CHECK (partition >= 0),
    next_offset bigint NOT NULL CHECK (next_offset >= 0),
    PRIMARY KEY (topic, partition)
) WITH (fillfactor = 50);

-- Changes of settings: each request takes effect once.
CREATE TABLE account_update (
    request_id text PRIMARY KEY CHECK (request_id <> ''),
    account_id integer NOT NULL REFERENCES account,
    payout_threshold_atomic bigint NOT NULL CHECK (payout_threshold_atomic >= 0),
    updated_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX account_update_account_index ON account_update (account_id, updated_at);
