-- The trace of the share that was this block, as a W3C traceparent: each later step continues it.
ALTER TABLE rewards.block ADD COLUMN trace_parent text CHECK (trace_parent <> '');
