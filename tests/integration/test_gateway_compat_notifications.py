"""The WebSocket of the second face over real sockets, in front of recorded services."""

import asyncio
from collections.abc import AsyncIterator

import aiohttp
import pytest
import uvloop

from gateway.compat.app import NOTIFICATIONS, add_compat
from gateway.compat.notifications import HASHRATE_EVERY_S
from gateway.config import GatewaySettings
from gateway.context import GATEWAY
from gateway.live.frames import TRY_AGAIN_LATER
from gateway.live.poller import POLL_S
from proto.lodepool.payouts.v1 import payouts_pb2
from proto.lodepool.rewards.v1 import rewards_pb2
from proto.lodepool.shares.v1 import shares_pb2
from proto.lodepool.stratum.v1 import stratum_pb2
from runtime.rpc.errors import Unavailable
from tests.fakes.compat_world import BLOCKS, PAYOUTS, fill
from tests.fakes.gateway_world import ADDRESS, OTHER, GatewayWorld

SETTINGS = GatewaySettings(timeout_s=0.5, sockets_per_address_max=3, requests_burst=1_000)
WS = "/notifications"


@pytest.fixture
async def world(short_dir) -> AsyncIterator[GatewayWorld]:
    world = GatewayWorld(short_dir, SETTINGS)
    add_compat(world.app)
    fill(world)
    await world.start()
    yield world
    await world.close()


async def receive(socket: aiohttp.ClientWebSocketResponse) -> dict:
    return await socket.receive_json(timeout=10)


async def looked(world: GatewayWorld) -> None:
    """Wait until the look that goes on is done."""
    async with asyncio.timeout(10):
        while not world.clock.sleeper_count:
            await asyncio.sleep(0.005)


async def look(world: GatewayWorld) -> None:
    """Let the poller look once more."""
    await looked(world)
    world.clock.advance(POLL_S)
    await asyncio.sleep(0)
    await looked(world)


async def test_a_greeting_comes_first_then_the_hashrate(world):
    async with world.http.ws_connect(WS) as socket:
        greeting = await receive(socket)
        assert greeting == {"type": "greeting", "message": "Connected to the notifications of Proof"}
        assert await receive(socket) == {
            "type": "hashrateupdated",
            "poolId": "rltc1",
            "hashrate": 1000,
            "miner": None,
            "worker": None,
        }


async def test_everybody_is_told_of_blocks_and_payments(world):
    """P3: a block that is found, grows, is confirmed; a transaction with its payments."""
    async with world.http.ws_connect(WS) as first, world.http.ws_connect(WS) as second:
        sockets = (first, second)
        for socket in sockets:
            assert (await receive(socket))["type"] == "greeting"
        await look(world)
        assert (await receive(first))["type"] == "hashrateupdated"

        def tell(blocks: list[rewards_pb2.Block]) -> None:
            world.services["rewards"].answers["ListBlocks"] = rewards_pb2.ListBlocksResponse(blocks=blocks)

        found = rewards_pb2.Block()
        found.CopyFrom(BLOCKS[1])
        found.height, found.block_hash_hex, found.round_work = 13, "0d" * 32, ""
        found.status, found.confirmations = rewards_pb2.BLOCK_STATUS_CANDIDATE, 0
        tell([found, *BLOCKS])
        await look(world)
        grown = rewards_pb2.Block()
        grown.CopyFrom(found)
        grown.status, grown.confirmations = rewards_pb2.BLOCK_STATUS_IMMATURE, 50
        tell([grown, *BLOCKS])
        await look(world)
        mature = rewards_pb2.Block()
        mature.CopyFrom(grown)
        mature.status = rewards_pb2.BLOCK_STATUS_MATURE
        tell([mature, *BLOCKS])
        sent = [
            payouts_pb2.Payout(
                payout_id=f"n{number}",
                account=account,
                amount_atomic=150_000_000,
                status=payouts_pb2.BATCH_STATUS_BROADCAST,
                txid_hex="aa" * 32,
            )
            for number, account in enumerate((ADDRESS, OTHER))
        ]
        payouts = payouts_pb2.ListPayoutsResponse(payouts=[*sent, *PAYOUTS])
        world.services["payouts"].answers["ListPayouts"] = payouts
        await look(world)
        for socket in sockets:
            told = [await receive(socket) for _ in range(4)]
            if told[0]["type"] == "hashrateupdated":
                told = [*told[1:], await receive(socket)]
            by_type = {message["type"]: message for message in told}
            assert set(by_type) == {"blockfound", "blockunlockprogress", "blockunlocked", "payment"}
            assert (by_type["blockfound"]["blockHeight"], by_type["blockfound"]["miner"]) == (13, ADDRESS)
            assert (by_type["blockunlockprogress"]["progress"], by_type["blockunlockprogress"]["effort"]) == (0.5, None)
            assert (by_type["blockunlocked"]["status"], by_type["blockunlocked"]["blockHash"]) == (
                "confirmed",
                "0d" * 32,
            )
            assert (by_type["payment"]["recipientsCount"], by_type["payment"]["amount"]) == (2, 3.0)
            assert by_type["payment"]["txIds"] == ["aa" * 32]


async def test_the_hashrate_is_told_again_after_a_minute_when_it_changed(world):
    async with world.http.ws_connect(WS) as socket:
        assert [(await receive(socket))["type"] for _ in range(2)] == ["greeting", "hashrateupdated"]
        rates = shares_pb2.Hashrates(hps_15m="7")
        world.services["shares"].answers["GetPoolStats"] = shares_pb2.PoolStats(hashrates=rates)
        for _ in range(4):
            await look(world)
        world.clock.advance(HASHRATE_EVERY_S)
        world.services["shares"].answers["GetPoolStats"] = shares_pb2.PoolStats(
            hashrates=shares_pb2.Hashrates(hps_15m="8")
        )
        for _ in range(3):
            await look(world)
        assert (await receive(socket))["hashrate"] == 8, "7 came too soon after the last"


async def test_a_chain_that_grows_is_told_with_the_height_that_is_mined_on(world, monkeypatch):
    gateway, height = world.app[GATEWAY], 100

    async def status(name: str) -> stratum_pb2.StratumStatus:
        if name == "stratum1":
            raise Unavailable("it is away")
        return stratum_pb2.StratumStatus(height=height)

    monkeypatch.setattr(gateway.sources, "stratum_names", lambda: ("stratum0", "stratum1"))
    monkeypatch.setattr(gateway.sources, "stratum_status", status)
    async with world.http.ws_connect(WS) as socket:
        assert [(await receive(socket))["type"] for _ in range(2)] == ["greeting", "hashrateupdated"]
        await looked(world)
        await look(world)
        height = 101
        await look(world)
        assert await receive(socket) == {
            "type": "newchainheight",
            "poolId": "rltc1",
            "blockHeight": 101,
            "symbol": "rLTC",
            "name": "Litecoin regtest",
        }
    async with world.http.get("/api/pools/rltc1") as response:
        assert (await response.json())["pool"]["networkStats"]["blockHeight"] == 101


async def test_what_happened_while_nobody_listened_is_not_told(world):
    async with world.http.ws_connect(WS) as socket:
        assert [(await receive(socket))["type"] for _ in range(2)] == ["greeting", "hashrateupdated"]
        await looked(world)
    async with asyncio.timeout(10):
        while world.app[NOTIFICATIONS].client_count:
            await asyncio.sleep(0.005)
    world.services["rewards"].answers["ListBlocks"] = rewards_pb2.ListBlocksResponse(blocks=BLOCKS[1:])
    world.clock.advance(POLL_S)
    await asyncio.sleep(0)
    world.services["rewards"].answers["ListBlocks"] = rewards_pb2.ListBlocksResponse(blocks=BLOCKS)
    async with world.http.ws_connect(WS) as socket:
        assert (await receive(socket))["type"] == "greeting"
        await look(world)
        world.clock.advance(HASHRATE_EVERY_S)
        rates = shares_pb2.Hashrates(hps_15m="9")
        world.services["shares"].answers["GetPoolStats"] = shares_pb2.PoolStats(hashrates=rates)
        for _ in range(3):
            await look(world)
        told = await receive(socket)
        while told["type"] == "hashrateupdated" and told["hashrate"] != 9:
            told = await receive(socket)
        assert told["type"] == "hashrateupdated", "no block was told"


async def test_what_clients_say_is_not_read(world):
    async with world.http.ws_connect(WS) as socket:
        for _ in range(50):
            await socket.send_str("not even JSON")
        assert [(await receive(socket))["type"] for _ in range(2)] == ["greeting", "hashrateupdated"]
        assert world.app[NOTIFICATIONS].client_count == 1


async def test_an_address_has_only_so_many_connections(world):
    sockets = [await world.http.ws_connect(WS) for _ in range(SETTINGS.sockets_per_address_max)]
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await world.http.ws_connect(WS)
    assert refused.value.status == 429
    await sockets.pop().close()
    async with asyncio.timeout(10):
        while world.app[NOTIFICATIONS].client_count == SETTINGS.sockets_per_address_max:
            await asyncio.sleep(0.005)
    async with world.http.ws_connect(WS) as socket:
        assert (await receive(socket))["type"] == "greeting"
    for socket in sockets:
        await socket.close()


async def test_pages_of_other_origins_may_not_open_it(world):
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await world.http.ws_connect(WS, headers={"Origin": "https://evil.example"})
    assert refused.value.status == 403


async def test_a_client_that_does_not_read_is_dropped(world, monkeypatch):
    """S4: a slow reader costs its own connection, not memory."""
    async with world.http.ws_connect(WS) as socket:
        assert [(await receive(socket))["type"] for _ in range(2)] == ["greeting", "hashrateupdated"]
        await looked(world)
        monkeypatch.setattr("gateway.live.socket.UNSENT_BYTES_MAX", -1)
        found = rewards_pb2.Block()
        found.CopyFrom(BLOCKS[1])
        found.block_hash_hex = "0d" * 32
        world.services["rewards"].answers["ListBlocks"] = rewards_pb2.ListBlocksResponse(blocks=[found, *BLOCKS])
        await look(world)
        closed = await socket.receive(timeout=10)
        assert (closed.type, closed.data) == (aiohttp.WSMsgType.CLOSE, TRY_AGAIN_LATER)
    notifications = world.app[NOTIFICATIONS]
    assert (notifications.dropped_count, notifications.client_count) == (1, 0)


def test_it_is_served_under_the_loop_of_the_program(short_dir):
    """The program runs on uvloop, whose transports are of another type."""

    async def listen() -> list[str]:
        world = GatewayWorld(short_dir, SETTINGS)
        add_compat(world.app)
        fill(world)
        await world.start()
        try:
            async with world.http.ws_connect(WS) as socket:
                return [(await receive(socket))["type"] for _ in range(2)]
        finally:
            await world.close()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(listen()) == ["greeting", "hashrateupdated"]
