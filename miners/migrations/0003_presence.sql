-- Presence is decided once, by one process, from the stream's own time; the last shares are kept as sums (miners/pace.py).
ALTER TABLE worker
    ADD COLUMN last_work bigint NOT NULL DEFAULT 1 CHECK (last_work >= 0),
    ADD COLUMN return_time_ms bigint NOT NULL DEFAULT 0,
    ADD COLUMN old_count smallint NOT NULL DEFAULT 0 CHECK (old_count >= 0),
    ADD COLUMN old_ms bigint NOT NULL DEFAULT 0 CHECK (old_ms >= 0),
    ADD COLUMN old_work numeric(30) NOT NULL DEFAULT 0 CHECK (old_work >= 0),
    ADD COLUMN new_count smallint NOT NULL DEFAULT 0 CHECK (new_count >= 0),
    ADD COLUMN new_ms bigint NOT NULL DEFAULT 0 CHECK (new_ms >= 0),
    ADD COLUMN new_work numeric(30) NOT NULL DEFAULT 0 CHECK (new_work >= 0),
    -- The last share before the silence that made it offline; NULL while it is online.
    ADD COLUMN offline_since_ms bigint,
    -- The steps that were told, per cent; 0 means none.
    ADD COLUMN hashrate_step smallint NOT NULL DEFAULT 0,
    ADD COLUMN reject_step smallint NOT NULL DEFAULT 0;
ALTER TABLE account ADD COLUMN hashrate_step smallint NOT NULL DEFAULT 0;

-- Nobody is told now of those who have been away for long.
UPDATE worker SET offline_since_ms = last_share_time_ms
WHERE last_share_time_ms + offline_after_ms < extract(epoch FROM clock_timestamp()) * 1000;
ALTER TABLE worker DROP COLUMN recent_times_ms;

-- Of each instance's stream: the part without a pause that reaches up to its last record.
ALTER TABLE instance
    ADD COLUMN coin text COLLATE "C" NOT NULL DEFAULT '',
    ADD COLUMN run_start_ms bigint NOT NULL DEFAULT 0,
    ADD COLUMN time_ms bigint NOT NULL DEFAULT 0,
    ADD COLUMN is_closed boolean NOT NULL DEFAULT false;

-- Shares by half hours, for hashrates and refused shares; kept for some days.
CREATE TABLE worker_bin (
    worker_id integer NOT NULL REFERENCES worker,
    start_ms bigint NOT NULL,
    work numeric(30) NOT NULL CHECK (work >= 0),
    accepted integer NOT NULL CHECK (accepted >= 0),
    stale integer NOT NULL CHECK (stale >= 0),
    duplicate integer NOT NULL CHECK (duplicate >= 0),
    low_difficulty integer NOT NULL CHECK (low_difficulty >= 0),
    invalid integer NOT NULL CHECK (invalid >= 0),
    PRIMARY KEY (worker_id, start_ms)
) WITH (fillfactor = 70);
CREATE INDEX worker_bin_time_index ON worker_bin (start_ms);

-- How far hashrates and refused shares were judged.
CREATE TABLE judged (
    coin text COLLATE "C" PRIMARY KEY CHECK (coin <> ''),
    bin_start_ms bigint NOT NULL
);

CREATE TABLE fence (
    name text PRIMARY KEY,
    token bigint NOT NULL CHECK (token > 0)
);

CREATE TABLE outbox (
    outbox_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    topic text NOT NULL CHECK (topic <> ''),
    key bytea NOT NULL,
    payload bytea NOT NULL CHECK (octet_length(payload) <= 65536),
    create_time timestamptz NOT NULL DEFAULT clock_timestamp()
);
