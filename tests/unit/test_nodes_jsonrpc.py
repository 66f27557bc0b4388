"""The HTTP connection to a node: credentials, failures in words, exact numbers, ZMQ."""

import asyncio
import sys
from decimal import Decimal

import msgspec
import pytest
import zmq
import zmq.asyncio
from aiohttp import web

from coins import registry
from nodes.bitcoin import BitcoinRpc
from nodes.errors import NodeAnswerInvalid, NodeBusy, NodeRpcError, NodeUnauthorized, NodeUnreachable
from nodes.faults import Fault, FaultKind
from nodes.group import NodeGroup
from nodes.jsonrpc import JsonRpc
from nodes.settings import NodeSettings
from nodes.simulated import SimulatedNode
from nodes.simulated_server import SimulatedServer
from nodes.zmq_blocks import reachable_endpoint
from runtime.clock import SystemClock

COIN = registry.get("litecoin-regtest")


@pytest.fixture
async def canned():
    """Serve one answer: set `status` and `body`; `asked` counts requests, `peers` their connections."""

    class Canned:
        status, body, delay_s = 200, b'{"result":1,"error":null,"id":1}', 0.0
        asked, peers = 0, None

    state = Canned()
    state.peers = set()

    async def answer(request):
        state.asked += 1
        state.peers.add(request.transport.get_extra_info("peername"))
        await asyncio.sleep(state.delay_s)
        return web.Response(status=state.status, body=state.body)

    app = web.Application()
    app.router.add_post("/{rest:.*}", answer)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    state.settings = NodeSettings(url=f"http://127.0.0.1:{runner.addresses[0][1]}", user="u", password="p", timeout_s=2)
    state.rpc = JsonRpc(state.settings, name="canned")
    yield state
    await state.rpc.close()
    await runner.cleanup()


async def test_numbers_with_a_point_are_exact_and_connections_are_kept(canned):
    canned.body = b'{"result":{"amount":0.10000001,"tiny":1e-8},"error":null,"id":1}'
    for _ in range(3):
        answer = await canned.rpc.call("x")
    assert answer == {"amount": Decimal("0.10000001"), "tiny": Decimal("1E-8")}
    assert len(canned.peers) == 1


@pytest.mark.parametrize(
    ("status", "body", "kind", "words"),
    [
        (401, b"", NodeUnauthorized, "refused the user and password"),
        (403, b"", NodeUnauthorized, "address of this machine"),
        (500, b'{"result":null,"error":{"code":-28,"message":"Loading block index"}}', NodeBusy, "still starting"),
        (500, b'{"result":null,"error":{"code":-9,"message":"not connected"}}', NodeBusy, "has no peers"),
        (500, b'{"result":null,"error":{"code":-10,"message":"x"}}', NodeBusy, "downloading the chain"),
        (503, b"Work queue depth exceeded", NodeBusy, "work queue is full"),
        (404, b'{"result":null,"error":{"code":-32601,"message":"nope"}}', NodeRpcError, "error -32601: nope"),
        (200, b"<html>", NodeAnswerInvalid, "HTTP status 200"),
        (200, b"[]", NodeAnswerInvalid, "makes no sense"),
        (200, b'{"id":1}', NodeAnswerInvalid, "without a result"),
        (200, b'{"result":null,"error":"bad"}', NodeAnswerInvalid, "error without a code"),
        (200, b"\xff\xfe", NodeAnswerInvalid, "makes no sense"),
    ],
)
async def test_each_failure_is_a_sentence_of_its_own_kind(canned, status, body, kind, words):
    canned.status, canned.body = status, body
    with pytest.raises(kind, match=words) as caught:
        await canned.rpc.call("getthing")
    assert "canned" in str(caught.value)
    assert "getthing" in str(caught.value)


async def test_a_node_that_does_not_answer_is_given_up_in_time(canned):
    canned.delay_s = 30
    with pytest.raises(NodeUnreachable, match=r"no answer within 0\.2 s"):
        await canned.rpc.call("x", timeout_s=0.2)


async def test_a_closed_port_is_unreachable_and_a_bad_url_is_said_so():
    closed = JsonRpc(NodeSettings(url="http://127.0.0.1:1"), name="n")
    with pytest.raises(NodeUnreachable, match=r"http://127\.0\.0\.1:1"):
        await closed.call("x")
    await closed.close()
    wrong = JsonRpc(NodeSettings(url="127.0.0.1:9332"), name="n")
    with pytest.raises(NodeUnreachable, match="expected http://host:port"):
        await wrong.call("x")
    await wrong.close()


async def test_the_cookie_is_read_again_after_the_node_was_restarted(tmp_path):
    cookie = tmp_path / ".cookie"
    node = SimulatedNode(COIN, seed="cookie", clock=SystemClock())
    cookie.write_text("__cookie__:old\n")
    async with SimulatedServer(node, user="__cookie__", password="old") as server:
        settings = NodeSettings(url=f"http://127.0.0.1:{server.port}", cookie_file=str(cookie))
        rpc = BitcoinRpc(settings, COIN)
        assert (await rpc.chain_info()).height == 0

        server._password = "new"
        with pytest.raises(NodeUnauthorized, match="refused the cookie"):
            await rpc.chain_info()
        cookie.write_text("__cookie__:new\n")
        assert (await rpc.chain_info()).height == 0

        cookie.unlink()
        server._password = "newer"
        with pytest.raises(NodeUnauthorized, match="cannot be read"):
            await rpc.chain_info()
        await rpc.close()


async def test_the_password_is_read_from_its_file_again_after_it_was_changed(tmp_path):
    file = tmp_path / "password"
    file.write_text("old\n")
    async with SimulatedServer(
        SimulatedNode(COIN, seed="file", clock=SystemClock()), user="u", password="old"
    ) as server:
        settings = NodeSettings(url=f"http://127.0.0.1:{server.port}", user="u", password_file=str(file))
        rpc = BitcoinRpc(settings, COIN)
        assert (await rpc.chain_info()).height == 0
        server._password = "new"
        with pytest.raises(NodeUnauthorized, match="refused the user and password"):
            await rpc.chain_info()
        file.write_text("new")
        assert (await rpc.chain_info()).height == 0
        file.unlink()
        server._password = "newer"
        with pytest.raises(NodeUnauthorized, match=r"password file .* cannot be read"):
            await rpc.chain_info()
        await rpc.close()


async def test_a_lost_answer_and_a_refusal_over_http_are_unreachable():
    node = SimulatedNode(COIN, seed="drop", clock=SystemClock())
    async with SimulatedServer(node) as server:
        rpc = BitcoinRpc(server.settings(wallet="pool"), COIN)
        node.faults.fail_next("getblockchaininfo", Fault(kind=FaultKind.DROP_ANSWER))
        with pytest.raises(NodeUnreachable):
            await rpc.chain_info()
        assert (await rpc.chain_info()).chain == "regtest"
        await rpc.close()


async def test_a_template_without_the_rules_of_the_coin_is_refused_in_a_nodes_words():
    async with SimulatedServer(SimulatedNode(COIN, seed="rules", clock=SystemClock())) as server:
        rpc = BitcoinRpc(server.settings(), registry.get("bitcoin-regtest"))
        with pytest.raises(NodeRpcError, match="mweb rule set"):
            await rpc.block_template()
        await rpc.close()


async def test_a_new_tip_is_heard_over_zmq_where_the_node_publishes_it():
    node = SimulatedNode(COIN, seed="zmq", clock=SystemClock())
    publisher = zmq.asyncio.Context.instance().socket(zmq.XPUB)
    port = publisher.bind_to_random_port("tcp://127.0.0.1")
    async with SimulatedServer(node) as server:
        published = [{"type": "pubhashblock", "address": f"tcp://0.0.0.0:{port}", "hwm": 1000}]
        server._rpc._handlers["getzmqnotifications"] = lambda _, __: published
        rpc = BitcoinRpc(server.settings(), COIN)
        group = NodeGroup([rpc], coin=COIN, clock=SystemClock(), poll_s=60)
        updates = group.subscribe()
        task = asyncio.create_task(group.run())
        try:
            async with asyncio.timeout(10):
                assert (await anext(updates)).template.height == 1
                await publisher.recv()
                node.mine_block()
                await publisher.send_multipart([b"hashblock", node.chain.tip.block_hash[::-1], bytes(4)])
                update = await anext(updates)
            assert (update.template.height, update.is_new_tip) == (2, True)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await group.close()
            publisher.close(linger=0)


def test_a_wildcard_publisher_is_reached_at_the_nodes_host():
    assert reachable_endpoint("tcp://0.0.0.0:28332", node_url="http://node7:9332") == "tcp://node7:28332"
    assert reachable_endpoint("tcp://10.0.0.3:28332", node_url="http://node7:9332") == "tcp://10.0.0.3:28332"


async def test_the_simulated_node_starts_as_a_process_of_its_own():
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "nodes.simulated_server", "--coin", "bitcoin-regtest", "--blocks", "101",
        "--user", "u", "--password", "p", stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        async with asyncio.timeout(20):
            word, port = (await process.stdout.readline()).split()
            assert word == b"READY"
            settings = NodeSettings(url=f"http://127.0.0.1:{int(port)}", user="u", password="p", wallet="miner")
            rpc = BitcoinRpc(settings, registry.get("bitcoin-regtest"))
            assert (await rpc.chain_info()).height == 101
            assert await rpc.balance_atomic() == 2 * 50 * 10**8
            await rpc.close()
    finally:
        process.terminate()
        assert await process.wait() == 0


@pytest.mark.parametrize(
    "url", ["127.0.0.1:9332", "http://u:p@host:9332", "http://host:9332/wallet/pool", "ftp://host"]
)
def test_a_url_that_is_not_plain_is_refused_when_settings_are_read(url):
    with pytest.raises(msgspec.ValidationError, match=r"\$\.url"):
        msgspec.convert({"url": url}, NodeSettings)


def test_the_password_is_not_in_what_is_printed_of_settings():
    assert "secret" not in repr(NodeSettings(user="u", password="secret"))
