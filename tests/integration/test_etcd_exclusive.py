"""Numbers and leaders: never two holders at once, whatever happens to the network, to etcd and to the clocks."""

import asyncio
import contextlib
import logging
import os
import random
import signal
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from runtime.clock import SystemClock
from runtime.etcd.claims import ClaimTiming
from runtime.etcd.client import EtcdClient, Put
from runtime.etcd.election import Election, Leadership
from runtime.etcd.errors import EtcdError
from runtime.etcd.prefix_lease import NumberLease, NumberLeases
from tests.fakes.etcd_cluster import EtcdCluster
from tests.fakes.skewed_clock import SkewedClock
from tests.fakes.tcp_proxy import TcpProxy
from tests.fakes.waiting import eventually

_log = logging.getLogger("tests.exclusive")

ROOT = Path(__file__).resolve().parents[2]
TIMING = ClaimTiming(ttl_s=1.0, margin_s=0.2)
SCHEDULE_S = float(os.environ.get("LODEPOOL_TEST_PARTITION_S", "10"))
SEED = int(os.environ.get("LODEPOOL_TEST_SEED", "20240607"))


@pytest.fixture
async def cluster() -> AsyncIterator[EtcdCluster]:
    async with EtcdCluster() as cluster:
        yield cluster


class Host:
    """A host with a network of its own to the members and a clock of its own."""

    def __init__(
        self, name: str, cluster: EtcdCluster, stack: contextlib.AsyncExitStack, chance: random.Random
    ) -> None:
        self.name = name
        self._cluster = cluster
        self._stack = stack
        self.clock = SkewedClock(
            SystemClock(), wall_offset_s=chance.uniform(-90_000, 90_000), rate=chance.uniform(0.97, 1.03)
        )
        self.proxies: list[TcpProxy] = []

    async def open(self) -> EtcdClient:
        for member in self._cluster.members:
            self.proxies.append(await self._stack.enter_async_context(TcpProxy(member.client_port)))
        settings = self._cluster.settings(
            endpoints=tuple(proxy.endpoint for proxy in self.proxies), attempt_timeout_s=0.3, request_timeout_s=0.9
        )
        return await self._stack.enter_async_context(EtcdClient(settings, clock=self.clock))

    def freeze(self) -> None:
        for proxy in self.proxies:
            proxy.freeze()

    async def cut(self) -> None:
        for proxy in self.proxies:
            await proxy.cut()

    def thaw(self) -> None:
        for proxy in self.proxies:
            proxy.thaw()


async def run_schedule(
    chance: random.Random,
    cluster: EtcdCluster,
    hosts: list[Host],
    *,
    holders: Callable[[], list[str]],
    leave: Callable[[str], None],
) -> list[str]:
    """Disturb networks, members and holders at random for a while; at the end everything works again.

    Each fault lasts for a while of its own; a holder is hit more often than another host.
    """
    loop = asyncio.get_running_loop()
    end_s = loop.time() + SCHEDULE_S
    done: list[str] = []
    mending: dict[str, asyncio.Task[None]] = {}

    async def later(delay_s: float, mend: Callable[[], object]) -> None:
        await asyncio.sleep(delay_s)
        result = mend()
        if asyncio.iscoroutine(result):
            await result

    while loop.time() < end_s:
        mending = {name: task for name, task in mending.items() if not task.done()}
        candidates = [host for host in hosts if host.name not in mending]
        holding = [host for host in candidates if host.name in holders()]
        action = chance.choice(["freeze", "freeze", "cut", "leave", "freeze member", "kill member"])
        if action.endswith("member"):
            if "member" not in mending:
                member = chance.choice(cluster.members)
                member.freeze() if action == "freeze member" else await member.kill()
                mending["member"] = asyncio.ensure_future(later(chance.uniform(0.2, 1.5), lambda m=member: _mend(m)))
                done.append(action)
        elif candidates:
            host = chance.choice(holding if holding and chance.random() < 0.8 else candidates)
            done.append(f"{action} {host.name}")
            if action == "leave":
                leave(host.name)
            else:
                host.freeze() if action == "freeze" else await host.cut()
                mending[host.name] = asyncio.ensure_future(later(chance.uniform(0.2, 2.5), host.thaw))
        await asyncio.sleep(chance.uniform(0.05, 0.5))
        for name, task in mending.items():
            assert not task.done() or task.exception() is None, name
    await asyncio.gather(*mending.values())
    return done


async def _mend(member) -> None:
    if member.is_running:
        member.thaw()
    else:
        await member.start()


async def test_no_number_has_two_holders_over_a_seeded_schedule_of_faults() -> None:
    """D3 neighbours: identifiers made from the number stay unique after a partition."""
    _log.warning("seed %d", SEED)
    chance = random.Random(SEED)
    held: dict[str, NumberLease] = {}
    gained: list[tuple[int, int]] = []
    waiting: dict[str, asyncio.Event] = {}

    def check() -> list[int]:
        numbers = [lease.number for lease in held.values() if lease.is_held]
        assert len(numbers) == len(set(numbers)), {name: lease.number for name, lease in held.items()}
        return numbers

    async def live(host: Host, etcd: EtcdClient) -> None:
        leases = NumberLeases(etcd, prefix="/numbers/", numbers=range(2), owner=host.name, timing=TIMING)
        while True:
            async with leases.hold() as lease:
                held[host.name] = lease
                gained.append((lease.number, lease.token))
                check()
                leaving = waiting[host.name] = asyncio.Event()
                tasks = [asyncio.ensure_future(lease.wait_lost()), asyncio.ensure_future(leaving.wait())]
                try:
                    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                    if tasks[0].done():
                        assert not lease.is_held
                finally:
                    for task in tasks:
                        task.cancel()

    async def watch_always() -> None:
        while True:
            check()
            await asyncio.sleep(0.003)

    async with EtcdCluster(3) as cluster, contextlib.AsyncExitStack() as stack:
        hosts = [Host(f"h{number}", cluster, stack, chance) for number in range(4)]
        tasks = [asyncio.ensure_future(live(host, await host.open())) for host in hosts]
        tasks.append(asyncio.ensure_future(watch_always()))
        try:
            done = await run_schedule(
                chance,
                cluster,
                hosts,
                holders=lambda: [name for name, lease in held.items() if lease.is_held],
                leave=lambda name: waiting.get(name, asyncio.Event()).set(),
            )
            for task in tasks:
                assert not task.done(), (task, done)
            await eventually(lambda: sorted(check()) == [0, 1], what="both numbers in use again")
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
    _log.warning("numbers gained %d times; %d faults", len(gained), len(done))
    assert len(gained) > 4
    for number in range(2):
        tokens = [token for each, token in gained if each == number]
        assert tokens == sorted(set(tokens))


async def test_there_is_never_a_second_leader_over_a_seeded_schedule_of_faults() -> None:
    """P3 neighbours: what must run once runs once; tokens grow from leader to leader."""
    _log.warning("seed %d", SEED)
    chance = random.Random(SEED + 1)
    terms: list[tuple[str, Leadership]] = []
    acted: list[int] = []
    working: set[str] = set()
    resign: dict[str, asyncio.Event] = {}

    def check() -> list[str]:
        leaders = [name for name, leadership in terms[-12:] if leadership.is_leader]
        assert len(leaders) <= 1, leaders
        assert len(working) <= 1, working
        return leaders

    def work_of(host: Host):
        async def work(leadership: Leadership) -> None:
            terms.append((host.name, leadership))
            working.add(host.name)
            leaving = resign[host.name] = asyncio.Event()
            try:
                while not leaving.is_set():
                    check()
                    if leadership.is_leader:
                        acted.append(leadership.token)
                    await asyncio.sleep(0.003)
            finally:
                working.discard(host.name)

        return work

    async def live(host: Host, etcd: EtcdClient) -> None:
        election = Election(etcd, prefix="/leader/", owner=host.name, timing=TIMING)
        while True:
            await election.run(work_of(host))

    async with EtcdCluster(3) as cluster, contextlib.AsyncExitStack() as stack:
        hosts = [Host(f"h{number}", cluster, stack, chance) for number in range(3)]
        tasks = [asyncio.ensure_future(live(host, await host.open())) for host in hosts]
        try:
            done = await run_schedule(
                chance, cluster, hosts, holders=check, leave=lambda name: resign.get(name, asyncio.Event()).set()
            )
            for task in tasks:
                assert not task.done(), (task, done)
            await eventually(check, what="a leader again")
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
    _log.warning("%d terms, %d acts; %d faults", len(terms), len(acted), len(done))
    assert len(terms) > 3
    assert acted == sorted(acted)
    tokens = [leadership.token for _, leadership in terms]
    assert tokens == sorted(set(tokens))


async def test_a_leader_that_comes_too_late_is_kept_out_by_its_token(cluster: EtcdCluster) -> None:
    async with TcpProxy(cluster.members[0].client_port) as proxy, contextlib.AsyncExitStack() as stack:
        near = await stack.enter_async_context(EtcdClient(cluster.settings()))
        far = await stack.enter_async_context(EtcdClient(cluster.settings(endpoints=(proxy.endpoint,))))
        first = Election(far, prefix="/leader/", owner="first", timing=TIMING)
        second = Election(near, prefix="/leader/", owner="second", timing=TIMING)
        assert await second.leader() is None
        async with first.lead() as old:
            leader = await second.leader()
            assert leader is not None
            assert (leader.owner, leader.token) == ("first", old.token)
            effect = [Put(key="/effect", value=b"old")]
            assert (await far.transact([old.still_leader()], effect)).succeeded
            proxy.freeze()
            await old.wait_lost()
            assert not old.is_leader
            async with second.lead() as new:
                assert new.token > old.token
                proxy.thaw()

                async def refused() -> bool:
                    with contextlib.suppress(EtcdError):
                        return not (await far.transact([old.still_leader()], effect)).succeeded
                    return False

                await eventually(refused, what="the late write being refused")
                assert not old.is_leader
                leader = await second.leader()
                assert leader is not None
                assert leader.token == new.token


async def test_work_that_ends_or_fails_makes_room_for_the_next_leader_at_once(cluster: EtcdCluster) -> None:
    async with EtcdClient(cluster.settings()) as etcd:
        timing = ClaimTiming(ttl_s=60, margin_s=5)

        async def fail(_: Leadership) -> None:
            raise ZeroDivisionError

        async def succeed(leadership: Leadership) -> None:
            assert leadership.is_leader

        with pytest.raises(ZeroDivisionError):
            await Election(etcd, prefix="/leader/", owner="a", timing=timing).run(fail)
        async with asyncio.timeout(5):
            await Election(etcd, prefix="/leader/", owner="b", timing=timing).run(succeed)


async def test_numbers_are_given_in_order_and_waited_for_when_all_are_taken(cluster: EtcdCluster) -> None:
    async with EtcdClient(cluster.settings()) as etcd:
        leases = NumberLeases(etcd, prefix="/numbers/", numbers=range(10, 12), owner="me", timing=TIMING)
        async with leases.hold() as first, contextlib.AsyncExitStack() as stack:
            second = await stack.enter_async_context(leases.hold())
            assert (first.number, second.number) == (10, 11)
            assert await leases.holders() == {10: "me", 11: "me"}

            async def third() -> int:
                async with leases.hold() as lease:
                    return lease.number

            task = asyncio.ensure_future(third())
            await eventually(lambda: first.left_s < 0.7, what="some waiting")
            assert not task.done()
            await stack.aclose()
            assert not second.is_held
            assert await task == 11
        assert await leases.holders() == {}


async def test_without_a_majority_a_number_is_given_up_and_leased_again_later() -> None:
    async with EtcdCluster(3) as cluster, EtcdClient(cluster.settings()) as etcd:
        leases = NumberLeases(etcd, prefix="/numbers/", numbers=range(1), owner="me", timing=TIMING)
        async with leases.hold() as lease:
            cluster.members[0].freeze()
            await cluster.members[1].kill()
            async with asyncio.timeout(2 * TIMING.ttl_s):
                await lease.wait_lost()
            assert not lease.is_held
        waiting = asyncio.ensure_future(leases.hold().__aenter__())
        with pytest.raises(EtcdError):
            await etcd.get("/numbers/0")
        assert not waiting.done()
        cluster.members[0].thaw()
        async with asyncio.timeout(10):
            assert (await waiting).number == 0


async def test_a_frozen_process_never_uses_its_number_after_another_has_it(cluster: EtcdCluster) -> None:
    command = [sys.executable, "-m", "tests.fakes.number_holder", cluster.members[0].endpoint, "1.0", "0.2"]
    lines: dict[str, list[list[str]]] = {"a": [], "b": []}
    processes = {}
    readers = []

    async def read(name: str) -> None:
        async for line in processes[name].stdout:
            lines[name].append(line.decode().split())

    def held(name: str) -> list[float]:
        return [float(line[3]) for line in lines[name] if line[0] == "held"]

    async def start(name: str) -> None:
        processes[name] = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE, cwd=ROOT)
        readers.append(asyncio.ensure_future(read(name)))

    try:
        await start("a")
        await eventually(lambda: held("a"), what="a's number")
        await start("b")
        await eventually(lambda: lines["b"], what="b's start")
        os.kill(processes["a"].pid, signal.SIGSTOP)
        await eventually(lambda: held("b"), what="b's number")
        os.kill(processes["a"].pid, signal.SIGCONT)
        await eventually(lambda: ["lost"] in lines["a"], what="a's noticing")
        assert max(held("a")) < min(held("b"))
        await eventually(lambda: len(held("b")) > 100, what="b's use of the number")
        assert max(held("a")) < min(held("b"))
    finally:
        for process in processes.values():
            process.kill()
            await process.wait()
        await asyncio.gather(*readers)
