-- The trace that a transfer belongs to, as a W3C traceparent: leads from a payout back to the blocks that paid for it.
ALTER TABLE ledger.transfer ADD COLUMN trace_parent text CHECK (trace_parent <> '');

CREATE INDEX transfer_traced ON ledger.transfer (transfer_seq) WHERE trace_parent IS NOT NULL;
