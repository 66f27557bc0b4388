"""The WebSocket and the rate limit over real sockets, in front of recorded services."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import aiohttp
import pytest

from gateway.config import GatewaySettings
from gateway.live.poller import NEWEST_POLL_S, POLL_S
from gateway.live.socket import LIVE, UNSENT_BYTES_MAX
from proto.lodepool.payouts.v1 import payouts_pb2
from proto.lodepool.rewards.v1 import rewards_pb2
from proto.lodepool.shares.v1 import shares_pb2
from tests.fakes.gateway_world import ADDRESS, OTHER, GatewayWorld
from tests.integration.test_gateway_api import block, fill

SETTINGS = GatewaySettings(
    timeout_s=0.5,
    cors_origins=("https://stats.example",),
    requests_per_second=2,
    requests_burst=40,
    sockets_per_address_max=3,
    trusted_proxies=("127.0.0.0/8",),
)
WS = "/api/v1/ws"


@pytest.fixture
async def world(short_dir) -> AsyncIterator[GatewayWorld]:
    world = GatewayWorld(short_dir, SETTINGS)
    fill(world)
    await world.start()
    yield world
    await world.close()


async def receive(socket: aiohttp.ClientWebSocketResponse) -> dict:
    return await socket.receive_json(timeout=10)


@contextlib.asynccontextmanager
async def joined(world: GatewayWorld, *topics: str) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
    async with world.http.ws_connect(WS) as socket:
        assert (await receive(socket))["event"] == "hello"
        await socket.send_json({"subscribe": topics})
        live = world.app[LIVE]
        async with asyncio.timeout(10):
            while not all(topic in live._hub.wanted for topic in topics):
                await asyncio.sleep(0.005)
        yield socket


async def looks(world: GatewayWorld, count: int = 1) -> None:
    """Let the poller look so many times."""
    for _ in range(count):
        async with asyncio.timeout(10):
            while not world.clock.sleeper_count:
                await asyncio.sleep(0.005)
        world.clock.advance(POLL_S)
        await asyncio.sleep(0)
    async with asyncio.timeout(10):
        while not world.clock.sleeper_count:
            await asyncio.sleep(0.005)


async def test_hello_comes_first(world):
    async with world.http.ws_connect(WS) as socket:
        hello = await receive(socket)
    assert (hello["event"], hello["data"]["coin"]) == ("hello", "litecoin-regtest")
    assert hello["data"]["version"]


async def test_blocks_and_payouts_are_told_to_those_who_follow_them(world):
    services = world.services
    async with joined(world, "blocks", "payouts") as follower, joined(world, "payouts") as other:
        await looks(world, 2)
        found = block(99, rewards_pb2.BLOCK_STATUS_CANDIDATE)
        services["rewards"].answers["ListBlocks"] = rewards_pb2.ListBlocksResponse(blocks=[found])
        await looks(world)
        told = await receive(follower)
        assert (told["topic"], told["event"], told["data"]["height"]) == ("blocks", "block_found", 99)
        assert told["time"].startswith("2023-11-14T22:13:")
        sent = payouts_pb2.Payout(payout_id="p9", status=payouts_pb2.BATCH_STATUS_BROADCAST, amount_atomic=5)
        services["payouts"].answers["ListPayouts"] = payouts_pb2.ListPayoutsResponse(payouts=[sent])
        await looks(world)
        for socket in (follower, other):
            told = await receive(socket)
            assert (told["topic"], told["event"], told["data"]["payout_id"]) == ("payouts", "payout_sent", "p9")


async def test_a_new_block_is_told_before_the_next_look_at_everything(world):
    """Followers know of a block within half a second, also between two looks at everything."""
    async with joined(world, "blocks", "payouts") as follower:
        await looks(world, 2)
        sent = payouts_pb2.Payout(payout_id="p9", status=payouts_pb2.BATCH_STATUS_BROADCAST, amount_atomic=5)
        world.services["payouts"].answers["ListPayouts"] = payouts_pb2.ListPayoutsResponse(payouts=[sent])
        found = block(99, rewards_pb2.BLOCK_STATUS_CANDIDATE)
        world.services["rewards"].answers["ListBlocks"] = rewards_pb2.ListBlocksResponse(blocks=[found])
        world.clock.advance(NEWEST_POLL_S)
        told = await receive(follower)
        assert (told["event"], told["data"]["height"]) == ("block_found", 99), "and not the payment"


async def test_the_pools_and_a_miners_stats_are_told_when_they_change(world):
    async with joined(world, "pool", f"miner:{ADDRESS}") as socket:
        await looks(world, 2)
        told = {message["topic"]: message for message in [await receive(socket), await receive(socket)]}
        assert set(told) == {"pool", f"miner:{ADDRESS}"}
        pool, miner = told["pool"]["data"], told[f"miner:{ADDRESS}"]["data"]
        assert (set(pool), pool["round"]["effort_percent"]) == ({"shares", "round"}, "50.00")
        assert (miner["address"], miner["balance"]["payable_atomic"], len(miner["workers"])) == (ADDRESS, 3, 2)
        await looks(world, 6)
        stats = shares_pb2.PoolStats(account_count=7)
        world.services["shares"].answers["GetPoolStats"] = stats
        await looks(world, 2)
        told = await receive(socket)
        assert (told["topic"], told["data"]["shares"]["miner_online_count"]) == ("pool", 7), (
            "the same is not told again"
        )
        async with joined(world, "pool") as late:
            told = await receive(late)
            assert told["data"]["shares"]["miner_online_count"] == 7, "who joins later is told what was told last"


async def test_services_that_are_away_are_left_for_the_next_look(world):
    async with joined(world, "blocks", "payouts", "pool", f"miner:{OTHER}") as socket:
        for service in world.services.values():
            service.answers = {}
        await looks(world, 3)
        fill(world)
        await looks(world, 3)
        assert (await receive(socket))["event"] == "stats"


async def test_bad_messages_are_answered_and_then_end_the_connection(world):
    async with world.http.ws_connect(WS) as socket:
        await receive(socket)
        for text in ("{", '{"subscribe":["nothing"]}', '{"subscribe":["miner:x"]}', "[]", "{}x"):
            await socket.send_str(text)
            told = await receive(socket)
            assert told["event"] == "error"
            assert told["data"]["detail"]
        assert (await socket.receive(timeout=10)).type == aiohttp.WSMsgType.CLOSE
        assert socket.close_code == 1008


async def test_a_message_that_is_too_long_ends_the_connection(world):
    async with world.http.ws_connect(WS) as socket:
        await receive(socket)
        await socket.send_str("x" * 5_000)
        assert (await socket.receive(timeout=10)).type in (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED)


@pytest.mark.parametrize(
    ("origin", "status"),
    [("https://evil.example", 403), ("https://stats.example", 101), ("null", 403), (None, 101), ("own", 101)],
)
async def test_pages_of_other_origins_may_not_open_it(world, origin, status):
    headers = {} if origin is None else {"Origin": f"http://{world.host}:{world.port}" if origin == "own" else origin}
    try:
        async with world.http.ws_connect(WS, headers=headers) as socket:
            assert (await receive(socket))["event"] == "hello"
            found = 101
    except aiohttp.WSServerHandshakeError as error:
        found = error.status
    assert found == status


async def test_an_address_has_so_many_connections_at_most(world):
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(3):
            await stack.enter_async_context(world.http.ws_connect(WS))
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await world.http.ws_connect(WS)
        assert refused.value.status == 429
        await stack.enter_async_context(world.http.ws_connect(WS, headers={"X-Forwarded-For": "1.2.3.4"}))
    async with asyncio.timeout(10):
        while world.app[LIVE].client_count:
            await asyncio.sleep(0.005)
    async with world.http.ws_connect(WS) as socket:
        await receive(socket)


async def test_a_client_that_does_not_read_is_dropped(world):
    live = world.app[LIVE]
    reader, writer = await asyncio.open_connection(world.host, world.port, limit=1024)
    handshake = (
        f"GET {WS} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    writer.write(handshake.encode())
    await reader.readuntil(b"\r\n\r\n")
    wish = b'{"subscribe":["blocks"]}'
    writer.write(bytes([0x81, 0x80 | len(wish)]) + bytes(4) + wish)
    async with asyncio.timeout(30):
        while "blocks" not in live._hub.wanted:
            await asyncio.sleep(0.005)
        while not live.dropped_count:
            live.publish("blocks", b"x" * (UNSENT_BYTES_MAX // 2))
            await asyncio.sleep(0)
        assert live.client_count == 0
    writer.close()


async def test_who_asks_too_often_is_told_when_to_come_back(world):
    statuses = []
    for _ in range(41):
        async with world.http.get("/api/v1/ledger") as response:
            statuses.append(response.status)
            retry_after = response.headers.get("Retry-After")
    assert statuses == [200] * 40 + [429]
    assert retry_after == "1"
    problem = await world.problem("/api/v1/ledger")
    assert problem["type"] == "urn:lodepool:problem:too-many-requests"
    async with world.http.get("/api/v1/ledger", headers={"X-Forwarded-For": "1.2.3.4"}) as response:
        assert response.status == 200, "the proxy's other clients are not its own"
    assert (await world.get("/healthz")) == {"status": "ok"}
    world.clock.advance(0.5)
    assert await world.get("/api/v1/ledger")
