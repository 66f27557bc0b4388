-- Notices that the event log has not acknowledged (runtime/outbox.py).
CREATE TABLE payouts.outbox (
    outbox_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    topic text NOT NULL CHECK (topic <> ''),
    key bytea NOT NULL,
    payload bytea NOT NULL CHECK (octet_length(payload) <= 65536),
    create_time timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- Why nobody is paid until somebody does something: since when, and whether that was told.
ALTER TABLE payouts.payer
    ADD COLUMN alarm_cause text NOT NULL DEFAULT '',
    ADD COLUMN alarm_since_ms bigint NOT NULL DEFAULT 0,
    ADD COLUMN is_alarm_told boolean NOT NULL DEFAULT false;
