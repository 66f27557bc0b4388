"""The API in front of the real services: shares, miners, rewards and payouts on one PostgreSQL and a simulated chain."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from uuid import uuid4

import aiohttp
import pytest

import gateway.main
import miners.main
import payouts.main
import rewards.main
import shares.main
from coins import registry
from coins.bitcoin.address import encode
from coins.coin import AddressKind
from coins.settings import PoolSettings
from gateway.config import GatewayInfo, GatewaySettings
from miners.config import MinersSettings
from nodes.simulated import SimulatedNode
from payouts.config import PayoutSettings
from proto.lodepool.events.v1 import events_pb2
from rewards.config import RewardsSettings
from runtime.clock import SystemClock
from runtime.errors import UserError
from runtime.eventlog.interface import OutRecord
from runtime.live import Live
from runtime.platform import Platform
from runtime.process import free_port
from shares.config import SharesSettings
from tests.fakes.share_stream import STALE, FakeInstance, FakeShare
from tests.fakes.waiting import eventually

COIN = registry.get("litecoin-regtest")
ALICE, BOB = (encode(COIN, AddressKind.P2WPKH, bytes([number]) * 20) for number in (1, 2))
INFO = GatewayInfo(scheme_default="pplns", fee_ppm=10_000, payout_threshold_atomic=1_000_000, stratum_port=3333)
REWARD = 5_000_000_000
FEE = REWARD // 100
SERVICES = {"shares", "miners", "rewards", "payouts", "gateway"}


class Pool:
    """A whole back office, read through its API."""

    def __init__(self, platform: Platform) -> None:
        self.platform = platform
        self.node = SimulatedNode(COIN, seed=str(uuid4()), clock=SystemClock())
        self.settings = PoolSettings(coin=COIN.coin_id, address=self.node.wallet.new_address())
        self.port = free_port()
        self.http = aiohttp.ClientSession(f"http://127.0.0.1:{self.port}")
        self.node.mine_blocks(3)

    async def get(self, path: str) -> dict:
        async with self.http.get(f"/api/v1/{path}") as response:
            body = await response.json()
            assert response.status == 200, body
            return body

    async def eventually(self, path: str, condition: Callable[[dict], bool], what: str) -> dict:
        """Return the answer once it meets the condition; a miner that is not known yet is asked for again."""
        found: dict = {}

        async def is_met() -> bool:
            async with self.http.get(f"/api/v1/{path}") as response:
                found.clear()
                found.update(await response.json())
                return response.status == 200 and condition(found)

        await eventually(is_met, timeout_s=30, what=f"{what} at {path}")
        return found

    async def mine(self) -> str:
        """Let alice do three times bob's work at the next height and find its block; return the block's hash."""
        height = self.node.chain.tip.height + 1
        now_ms = time.time_ns() // 1_000_000
        instance = FakeInstance(f"0-{uuid4().hex[:8]}-1")
        fields = {"height": height, "time_ms": now_ms, "work": 1 << 40, "hash_work": 1 << 42}
        batch = instance.batch(
            [
                *[FakeShare(account=ALICE, worker="rig1", **fields) for _ in range(3)],
                FakeShare(account=ALICE, worker="rig2", outcome=STALE, **fields),
                FakeShare(account=BOB, worker="cpu", **fields),
            ]
        )
        mark = instance.mark(height=height + 1, time_ms=now_ms, is_closed=True)
        await self.platform.eventlog.publish("shares", [batch, mark])
        block_hash = self.node.mine_block(self.settings.address)
        info = await self.node.block(block_hash)
        found = events_pb2.BlockFound(
            instance=instance.name,
            coin=COIN.coin_id,
            block_hash_hex=block_hash,
            height=height,
            time_ms=now_ms,
            account=ALICE,
            worker="rig1",
            scheme="pplns",
            coinbase_value_atomic=REWARD,
            network_target=info.network_target.to_bytes(32, "big"),
            coinbase_txid_hex=info.coinbase_txid_hex,
        )
        await self.platform.eventlog.publish("blocks", [OutRecord(key=b"0", payload=found.SerializeToString())])
        return block_hash

    def services(self, platform: Platform) -> list[Awaitable[None]]:
        gateway_settings = GatewaySettings(port=self.port)
        rewards_settings = RewardsSettings(confirmations_poll_s=0.05)
        payout_settings = PayoutSettings(interval_s=0.1, confirmations=1)
        return [
            shares.main.run(Live(SharesSettings()), self.settings, platform),
            miners.main.run(Live(MinersSettings()), self.settings, platform),
            rewards.main.run(Live(rewards_settings), self.settings, platform, self.node),
            payouts.main.run(Live(payout_settings), self.settings, platform, self.node),
            gateway.main.run(gateway_settings, self.settings, Live(INFO), platform),
        ]


@pytest.fixture
async def pool(platform: Platform) -> AsyncIterator[Pool]:
    pool = Pool(platform)
    started: set[str] = set()
    async with asyncio.TaskGroup() as group:
        watched = replace(platform, ready=started.add)
        tasks = [group.create_task(service) for service in pool.services(watched)]
        await eventually(lambda: started >= SERVICES, timeout_s=30, what="every service")
        yield pool
        await pool.http.close()
        for task in tasks:
            task.cancel()


async def test_an_empty_pool_is_answered_without_a_gap(pool):
    answer = await pool.get("pool")
    assert (answer["degraded"], answer["chain"], answer["blocks"]["last"]) == ([], None, None)
    assert answer["shares"]["best_share"] is None
    assert (await pool.get("blocks"))["blocks"] == []
    assert (await pool.get("miners"))["miners"] == []
    assert (await pool.get("payouts"))["payouts"] == []
    assert (await pool.get("ledger"))["coinbase_atomic"] == 0


async def test_the_way_of_the_money_can_be_read_from_share_to_payout(pool):
    """R1, P1: shares → block → credits → maturity → payment, as a miner reads it."""
    block_hash = await pool.mine()
    block = await pool.eventually(f"blocks/{block_hash}", lambda found: found["status"] == "immature", "the credits")
    by_address = {credit["address"]: credit["amount_atomic"] for credit in block["credits"]}
    assert by_address == {ALICE: (REWARD - FEE) * 3 // 4, BOB: (REWARD - FEE) // 4}
    assert sum(by_address.values()) + block["pool_fee_atomic"] + block["remainder_atomic"] == block["reward_atomic"]
    assert int(block["window_work"]) == 4 << 40

    alice = await pool.eventually(f"miners/{ALICE}", lambda found: found["account"] is not None, "alice")
    assert alice["balance"]["immature_atomic"] == by_address[ALICE]
    assert alice["shares"]["counts"] == {"accepted": 3, "stale": 1, "duplicate": 0, "low_difficulty": 0, "invalid": 0}
    assert int(alice["shares"]["total_work"]) == 3 << 40
    assert {worker["worker"]: worker["presence"] for worker in alice["workers"]}["rig1"] == "online"
    (credit,) = (await pool.get(f"miners/{ALICE}/credits"))["credits"]
    assert (credit["block_hash"], credit["amount_atomic"]) == (block_hash, by_address[ALICE])
    assert [miner["address"] for miner in (await pool.get("miners"))["miners"]] == [ALICE, BOB]

    pool.node.mine_blocks(COIN.maturity_blocks)
    await pool.eventually(f"miners/{ALICE}", lambda found: found["balance"]["immature_atomic"] == 0, "maturity")

    async def is_paid() -> bool:
        pool.node.mine_block()
        return (await pool.get(f"miners/{ALICE}"))["balance"]["paid_atomic"] == by_address[ALICE]

    await eventually(is_paid, timeout_s=30, what="alice's payment")
    (payment,) = (await pool.get(f"miners/{ALICE}/payouts"))["payouts"]
    assert (payment["amount_atomic"], payment["status"]) == (by_address[ALICE], "confirmed")
    ledger = await pool.get("ledger")
    parts = ("immature", "payable", "reserved", "paid", "pool_fee", "remainder")
    assert sum(ledger[f"{part}_atomic"] for part in parts) == ledger["coinbase_atomic"] == REWARD
    assert ledger["network_fee_atomic"] > 0

    answer = await pool.eventually("pool", lambda found: found["payer"]["payouts_confirmed"] == 2, "the payer")
    assert (answer["degraded"], answer["blocks"]["counts"]["mature"]) == ([], 1)
    assert answer["round"]["start_height"] == block["height"]
    assert answer["payer"]["paid_atomic"] == sum(by_address.values())


async def test_pages_follow_one_another_without_gap_or_overlap(pool):
    """Blocks, credits and miners, one item a page."""
    hashes = [await pool.mine() for _ in range(3)]
    await pool.eventually("blocks?status=immature", lambda found: len(found["blocks"]) == 3, "three blocks")

    async def walk(path: str, items: str) -> list[dict]:
        found, token = [], ""
        while True:
            page = await pool.get(f"{path}?page_size=1" + (f"&page_token={token}" if token else ""))
            found += page[items]
            token = page["next_page_token"]
            if token is None:
                return found
            assert len(found) < 20

    assert [block["block_hash"] for block in await walk("blocks", "blocks")] == hashes[::-1]
    assert [credit["block_hash"] for credit in await walk(f"miners/{BOB}/credits", "credits")] == hashes[::-1]
    assert [miner["address"] for miner in await walk("miners", "miners")] == [ALICE, BOB]


@pytest.mark.parametrize("path", ["blocks", "miners", "payouts", f"miners/{ALICE}/credits", f"miners/{ALICE}/payouts"])
async def test_a_token_of_nobodys_is_refused(pool, path):
    async with pool.http.get(f"/api/v1/{path}?page_token=nonsense!") as response:
        problem = await response.json()
    assert (response.status, problem["type"]) == (400, "urn:lodepool:problem:bad-parameter")
    assert "page_token" in problem["detail"]


async def test_an_address_that_never_mined_is_unknown(pool):
    for tail in ("", "/credits", "/payouts"):
        async with pool.http.get(f"/api/v1/miners/{BOB}{tail}") as response:
            assert response.status == 404
    async with pool.http.get(f"/api/v1/blocks/{'0' * 64}") as response:
        assert response.status == 404


async def test_a_taken_port_is_named(platform):
    async def hold(_reader: object, writer: asyncio.StreamWriter) -> None:
        writer.close()

    settings = PoolSettings(coin=COIN.coin_id, address=ALICE)
    server = await asyncio.start_server(hold, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(UserError, match=str(port)) as caught:
            await gateway.main.run(GatewaySettings(port=port), settings, Live(INFO), platform)
    assert "gateway.port" in caught.value.hint
    with pytest.raises(UserError, match="cannot listen on"):
        await gateway.main.run(GatewaySettings(host="192.0.2.1", port=port), settings, Live(INFO), platform)


async def test_a_stopped_gateway_frees_its_port(platform):
    is_ready = asyncio.Event()
    settings = PoolSettings(coin=COIN.coin_id, address=ALICE)
    port = free_port()
    for _ in range(2):
        is_ready.clear()
        watched = replace(platform, ready=lambda _name: is_ready.set())
        task = asyncio.create_task(gateway.main.run(GatewaySettings(port=port), settings, Live(INFO), watched))
        await asyncio.wait_for(is_ready.wait(), 10)
        async with aiohttp.ClientSession() as http, http.get(f"http://127.0.0.1:{port}/healthz") as response:
            assert response.status == 200
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
