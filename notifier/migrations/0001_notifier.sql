-- Subscriptions, and what is on its way to them.

CREATE TABLE position (
    topic text NOT NULL,
    partition integer NOT NULL CHECK (partition >= 0),
    next_offset bigint NOT NULL CHECK (next_offset >= 0),
    PRIMARY KEY (topic, partition)
);

-- Records that are no notices, kept for the operator.
CREATE TABLE poison (
    topic text NOT NULL,
    partition integer NOT NULL,
    record_offset bigint NOT NULL,
    payload bytea NOT NULL,
    error text NOT NULL,
    create_time timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (topic, partition, record_offset)
);

CREATE TABLE subscription (
    subscription_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    request_id text NOT NULL UNIQUE,
    channel text NOT NULL CHECK (channel IN ('telegram', 'email', 'webhook')),
    address text NOT NULL CHECK (address <> ''),
    language text NOT NULL CHECK (language IN ('en', 'ru')),
    coin text NOT NULL,
    account text NOT NULL,
    worker_pattern text NOT NULL,
    -- The same as an SQL pattern.
    worker_like text NOT NULL,
    kinds text[] NOT NULL,
    -- What is told: kinds, or what fits the account where they are empty.
    told_kinds text[] NOT NULL CHECK (cardinality(told_kinds) > 0),
    hashrate_percent integer NOT NULL CHECK (hashrate_percent BETWEEN 10 AND 80),
    reject_percent integer NOT NULL CHECK (reject_percent BETWEEN 2 AND 100),
    quiet_start_min integer NOT NULL CHECK (quiet_start_min BETWEEN 0 AND 1439),
    quiet_end_min integer NOT NULL CHECK (quiet_end_min BETWEEN 0 AND 1439),
    time_zone text NOT NULL,
    digest_min integer NOT NULL CHECK (digest_min BETWEEN 0 AND 10080),
    cooldown_s integer NOT NULL CHECK (cooldown_s BETWEEN 0 AND 86400),
    is_paused boolean NOT NULL,
    pause_reason text NOT NULL,
    create_time_ms bigint NOT NULL,
    -- Whoever has it may end the subscription.
    unsubscribe_token uuid NOT NULL UNIQUE DEFAULT gen_random_uuid(),
    -- What webhooks are signed with, newest first; the second one until secret_expire_time_ms.
    secrets text[] NOT NULL DEFAULT '{}' CHECK (cardinality(secrets) <= 2),
    secret_expire_time_ms bigint NOT NULL DEFAULT 0,
    secret_request_id text NOT NULL DEFAULT '',
    CHECK (account = '' OR NOT 'trouble' = ANY (told_kinds))
);

CREATE INDEX subscription_account ON subscription (account);
CREATE INDEX subscription_address ON subscription (address);

-- Notices that were taken, by their id: a second record with the same one changes nothing.
CREATE TABLE notice (
    notice_no bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    notice_id text NOT NULL UNIQUE,
    payload bytea NOT NULL,
    create_time_ms bigint NOT NULL
);

CREATE INDEX notice_create_time ON notice (create_time_ms);

-- A notice on its way to a subscription. No foreign keys: a block is 100,000 rows at once, written in the statement
-- that reads their subscriptions; what ends a subscription ends its deliveries in the same transaction.
CREATE TABLE delivery (
    delivery_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    notice_no bigint NOT NULL,
    subscription_id bigint NOT NULL,
    channel text NOT NULL,
    -- The subscription's address: rates are by it.
    target text NOT NULL,
    kind text NOT NULL,
    -- Of the cool-down; empty for what is told each time.
    subject text NOT NULL,
    level text NOT NULL,
    priority smallint NOT NULL,
    state text NOT NULL CHECK (state IN ('queued', 'sending', 'sent', 'retry', 'dead', 'skipped')),
    -- Why it waits ('cooldown', 'digest', 'quiet') or was skipped; empty otherwise.
    held text NOT NULL DEFAULT '',
    -- When it may be sent next.
    due_ms bigint NOT NULL,
    create_time_ms bigint NOT NULL,
    attempt_count integer NOT NULL DEFAULT 0,
    -- Tries that a channel has answered with a time of its own; they do not wear the delivery out.
    postponed_count integer NOT NULL DEFAULT 0,
    -- Deliveries of one message have the same one: the delivery_id of the first; 0 before the first try.
    message_id bigint NOT NULL DEFAULT 0,
    -- Who sends it: only the holder may say what became of it.
    claim_id uuid,
    lease_until_ms bigint NOT NULL DEFAULT 0,
    deliver_time_ms bigint NOT NULL DEFAULT 0,
    reference text NOT NULL DEFAULT '',
    last_error text NOT NULL DEFAULT '',
    UNIQUE (subscription_id, notice_no),
    CHECK ((state = 'sending') = (claim_id IS NOT NULL))
);

CREATE INDEX delivery_due ON delivery (channel, priority, due_ms, delivery_id) WHERE state IN ('queued', 'retry');
CREATE INDEX delivery_sending ON delivery (lease_until_ms) WHERE state = 'sending';
CREATE INDEX delivery_subject ON delivery (subscription_id, subject, delivery_id) WHERE subject <> '';
CREATE INDEX delivery_dead ON delivery (delivery_id) WHERE state = 'dead';

-- How far each channel has used up its rate; see notifier/pacing.py.
CREATE TABLE lane (
    channel text PRIMARY KEY,
    next_us bigint NOT NULL
);

-- When something may be sent to an address again.
CREATE TABLE target (
    channel text NOT NULL,
    target text NOT NULL,
    next_free_ms bigint NOT NULL,
    PRIMARY KEY (channel, target)
);
