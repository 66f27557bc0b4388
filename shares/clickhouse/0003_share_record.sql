-- Topic `shares`: one ShareRecord a message, its batch in columns. Records with a watermark instead have empty columns.
CREATE TABLE lodepool.share_record
(
    batch Tuple(
        instance String,
        first_seq Int64,
        coin String,
        base_time_ms Int64,
        submitters Array(Tuple(account String, worker String, scheme String, user_agent String)),
        submitter_index Array(UInt32),
        time_offset_ms Array(UInt32),
        height Array(UInt32),
        work Array(Int64),
        hash_work Array(Int64),
        outcome Array(Int32)
    )
)
ENGINE = Kafka
SETTINGS
    kafka_broker_list = '127.0.0.1:9092',
    kafka_topic_list = 'lodepool.shares',
    kafka_group_name = 'lodepool.clickhouse',
    kafka_format = 'ProtobufSingle',
    kafka_schema = 'events.proto:ShareRecord',
    kafka_num_consumers = 1,
    kafka_handle_error_mode = 'stream';

CREATE MATERIALIZED VIEW lodepool.share_record_to_share TO lodepool.share AS
SELECT
    fromUnixTimestamp64Milli(batch.base_time_ms + offset_ms, 'UTC') AS time,
    batch.coin AS coin,
    batch.submitters[submitter + 1].3 AS scheme,
    batch.submitters[submitter + 1].1 AS account,
    batch.submitters[submitter + 1].2 AS worker,
    batch.submitters[submitter + 1].4 AS user_agent,
    batch.instance AS instance,
    toUInt64(batch.first_seq + number - 1) AS seq,
    share_height AS height,
    toUInt64(share_work) AS work,
    toUInt64(share_hash_work) AS hash_work,
    CAST(share_outcome, 'Enum8(\'accepted\' = 1, \'stale\' = 2, \'duplicate\' = 3, \'low_difficulty\' = 4, \'invalid\' = 5)')
        AS outcome
FROM lodepool.share_record
ARRAY JOIN
    arrayEnumerate(batch.outcome) AS number,
    batch.submitter_index AS submitter,
    batch.time_offset_ms AS offset_ms,
    batch.height AS share_height,
    batch.work AS share_work,
    batch.hash_work AS share_hash_work,
    batch.outcome AS share_outcome;
