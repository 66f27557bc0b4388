"""Stratum workers of a cluster on real etcd: no two ever use one piece of the search space."""

import asyncio
import contextlib
import os
import signal
import sys

import msgspec
import pytest

from nodes.simulated import SimulatedNode
from nodes.simulated_server import SimulatedServer
from runtime.clock import SystemClock
from runtime.etcd.claims import ClaimTiming
from runtime.etcd.client import EtcdClient
from runtime.process import READY_FD, free_port
from stratum.errors import PrefixLost
from stratum.journal import instance_dirs, summarise
from stratum.lease import EtcdPrefixSource, prefix_timing
from tests.fakes.etcd_cluster import EtcdCluster
from tests.fakes.stratum_miner import Miner, running_worker
from tests.fakes.stratum_process import Arguments
from tests.fakes.stratum_world import BITCOIN, HARD_NBITS, process_settings
from tests.fakes.tcp_proxy import TcpProxy
from tests.fakes.waiting import eventually

EASY = {"difficulty_start": 1e-12, "difficulty_min": 1e-12}
FIXED = "fd=0.000000000001"
SHORT = ClaimTiming(ttl_s=2.0, margin_s=0.3)
DAY = prefix_timing(86_400)


def make_node():
    return SimulatedNode(BITCOIN, seed="cluster", clock=SystemClock(), nbits=HARD_NBITS)


def source(etcd, *, timing, prefixes=range(65_536)):
    return EtcdPrefixSource(etcd, slot=0, owner="test", timing=timing, prefixes=prefixes)


async def extranonce1(port):
    """Return what a new connection is given, empty when it is refused."""
    miner = await Miner.connect(port, "x")
    try:
        answer = await miner.ask("mining.subscribe", ["test/1"])
        return answer["result"][1] if answer["result"] else ""
    finally:
        await miner.close()


async def test_two_hosts_search_different_spaces_and_a_new_life_never_gets_an_old_prefix(short_dir):
    node = make_node()
    address = node.wallet.new_address()
    prefixes, instances = [], set()
    async with EtcdCluster() as cluster, EtcdClient(cluster.settings()) as etcd:
        for life in range(3):
            first = process_settings(short_dir / "a", node, address, **EASY)
            second = process_settings(short_dir / "b", node, address, **EASY)
            async with (
                running_worker(first, node, prefixes=source(etcd, timing=DAY)) as one,
                running_worker(second, node, prefixes=source(etcd, timing=DAY)) as other,
            ):
                prefixes += [(await extranonce1(one.port))[:4], (await extranonce1(other.port))[:4]]
                instances |= {one.instance, other.instance}
                for worker, number in ((one, 2 * life), (other, 2 * life + 1)):
                    miner = await Miner.ready(worker.port, f"{address}.rig", password=FIXED)
                    assert (await miner.submit())["result"] is True
                    assert miner.pushed
                    assert prefixes[number] == f"{number:04x}"
                    await miner.close()
    assert len(instances) == 6
    assert {folder.name for place in "ab" for folder in instance_dirs(short_dir / place)} == instances


async def test_miners_do_not_notice_that_etcd_is_away(short_dir):
    """DESIGN 3.10."""
    node = make_node()
    address = node.wallet.new_address()
    timing = ClaimTiming(ttl_s=86_400, margin_s=60, renewal_s=0.2)
    async with EtcdCluster() as cluster, EtcdClient(cluster.settings()) as etcd:
        setup = process_settings(short_dir, node, address, **EASY)
        async with running_worker(setup, node, prefixes=source(etcd, timing=timing)) as worker:
            miner = await Miner.ready(worker.port, f"{address}.rig", password=FIXED)
            await cluster.members[0].kill()
            before_s = worker._lease.left_s
            await eventually(lambda: worker._lease.left_s < before_s - 1, timeout_s=20)
            assert (await miner.submit())["result"] is True
            node.mine_block()
            job_id = miner.job[0]
            await miner.wait_job(other_than=job_id)
            assert (await miner.submit())["result"] is True
            assert await extranonce1(worker.port) != ""
            low_s = worker._lease.left_s
            await cluster.members[0].start()
            await eventually(lambda: worker._lease.left_s > low_s, timeout_s=20)
            assert (await miner.submit())["result"] is True
            await miner.close()


async def test_a_worker_that_starts_while_etcd_is_away_waits_and_says_so(short_dir, caplog):
    node = make_node()
    async with EtcdCluster() as cluster, EtcdClient(cluster.settings()) as etcd:
        member = cluster.members[0]
        await member.kill()

        async def revive():
            await eventually(lambda: "number waited for" in caplog.text, timeout_s=20)
            await member.start()

        reviving = asyncio.create_task(revive())
        setup = process_settings(short_dir, node, node.wallet.new_address(), **EASY)
        async with running_worker(setup, node, prefixes=source(etcd, timing=DAY)) as worker:
            await reviving
            assert await extranonce1(worker.port) == "00000000"


async def test_a_worker_cut_off_for_the_length_of_its_lease_ends_before_its_prefix_is_anothers(short_dir, caplog):
    """Three members; the worker's way to all of them breaks, that of the other host does not."""
    node = make_node()
    address = node.wallet.new_address()
    only = range(1)
    async with EtcdCluster(3) as cluster, contextlib.AsyncExitStack() as stack:
        proxies = [await stack.enter_async_context(TcpProxy(member.client_port)) for member in cluster.members]
        near = await stack.enter_async_context(EtcdClient(cluster.settings()))
        far = await stack.enter_async_context(
            EtcdClient(cluster.settings(endpoints=tuple(proxy.endpoint for proxy in proxies)))
        )
        first = process_settings(short_dir / "a", node, address, **EASY)
        second = process_settings(short_dir / "b", node, address, **EASY)
        with pytest.raises(ExceptionGroup) as caught:
            async with running_worker(first, node, prefixes=source(far, timing=SHORT, prefixes=only)) as cut_off:
                miner = await Miner.connect(cut_off.port, f"{address}.rig")
                await miner.ask("mining.subscribe", ["cgminer/4.12"])
                await miner.ask("mining.authorize", [f"{address}.rig", FIXED])
                await miner.wait_job()
                assert (await miner.submit())["result"] is True
                for proxy in proxies:
                    proxy.freeze()
                async with running_worker(second, node, prefixes=source(near, timing=SHORT, prefixes=only)) as heir:
                    assert not cut_off._lease.is_held
                    assert await extranonce1(heir.port) == "00000000"
                    await miner.closed()
                    await miner.close()
                    assert cut_off.intake.last_seq == 1
        assert isinstance(caught.value.exceptions[0], PrefixLost)
        assert "prefix lost" in caplog.text
        assert [message["method"] for message in miner.pushed[-2:]] == ["client.show_message", "client.reconnect"]
        (folder,) = instance_dirs(short_dir / "a")
        assert summarise(folder).accepted_count == 1


async def start_process(arguments):
    read_fd, write_fd = os.pipe()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.fakes.stratum_process", msgspec.json.encode(arguments).decode()),
        env={**os.environ, READY_FD: str(write_fd)},
        pass_fds=(write_fd,),
        stderr=asyncio.subprocess.DEVNULL,
    )
    os.close(write_fd)
    try:
        line = await asyncio.wait_for(asyncio.to_thread(os.read, read_fd, 100), 30)
    finally:
        os.close(read_fd)
    assert line == b"READY stratum-0\n"
    return process


async def test_a_frozen_worker_whose_prefix_is_anothers_finds_out_before_it_accepts_anything(short_dir):
    """D1: what it had accepted before is in its journal, and nothing else is."""
    node = make_node()
    address = node.wallet.new_address()
    async with EtcdCluster() as cluster, SimulatedServer(node) as server:

        def arguments(place):
            return Arguments(
                endpoints=cluster.endpoints,
                node_url=f"http://127.0.0.1:{server.port}",
                coin=node.coin.coin_id,
                address=address,
                data_dir=str(short_dir / place),
                port=free_port(),
                prefix_count=1,
                ttl_s=SHORT.ttl_s,
                margin_s=SHORT.margin_s,
            )

        old_arguments, new_arguments = arguments("a"), arguments("b")
        old = await start_process(old_arguments)
        new = None
        try:
            miner = await Miner.ready(old_arguments.port, f"{address}.rig", password=FIXED)
            assert (await miner.submit())["result"] is True
            newcomer = await Miner.connect(old_arguments.port, f"{address}.late")
            old.send_signal(signal.SIGSTOP)
            ids = [miner.send("mining.submit", miner.share()) for _ in range(20)]
            newcomer.send("mining.subscribe", ["test/1"])
            new = await start_process(new_arguments)
            heir = await Miner.ready(new_arguments.port, f"{address}.rig", password=FIXED)
            assert (await heir.submit())["result"] is True
            old.send_signal(signal.SIGCONT)
            answers = []
            with contextlib.suppress(ConnectionError):
                while True:
                    message = await miner.line()
                    if message.get("id") in ids:
                        answers.append(message)
            assert all(answer["result"] is not True for answer in answers)
            with contextlib.suppress(ConnectionError):
                while True:
                    message = await newcomer.line()
                    assert not message.get("result")
            assert await asyncio.wait_for(old.wait(), 20) == 1
            (folder,) = instance_dirs(short_dir / "a")
            assert summarise(folder).accepted_count == 1
            assert (await heir.submit())["result"] is True
            for each in (miner, newcomer, heir):
                await each.close()
        finally:
            for process in (old, new):
                if process is not None and process.returncode is None:
                    process.kill()
                    await process.wait()
