-- Sums by worker and hour; read them with sum() and GROUP BY, because parts are merged later.
CREATE TABLE lodepool.worker_hour
(
    hour DateTime('UTC'),
    coin LowCardinality(String),
    scheme LowCardinality(String),
    account String,
    worker String,
    work UInt128,
    accepted_count UInt64,
    stale_count UInt64,
    duplicate_count UInt64,
    low_difficulty_count UInt64,
    invalid_count UInt64
)
ENGINE = SummingMergeTree
PARTITION BY toYYYYMM(hour)
ORDER BY (coin, account, worker, scheme, hour)
TTL hour + INTERVAL 2 YEAR;

CREATE MATERIALIZED VIEW lodepool.share_to_worker_hour TO lodepool.worker_hour AS
SELECT
    toStartOfHour(toDateTime(time, 'UTC')) AS hour,
    coin,
    scheme,
    account,
    worker,
    sumIf(toUInt128(work), outcome = 'accepted') AS work,
    countIf(outcome = 'accepted') AS accepted_count,
    countIf(outcome = 'stale') AS stale_count,
    countIf(outcome = 'duplicate') AS duplicate_count,
    countIf(outcome = 'low_difficulty') AS low_difficulty_count,
    countIf(outcome = 'invalid') AS invalid_count
FROM lodepool.share
GROUP BY hour, coin, scheme, account, worker;
