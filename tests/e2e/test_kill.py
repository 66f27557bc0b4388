"""Kill -9 of every part under load: what a miner saw accepted is booked exactly once (D1, D3, D4)."""

import asyncio
import sys
from collections.abc import AsyncIterator

import pytest

from bench.fixed_node import POOL_ADDRESS
from nodes.settings import NodeSettings
from proto.lodepool.shares.v1 import shares_pb2
from runtime.process import free_port
from runtime.rpc.client import call
from runtime.rpc.errors import RpcError
from tests.e2e.conftest import ROOT, RunningPool, StartPool, asking
from tests.e2e.load import LoadClient, Tally

pytestmark = pytest.mark.e2e

CLIENTS = 6
MINER_ADDRESS = "1CounterpartyXXXXXXXXXXXXXXXUWLpVr"
SECTIONS: dict[str, dict[str, object]] = {
    "stratum": {"difficulty_start": 2e-10, "difficulty_min": 2e-10, "difficulty_max": 2e-10},
    "payouts": {"is_enabled": False},
}


@pytest.fixture
async def fixed_node() -> AsyncIterator[NodeSettings]:
    """Run a node whose one template is far too hard to solve."""
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bench.fixed_node", str(port), stdout=asyncio.subprocess.PIPE, cwd=ROOT
    )
    assert process.stdout is not None
    async with asyncio.timeout(20):
        assert await process.stdout.readline() == b"READY\n"
    yield NodeSettings(name="fixed", url=f"http://127.0.0.1:{port}")
    process.kill()
    await process.wait()


async def booked(pool: RunningPool) -> dict[str, int]:
    """Return the accepted shares in the slices, by worker."""
    coin = pool.settings.coin.coin_id
    async with asking(pool) as stubs:
        try:
            stats = await call(
                stubs.shares.GetAccountStats, shares_pb2.GetAccountStatsRequest(coin=coin, account=MINER_ADDRESS)
            )
        except RpcError:
            return {}
    return {worker.worker: worker.counts.accepted for worker in stats.workers}


async def wait_booked(pool: RunningPool, tallies: list[Tally]) -> dict[str, int]:
    """Wait until all that was seen accepted is booked and nothing more arrives."""
    last: dict[str, int] = {}
    async with asyncio.timeout(90):
        while True:
            counts = await booked(pool)
            if counts == last and all(counts.get(tally.worker, 0) >= tally.accepted for tally in tallies):
                return counts
            last = counts
            await asyncio.sleep(1)


@pytest.mark.parametrize(
    "victims", [["worker"], ["office"], ["postgres"], ["shipper"], ["worker", "postgres", "office"]]
)
async def test_every_share_seen_accepted_is_booked_once_after_kill_9(
    start_pool: StartPool, fixed_node: NodeSettings, victims: list[str]
) -> None:
    """D1, D3, D4: beyond what was seen accepted only shares whose answer the kill cut off are booked, each once."""
    async with start_pool(coin="bitcoin", address=POOL_ADDRESS, nodes=[fixed_node], sections=SECTIONS) as pool:
        clients = [
            LoadClient(
                port=pool.settings.stratum.port,
                account=MINER_ADDRESS,
                worker=f"w{number}",
                in_flight=4,
                pause_s=0.01,
                seed=number,
            )
            for number in range(CLIENTS)
        ]
        running = [asyncio.create_task(client.run()) for client in clients]
        for victim in victims:
            await accepted_more(clients, 300)
            await pool.kill(victim)
        await accepted_more(clients, 300)
        for client in clients:
            client.is_stopping = True
        await asyncio.gather(*running)

        tallies = [client.tally for client in clients]
        counts = await wait_booked(pool, tallies)
        for tally in tallies:
            assert tally.accepted <= counts[tally.worker] <= tally.accepted + tally.unanswered, (tally, counts)
            assert not tally.rejected, tally
        if victims == ["worker"]:
            assert all(tally.connects >= 2 for tally in tallies)
        report = await pool.audit()
        assert report["audit_ok"], report


async def accepted_more(clients: list[LoadClient], count: int) -> None:
    """Wait until every client has seen so many more shares accepted."""
    goals = [client.tally.accepted + count for client in clients]
    async with asyncio.timeout(90):
        while any(client.tally.accepted < goal for client, goal in zip(clients, goals, strict=True)):
            await asyncio.sleep(0.05)
