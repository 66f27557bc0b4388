"""Payers as processes of a cluster: real PostgreSQL, three real etcd members, faults between them and in them.

Two payers A and B stand for election; each reaches etcd through proxies of its own. Every call that a payer makes of
the wallet is told with the machine's monotonic time, so that an order between two processes can be seen.
"""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import msgspec
import pytest

from nodes.simulated_server import SimulatedServer
from payouts import storage
from payouts.domain import PAYING_ARROWS, Arrow, BatchStatus
from runtime.exclusive import Alone
from runtime.postgres.fence import Fenced, take_fence
from tests.fakes.etcd_cluster import EtcdCluster
from tests.fakes.payouts_process import TIMING
from tests.fakes.payouts_world import COIN, SimulatedBench, World, seeded
from tests.fakes.tcp_proxy import TcpProxy
from tests.fakes.waiting import eventually

ROOT = Path(__file__).resolve().parents[2]
WAIT_S = 30.0
SENDING_CALLS = {"build", "broadcast"}


class PayerProcess:
    """A payer with a network of its own to etcd.

    Args:
        name: Who it is.
        proxies: Its ways to the members.
    """

    def __init__(self, name: str, proxies: list[TcpProxy]) -> None:
        self.name = name
        self.proxies = proxies
        self.calls: list[tuple[str, float]] = []
        self.log: list[str] = []
        self._process: asyncio.subprocess.Process | None = None
        self._readers: list[asyncio.Task[None]] = []

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    async def start(self, dsn: str, server: SimulatedServer, cluster: EtcdCluster, *, arrow: str = "none") -> None:
        endpoints = tuple(proxy.endpoint for proxy in self.proxies)
        etcd = msgspec.json.encode(
            cluster.settings(endpoints=endpoints, attempt_timeout_s=0.3, request_timeout_s=0.6)
        ).decode()
        node = msgspec.json.encode(server.settings(wallet="pool")).decode()
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.fakes.payouts_process", dsn, node, arrow, etcd, self.name,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT,
        )  # fmt: skip
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        self._readers = [
            asyncio.create_task(self._read_calls(self._process.stdout)),
            asyncio.create_task(self._read_log(self._process.stderr)),
        ]

    async def _read_calls(self, stream: asyncio.StreamReader) -> None:
        async for line in stream:
            method, at_s = line.decode().split()
            self.calls.append((method, float(at_s)))

    async def _read_log(self, stream: asyncio.StreamReader) -> None:
        async for line in stream:
            self.log.append(line.decode().rstrip())

    def said(self, event: str) -> bool:
        return any(event in line for line in self.log)

    def called_after(self, at_s: float, *methods: str) -> list[tuple[str, float]]:
        return [call for call in self.calls if call[1] > at_s and (not methods or call[0] in methods)]

    @property
    def is_stopped(self) -> bool:
        """Whether it is frozen."""
        return Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    @property
    def exit_code(self) -> int | None:
        assert self._process is not None
        return self._process.returncode

    async def close(self) -> None:
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()
            await asyncio.gather(*self._readers)


class PayerCluster:
    """Two payers, three members, one wallet."""

    def __init__(
        self, world: World, dsn: str, server: SimulatedServer, cluster: EtcdCluster, a: PayerProcess, b: PayerProcess
    ) -> None:
        self.world = world
        self.dsn = dsn
        self.server = server
        self.cluster = cluster
        self.a = a
        self.b = b

    async def start(self, payer: PayerProcess, *, dsn: str = "", arrow: str = "none") -> None:
        await payer.start(dsn or self.dsn, self.server, self.cluster, arrow=arrow)

    async def start_leader(self, *, dsn: str = "") -> None:
        """Start A, and B once A pays."""
        await self.start(self.a, dsn=dsn)
        await eventually(lambda: self.a.said("payer started"), timeout_s=WAIT_S, what=f"A paying {self.a.log}")
        await self.start_rival()

    async def start_rival(self) -> None:
        """Start B, which sees that A leads."""
        await self.start(self.b)
        await eventually(lambda: self.b.said("election waited for"), timeout_s=WAIT_S, what=f"B waiting {self.b.log}")

    async def all_paid(self) -> None:
        """Mine until every batch is confirmed and nobody is due; compare everything."""

        due = sum(self.world.expected.values())

        async def is_done() -> bool:
            await self.mine_sent()
            return (await self.world.totals()).paid_atomic == due

        try:
            await eventually(is_done, timeout_s=WAIT_S, what="everybody paid")
        except AssertionError as error:
            found = [(batch.status, batch.reason) for batch in await self.world.batches()]
            raise AssertionError(f"{error}: {found}; a: {self.a.log[-9:]}; b: {self.b.log[-9:]}") from None
        await self.world.assert_everybody_paid_once()

    async def mine_sent(self) -> None:
        """Mine a block when something waits for one."""
        if any(batch.status is BatchStatus.BROADCAST for batch in await self.world.batches()):
            await self.world.bench.mine()


@pytest.fixture
async def pair(database: Any) -> AsyncIterator[PayerCluster]:
    bench = SimulatedBench()
    world = await World.make(database.pool, bench)
    async with SimulatedServer(bench.node) as server, EtcdCluster(3) as cluster, contextlib.AsyncExitStack() as stack:
        payers = []
        for name in ("a", "b"):
            proxies = [await stack.enter_async_context(TcpProxy(member.client_port)) for member in cluster.members]
            payers.append(PayerProcess(name, proxies))
        pair = PayerCluster(world, database.dsn, server, cluster, *payers)
        try:
            yield pair
        finally:
            for payer in payers:
                await payer.close()


async def test_of_two_payers_one_pays_and_the_other_asks_the_wallet_nothing(pair: PayerCluster) -> None:
    """P4"""
    await pair.start_leader()
    for number in range(5):
        await pair.world.miner(2_000_000 + number)
        await pair.all_paid()

    assert pair.a.called_after(0, "broadcast")
    assert not pair.b.calls


@pytest.mark.parametrize("fault", ["freeze", "cut"])
async def test_leader_cut_off_from_etcd_stops_before_the_other_begins(pair: PayerCluster, fault: str) -> None:
    """P2 P4: PostgreSQL and the node stay in its reach all the time; its own clock ends its term."""
    await pair.start_leader()
    await pair.world.miner(2_000_000)
    await eventually(lambda: pair.a.called_after(0, "broadcast"), timeout_s=WAIT_S, what="A's first payment")

    for proxy in pair.a.proxies:
        proxy.freeze() if fault == "freeze" else await proxy.cut()
    await pair.world.miner(3_000_000)
    await eventually(lambda: pair.b.calls, timeout_s=WAIT_S, what=f"B's turn {pair.b.log}")
    begun_s = pair.b.calls[0][1]
    await pair.world.miner(4_000_000)
    await pair.all_paid()

    assert max(at_s for _, at_s in pair.a.calls) < begun_s
    assert pair.a.said("claim lost")
    for proxy in pair.a.proxies:
        proxy.thaw()
    await pair.world.miner(5_000_000)
    await pair.all_paid()
    assert not pair.a.called_after(begun_s)
    assert not pair.b.said("payer lock taken"), "A had given its lock back in time"


@pytest.mark.parametrize(
    "arrow", [Arrow.CHOSEN, Arrow.RESERVING, Arrow.BUILDING, Arrow.BUILT, Arrow.STORING, Arrow.SENDING, Arrow.SENT]
)
async def test_leader_that_was_frozen_at_an_arrow_sends_nothing_after_the_other_has_paid(
    pair: PayerCluster, arrow: Arrow
) -> None:
    """P2 P3 P4: frozen it keeps its session and its lock; the other one, elected, takes the lock from it."""
    await pair.world.miner(2_000_000)
    await pair.world.miner(7_000_001, kind="legacy")
    await pair.start(pair.a, arrow=f"freeze:{arrow.value}")
    await eventually(lambda: pair.a.is_stopped, timeout_s=WAIT_S, what=f"A frozen {pair.a.log}")
    await pair.start_rival()

    await pair.all_paid()
    # PostgreSQL itself ends a session that is idle inside a transaction, perhaps before B was elected.
    if arrow not in {Arrow.RESERVING, Arrow.STORING}:
        assert pair.b.said("payer lock taken from an earlier term")
    thawed_s = time.monotonic()
    pair.a.signal(signal.SIGCONT)
    await eventually(lambda: pair.a.said("election waited for"), timeout_s=WAIT_S, what=f"A standing {pair.a.log}")
    await pair.world.miner(4_000_000)
    await pair.all_paid()

    assert not pair.a.called_after(thawed_s, *SENDING_CALLS)


@pytest.mark.parametrize("seed", range(4))
async def test_leader_killed_at_a_random_arrow_is_continued_by_the_other(pair: PayerCluster, seed: int) -> None:
    """P3: from the stored bytes; once B has the term, it needs nothing of A."""
    arrow = seeded(seed).choice(PAYING_ARROWS)
    await pair.world.miner(2_000_000)
    await pair.world.miner(7_000_001, kind="legacy")
    await pair.start(pair.a, arrow=arrow.value)

    async def has_died() -> bool:
        await pair.mine_sent()
        return pair.a.exit_code is not None

    await eventually(has_died, timeout_s=WAIT_S, what=f"A's end at {arrow} {pair.a.log}")
    stored = [batch.raw for batch in await pair.world.batches() if batch.raw is not None]
    await pair.start(pair.b)
    await eventually(lambda: pair.b.said("payer started"), timeout_s=WAIT_S, what=f"B paying {pair.b.log}")
    await pair.world.miner(3_000_000)
    await pair.all_paid()

    assert pair.a.exit_code == -signal.SIGKILL
    assert [batch.raw for batch in await pair.world.batches()][: len(stored)] == stored


async def test_without_etcd_nobody_pays_and_balances_stay_reserved_until_it_is_back(pair: PayerCluster) -> None:
    """P1 P4: the leader stops by its clock; a payer that nobody can elect does not begin."""
    account = await pair.world.miner(2_000_000)
    await pair.start_leader()
    await eventually(lambda: pair.a.called_after(0, "broadcast"), timeout_s=WAIT_S, what="A's payment")

    for member in pair.cluster.members:
        await member.kill()
    away_s = time.monotonic()
    await eventually(lambda: pair.a.said("claim lost"), timeout_s=WAIT_S, what=f"A's giving up {pair.a.log}")
    lost_s = time.monotonic()
    await pair.world.miner(3_000_000)
    await pair.world.bench.mine(2)
    await eventually(
        lambda: time.monotonic() > lost_s + 2 * TIMING.takeover_s, timeout_s=WAIT_S, what="time for a takeover"
    )

    assert not pair.b.calls
    assert not pair.a.called_after(away_s + TIMING.ttl_s)
    assert (await pair.world.balance(account)).reserved_atomic == 2_000_000
    assert [batch.status for batch in await pair.world.batches()] == [BatchStatus.BROADCAST]
    for member in pair.cluster.members:
        await member.start()
    await pair.all_paid()


@pytest.mark.parametrize("fault", ["freeze", "cut"])
async def test_leader_without_postgresql_resigns_and_the_other_pays(pair: PayerCluster, fault: str) -> None:
    """P4: it still reaches etcd and the node, so its term would never end by itself."""
    query = parse_qs(urlsplit(pair.dsn).query)
    socket_path = Path(query["host"][0]) / f".s.PGSQL.{query['port'][0]}"
    async with TcpProxy(socket_path) as proxy:
        user_and_path = pair.dsn.partition("?")[0].replace("@/", f"@127.0.0.1:{proxy.port}/")
        await pair.start_leader(dsn=user_and_path)
        await pair.world.miner(2_000_000)
        await pair.all_paid()
        assert not pair.b.calls

        proxy.freeze() if fault == "freeze" else await proxy.cut()
        await pair.world.miner(3_000_000)
        await pair.all_paid()
        begun_s = pair.b.calls[0][1]
        proxy.thaw()
        await pair.world.miner(4_000_000)
        await pair.all_paid()

        assert not pair.a.called_after(begun_s)
        assert not pair.a.said("claim lost"), "it resigned; its claim was not lost"


# --- in one process: the fence alone, without etcd and with the lock still held ---


@pytest.mark.parametrize("arrow", PAYING_ARROWS)
async def test_later_term_refuses_all_that_an_earlier_payer_would_still_do(database: Any, arrow: Arrow) -> None:
    """P4: as after a failover of the database, which keeps rows and forgets locks."""
    bench = SimulatedBench()
    world = await World.make(database.pool, bench)
    await world.miner(2_000_000)
    taken = asyncio.Event()
    taking: list[asyncio.Task[tuple[int, object]]] = []
    sent_late: list[str] = []

    async def books() -> tuple[list[tuple[object, ...]], object]:
        async with world.pool.acquire() as conn:
            rows = await conn.fetch("SELECT xmin::text, * FROM payouts.batch ORDER BY batch_number")
        return [tuple(row) for row in rows], await world.totals()

    async def take() -> tuple[int, object]:
        async with world.pool.acquire() as conn:
            token = await take_fence(conn, storage.SCHEMA, COIN.coin_id)
        found = await books()
        taken.set()
        return token, found

    async def checkpoint(passed: Arrow) -> None:
        if passed is arrow and not taking:
            taking.append(asyncio.create_task(take()))
            # Inside a transaction of the payer the later term cannot begin: it waits for the transaction's end.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.3):
                    await taken.wait()

    class Told:
        def __getattr__(self, name: str) -> Any:
            if taken.is_set() and name in SENDING_CALLS:
                sent_late.append(name)
            return getattr(bench.node, name)

    payer = world.payer(checkpoint=checkpoint, wallet=Told())
    with pytest.raises(Fenced):
        async with payer.hold(Alone()) as is_held:
            assert is_held
            async with world.pool.acquire() as conn:
                tokens = [row["token"] for row in await conn.fetch("SELECT token FROM payouts.fence")]
            for _ in range(6):
                await payer.run_round()
                await bench.mine()

    token, found = await taking[0]
    assert token > tokens[0]
    assert await books() == found, "nothing was written after the later term had begun"
    assert sent_late == []
    await world.pay()
    await world.assert_everybody_paid_once(arrow)


async def test_payer_that_is_fenced_stands_down_quietly(database: Any, caplog: pytest.LogCaptureFixture) -> None:
    """P4: one warning, no error; it can stand again."""
    world = await World.make(database.pool, SimulatedBench())
    payer = world.payer()
    running = asyncio.create_task(payer.run(Alone()))
    await eventually(lambda: payer.metrics.rounds, what="a round")
    async with world.pool.acquire() as conn:
        await take_fence(conn, storage.SCHEMA, COIN.coin_id)

    async with asyncio.timeout(WAIT_S):
        await running

    assert [record.levelname for record in caplog.records if record.getMessage() == "payer stood down"] == ["WARNING"]
    assert not payer.is_active
