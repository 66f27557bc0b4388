-- Notices that the event log has not acknowledged (runtime/outbox.py).
CREATE TABLE outbox (
    outbox_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    topic text NOT NULL CHECK (topic <> ''),
    key bytea NOT NULL,
    payload bytea NOT NULL CHECK (octet_length(payload) <= 65536),
    create_time timestamptz NOT NULL DEFAULT clock_timestamp()
);
