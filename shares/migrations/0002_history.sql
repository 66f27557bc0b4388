-- What was mined over time, rolled up from the slices once a span of ten minutes is over: for the pool (account_id and
-- worker_id are 0), for each account (worker_id is 0) and for each worker. bucket = minute / span_min.
CREATE TABLE history (
    work numeric(40) NOT NULL CHECK (work >= 0),
    accepted_count bigint NOT NULL CHECK (accepted_count >= 0),
    rejected_count bigint NOT NULL CHECK (rejected_count >= 0),
    bucket integer NOT NULL CHECK (bucket >= 0),
    account_id integer NOT NULL,
    worker_id integer NOT NULL,
    -- Workers that mined; in the longer spans the greatest of the ten-minute spans inside.
    worker_count integer NOT NULL CHECK (worker_count >= 0),
    coin_key smallint NOT NULL,
    span_min smallint NOT NULL CHECK (span_min IN (10, 60, 360)),
    PRIMARY KEY (coin_key, account_id, worker_id, span_min, bucket)
) WITH (fillfactor = 85);
CREATE INDEX history_bucket_index ON history (span_min, bucket);

-- When each worker last had shares rejected, and why most of them were.
CREATE TABLE last_reject (
    worker_id integer PRIMARY KEY,
    minute integer NOT NULL CHECK (minute >= 0),
    reason text NOT NULL CHECK (reason IN ('stale', 'duplicate', 'low_difficulty', 'invalid'))
) WITH (fillfactor = 70);
