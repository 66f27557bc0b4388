"""A server that leaves the register of a cluster."""

import asyncio

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from runtime.etcd.client import EtcdClient
from runtime.etcd.discovery import EtcdDirectory
from runtime.etcd.serving import ClusterServing
from runtime.rpc.access import Access
from runtime.rpc.settings import RpcSettings
from tests.fakes.etcd_cluster import EtcdCluster
from tests.fakes.waiting import eventually


async def test_who_has_not_noticed_that_a_server_has_left_is_still_answered() -> None:
    """§3.10: between leaving the register and taking no more calls lies `leave_s`."""
    async with EtcdCluster() as cluster, EtcdClient(cluster.settings()) as etcd:
        directory = EtcdDirectory(etcd)
        following = asyncio.create_task(directory.run())
        settings = RpcSettings(leave_s=60, drain_s=5)
        serving = ClusterServing(etcd, settings, None, instance="one", version="1", labels={})
        stop = asyncio.Event()

        async def serve() -> None:
            async with serving("books", [], access=Access(readers=frozenset(), writers=frozenset())):
                await stop.wait()

        served = asyncio.create_task(serve())
        await eventually(lambda: directory.members("books"), timeout_s=20, what="the server in the register")
        async with grpc.aio.insecure_channel(directory.members("books")["one"]) as channel:
            stop.set()
            await eventually(lambda: not directory.members("books"), timeout_s=20, what="the server to leave")
            answer = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=10)
            assert answer.status == health_pb2.HealthCheckResponse.SERVING
            assert not served.done()
        served.cancel()
        following.cancel()
        await asyncio.wait([served, following], timeout=20)
        assert served.done()
