"""Kill -9 a worker process under load: every share that was seen accepted is in the journal, once, and is shipped."""

import asyncio
import contextlib
import os
import signal
import sys
from collections import Counter

import pytest

from nodes.simulated import SimulatedNode
from nodes.simulated_server import SimulatedServer
from proto.lodepool.events.v1.events_pb2 import ShareRecord
from runtime.clock import SystemClock
from runtime.process import READY_FD, free_port
from stratum import blocks
from stratum.journal import entries, instance_dirs
from stratum.shipper import Shipper
from tests.fakes.stratum_miner import Miner
from tests.fakes.stratum_world import BITCOIN, HARD_NBITS, LITECOIN
from tests.fakes.waiting import eventually

ROUNDS = 3
MINERS = 8
IN_FLIGHT = 16


def write_config(folder, node, server, address, port):
    path = folder / "lodepool.toml"
    path.write_text(
        f'[pool]\ncoin = "{node.coin.coin_id}"\naddress = "{address}"\ndata_dir = "data"\n'
        f'[[nodes]]\nurl = "http://127.0.0.1:{server.port}"\n'
        f'[stratum]\nhost = "127.0.0.1"\nport = {port}\ndifficulty_start = 1e-12\ndifficulty_min = 1e-12\n'
        f"journal_segment_bytes = 65536\n"
    )
    return path


async def start_process(config, role, **environment):
    read_fd, write_fd = os.pipe()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "cli.run", role, "--config", str(config),
        env={**os.environ, READY_FD: str(write_fd), **environment},
        pass_fds=(write_fd,),
        stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    os.close(write_fd)
    try:
        line = await asyncio.wait_for(asyncio.to_thread(os.read, read_fd, 100), 30)
    finally:
        os.close(read_fd)
    assert line == (b"READY stratum-0\n" if role == "stratum" else b"READY shipper\n")
    return process


async def start_worker(config):
    return await start_process(config, "stratum")


async def mine(port, user, accepted):
    """Keep shares in flight until the connection breaks; note what was seen accepted."""
    with contextlib.suppress(ConnectionError, OSError):
        miner = await Miner.ready(port, user, password="fd=0.000000000001")
        try:
            for _ in range(IN_FLIGHT):
                miner.send("mining.submit", miner.share())
            while True:
                message = await miner.line()
                if "method" in message:
                    continue
                if message["result"] is True:
                    accepted[user] += 1
                miner.send("mining.submit", miner.share())
        finally:
            await miner.close()


@pytest.mark.parametrize("coin", [BITCOIN, LITECOIN], ids=["sha256d", "scrypt"])
async def test_every_share_seen_accepted_survives_kill_9(platform, short_dir, coin):
    """D1."""
    node = SimulatedNode(coin, seed="crash", clock=SystemClock(), nbits=HARD_NBITS)
    address = node.wallet.new_address()
    accepted: Counter[str] = Counter()
    port = free_port()
    async with SimulatedServer(node) as server:
        config = write_config(short_dir, node, server, address, port)
        for life in range(ROUNDS):
            process = await start_worker(config)
            users = [f"{address}.{life}-{number}" for number in range(MINERS)]
            miners = [asyncio.create_task(mine(port, user, accepted)) for user in users]
            before = accepted.total()
            await eventually(lambda before=before: accepted.total() > before + 400, timeout_s=30)
            process.send_signal(signal.SIGKILL)
            await process.wait()
            await asyncio.gather(*miners)
    data_dir = short_dir / "data"
    booked = Counter()
    for folder in instance_dirs(data_dir):
        next_seq = 1
        for entry in entries(folder):
            if entry.HasField("batch"):
                assert entry.batch.first_seq == next_seq
                next_seq += len(entry.batch.outcome)
                booked.update(users_of(entry.batch))
    check(accepted, booked)
    shipper = Shipper(data_dir, platform.eventlog, clock=SystemClock())
    while await shipper.ship_round():
        pass
    assert instance_dirs(data_dir) == []
    shipped = Counter()
    closed = 0
    for record in await read_shares(platform.eventlog):
        shipped.update(users_of(record.batch))
        closed += record.watermark.is_closed
    assert shipped == booked
    assert closed == ROUNDS


def users_of(batch):
    for place, outcome in zip(batch.submitter_index, batch.outcome, strict=True):
        if outcome == 1:
            yield f"{batch.submitters[place].account}.{batch.submitters[place].worker}"


def check(accepted, booked):
    """Beyond what was seen there are only shares whose answer the kill cut off."""
    for user, count in accepted.items():
        assert count <= booked[user] <= count + IN_FLIGHT


async def read_shares(eventlog):
    async def from_the_beginning(_partition):
        return 0

    subscription = await eventlog.subscribe("shares", group="test", load_position=from_the_beginning)
    records = []
    while found := await subscription.poll(records_max=1000, timeout_s=0.1):
        records += [ShareRecord.FromString(record.payload) for record in found]
    await subscription.close()
    return records


async def test_killed_shippers_send_every_share_at_least_once_and_in_order(platform, database, short_dir):
    """D1: a consumer that goes by (instance, seq) has each share once."""
    node = SimulatedNode(BITCOIN, seed="crash", clock=SystemClock(), nbits=HARD_NBITS)
    address = node.wallet.new_address()
    accepted: Counter[str] = Counter()
    port = free_port()
    async with SimulatedServer(node) as server:
        config = write_config(short_dir, node, server, address, port)
        worker = await start_worker(config)
        users = [f"{address}.{number}" for number in range(MINERS)]
        miners = [asyncio.create_task(mine(port, user, accepted)) for user in users]
        for _ in range(ROUNDS):
            shipper = await start_process(config, "shipper", LODEPOOL_POSTGRES_DSN=database.dsn)
            before = accepted.total()
            await eventually(lambda before=before: accepted.total() > before + 400, timeout_s=30)
            shipper.send_signal(signal.SIGKILL)
            await shipper.wait()
        worker.send_signal(signal.SIGTERM)
        assert await worker.wait() == 0
        await asyncio.gather(*miners)
    shipper = await start_process(config, "shipper", LODEPOOL_POSTGRES_DSN=database.dsn)
    await eventually(lambda: instance_dirs(short_dir / "data") == [], timeout_s=30)
    shipper.send_signal(signal.SIGTERM)
    assert await shipper.wait() == 0
    last_seq = 0
    booked: Counter[str] = Counter()
    records = await read_shares(platform.eventlog)
    for record in records:
        if not record.HasField("batch"):
            continue
        first, who = record.batch.first_seq, list(users_of(record.batch))
        assert first <= last_seq + 1
        assert len(who) == len(record.batch.outcome)
        booked.update(who[max(last_seq + 1 - first, 0) :])
        last_seq = max(last_seq, first + len(who) - 1)
    assert records[-1].watermark.is_closed
    assert records[-1].watermark.last_seq == last_seq == booked.total()
    check(accepted, booked)


async def test_a_block_is_not_lost_when_the_process_dies_before_a_node_answers(short_dir):
    """D2, S8."""
    node = SimulatedNode(LITECOIN, seed="crash", clock=SystemClock())
    address = node.wallet.new_address()
    port = free_port()
    async with SimulatedServer(node) as server:
        config = write_config(short_dir, node, server, address, port)
        process = await start_worker(config)
        miner = await Miner.ready(port, f"{address}.rig", password="fd=0.000000000001")
        node.go_down()
        data_dir = short_dir / "data"
        while not blocks.list_blocks(data_dir):
            assert (await miner.submit())["result"] is True
        process.send_signal(signal.SIGKILL)
        await process.wait()
        await miner.close()
        (stored,) = blocks.list_blocks(data_dir)
        assert not stored.is_done
        assert node.stored(stored.block_hash_hex) is None
        node.come_up()
        process = await start_worker(config)
        await eventually(lambda: blocks.list_blocks(data_dir)[0].is_done)
        assert node.stored(stored.block_hash_hex) is not None
        process.send_signal(signal.SIGTERM)
        assert await process.wait() == 0
    found = [entry.block for folder in instance_dirs(data_dir) for entry in entries(folder) if entry.HasField("block")]
    assert {entry.block_hash_hex for entry in found} == {stored.block_hash_hex}
