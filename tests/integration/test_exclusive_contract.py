"""What every Exclusive promises, on one machine and on a cluster; then what only an election can be asked for."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator

import pytest

from runtime.etcd.claims import ClaimTiming
from runtime.etcd.client import EtcdClient
from runtime.etcd.exclusive import EtcdExclusive
from runtime.exclusive import Alone, Exclusive, Term
from tests.fakes.etcd_cluster import EtcdCluster
from tests.fakes.tcp_proxy import TcpProxy
from tests.fakes.waiting import eventually

TIMING = ClaimTiming(ttl_s=1.0, margin_s=0.2)


@pytest.fixture
async def cluster() -> AsyncIterator[EtcdCluster]:
    async with EtcdCluster() as cluster:
        yield cluster


@pytest.fixture(params=["alone", "etcd"])
async def exclusive(request: pytest.FixtureRequest) -> AsyncIterator[Exclusive]:
    if request.param == "alone":
        yield Alone()
        return
    async with EtcdCluster() as cluster, EtcdClient(cluster.settings()) as etcd:
        yield EtcdExclusive(etcd, "me", timing=ClaimTiming(ttl_s=60, margin_s=5))


class Work:
    """Work that goes on until it is told to end; remembers its terms."""

    def __init__(self) -> None:
        self.terms: list[Term] = []
        self.running = 0
        self.end = asyncio.Event()

    async def __call__(self, term: Term) -> None:
        self.terms.append(term)
        self.running += 1
        try:
            await self.end.wait()
        finally:
            self.running -= 1


async def test_the_work_has_a_current_term_and_its_end_is_the_end(exclusive: Exclusive) -> None:
    seen: list[bool] = []

    async def work(term: Term) -> None:
        seen.append(term.is_current)

    async with asyncio.timeout(10):
        await exclusive.run("bread", work)
        await exclusive.run("bread", work)

    assert seen == [True, True]


async def test_an_exception_of_the_work_passes_and_makes_room_at_once(exclusive: Exclusive) -> None:
    async def fail(_term: Term) -> None:
        raise ZeroDivisionError

    async with asyncio.timeout(10):
        for _ in range(3):
            with pytest.raises(ZeroDivisionError):
                await exclusive.run("bread", fail)


async def test_whoever_is_cancelled_has_cleaned_up_and_made_room(exclusive: Exclusive) -> None:
    for _ in range(2):
        work = Work()
        task = asyncio.create_task(exclusive.run("bread", work))
        await eventually(lambda work=work: work.running, what="the work")
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert work.running == 0


async def test_two_names_have_nothing_to_do_with_each_other(exclusive: Exclusive) -> None:
    bread, soup = Work(), Work()
    tasks = [asyncio.create_task(exclusive.run("bread", bread)), asyncio.create_task(exclusive.run("bread/soup", soup))]
    await eventually(lambda: bread.running and soup.running, what="both")
    bread.end.set()
    soup.end.set()
    await asyncio.gather(*tasks)


async def test_of_two_processes_one_works_and_the_other_follows_when_it_ends(cluster: EtcdCluster) -> None:
    async with EtcdClient(cluster.settings()) as etcd:
        timing = ClaimTiming(ttl_s=3, margin_s=0.5)
        first, second = Work(), Work()
        one, two = EtcdExclusive(etcd, "one", timing=timing), EtcdExclusive(etcd, "two", timing=timing)
        tasks = [asyncio.create_task(one.run("bread", first))]
        await eventually(lambda: first.running, what="the first")
        tasks.append(asyncio.create_task(two.run("bread", second)))
        leader = await two.leader("bread")
        assert leader is not None
        assert leader.owner == "one"
        assert first.terms[0].is_elected
        assert not second.terms
        first.end.set()
        await eventually(lambda: second.running, what="the second")
        assert not first.running
        assert not first.terms[0].is_current
        second.end.set()
        await asyncio.gather(*tasks)
        assert await two.leader("bread") is None


async def test_etcd_that_is_away_at_the_start_is_waited_for_and_that_is_said_once(
    cluster: EtcdCluster, caplog: pytest.LogCaptureFixture
) -> None:
    work = Work()
    await cluster.members[0].kill()
    async with EtcdClient(cluster.settings(attempt_timeout_s=0.1, request_timeout_s=0.2)) as etcd:
        asked: list[None] = []
        get = etcd.get

        async def count(key: str) -> object:
            asked.append(None)
            return await get(key)

        etcd.get = count  # type: ignore[method-assign]
        with caplog.at_level(logging.INFO, "lodepool.etcd"):
            task = asyncio.create_task(EtcdExclusive(etcd, "me", timing=TIMING).run("bread", work))
            await eventually(lambda: len(asked) >= 4, what="the fourth question")
            assert not work.terms
            await cluster.members[0].start()
            await eventually(lambda: work.running, timeout_s=20, what="the work")
        work.end.set()
        await task

    said = [record for record in caplog.records if record.getMessage() == "election waited for"]
    assert [record.levelname for record in said] == ["WARNING"]
    assert "etcd is away" in str(said[0].__dict__["fields"]["reason"])


async def test_work_that_is_cut_off_from_etcd_is_cancelled_before_another_begins(cluster: EtcdCluster) -> None:
    async with TcpProxy(cluster.members[0].client_port) as proxy, contextlib.AsyncExitStack() as stack:
        near = await stack.enter_async_context(EtcdClient(cluster.settings()))
        far = await stack.enter_async_context(EtcdClient(cluster.settings(endpoints=(proxy.endpoint,))))
        first, second = Work(), Work()
        tasks = [asyncio.create_task(EtcdExclusive(far, "far", timing=TIMING).run("bread", first))]
        await eventually(lambda: first.running, what="the first")
        tasks.append(asyncio.create_task(EtcdExclusive(near, "near", timing=TIMING).run("bread", second)))
        proxy.freeze()

        def check() -> bool:
            assert first.running + second.running <= 1
            assert not second.running or not first.terms[-1].is_current
            return bool(second.running)

        await eventually(check, what="the second")
        proxy.thaw()
        second.end.set()
        await eventually(lambda: first.running, what="the first once more")
        assert [term.is_current for term in first.terms] == [False, True]
        first.end.set()
        await asyncio.gather(*tasks)
