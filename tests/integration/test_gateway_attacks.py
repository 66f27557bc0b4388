"""What somebody who means harm sends: the gateway goes on serving everybody else, and keeps its log short."""

import asyncio
import itertools
import logging
import tracemalloc
import zlib
from collections.abc import AsyncIterator

import pytest
from aiohttp import WSServerHandshakeError

from coins.bitcoin.address import encode
from coins.coin import AddressKind
from gateway import door
from gateway.compat.app import add_compat
from gateway.config import GatewaySettings
from gateway.context import GATEWAY
from gateway.live.hub import TOPICS_MAX
from gateway.live.poller import MINER_INTERVAL_S, UNKNOWN_INTERVAL_S, Poller
from gateway.live.socket import FOLLOWED_BURST, LIVE, UNSENT_BYTES_MAX
from gateway.main import IDLE_S_MAX
from gateway.page import add_page
from proto.lodepool.rewards.v1 import rewards_pb2
from proto.lodepool.shares.v1 import shares_pb2
from tests.fakes.compat_world import fill as fill_compat
from tests.fakes.gateway_world import ADDRESS, COIN, OTHER, GatewayWorld
from tests.fakes.waiting import eventually
from tests.integration.test_gateway_api import HASH, TIME_MS, fill
from tests.integration.test_gateway_exports import list_slices

EXPORTS = f"/api/v1/miners/{ADDRESS}/exports"
SETTINGS = GatewaySettings(timeout_s=5, requests_burst=1_000, trusted_proxies=("127.0.0.1",))


@pytest.fixture
async def world(short_dir) -> AsyncIterator[GatewayWorld]:
    world = GatewayWorld(short_dir, SETTINGS)
    add_compat(world.app)
    add_page(world.app)
    fill(world)
    fill_compat(world)
    world.services["shares"].answers["ListSlices"] = list_slices
    await world.start()
    yield world
    await world.close()


async def raw(world: GatewayWorld, request: bytes) -> bytes:
    """Return all that a connection says to some bytes until it is closed."""
    reader, writer = await asyncio.open_connection(world.host, world.port)
    writer.write(request)
    async with asyncio.timeout(10):
        answer = await reader.read()
    writer.close()
    return answer


def ask(target: bytes, *, method: bytes = b"GET", headers: bytes = b"") -> bytes:
    """Return a request after which the connection is closed."""
    return method + b" " + target + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n" + headers + b"\r\n"


@pytest.mark.parametrize(
    "target",
    [
        b"/api/v1/blocks?page_token=\xff\xfe",
        b"/api/v1/\xff",
        b"/\xff",
        b"/api/pools/\xff",
        b"/api/v1/pool?coin=\xff",
        b"/api/v1/pool?\xff=1",
        b"/api/v1/miners/%ED%A0%80",
        b"/api/pools/rltc1/blocks?state=\xff",
        b"/api/pools/rltc1/blocks?page=\xff",
    ],
)
async def test_bytes_that_are_no_text_are_a_bad_request_and_not_our_fault(world, target, caplog):
    """S9."""
    answer = await raw(world, ask(target))
    assert answer.split(b" ")[1] in (b"400", b"404"), answer
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


@pytest.mark.parametrize("path", [f"{EXPORTS}/shares.csv", "/api/v1/pool", "/api/pools", "/", "/notifications"])
async def test_head_gets_a_head_and_not_one_byte_more(world, path):
    """A body after the head of a HEAD is the next answer to a proxy that keeps the connection for others."""
    query = b"?from=2023-11-01&to=2023-11-14" if path.endswith("csv") else b""
    answer = await raw(world, ask(path.encode() + query, method=b"HEAD"))
    head, _, rest = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 ")
    assert rest == b""


@pytest.mark.parametrize("method", [b"PUT", b"POST"])
async def test_a_compressed_body_is_not_blown_up(world, method):
    """P2."""
    bomb = zlib.compress(b" " * 30_000_000, 9)
    target = f"/api/v1/miners/{ADDRESS}/settings" if method == b"PUT" else f"/api/pools/rltc1/miners/{ADDRESS}/settings"
    headers = b"Content-Encoding: deflate\r\nContent-Type: application/json\r\nContent-Length: %d\r\n" % len(bomb)
    head = ask(target.encode(), method=method, headers=headers)
    tracemalloc.start()
    answer = await raw(world, head + bomb)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert answer.startswith((b"HTTP/1.1 400", b"HTTP/1.1 403", b"HTTP/1.1 413", b"HTTP/1.1 415")), answer[:100]
    assert peak < 1_000_000


async def test_a_deep_body_is_a_bad_request(world, caplog):
    """P2."""
    for start in (b'{"x":', b'{"proof":', b'{"time":', b""):
        body = start + b"[" * 4_000
        async with world.http.put(f"/api/v1/miners/{ADDRESS}/settings", data=body) as response:
            assert response.status == 400
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


async def test_an_export_that_is_left_early_is_no_error_of_ours(world, caplog):
    """P2."""
    started, go_on = asyncio.Event(), asyncio.Event()

    async def slow(request: shares_pb2.ListSlicesRequest) -> shares_pb2.ListSlicesResponse:
        if request.page_token:
            started.set()
            await go_on.wait()
        return list_slices(request)

    recorded = world.services["shares"]
    answer = recorded.answer

    async def answer_slowly(method: str, request: object) -> object:
        return await slow(request) if method == "ListSlices" else await answer(method, request)

    recorded.answer = answer_slowly
    _, writer = await asyncio.open_connection(world.host, world.port)
    writer.write(ask(f"{EXPORTS}/shares.csv?from=2023-11-01&to=2023-11-14".encode()))
    async with asyncio.timeout(5):
        await started.wait()
    writer.transport.abort()
    go_on.set()
    await eventually(lambda: world.door.count == 0)
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


async def test_one_address_has_few_exports_at_a_time_and_others_get_theirs(world):
    """P2: who reads nothing does not keep everybody from their tables."""
    go_on = asyncio.Event()
    recorded = world.services["shares"]
    answer = recorded.answer
    waiting = 0

    async def wait(method: str, request: object) -> object:
        nonlocal waiting
        if method == "ListSlices":
            waiting += 1
            await go_on.wait()
        return await answer(method, request)

    recorded.answer = wait
    path = f"{EXPORTS}/shares.csv?from=2023-11-01&to=2023-11-14"

    async def export(client: str) -> int:
        async with world.http.get(path, headers={"X-Forwarded-For": client}) as response:
            await response.read()
            return response.status

    greedy = [asyncio.create_task(export("203.0.113.7")) for _ in range(6)]
    async with asyncio.timeout(5):
        for done in asyncio.as_completed(greedy):
            assert await done == 429
            if sum(task.done() for task in greedy) == 4:
                break
    other = asyncio.create_task(export("203.0.113.8"))
    await eventually(lambda: waiting == 3)
    go_on.set()
    async with asyncio.timeout(5):
        assert await other == 200


async def test_paths_share_the_connections_of_an_address(short_dir):
    """P2."""
    world = GatewayWorld(short_dir, GatewaySettings(sockets_per_address_max=2))
    add_compat(world.app)
    fill(world)
    await world.start()
    try:
        async with world.http.ws_connect("/api/v1/ws"), world.http.ws_connect("/notifications"):
            for path in ("/api/v1/ws", "/notifications"):
                with pytest.raises(WSServerHandshakeError, match="429"):
                    await world.http.ws_connect(path)
    finally:
        await world.close()


async def test_handshakes_count_as_requests_on_every_path(short_dir):
    """P2."""
    world = GatewayWorld(short_dir, GatewaySettings(requests_per_second=1, requests_burst=3))
    add_compat(world.app)
    await world.start()
    try:
        for _ in range(3):
            async with world.http.get("/notifications") as response:
                assert response.status == 400
        async with world.http.get("/notifications") as response:
            assert response.status == 429
    finally:
        await world.close()


async def test_parameters_that_a_path_does_not_read_make_no_other_answer(world):
    """P2: or anybody could have an answer that everybody shares made again with each question."""
    asked = world.services["shares"]
    await world.get("/api/pools")
    before = len(asked.asked)
    for query in ("page=7", "pageSize=3", "r=Hour", "state=pending", "topMinersRange=24", "topMinersRange=25"):
        await world.get(f"/api/pools?{query}&noise={query}")
    assert len(asked.asked) == before


async def test_a_peer_that_says_nothing_is_left(world):
    """P2."""
    runner = world._runner
    assert runner.server is not None
    assert runner.server().keepalive_timeout == IDLE_S_MAX <= 120


async def test_a_peer_that_does_not_read_is_left(world, monkeypatch):
    """P2."""
    monkeypatch.setattr(door, "UNREAD_S_MAX", 0.1)
    world.services["shares"].answers["ListSlices"] = lambda request: list_slices(
        shares_pb2.ListSlicesRequest(page_size=request.page_size)
    )
    reader, writer = await asyncio.open_connection(world.host, world.port, limit=1)
    writer.write(ask(f"{EXPORTS}/shares.csv?from=2023-11-01&to=2023-11-14".encode()))
    await eventually(lambda: world.door.count == 1)
    writer.transport.pause_reading()
    await eventually(lambda: world.door.count == 0, timeout_s=20)
    writer.transport.abort()
    del reader


async def test_an_address_nobody_mined_to_is_looked_at_seldom(world):
    """P2: of such addresses there is no end, and looking at them keeps the others waiting."""
    miners, shares = world.services["miners"], world.services["shares"]
    for recorded, name in ((miners, "GetAccount"), (miners, "ListWorkers"), (shares, "GetAccountStats")):
        recorded.answers.pop(name, None)
    poller = Poller(
        world.app[GATEWAY], wanted=lambda _: False, miners=lambda: [OTHER], publish=lambda _topic, _payload: None
    )
    for _ in range(19):
        await poller.look()
        world.clock.advance(MINER_INTERVAL_S)
    assert len(miners.requests("GetAccount")) == 1
    world.clock.advance(UNKNOWN_INTERVAL_S)
    await poller.look()
    assert len(miners.requests("GetAccount")) == 2


async def test_a_message_longer_than_what_may_be_unread_reaches_a_client_that_reads(world):
    """S9: the farm with the most workers has the longest message."""
    async with world.http.ws_connect("/api/v1/ws", max_msg_size=0) as socket:
        await socket.receive()
        await socket.send_json({"subscribe": ["blocks"]})
        live = world.app[LIVE]
        await eventually(lambda: "blocks" in live._hub.wanted)
        live.publish("blocks", b'"' + b"x" * (3 * UNSENT_BYTES_MAX) + b'"')
        async with asyncio.timeout(5):
            received = await socket.receive()
    assert len(received.data) == 3 * UNSENT_BYTES_MAX + 2
    assert live.dropped_count == 0


async def test_fresh_addresses_do_not_keep_known_miners_from_being_looked_at(world):
    """P2: whoever follows new addresses all the time costs the others at most a part of the looks."""
    turns = itertools.count()

    def followed() -> list[str]:
        turn = next(turns)
        fresh = [encode(COIN, AddressKind.P2WPKH, turn.to_bytes(10, "big") + bytes([n]) * 10) for n in range(100)]
        return [ADDRESS, *fresh]

    told: list[str] = []
    gateway = world.app[GATEWAY]
    alone = Poller(
        gateway, wanted=lambda _: False, miners=lambda: [ADDRESS], publish=lambda topic, _: told.append(topic)
    )
    await alone.look()
    assert told == [f"miner:{ADDRESS}"]
    alone._miners = followed
    asked = world.services["miners"]
    for _ in range(3):
        world.clock.advance(MINER_INTERVAL_S)
        before = len([request for request in asked.requests("GetAccount") if request.account == ADDRESS])
        await alone.look()
        assert len([request for request in asked.requests("GetAccount") if request.account == ADDRESS]) == before + 1


async def test_an_address_cannot_follow_new_miners_without_end(world):
    """P2."""
    async with world.http.ws_connect("/api/v1/ws") as socket:
        await socket.receive()
        seen = set()
        for number in range(FOLLOWED_BURST // TOPICS_MAX + 2):
            world.clock.advance(0.1)
            names = [encode(COIN, AddressKind.P2WPKH, bytes([number, n]) * 10) for n in range(TOPICS_MAX)]
            topics = [f"miner:{name}" for name in names]
            await socket.send_json({"subscribe": topics, "unsubscribe": list(seen)})
            seen = set(topics)
        async with asyncio.timeout(5):
            while "too many miners" not in (received := await socket.receive_str()):
                pass
    assert "error" in received


async def test_an_export_of_a_day_does_not_walk_years(world):
    """P2: a short answer must not cost a long one."""
    rewards = world.services["rewards"]

    def list_credits(request: rewards_pb2.ListCreditsRequest) -> rewards_pb2.ListCreditsResponse:
        number = int(request.page_token or "0")
        time_ms = TIME_MS - number * 86_400_000
        credit = rewards_pb2.Credit(
            found_time_ms=time_ms, block_hash_hex=HASH, status=rewards_pb2.BLOCK_STATUS_MATURE, work="1"
        )
        return rewards_pb2.ListCreditsResponse(credits=[credit], next_page_token=str(number + 1))

    rewards.answers["ListCredits"] = list_credits
    async with world.http.get(f"{EXPORTS}/credits.json?from=2023-11-14&to=2023-11-14") as response:
        assert len(await response.json(content_type=None)) == 1
    assert len(rewards.requests("ListCredits")) <= 4


def test_the_door_counts_addresses_and_customers_but_not_this_machine_or_proxies():
    """P2."""
    settings = GatewaySettings(sockets_max=1, sockets_per_address_max=1, trusted_proxies=("10.0.0.0/8",))
    entrance = door.Door(asyncio.Protocol, settings)
    own_max = 1 + door.PLAIN_PER_ADDRESS_MAX
    names = [entrance.enter(f"2001:db8::{number:x}") for number in range(own_max)]
    assert set(names) == {"2001:db8::/64"}
    assert entrance.enter("2001:db8::ffff") is None
    assert entrance.enter("2001:db8:0:1::1") is not None
    entrance.leave(names[0])
    assert entrance.enter("2001:db8::ffff") == names[0]
    assert entrance.enter("203.0.113.7") == entrance.enter("::ffff:203.0.113.7") == "203.0.113.7"
    for peer in ("127.0.0.1", "::1", "::ffff:127.0.0.1", "10.9.8.7", "::ffff:10.9.8.7", ""):
        assert {entrance.enter(peer) for _ in range(own_max + 1)} == {""}
    while entrance.count < 1 + door.PLAIN_MAX:
        assert entrance.enter("127.0.0.1") == ""
    assert entrance.enter("127.0.0.1") is None
    assert entrance.refused_count == 2
