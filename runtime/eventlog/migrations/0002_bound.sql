-- Which event log the positions in this database belong to: the one row that is current. Another log has other offsets.
CREATE TABLE eventlog.bound (
    log text PRIMARY KEY CHECK (log <> ''),
    is_current boolean NOT NULL,
    change_time timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE UNIQUE INDEX bound_current ON eventlog.bound (is_current) WHERE is_current;

-- Positions in logs that the books have left; who comes back to a log goes on from there.
CREATE TABLE eventlog.left_position (
    log text NOT NULL REFERENCES eventlog.bound,
    schema_name text NOT NULL,
    topic text NOT NULL,
    partition integer NOT NULL CHECK (partition >= 0),
    next_offset bigint NOT NULL CHECK (next_offset >= 0),
    PRIMARY KEY (log, schema_name, topic, partition)
);

-- As before, but nothing is appended that nobody would read. The topic's lock is held by then: who leaves the log takes
-- it first, so that what was appended before is counted, and what comes after is refused here.
CREATE OR REPLACE FUNCTION eventlog.append(the_topic text, keys bytea[], payloads bytea[]) RETURNS bigint
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
    IF EXISTS (SELECT FROM eventlog.bound WHERE is_current = (log <> 'postgres')) THEN
        RAISE EXCEPTION 'the books do not read the event log in PostgreSQL any more'
            USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
    INSERT INTO eventlog.record (topic, log_offset, key, payload, append_time)
    SELECT the_topic, first_offset + entry.number - 1, entry.key, entry.payload, clock_timestamp()
    FROM unnest(keys, payloads) WITH ORDINALITY AS entry(key, payload, number);
    PERFORM pg_notify('eventlog', the_topic);
    RETURN first_offset;
END
$$;
