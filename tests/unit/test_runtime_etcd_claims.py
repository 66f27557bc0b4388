"""The rule of claims with clocks that are moved by hand."""

import pytest

from runtime.clock import ManualClock
from runtime.etcd.claims import ClaimTiming, Observer, Stopwatch
from runtime.etcd.client import Entry

TIMING = ClaimTiming(ttl_s=10, margin_s=1)


def entry(revision: int, key: str = "/k") -> Entry:
    return Entry(key=key, value=b"", create_revision=1, mod_revision=revision, lease_id=0)


def test_the_takeover_comes_later_than_the_end_of_the_hold_by_twice_the_margin() -> None:
    assert TIMING.takeover_s - TIMING.hold_s == 2 * TIMING.margin_s
    assert TIMING.renew_s * 3 < TIMING.hold_s


@pytest.mark.parametrize(("ttl_s", "margin_s"), [(10, 0), (10, 5), (10, -1), (0, 0)])
def test_a_timing_that_leaves_no_room_is_refused(ttl_s: float, margin_s: float) -> None:
    with pytest.raises(ValueError, match="margin"):
        ClaimTiming(ttl_s=ttl_s, margin_s=margin_s)


def test_a_claim_may_be_taken_over_only_after_it_was_seen_unchanged_for_long_enough() -> None:
    observer = Observer(TIMING)
    assert not observer.may_take_over(entry(5), 100.0)
    assert not observer.may_take_over(entry(5), 110.9)
    assert observer.may_take_over(entry(5), 111.0)


def test_each_write_of_the_holder_starts_the_wait_again() -> None:
    observer = Observer(TIMING)
    assert not observer.may_take_over(entry(5), 100.0)
    assert not observer.may_take_over(entry(6), 110.9)
    assert not observer.may_take_over(entry(6), 121.8)
    assert observer.may_take_over(entry(6), 121.9)


def test_a_claim_that_went_away_is_new_when_it_comes_back() -> None:
    observer = Observer(TIMING)
    assert not observer.may_take_over(entry(5), 100.0)
    observer.forget_others({"/other"})
    assert not observer.may_take_over(entry(5), 200.0)


def test_claims_are_watched_apart() -> None:
    observer = Observer(TIMING)
    assert not observer.may_take_over(entry(5, "/a"), 100.0)
    assert not observer.may_take_over(entry(5, "/b"), 111.0)
    assert observer.may_take_over(entry(5, "/a"), 111.0)


class SuspendedClock(ManualClock):
    """A host whose monotonic clock stands still while it is suspended."""

    suspended_s = 0.0

    def now_s(self) -> float:
        return super().now_s() + self.suspended_s


def test_a_stopwatch_counts_the_time_a_host_was_suspended_and_never_runs_back() -> None:
    clock = SuspendedClock()
    watch = Stopwatch(clock)
    clock.advance(3)
    assert watch.elapsed_s() == pytest.approx(3)
    clock.suspended_s = 60
    assert watch.elapsed_s() == pytest.approx(63)
    clock.suspended_s = -3600
    assert watch.elapsed_s() == pytest.approx(3)
