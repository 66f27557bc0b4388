-- One row a topic: its lock is held until commit, so records become visible in the order of their offsets.
CREATE TABLE eventlog.topic (
    topic text PRIMARY KEY CHECK (topic <> ''),
    next_offset bigint NOT NULL DEFAULT 0 CHECK (next_offset >= 0)
);

CREATE TABLE eventlog.record (
    topic text NOT NULL REFERENCES eventlog.topic,
    log_offset bigint NOT NULL CHECK (log_offset >= 0),
    key bytea NOT NULL,
    payload bytea NOT NULL,
    append_time timestamptz NOT NULL,
    PRIMARY KEY (topic, log_offset)
);

-- Payloads are compact already; compressing them again costs more than it saves.
ALTER TABLE eventlog.record ALTER COLUMN payload SET STORAGE EXTERNAL;

-- Appends records to a topic in their order and wakes its readers; returns the first record's offset.
CREATE FUNCTION eventlog.append(the_topic text, keys bytea[], payloads bytea[]) RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE
    record_count bigint := cardinality(payloads);
    first_offset bigint;
BEGIN
    LOOP
        UPDATE eventlog.topic SET next_offset = next_offset + record_count
        WHERE topic = the_topic
        RETURNING next_offset - record_count INTO first_offset;
        EXIT WHEN FOUND;
        INSERT INTO eventlog.topic (topic) VALUES (the_topic) ON CONFLICT (topic) DO NOTHING;
    END LOOP;
    INSERT INTO eventlog.record (topic, log_offset, key, payload, append_time)
    SELECT the_topic, first_offset + entry.number - 1, entry.key, entry.payload, clock_timestamp()
    FROM unnest(keys, payloads) WITH ORDINALITY AS entry(key, payload, number);
    PERFORM pg_notify('eventlog', the_topic);
    RETURN first_offset;
END
$$;
