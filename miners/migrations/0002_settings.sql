-- What owners of accounts set for themselves. revision counts the changes, the operator's included.
ALTER TABLE account
    ADD COLUMN is_anonymous boolean NOT NULL DEFAULT false,
    ADD COLUMN revision bigint NOT NULL DEFAULT 0 CHECK (revision >= 0);

-- Changes by owners: what was set, and the signature that allowed it. A revision is left once.
CREATE TABLE settings_change (
    request_id text PRIMARY KEY CHECK (request_id <> ''),
    account_id integer NOT NULL REFERENCES account,
    revision bigint NOT NULL CHECK (revision >= 0),
    -- NULL means that it stayed as it was.
    payout_threshold_atomic bigint CHECK (payout_threshold_atomic >= 0),
    is_anonymous boolean,
    signature text NOT NULL CHECK (signature <> ''),
    changed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    UNIQUE (account_id, revision),
    CHECK (num_nonnulls(payout_threshold_atomic, is_anonymous) > 0)
);

CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '%.% is append-only', TG_TABLE_SCHEMA, TG_TABLE_NAME;
END
$$;
CREATE TRIGGER settings_change_append_only BEFORE UPDATE OR DELETE ON settings_change
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
