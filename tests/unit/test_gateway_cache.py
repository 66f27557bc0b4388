"""Answers that are kept for a moment."""

import asyncio

import pytest

from gateway.cache import RecentAnswers
from runtime.clock import ManualClock


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def recent(clock) -> RecentAnswers[int]:
    return RecentAnswers(clock=clock, keep_s=1.0, entries_max=2)


async def test_an_answer_is_kept_for_its_time_and_made_anew_after(recent, clock):
    made = iter(range(10))

    async def make() -> int:
        return next(made)

    assert [await recent.get("a", make), await recent.get("a", make)] == [0, 0]
    clock.advance(0.99)
    assert await recent.get("a", make) == 0
    clock.advance(0.01)
    assert await recent.get("a", make) == 1


async def test_readers_at_once_share_one_answer_even_when_one_goes_away(recent):
    started, go = asyncio.Event(), asyncio.Event()
    made = 0

    async def make() -> int:
        nonlocal made
        made += 1
        started.set()
        await go.wait()
        return made

    readers = [asyncio.create_task(recent.get("a", make)) for _ in range(5)]
    await started.wait()
    readers[0].cancel()
    go.set()
    assert await asyncio.gather(*readers[1:]) == [1, 1, 1, 1]


async def test_a_failure_reaches_those_who_wait_and_is_not_kept(recent):
    async def fail() -> int:
        raise ValueError

    async def make() -> int:
        return 5

    with pytest.raises(ValueError):
        await recent.get("a", fail)
    assert await recent.get("a", make) == 5


async def test_the_number_of_answers_is_limited_and_the_oldest_goes(recent):
    async def make() -> int:
        return 1

    for key in "abc":
        await recent.get(key, make)
    assert len(recent) == 2
