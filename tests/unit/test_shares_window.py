"""Rules of windows and hashrates."""

from dataclasses import replace

import pytest

from shares.domain import InstanceState
from shares.hashrate import HOUR_WINDOW, WINDOWS
from shares.window import WaitRules, WindowEdge, readiness

RULES = WaitRules(window_wait_ms=60_000, instance_dead_ms=30_000, instance_forgotten_ms=3_600_000, clock_skew_ms_max=0)
FOUND_MS = 1_700_000_000_000


def instance(name: str = "a", *, height: int = 100, silent_since_ms: int = FOUND_MS, closed: bool = False):
    return InstanceState(
        instance=name, coin="c", seen_time_ms=silent_since_ms, mark_height=height, mark_time_ms=1, is_closed=closed
    )


def ready(*instances: InstanceState, booked_time_ms: int = FOUND_MS + 1000, rules: WaitRules = RULES):
    return readiness(instances, end_height=100, found_time_ms=FOUND_MS, booked_time_ms=booked_time_ms, rules=rules)


def test_window_waits_until_the_stream_is_booked_up_to_the_block():
    """R3: a consumer that is behind must not take living instances for dead."""
    assert len(ready(booked_time_ms=FOUND_MS - 1).waiting_for) == 1


def test_window_waits_for_as_long_as_the_clocks_may_differ():
    """R3: the block's time, the instances' times and that of the log come from three hosts."""
    rules = replace(RULES, clock_skew_ms_max=2000)
    assert len(ready(booked_time_ms=FOUND_MS + 1999, rules=rules).waiting_for) == 1
    assert ready(booked_time_ms=FOUND_MS + 2000, rules=rules).waiting_for == ()
    silent = instance(silent_since_ms=FOUND_MS - 28_001)
    assert "at height" in ready(silent, booked_time_ms=FOUND_MS + 3998, rules=rules).waiting_for[0]
    assert "silent since" in ready(silent, booked_time_ms=FOUND_MS + 3999, rules=rules).waiting_for[0]
    assert len(ready(silent, booked_time_ms=FOUND_MS + 61_999, rules=rules).waiting_for) == 1
    assert ready(silent, booked_time_ms=FOUND_MS + 62_000, rules=rules).instances_missing == ("a",)


def test_window_waits_for_a_living_instance_that_has_not_passed_the_block():
    """R3."""
    assert ready(instance()).waiting_for == ("instance a is at height 100",)


def test_window_is_ready_when_all_instances_are_above_the_block_or_closed():
    """R3."""
    found = ready(instance(height=101), instance("b", height=3, closed=True))
    assert found.waiting_for == ()
    assert found.instances_missing == ()


def test_dead_instance_is_waited_for_up_to_the_limit_and_then_named():
    """R3."""
    dead = instance(silent_since_ms=FOUND_MS - 40_000)
    assert len(ready(dead).waiting_for) == 1
    assert len(ready(dead, booked_time_ms=FOUND_MS + 59_999).waiting_for) == 1
    found = ready(dead, booked_time_ms=FOUND_MS + 60_000)
    assert found.waiting_for == ()
    assert found.instances_missing == ("a",)


def test_instance_silent_for_longer_than_the_memory_is_not_named():
    found = ready(instance(silent_since_ms=FOUND_MS - 3_600_000))
    assert found.waiting_for == ()
    assert found.instances_missing == ()


@pytest.mark.parametrize(
    ("window_work", "work", "start"),
    [(100, 120, (5, 1)), (60, 60, (6, 1)), (61, 90, (5, 2)), (1000, 170, (4, 9)), (None, 170, (4, 9)), (0, 0, None)],
)
def test_window_takes_whole_groups_newest_first_until_it_holds_its_work(window_work, work, start):
    """R4: one that is not full takes everything there is."""
    edge = WindowEdge(window_work=window_work)
    for height, minute, group_work in [(6, 1, 60), (5, 2, 30), (5, 1, 30), (4, 9, 50), (4, 8, 0)]:
        edge.take(height=height, minute=minute, work=group_work)
    assert (edge.work, edge.start) == (work, start)


def test_hashrate_divides_by_the_time_that_has_really_passed():
    minute_start_ms = 28_000_000 * 60_000
    assert WINDOWS[0].hashrate_hps(9_000, now_ms=minute_start_ms + 30_000, first_share_ms=0) == 100


def test_hashrate_of_a_fresh_pool_is_not_diluted_by_the_time_before_its_first_share():
    now_ms = 28_000_000 * 60_000
    first_ms = now_ms - 120_000
    rates = {window.hashrate_hps(1_200, now_ms=now_ms, first_share_ms=first_ms) for window in WINDOWS[1:]}
    assert rates == {10}


def test_first_share_of_a_new_pool_counts_over_a_minute():
    now_ms = 28_000_000 * 60_000 + 5
    assert all(window.hashrate_hps(600, now_ms=now_ms, first_share_ms=now_ms) <= 10 for window in WINDOWS)


def test_hour_has_six_full_buckets_and_the_current_one():
    now_ms = (28_000_000 * 60 + 330) * 1000
    assert HOUR_WINDOW.start_minute(now_ms) == 27_999_940
