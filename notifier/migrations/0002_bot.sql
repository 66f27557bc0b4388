-- The Telegram bot: who talks to it, what they have sent, and what it answers.

CREATE TABLE bot_chat (
    chat_id bigint PRIMARY KEY,
    language text NOT NULL CHECK (language IN ('en', 'ru')),
    time_zone text NOT NULL DEFAULT 'UTC',
    -- Quiet hours of the chat's subscriptions, those made later included.
    quiet_start_min integer NOT NULL DEFAULT 0 CHECK (quiet_start_min BETWEEN 0 AND 1439),
    quiet_end_min integer NOT NULL DEFAULT 0 CHECK (quiet_end_min BETWEEN 0 AND 1439),
    create_time_ms bigint NOT NULL
);

-- Updates as Telegram sent them, by their ids: what comes a second time changes nothing. An update is done in the
-- transaction of its effects and of its answers.
CREATE TABLE bot_update (
    update_id bigint PRIMARY KEY,
    -- Whose order is kept; 0 where there is none.
    chat_id bigint NOT NULL,
    payload text NOT NULL,
    state text NOT NULL DEFAULT 'new' CHECK (state IN ('new', 'done', 'poison')),
    attempt_count integer NOT NULL DEFAULT 0,
    error text NOT NULL DEFAULT '',
    create_time_ms bigint NOT NULL
);
CREATE INDEX bot_update_new ON bot_update (update_id) WHERE state = 'new';
CREATE INDEX bot_update_create_time ON bot_update (create_time_ms) WHERE state <> 'new';

-- Calls to the Bot API that answer an update.
CREATE TABLE bot_call (
    call_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    update_id bigint NOT NULL,
    ordinal integer NOT NULL,
    chat_id bigint NOT NULL,
    method text NOT NULL,
    params text NOT NULL,
    file_field text NOT NULL DEFAULT '',
    file_name text NOT NULL DEFAULT '',
    file bytea,
    state text NOT NULL DEFAULT 'queued' CHECK (state IN ('queued', 'sending', 'sent', 'dead')),
    due_ms bigint NOT NULL,
    -- While it is being sent: until when nobody else may.
    lease_until_ms bigint NOT NULL DEFAULT 0,
    attempt_count integer NOT NULL DEFAULT 0,
    -- True when an earlier try may have arrived.
    is_doubtful boolean NOT NULL DEFAULT false,
    message_id bigint NOT NULL DEFAULT 0,
    last_error text NOT NULL DEFAULT '',
    create_time_ms bigint NOT NULL,
    UNIQUE (update_id, ordinal),
    CHECK ((file IS NULL) = (file_field = ''))
);
CREATE INDEX bot_call_open ON bot_call (chat_id, call_id) WHERE state IN ('queued', 'sending');
CREATE INDEX bot_call_create_time ON bot_call (create_time_ms) WHERE state IN ('sent', 'dead');
