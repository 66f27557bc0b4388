"""A worker that is told of other settings, loses its nodes or its event log: what miners on real sockets see."""

import asyncio
import contextlib
import time

from prometheus_client.exposition import generate_latest

from nodes.simulated import SimulatedNode
from runtime.clock import SystemClock
from runtime.eventlog.interface import EventLogUnavailable
from runtime.telemetry import Telemetry
from stratum.journal import instance_dirs
from stratum.shipper import Shipper, run_shipper
from tests.fakes.stratum_miner import Miner, running_worker
from tests.fakes.stratum_world import BITCOIN, HARD_NBITS, process_settings
from tests.fakes.waiting import eventually

EASY = {"difficulty_start": 1e-12, "difficulty_min": 1e-12}
FIXED = "fd=0.000000000001"
CHANGE_S_MAX = 2.0


def make_node():
    return SimulatedNode(BITCOIN, seed="live", clock=SystemClock(), nbits=HARD_NBITS)


def metric(telemetry, name):
    for line in generate_latest(telemetry.registry).decode().splitlines():
        if line.startswith(f"{name} "):
            return float(line.split()[1])
    raise AssertionError(f"{name} is not told")


async def test_a_changed_bound_reaches_every_open_connection_within_two_seconds_and_drops_none(short_dir):
    """S4."""
    node = make_node()
    address = node.wallet.new_address()
    setup = process_settings(short_dir, node, address, **EASY)
    async with running_worker(setup, node) as worker:
        miners = [await Miner.ready(worker.port, f"{address}.{number}") for number in range(50)]
        fixed = await Miner.ready(worker.port, f"{address}.fixed", password=FIXED)
        old_job = fixed.job
        start_s = time.monotonic()
        assert setup.change(difficulty_min=1e-9, difficulty_start=1e-9) == ()
        for miner in (*miners, fixed):
            announced = await miner.wait_pushed("mining.set_difficulty")
            assert announced["params"][0] == 1e-9
            await miner.wait_pushed("mining.notify")
        assert time.monotonic() - start_s < CHANGE_S_MAX
        assert (await fixed.submit(fixed.share(job=old_job)))["result"] is True
        while (answer := await fixed.submit())["result"] is not True:
            assert answer["error"][0] == 23
        late = await Miner.ready(worker.port, f"{address}.late")
        assert late.pushed[0]["params"] == [1e-9]
        assert setup.change(difficulty_min=1e-12, difficulty_start=1e-12) == ()
        assert (await fixed.wait_pushed("mining.set_difficulty"))["params"][0] == 1e-12
        assert worker.metrics.connections == 52 == len(worker.hub.connections)
        for miner in (*miners, fixed, late):
            await miner.close()


async def test_a_listed_address_is_closed_with_a_reason_and_welcome_as_soon_as_it_is_not_listed(short_dir):
    node = make_node()
    address = node.wallet.new_address()
    setup = process_settings(short_dir, node, address, **EASY)
    async with running_worker(setup, node) as worker:
        miner = await Miner.ready(worker.port, f"{address}.rig", password=FIXED)
        assert (await miner.submit())["result"] is True
        setup.change(bans=("127.0.0.0/8",))
        assert "operator" in (await miner.wait_pushed("client.show_message"))["params"][0]
        await miner.closed()
        refused = await Miner.connect(worker.port, address)
        assert "operator" in (await refused.line())["params"][0]
        await refused.closed()
        setup.change(bans=())
        welcome = await Miner.ready(worker.port, f"{address}.rig", password=FIXED)
        assert (await welcome.submit())["result"] is True
        assert worker.metrics.connections_refused == 1
        for each in (miner, refused, welcome):
            await each.close()


async def test_a_worker_that_stops_asks_firmware_that_knows_it_to_connect_again(short_dir):
    node = make_node()
    address = node.wallet.new_address()
    async with running_worker(process_settings(short_dir, node, address, **EASY), node) as worker:
        miner = await Miner.connect(worker.port, f"{address}.rig")
        await miner.ask("mining.subscribe", ["cgminer/4.12.1"])
    await miner.closed()
    assert [message["method"] for message in miner.pushed[-2:]] == ["client.show_message", "client.reconnect"]
    await miner.close()


async def test_without_any_node_miners_stay_and_their_shares_count(short_dir, caplog):
    """DESIGN 3.10: no new jobs, an error in the log, connections kept."""
    node = make_node()
    address = node.wallet.new_address()
    telemetry = Telemetry.off()
    setup = process_settings(short_dir, node, address, job_refresh_s=0.2, **EASY)
    async with running_worker(setup, node, telemetry=telemetry) as worker:
        miner = await Miner.ready(worker.port, f"{address}.rig", password=FIXED)
        node.go_down()
        await eventually(lambda: "no node can be used" in caplog.text, timeout_s=20)
        assert 'lodepool_stratum_node_up{node="simulated"} 0.0' in generate_latest(telemetry.registry).decode()
        assert (await miner.submit())["result"] is True
        other = await Miner.ready(worker.port, f"{address}.other", password=FIXED)
        assert (await other.submit())["result"] is True
        node.come_up()
        node.mine_block()
        job_id = miner.job[0]
        await miner.wait_job(other_than=job_id)
        assert (await miner.submit())["result"] is True
        for each in (miner, other):
            await each.close()


class SometimesAway:
    """An event log whose publish fails while it is away."""

    def __init__(self, eventlog):
        self._eventlog = eventlog
        self.is_away = False

    async def publish(self, topic, records):
        if self.is_away:
            raise EventLogUnavailable("the broker does not answer")
        await self._eventlog.publish(topic, records)


async def test_an_event_log_that_is_away_is_noticed_only_when_the_journal_is_full(platform, short_dir):
    """D5, D6: accepted up to the cap, then refused with the reason, accepted again once shipped; each share is counted."""
    node = make_node()
    address = node.wallet.new_address()
    eventlog = SometimesAway(platform.eventlog)
    telemetry = Telemetry.off()
    setup = process_settings(short_dir, node, address, journal_segment_bytes=4096, journal_bytes_max=65_536, **EASY)
    shipper = Shipper(short_dir, eventlog, clock=SystemClock())
    telemetry.register(shipper.families)
    shipping = asyncio.create_task(run_shipper(shipper, on_start=lambda: None))
    async with running_worker(setup, node, telemetry=telemetry) as worker:
        miner = await Miner.ready(worker.port, f"{address}.rig", password=FIXED)
        assert (await miner.submit())["result"] is True
        eventlog.is_away = True
        accepted = 1
        while (answer := await miner.submit())["result"] is True:
            accepted += 1
            assert accepted < 20_000
        assert answer["error"][0] == 20
        assert "journal is full" in answer["error"][1]
        assert accepted > 100
        assert metric(telemetry, "lodepool_stratum_refusing") == 1
        assert metric(telemetry, "lodepool_stratum_shares_not_recorded_total") == worker.metrics.not_recorded >= 1
        assert metric(telemetry, "lodepool_shipper_event_log_up") == 0
        assert metric(telemetry, "lodepool_shipper_lag_bytes") > 60_000
        assert metric(telemetry, "lodepool_shipper_lag_seconds") > 0
        await eventually(lambda: metric(telemetry, "lodepool_stratum_journal_age_seconds") > 0)
        eventlog.is_away = False
        await eventually(lambda: worker.intake.refusing_reason == "")
        assert (await miner.submit())["result"] is True
        accepted += 1
        await eventually(lambda: metric(telemetry, "lodepool_stratum_journal_age_seconds") == 0)
        assert metric(telemetry, "lodepool_shipper_event_log_up") == 1
        assert metric(telemetry, "lodepool_stratum_last_seq") == accepted
        await miner.close()
    await eventually(lambda: instance_dirs(short_dir) == [])
    assert shipper.records_published > 0
    shipping.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await shipping
