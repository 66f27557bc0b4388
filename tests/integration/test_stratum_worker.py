"""One worker process inside the test: real sockets, a simulated node, a real journal on disk."""

import asyncio

import pytest

from nodes.errors import PoolAddressMismatch
from nodes.simulated import SimulatedNode
from nodes.simulated_chain import REGTEST_NBITS
from proto.lodepool.stratum.v1 import stratum_pb2
from proto.lodepool.stratum.v1.stratum_pb2_grpc import StratumServiceStub
from runtime.clock import SystemClock
from runtime.errors import UserError
from runtime.process import socket_dir
from runtime.rpc.client import RpcClients, StaticDirectory
from stratum import blocks
from stratum.errors import JournalUnavailable
from stratum.journal import entries, instance_dirs, summarise
from tests.fakes.stratum_miner import Miner, running_worker
from tests.fakes.stratum_world import BITCOIN, HARD_NBITS, LITECOIN, process_settings
from tests.fakes.waiting import eventually

EASY = {"difficulty_start": 1e-12, "difficulty_min": 1e-12}
FIXED = "fd=0.000000000001"


def make_node(coin, nbits=HARD_NBITS):
    return SimulatedNode(coin, seed="worker", clock=SystemClock(), nbits=nbits)


@pytest.mark.parametrize("coin", [BITCOIN, LITECOIN], ids=["sha256d", "scrypt"])
async def test_every_share_seen_accepted_is_in_the_journal(short_dir, coin):
    """D1, S9."""
    node = make_node(coin)
    address = node.wallet.new_address()
    async with running_worker(process_settings(short_dir, node, address, **EASY), node) as worker:
        miner = await Miner.ready(worker.port, f"{address}.rig", password=FIXED)
        accepted = 0
        for _ in range(3):
            ids = [miner.send("mining.submit", miner.share()) for _ in range(100)]
            for _ in ids:
                accepted += (await miner.line())["result"] is True
            assert summarise(instance_dirs(short_dir)[0]).accepted_count == accepted
        repeated = await miner.submit(miner.share(nonce=0))
        assert repeated["error"][0] == 22
        low = await miner.submit([*miner.share()[:3], "00000000", "00000000"])
        assert low["error"][0] == 20
        summary = summarise(instance_dirs(short_dir)[0])
        assert (accepted, summary.share_count, summary.last_seq) == (300, 302, 302)
        outcomes = [
            outcome
            for entry in entries(instance_dirs(short_dir)[0])
            if entry.HasField("batch")
            for outcome in entry.batch.outcome
        ]
        assert (outcomes.count(1), outcomes.count(3), outcomes.count(5)) == (300, 1, 1)
        await miner.close()


@pytest.mark.parametrize("coin", [BITCOIN, LITECOIN], ids=["sha256d", "scrypt"])
async def test_a_found_block_reaches_every_node_the_disk_and_the_journal(short_dir, coin):
    """D2, S8."""
    first, second = make_node(coin, REGTEST_NBITS), make_node(coin, REGTEST_NBITS)
    address = first.wallet.new_address()
    async with running_worker(process_settings(short_dir, first, address, **EASY), first, second) as worker:
        miner = await Miner.ready(worker.port, f"{address}.rig", password=FIXED)
        job_id = miner.job[0]
        while not worker.metrics.blocks_found:
            assert (await miner.submit())["result"] is True
        job = await miner.wait_job(other_than=job_id)
        assert job[-1] is True
        await eventually(lambda: all(block.is_done for block in blocks.list_blocks(short_dir)))
        (stored,) = blocks.list_blocks(short_dir)
        assert first.stored(stored.block_hash_hex) is not None
        assert second.stored(stored.block_hash_hex) is not None
        (found,) = [entry.block for entry in entries(instance_dirs(short_dir)[0]) if entry.HasField("block")]
        assert (found.block_hash_hex, found.account, found.worker) == (stored.block_hash_hex, address, "rig")
        assert found.block == stored.read_block()
        info = await first.block(stored.block_hash_hex)
        assert info.coinbase_txid_hex == found.coinbase_txid_hex
        assert sum(amount for _, amount in info.coinbase_outputs) == found.coinbase_value_atomic
        await miner.close()


async def test_a_new_tip_makes_older_jobs_stale_and_is_marked_in_the_journal(short_dir):
    """S5."""
    node = make_node(BITCOIN)
    address = node.wallet.new_address()
    async with running_worker(process_settings(short_dir, node, address, **EASY), node) as worker:
        miner = await Miner.ready(worker.port, f"{address}.rig", password=FIXED)
        old = miner.job
        assert (await miner.submit(miner.share(job=old)))["result"] is True
        node.mine_block()
        new = await miner.wait_job(other_than=old[0])
        assert new[-1] is True
        late = await miner.submit(miner.share(job=old))
        assert late["error"][0] == 21
        assert (await miner.submit())["result"] is True
        marks = [e.watermark for e in entries(instance_dirs(short_dir)[0]) if e.HasField("watermark")]
        assert (marks[-1].last_seq >= 1, marks[-1].height) == (True, 2)
        await miner.close()


async def test_shares_that_cannot_be_recorded_are_refused_counted_and_may_come_again(short_dir, monkeypatch):
    """D5, D6."""
    node = make_node(BITCOIN)
    address = node.wallet.new_address()
    async with running_worker(process_settings(short_dir, node, address, **EASY), node) as worker:
        miner = await Miner.ready(worker.port, f"{address}.rig", password=FIXED)

        def refuse(_payloads):
            raise JournalUnavailable("cannot write the journal: No space left on device")

        monkeypatch.setattr(worker.journal, "append", refuse, raising=False)
        fields = miner.share()
        answer = await miner.submit(fields)
        assert answer["error"][0] == 20
        assert "No space left" in answer["error"][1]
        assert (worker.metrics.not_recorded, worker.intake.last_seq) == (1, 0)
        assert "No space left" in worker.intake.refusing_reason
        monkeypatch.undo()
        assert (await miner.submit(fields))["result"] is True
        assert worker.intake.refusing_reason == ""
        worker.intake.limit(journal_bytes=11, journal_bytes_max=10)
        assert "journal is full" in (await miner.submit())["error"][1]
        worker.intake.limit(journal_bytes=9, journal_bytes_max=10)
        assert (await miner.submit())["result"] is True
        await miner.close()


async def test_a_block_left_by_an_earlier_process_is_submitted_and_published_again(short_dir):
    """D2."""
    node = make_node(BITCOIN, REGTEST_NBITS)
    address = node.wallet.new_address()
    settings = process_settings(short_dir, node, address, **EASY)
    node.faults.is_down = False
    async with running_worker(settings, node) as worker:
        miner = await Miner.ready(worker.port, f"{address}.rig", password=FIXED)
        while not worker.metrics.blocks_found:
            await miner.submit()
        await eventually(lambda: all(block.is_done for block in blocks.list_blocks(short_dir)))
        await miner.close()
    stored = blocks.list_blocks(short_dir)[0]
    stored.path.with_suffix(".done").unlink()
    async with running_worker(settings, node) as worker:
        await eventually(lambda: blocks.list_blocks(short_dir)[0].is_done)
        (again,) = [
            entry.block
            for folder in instance_dirs(short_dir)
            if folder.name == worker.instance
            for entry in entries(folder)
            if entry.HasField("block")
        ]
        assert again.block_hash_hex == stored.block_hash_hex
        assert again.block == stored.read_block()


async def test_a_node_of_another_network_stops_the_start(short_dir):
    """S6."""
    node = make_node(BITCOIN)
    address = node.wallet.new_address()
    node.network = "main"
    with pytest.raises(PoolAddressMismatch):
        async with running_worker(process_settings(short_dir, node, address), node):
            pass


async def test_a_port_in_use_is_named(short_dir):
    node = make_node(BITCOIN)
    server = await asyncio.start_server(lambda _r, _w: None, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    with pytest.raises(BaseExceptionGroup) as caught:
        async with running_worker(process_settings(short_dir, node, node.wallet.new_address(), port=port), node):
            pass
    assert str(port) in str(caught.group_contains(UserError) and caught.value.exceptions[0])
    server.close()


async def test_garbage_is_answered_then_banned_with_a_reason(short_dir):
    node = make_node(BITCOIN)
    settings = process_settings(short_dir, node, node.wallet.new_address(), bad_lines_max=3)
    async with running_worker(settings, node) as worker:
        miner = await Miner.connect(worker.port, "x")
        miner.send_raw(b"GET / HTTP/1.1\r\n" * 3)
        assert [(await miner.line())["error"][0] for _ in range(3)] == [20, 20, 20]
        await miner.closed()
        banned = await Miner.connect(worker.port, "x")
        message = await banned.line()
        assert message["method"] == "client.show_message"
        assert "3 malformed lines" in message["params"][0]
        await banned.closed()
        assert (worker.metrics.bans, worker.metrics.connections_refused) == (1, 1)
        await miner.close()
        await banned.close()


async def test_a_listed_balancer_speaks_for_its_clients_and_must(short_dir):
    node = make_node(BITCOIN)
    address = node.wallet.new_address()
    settings = process_settings(
        short_dir, node, address, proxy_sources=("127.0.0.0/8",), sessions_per_address_max=1, **EASY
    )
    async with running_worker(settings, node) as worker:
        miner = await Miner.connect(worker.port, address, first=b"PROXY TCP4 203.0.113.7 127.0.0.1 5 6\r\n")
        await miner.ask("mining.subscribe", [])
        second = await Miner.connect(worker.port, address, first=b"PROXY TCP4 203.0.113.7 127.0.0.1 5 6\r\n")
        assert "from your address" in (await second.line())["params"][0]
        other = await Miner.connect(worker.port, address, first=b"PROXY TCP4 203.0.113.8 127.0.0.1 5 6\r\n")
        await other.ask("mining.subscribe", [])
        direct = await Miner.connect(worker.port, address)
        direct.send("mining.subscribe", [])
        await direct.closed()
        for connection in (miner, second, other, direct):
            await connection.close()


async def test_vardiff_announces_a_burst_with_a_new_job(short_dir):
    node = make_node(BITCOIN)
    address = node.wallet.new_address()
    async with running_worker(process_settings(short_dir, node, address, **EASY), node) as worker:
        miner = await Miner.ready(worker.port, f"{address}.rig")
        job_id = miner.job[0]
        for _ in range(20):
            await miner.submit()
        job = await miner.wait_job(other_than=job_id)
        assert job[-1] is False
        assert [message["method"] for message in miner.pushed[-2:]] == ["mining.set_difficulty", "mining.notify"]
        assert miner.pushed[-2]["params"][0] > 1e-12
        await miner.close()


async def test_status_tells_sessions_shares_journal_and_nodes(short_dir):
    node = make_node(BITCOIN)
    address = node.wallet.new_address()
    async with running_worker(process_settings(short_dir, node, address, **EASY), node) as worker:
        miner = await Miner.ready(worker.port, f"{address}.rig", password=FIXED)
        await miner.submit()
        clients = RpcClients(StaticDirectory({"stratum-0": f"unix:{socket_dir(short_dir) / 'stratum-0'}.sock"}))
        stub = StratumServiceStub(clients.channel("stratum-0"))
        status = await stub.GetStatus(stratum_pb2.GetStatusRequest(), timeout=5)
        assert (status.instance, status.session_count, status.height, status.shares_accepted) == (
            worker.instance,
            1,
            1,
            1,
        )
        assert [(health.name, health.is_up) for health in status.nodes] == [("simulated", True)]
        await clients.close()
        await miner.close()


async def test_stopping_answers_what_was_taken_and_says_why(short_dir):
    node = make_node(LITECOIN)
    address = node.wallet.new_address()
    async with running_worker(process_settings(short_dir, node, address, **EASY), node) as worker:
        miner = await Miner.ready(worker.port, f"{address}.rig", password=FIXED)
        ids = [miner.send("mining.submit", miner.share()) for _ in range(50)]
        first = await miner.answer(ids[0])
        assert first["result"] is True
    results = []
    try:
        while True:
            message = await miner.line()
            results.append(message.get("result"))
    except ConnectionError:
        pass
    assert miner.pushed[-1]["params"] == ["the pool restarts, reconnect"]
    assert summarise(instance_dirs(short_dir)[0]).accepted_count == results.count(True) + 1
    await miner.close()
