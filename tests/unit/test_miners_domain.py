"""Rules of the stream: who has mined, and what time it is there."""

from miners.domain import BIN_MS, Activity, Mark, Progress, Shares, StreamClock, StreamTime, threshold_problem

ACCEPTED, STALE = 1, 2


def shares_of(*times_ms, first_seq=1, worker="rig", work=1000, outcome=ACCEPTED, agent="cgminer"):
    return Shares(
        instance="0-a-1",
        coin="c",
        first_seq=first_seq,
        submitters=[("alice", worker, "pplns", agent)],
        submitter_index=[0] * len(times_ms),
        times_ms=times_ms,
        works=[work] * len(times_ms),
        outcomes=[outcome] * len(times_ms),
    )


def progress(run_start_ms, time_ms, *, is_closed=False):
    return Progress(coin="c", last_seq=0, run_start_ms=run_start_ms, time_ms=time_ms, is_closed=is_closed)


def test_shares_that_come_again_are_not_seen_again():
    """D3, D4."""
    activity = Activity(instances={})
    activity.add(shares_of(10, 20))
    activity.add(shares_of(20, 30, first_seq=2))
    assert activity.workers["c", "alice", "rig"].shares == [(10, 1000), (20, 1000), (30, 1000)]
    assert activity.share_count == 3
    assert activity.instances["0-a-1"].last_seq == 3


def test_user_agent_follows_the_shares_times():
    activity = Activity(instances={})
    activity.add(shares_of(50, 60, agent="new"))
    activity.add(shares_of(40, first_seq=3, agent="old"))
    assert activity.workers["c", "alice", "rig"].user_agent == "new"


def test_refused_shares_are_counted_by_half_hour_and_do_not_show_that_somebody_mines():
    """S9."""
    activity = Activity(instances={})
    activity.add(shares_of(10, BIN_MS + 10, outcome=STALE))
    activity.add(shares_of(20, first_seq=3))
    seen = activity.workers["c", "alice", "rig"]
    assert seen.bins == {0: [1000, 1, 1, 0, 0, 0], BIN_MS: [0, 0, 1, 0, 0, 0]}
    assert seen.shares == [(20, 1000)]


def test_pause_of_an_instance_begins_a_new_run():
    activity = Activity(instances={})
    for time_ms in (1_000, 5_000, 40_000, 41_000):
        activity.mark(Mark(instance="0-a-1", coin="c", time_ms=time_ms, is_closed=False))
    assert activity.instances["0-a-1"] == progress(40_000, 41_000)


def test_time_of_the_stream_is_that_of_the_instance_that_is_behind():
    clock = StreamClock()
    assert clock.look({"a": progress(0, 1_000), "b": progress(0, 1_000)}, elapsed_s=1) is None
    assert clock.look({"a": progress(0, 9_000), "b": progress(0, 2_000)}, elapsed_s=1) == StreamTime(
        now_ms=2_000, awake_ms=0
    )


def test_no_time_passes_while_nobody_is_heard():
    clock = StreamClock()
    instances = {"a": progress(0, 1_000)}
    assert [clock.look(instances, elapsed_s=5) for _ in range(1_000)] == [None] * 1_000


def test_instance_that_is_silent_while_others_go_on_is_given_up_after_a_while():
    clock = StreamClock(wait_s=600)
    times = [
        clock.look({"a": progress(0, 1_000 * number), "dead": progress(0, 500)}, elapsed_s=1)
        for number in range(1, 700)
    ]
    assert times[500] == StreamTime(now_ms=500, awake_ms=0)
    assert times[-1] == StreamTime(now_ms=699_000, awake_ms=0)


def test_log_that_was_away_makes_nobody_be_given_up():
    clock = StreamClock(wait_s=600)
    for number in range(1, 5):
        clock.look({"a": progress(0, 1_000 * number), "b": progress(0, 1_000 * number)}, elapsed_s=1)
    for _ in range(1_000):
        clock.look({"a": progress(0, 4_000), "b": progress(0, 4_000)}, elapsed_s=2)
    assert clock.look({"a": progress(0, 2_000_000), "b": progress(0, 4_000)}, elapsed_s=2) == StreamTime(
        now_ms=4_000, awake_ms=0
    )


def test_pool_that_was_stopped_is_awake_from_its_first_new_instance_on():
    clock = StreamClock()
    old = progress(0, 100_000, is_closed=True)
    clock.look({"old": old}, elapsed_s=1)
    clock.look({"old": old, "new": progress(5_000_000, 5_000_000)}, elapsed_s=1)
    found = clock.look({"old": old, "new": progress(5_000_000, 5_002_000)}, elapsed_s=1)
    assert found == StreamTime(now_ms=5_002_000, awake_ms=5_000_000)


def test_restart_of_one_instance_is_no_pause_of_the_pool():
    clock = StreamClock()
    states = [{"a": progress(0, t), "b": progress(t - 1_000, t)} for t in (100_000, 101_000)]
    clock.look(states[0], elapsed_s=1)
    assert clock.look(states[1], elapsed_s=1) == StreamTime(now_ms=101_000, awake_ms=0)


def test_closed_instances_are_not_waited_for():
    clock = StreamClock()
    for time_ms in (1_000, 2_000):
        found = clock.look({"a": progress(0, time_ms), "b": progress(0, 500, is_closed=True)}, elapsed_s=1)
    assert found == StreamTime(now_ms=2_000, awake_ms=0)


def test_thresholds_below_the_minimum_are_refused_and_zero_is_the_default():
    assert threshold_problem(0, minimum_atomic=1000) is None
    assert threshold_problem(1000, minimum_atomic=1000) is None
    assert threshold_problem(999, minimum_atomic=1000) == (
        "must be at least 1000 atomic units, or 0 for the pool's default"
    )
    assert threshold_problem(-1, minimum_atomic=1000) == "must not be negative"
