-- What the wallet has sent and no batch knows (payouts/reconcile.py): forgotten by a database that was restored from a
-- backup, or sent by hand.

CREATE TABLE wallet_send (
    coin text NOT NULL CHECK (coin <> ''),
    txid_hex text NOT NULL CHECK (txid_hex ~ '^[0-9a-f]{64}$'),
    raw bytea NOT NULL CHECK (length(raw) > 0),
    fee_atomic bigint NOT NULL CHECK (fee_atomic >= 0),
    -- How many accounts of the ledger it pays, and how much, when last looked; 0 when it has nothing to do with them.
    account_count integer NOT NULL DEFAULT 0 CHECK (account_count >= 0),
    amount_atomic bigint NOT NULL DEFAULT 0 CHECK (amount_atomic >= 0),
    -- The operator's word.
    decision text NOT NULL DEFAULT 'open' CHECK (decision IN ('open', 'adopted', 'ignored')),
    reason text NOT NULL DEFAULT '',
    create_time_ms bigint NOT NULL CHECK (create_time_ms > 0),
    decide_time_ms bigint CHECK (decide_time_ms > 0),
    PRIMARY KEY (coin, txid_hex),
    CHECK ((decision = 'open') = (decide_time_ms IS NULL)),
    CHECK (decision <> 'ignored' OR reason <> '')
);

CREATE INDEX wallet_send_open ON wallet_send (coin) WHERE decision = 'open';

-- Up to where the wallet's sends have been compared with the batches: a cursor of the wallet; empty before the first.
-- It is restored with the batches, so what a backup has forgotten always lies after it.
ALTER TABLE payer ADD COLUMN sends_cursor text NOT NULL DEFAULT '';
