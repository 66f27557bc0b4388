-- The batch's trace, as a W3C traceparent: its later steps continue it, also in another process.
ALTER TABLE batch ADD COLUMN trace_parent text CHECK (trace_parent <> '');
