-- What the shares service is asked for, kept before it is asked: asked again after a crash or a change of settings, the
-- block's window stays the same.
ALTER TABLE rewards.block
    ADD COLUMN plan_start_height bigint CHECK (plan_start_height >= 0),
    ADD COLUMN plan_window_work numeric(78) CHECK (plan_window_work > 0),
    ADD CONSTRAINT plan_is_whole CHECK (plan_start_height IS NOT NULL OR plan_window_work IS NULL);
