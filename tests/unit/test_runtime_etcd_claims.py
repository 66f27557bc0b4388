"""The rule of claims with clocks that are moved by hand."""

import asyncio
from collections.abc import Coroutine
from typing import TypeVar

import pytest

from runtime.clock import ManualClock
from runtime.etcd.claims import Claim, ClaimRecord, ClaimTiming, Observer, Stopwatch, try_claim
from runtime.etcd.client import Entry, Outcome

T = TypeVar("T")

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


class SlowEtcd:
    """A client whose answers take a while; the write itself is done when it is sent."""

    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock
        self.delay_s = 0.0
        self.is_ours = True

    async def transact(self, _conditions: object, _operations: object) -> Outcome:
        await self.clock.sleep(self.delay_s)
        return Outcome(succeeded=self.is_ours, revision=7)


async def after(clock: ManualClock, work: Coroutine[object, object, T], delay_s: float) -> T:
    """Return what the work returns once the clock has moved."""
    task = asyncio.ensure_future(work)
    while not clock.sleeper_count and not task.done():
        await asyncio.sleep(0)
    clock.advance(delay_s)
    return await task


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def etcd(clock: ManualClock) -> SlowEtcd:
    return SlowEtcd(clock)


async def made(etcd: SlowEtcd) -> Claim | None:
    record = ClaimRecord(owner="me", nonce="1")
    return await try_claim(etcd, key="/k", entry=None, record=record, timing=TIMING)  # type: ignore[arg-type]  # enough


async def test_a_hold_counts_from_the_moment_its_write_was_sent(clock: ManualClock, etcd: SlowEtcd) -> None:
    etcd.delay_s = 3
    claim = await after(clock, made(etcd), 3)
    assert claim is not None
    assert (claim.token, claim.left_s) == (7, pytest.approx(6))
    clock.advance(4)
    assert claim.left_s == pytest.approx(2)
    clock.advance(2)
    assert not claim.is_held


async def test_a_renewal_counts_from_the_moment_it_was_sent(clock: ManualClock, etcd: SlowEtcd) -> None:
    claim = await made(etcd)
    assert claim is not None
    clock.advance(2)
    etcd.delay_s = 5
    await after(clock, claim.renew(), 5)
    assert claim.left_s == pytest.approx(4)
    clock.advance(4)
    assert not claim.is_held


async def test_a_renewal_that_is_answered_after_the_end_revives_nothing(clock: ManualClock, etcd: SlowEtcd) -> None:
    claim = await made(etcd)
    assert claim is not None
    clock.advance(8)
    etcd.delay_s = 2
    await after(clock, claim.renew(), 2)
    assert not claim.is_held
    assert claim.left_s == 0


async def test_a_claim_that_another_has_taken_ends_at_once(clock: ManualClock, etcd: SlowEtcd) -> None:
    claim = await made(etcd)
    assert claim is not None
    etcd.is_ours = False
    await claim.renew()
    assert not claim.is_held


async def test_who_waits_for_the_end_learns_of_it_in_time_although_a_renewal_hangs(
    clock: ManualClock, etcd: SlowEtcd
) -> None:
    claim = await made(etcd)
    assert claim is not None
    etcd.delay_s = 1000
    keeping = asyncio.ensure_future(claim.keep())
    for _ in range(72):
        assert not keeping.done()
        clock.advance(0.125)
        for _ in range(10):
            await asyncio.sleep(0)
    assert clock.monotonic_s() == pytest.approx(TIMING.hold_s)
    assert keeping.done()


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
