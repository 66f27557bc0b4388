"""Each service a process of its own, as an operator runs them: etcd, Kafka, PostgreSQL, mutual TLS."""

import asyncio
import json
import time
import urllib.request
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from cli.demo.node import demo_node
from runtime.etcd.client import EtcdClient
from tests.conftest import TestDatabase
from tests.fakes.etcd_cluster import EtcdCluster
from tests.fakes.kafka_cluster import KafkaCluster, quick_settings, require_kafka
from tests.fakes.service_processes import ROLES, ServiceProcesses, running_services
from tests.fakes.stratum_miner import Miner
from tests.fakes.waiting import eventually

LIVE_S_MAX = 2.0
BANNED = "127.0.0.2"


@pytest.fixture
async def etcd() -> AsyncIterator[EtcdCluster]:
    async with EtcdCluster() as cluster:
        yield cluster


@pytest.fixture
async def services(etcd: EtcdCluster, database: TestDatabase, short_dir: Path) -> AsyncIterator[ServiceProcesses]:
    async with demo_node("simulated", short_dir / "chain") as node:
        prepared = ServiceProcesses(short_dir, etcd=etcd, node=node, dsn=database.dsn, kafka=None)
        await prepared.prepare()
        yield prepared


async def test_every_service_runs_alone_and_one_status_finds_them_all(
    etcd: EtcdCluster, database: TestDatabase, short_dir: Path
) -> None:
    """§3.10, O1: one code path, each service a process; the command line finds them through the register."""
    require_kafka()
    kafka = KafkaCluster(directory=short_dir / "kafka", node_count=1)
    async with demo_node("simulated", short_dir / "chain") as node:
        try:
            await kafka.start()
            services = ServiceProcesses(
                short_dir, etcd=etcd, node=node, dsn=database.dsn, kafka=quick_settings(kafka, prefix="run.")
            )
            await services.prepare()
            async with running_services(services):
                miner = await Miner.ready(services.stratum_port, f"{await node.miner_address()}.rig")

                said = ""

                async def has_session() -> bool:
                    nonlocal said
                    code, out, err = await services.cli("status", "--json")
                    said = out + err
                    return code == 0 and [int(each["session_count"]) for each in json.loads(out)["stratum"]] == [1]

                try:
                    await eventually(has_session, timeout_s=30, what="a status with the miner's session")
                except AssertionError as error:
                    raise AssertionError(f"{error}; it says:\n{said[-2000:]}") from error
                shown = await asyncio.to_thread(_api, services.gateway_port, "status")
                assert [each["session_count"] for each in shown["stratum"]] == [1]
                code, out, _ = await services.cli("targets")
                assert code == 0
                assert {group["labels"]["service"] for group in json.loads(out)} == set(ROLES)
                await miner.close()
                for role in ROLES:
                    assert await services.terminate(role) == 0, services.text(role)[-2000:]
                code, out, _ = await services.cli("status", "--processes", "--json")
                assert json.loads(out) == {"processes": []}
        finally:
            await kafka.stop()


async def test_changed_settings_reach_every_process_within_two_seconds_and_drop_no_connection(
    services: ServiceProcesses, etcd: EtcdCluster
) -> None:
    """Fee, difficulty bounds and bans are live; what needs a restart is named; what is wrong changes nothing."""
    async with running_services(services):
        address = "rltc1qr8qgn7jd3c8uhcmwtfl27ftdx28luam95azl74"
        miner = await Miner.ready(services.stratum_port, f"{address}.rig")
        banned = await Miner.ready(services.stratum_port, f"{address}.banned", local_host=BANNED)

        async def in_force(revision: int) -> bool:
            seen = [await services.metric(role, "lodepool_config_revision") for role in ROLES]
            return all(each is not None and each >= revision for each in seen)

        async with EtcdClient(etcd.settings()) as client:
            for path, value in (
                ("rewards.fee_ppm", "7000"),
                ("stratum.difficulty_start", "0.000024"),
                ("stratum.difficulty_min", "0.000024"),
                ("stratum.bans", json.dumps([BANNED])),
            ):
                changed_s = await services.config_set(path, value)
                revision = (await client.get(f"{etcd.settings().root}config/{path.split('.')[0]}")).mod_revision
                await eventually(
                    lambda revision=revision: in_force(revision),
                    timeout_s=LIVE_S_MAX - (time.monotonic() - changed_s),
                    what=f"{path} in force everywhere",
                )
        await eventually(
            lambda: asyncio.to_thread(_fee_shown, services.gateway_port, 7000), timeout_s=LIVE_S_MAX, what="the fee"
        )
        # The session's difficulty is raised to the new minimum, on the connection it has.
        while len(given := [m["params"][0] for m in miner.pushed if m["method"] == "mining.set_difficulty"]) < 2:
            await miner.line()
        assert given[-1] == pytest.approx(given[0] * 1.5)
        async with asyncio.timeout(LIVE_S_MAX):
            assert "operator" in (await banned.wait_pushed("client.show_message"))["params"][0]
            await banned.closed()
        refused = await Miner.connect(services.stratum_port, address, local_host=BANNED)
        assert "operator" in (await refused.line())["params"][0]
        await refused.closed()
        await miner.submit_until_accepted()
        # A restart is needed for the timeout, and each process that reads it says so.
        await services.config_set("stratum.idle_timeout_s", "500")
        await eventually(
            lambda: "settings wait for a restart settings=stratum.idle_timeout_s" in services.text("stratum"),
            timeout_s=LIVE_S_MAX, what="the warning",
        )  # fmt: skip
        await miner.submit_until_accepted()
        for each in (miner, banned, refused):
            await each.close()
        assert "settings wait for a restart" not in services.text("shares")


async def test_a_bad_change_is_refused_and_one_put_into_etcd_by_hand_leaves_the_last_good_in_force(
    services: ServiceProcesses, etcd: EtcdCluster
) -> None:
    """D: a wrong configuration never takes effect, and is reported once."""
    async with running_services(services, ("rewards",)):
        code, _, err = await services.cli("config", "set", "rewards.fee_ppm", "-1")
        assert code == 2
        assert "rewards.fee_ppm" in err
        code, _, err = await services.cli("config", "set", "postgres.dsn", "postgresql://u:secret@h/d")
        assert code == 2
        assert "password" in err
        assert "secret" not in err
        async with EtcdClient(etcd.settings()) as client:
            key = f"{etcd.settings().root}config/rewards"
            await client.put(key, msgspec.json.encode({"fee_ppm": "much"}))

            async def is_refused() -> bool:
                return await services.metric("rewards", "lodepool_config_refused") == 1.0

            await eventually(is_refused, timeout_s=LIVE_S_MAX + 1, what="the refusal")
            assert services.text("rewards").count("configuration refused path=rewards.fee_ppm") == 1
            await client.put(key, msgspec.json.encode({"fee_ppm": 5000}))

            async def is_right() -> bool:
                return await services.metric("rewards", "lodepool_config_refused") == 0.0

            await eventually(is_right, timeout_s=LIVE_S_MAX + 1, what="the next right one")


async def test_a_process_starts_from_its_copy_while_etcd_is_away(services: ServiceProcesses, etcd: EtcdCluster) -> None:
    """§3.10: etcd away is no reason not to serve."""
    async with running_services(services, ("miners",)):
        assert await services.terminate("miners") == 0
    (member,) = etcd.members
    await member.kill()
    services.log("miners").write_text("")
    services.start("miners")
    try:
        await eventually(lambda: "process serves" in services.text("miners"), timeout_s=30, what="a start without etcd")
        assert "local copy in force" in services.text("miners")
    finally:
        await services.stop()


async def test_an_empty_cluster_and_a_pool_section_in_a_host_file_are_named_with_exit_code_2(
    services: ServiceProcesses, etcd: EtcdCluster
) -> None:
    await etcd.clear()
    services.start("shares")
    assert await services.ended("shares") == 2
    assert "there is no configuration in etcd" in services.text("shares")
    with services.file("shares").open("a") as file:
        file.write("\n[stratum]\nport = 3333\n")
    services.start("shares")
    assert await services.ended("shares") == 2
    assert "lies in etcd; put it there with `lodepool config push`" in services.text("shares")


def _api(port: int, path: str) -> dict[str, Any]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/v1/{path}", timeout=5) as response:
        found: dict[str, Any] = json.load(response)
        return found


def _fee_shown(port: int, fee_ppm: int) -> bool:
    return bool(_api(port, "pool")["fee_ppm"] == fee_ppm)
