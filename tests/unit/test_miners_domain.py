"""Rules of presence."""

import pytest

from miners.domain import AcceptedShares, Activity, is_online, offline_after_ms, recent_times, threshold_problem


def shares_of(*times_ms: int, first_seq: int = 1, worker: str = "rig") -> AcceptedShares:
    return AcceptedShares(
        instance="0-a-1",
        coin="c",
        first_seq=first_seq,
        last_seq=first_seq + len(times_ms) - 1,
        submitters=[("alice", worker, "pplns", "cgminer")],
        seqs=range(first_seq, first_seq + len(times_ms)),
        submitter_index=[0] * len(times_ms),
        times_ms=times_ms,
    )


@pytest.mark.parametrize(
    ("times_ms", "expected_ms"),
    [([0], 60_000), ([0, 1000], 60_000), ([0, 20_000, 40_000], 240_000), ([0, 5_000], 60_000), ([0, 5_001], 60_012)],
)
def test_worker_is_offline_after_twelve_mean_intervals_and_at_least_a_minute(times_ms, expected_ms):
    assert offline_after_ms(times_ms) == expected_ms


def test_presence_changes_right_after_the_limit():
    assert is_online(last_share_time_ms=0, offline_after_ms=60_000, now_ms=60_000)
    assert not is_online(last_share_time_ms=0, offline_after_ms=60_000, now_ms=60_001)


def test_only_the_last_shares_are_remembered():
    assert recent_times(range(0, 80, 10), [80, 90]) == list(range(20, 100, 10))


def test_pause_that_made_a_worker_offline_is_not_an_interval():
    recent = recent_times([0, 10_000], [86_400_000, 86_410_000])
    assert recent == [86_400_000, 86_410_000]
    assert offline_after_ms(recent) == 120_000


def test_shares_that_come_again_are_not_seen_again():
    """D3, D4."""
    activity = Activity(last_seqs={})
    activity.add(shares_of(10, 20))
    activity.add(shares_of(20, 30, first_seq=2))
    assert activity.workers["c", "alice", "rig"].times_ms == [10, 20, 30]
    assert activity.share_count == 3
    assert activity.last_seqs == {"0-a-1": 3}


def test_first_time_and_user_agent_follow_the_shares_times():
    activity = Activity(last_seqs={})
    activity.add(shares_of(50, 60))
    activity.add(shares_of(40, first_seq=3))
    seen = activity.workers["c", "alice", "rig"]
    assert (seen.first_time_ms, seen.times_ms[-1]) == (40, 60)


@pytest.mark.parametrize(("threshold", "is_fine"), [(0, True), (100, True), (99, False), (-1, False)])
def test_threshold_is_at_least_the_pools_minimum_or_the_default(threshold, is_fine):
    assert (threshold_problem(threshold, minimum_atomic=100) is None) == is_fine
