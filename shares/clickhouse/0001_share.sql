-- Raw shares, one row each. A record that Kafka delivers again writes the same rows: merges leave one of them.
CREATE TABLE lodepool.share
(
    time DateTime64(3, 'UTC') CODEC(DoubleDelta, ZSTD),
    coin LowCardinality(String),
    scheme LowCardinality(String),
    account String CODEC(ZSTD),
    worker String CODEC(ZSTD),
    user_agent LowCardinality(String),
    instance LowCardinality(String),
    -- Number of the share within its instance.
    seq UInt64 CODEC(Delta, ZSTD),
    height UInt32 CODEC(Delta, ZSTD),
    -- Expected hashes of the share target; only accepted shares are credited with it.
    work UInt64 CODEC(ZSTD),
    -- Expected hashes of the hash itself; zero for rejected shares.
    hash_work UInt64 CODEC(ZSTD),
    outcome Enum8('accepted' = 1, 'stale' = 2, 'duplicate' = 3, 'low_difficulty' = 4, 'invalid' = 5)
)
ENGINE = ReplacingMergeTree
PARTITION BY toDate(time)
ORDER BY (coin, account, worker, time, instance, seq)
TTL toDateTime(time) + INTERVAL 90 DAY
SETTINGS ttl_only_drop_parts = 1;
