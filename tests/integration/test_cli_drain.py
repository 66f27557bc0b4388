"""A process that is stopped while it is asked: what runs finishes, what comes next goes to another one."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cli.demo.node import COIN_ID, demo_node
from cli.reading import register
from cli.settings import load_host
from proto.lodepool.shares.v1 import shares_pb2
from proto.lodepool.shares.v1.shares_pb2_grpc import ShareServiceStub
from runtime.postgres.pool import acquired
from runtime.rpc.access import OPERATOR
from runtime.rpc.client import RpcClients, call
from runtime.rpc.errors import RpcError
from runtime.rpc.identity import load_identity
from tests.conftest import TestDatabase
from tests.fakes.etcd_cluster import EtcdCluster
from tests.fakes.service_processes import ServiceProcesses, running_services
from tests.fakes.waiting import eventually

TABLES = ("shares.slice", "shares.pool_slice", "shares.worker")


@pytest.fixture
async def services(database: TestDatabase, short_dir: Path) -> AsyncIterator[ServiceProcesses]:
    async with EtcdCluster() as etcd, demo_node("simulated", short_dir / "chain") as node:
        prepared = ServiceProcesses(short_dir, etcd=etcd, node=node, dsn=database.dsn, kafka=None)
        await prepared.prepare()
        yield prepared


class Asker:
    """Asks whichever instance comes next, again and again."""

    def __init__(self, clients: RpcClients) -> None:
        self._stub = ShareServiceStub(clients.channel("shares"))
        self.answer_count = 0
        self.errors: list[RpcError] = []

    async def run(self) -> None:
        while True:
            try:
                await call(self._stub.ListInstances, shares_pb2.ListInstancesRequest(coin=COIN_ID))
                self.answer_count += 1
            except RpcError as error:
                self.errors.append(error)
            await asyncio.sleep(0.01)


async def test_a_running_call_finishes_and_the_others_go_to_the_other_instance(
    services: ServiceProcesses, database: TestDatabase
) -> None:
    """§3.10: SIGTERM to one of two instances is no error for anybody who asks."""
    async with running_services(services, ("shares", "shares@2")):
        host = load_host(services.file("cli"))
        assert host.etcd is not None
        async with register(host.etcd) as directory:
            identity = load_identity(host.rpc, OPERATOR)
            clients, others = RpcClients(directory, identity), RpcClients(directory, identity)
            goes = next(n for n in clients.members("shares") if n.endswith(f"-{services.pid('shares@2')}"))
            assert len(clients.members("shares")) == 2
            asker = Asker(others)
            asking = asyncio.create_task(asker.run())
            async with acquired(database.pool) as connection:
                held = connection.transaction()
                await held.start()
                await connection.execute(f"LOCK TABLE {', '.join(TABLES)} IN ACCESS EXCLUSIVE MODE")
                stub = ShareServiceStub(clients.member_channel("shares", goes))
                request = shares_pb2.GetTotalsRequest(coin=COIN_ID)
                running = asyncio.create_task(call(stub.GetTotals, request, timeout_s=30))

                async def is_waiting() -> bool:
                    assert not running.done(), running
                    query = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = ANY($1::text[]::regclass[])"
                    return int(await connection.fetchval(query, TABLES)) > 0

                await eventually(is_waiting, timeout_s=20, what="the call to run")
                os.kill(services.pid("shares@2"), signal.SIGTERM)
                await eventually(lambda: goes not in directory.members("shares"), timeout_s=10, what="it to leave")
                count = asker.answer_count
                await eventually(lambda: asker.answer_count > count + 20, timeout_s=10, what="answers of the other")
                assert not running.done()
                await held.rollback()
            totals = await running
            assert totals.slices_work == "0"
            assert await services.ended("shares@2") == 0
            count = asker.answer_count
            await eventually(lambda: asker.answer_count > count + 20, timeout_s=10, what="answers of the other")
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
            assert [f"{type(error).__name__}: {error}" for error in asker.errors] == []
            await clients.close()
            await others.close()
