"""Registration under leases, the directory that follows it, and calls that go round what is alive."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import grpc
import pytest

from runtime.etcd.balancing import BalancedClients
from runtime.etcd.client import EtcdClient
from runtime.etcd.discovery import EtcdDirectory, Instance, Registration, check_address
from runtime.rpc.client import call
from runtime.rpc.errors import Unavailable
from runtime.rpc.server import RpcServer
from tests.fakes.etcd_cluster import EtcdCluster
from tests.fakes.tcp_proxy import TcpProxy
from tests.fakes.waiting import eventually

SERVICE = "test.v1.Who"


@pytest.fixture
async def cluster() -> AsyncIterator[EtcdCluster]:
    async with EtcdCluster() as cluster:
        yield cluster


@pytest.fixture
async def etcd(cluster: EtcdCluster) -> AsyncIterator[EtcdClient]:
    async with EtcdClient(cluster.settings()) as client:
        yield client


@contextlib.asynccontextmanager
async def running(*works) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(work) for work in works]
    try:
        yield
        for task in tasks:
            assert not task.done(), task
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def instance(name: str, *, port: int = 1000, service: str = "who") -> Instance:
    return Instance(service=service, instance=name, address=f"127.0.0.1:{port}", version="1", labels={"zone": "a"})


def names(directory: EtcdDirectory, service: str = "who") -> list[str]:
    return [found.instance for found in directory.instances(service)]


async def test_instances_come_and_go(etcd: EtcdClient) -> None:
    directory = EtcdDirectory(etcd, local={"me": "unix:/run/me.sock"})
    with pytest.raises(Unavailable):
        directory.target("who")
    async with running(directory.run()):
        await directory.wait_current()
        assert names(directory) == []
        seen: list[list[str]] = []

        async def follow() -> None:
            async for found in directory.changes("who"):
                seen.append([each.instance for each in found])  # noqa: PERF401  # the list is read while it grows

        async with running(follow()):
            async with running(Registration(etcd, instance("b", port=2)).run()):
                await eventually(lambda: names(directory) == ["b"], what="b")
                assert directory.target("who") == "ipv4:127.0.0.1:2"
                async with running(Registration(etcd, instance("a", port=1)).run()):
                    await eventually(lambda: names(directory) == ["a", "b"], what="a and b")
                    assert directory.target("who") == "ipv4:127.0.0.1:1,127.0.0.1:2"
                    assert directory.instances("who")[0] == instance("a", port=1)
                    assert directory.members("who") == {"a": "127.0.0.1:1", "b": "127.0.0.1:2"}
                # Leaving takes effect at once, not when the lease expires.
                await eventually(lambda: names(directory) == ["b"], timeout_s=1, what="only b")
            await eventually(lambda: seen == [[], ["b"], ["a", "b"], ["b"], []], what="all changes")
        assert directory.services() == ()
        assert directory.members("who") == {}
        assert directory.members("me") == {"me": "unix:/run/me.sock"}
        assert directory.target("who") == "ipv4:127.0.0.1:2"
        assert directory.target("me") == "unix:/run/me.sock"


async def test_a_silent_process_leaves_the_register_and_comes_back(cluster: EtcdCluster, etcd: EtcdClient) -> None:
    directory = EtcdDirectory(etcd)
    async with (
        TcpProxy(cluster.members[0].client_port) as proxy,
        EtcdClient(cluster.settings(endpoints=(proxy.endpoint,))) as far,
    ):
        registration = Registration(far, instance("a"))
        async with running(directory.run(), registration.run()):
            await eventually(lambda: names(directory) == ["a"], what="a")
            proxy.freeze()
            await eventually(lambda: names(directory) == [], what="its leaving")
            await eventually(lambda: not registration.is_registered, what="its noticing by its own clock")
            proxy.thaw()
            await eventually(lambda: names(directory) == ["a"], what="its return")
            assert registration.registration_count == 2


async def test_a_registration_that_was_deleted_or_revoked_is_made_again(etcd: EtcdClient) -> None:
    directory = EtcdDirectory(etcd)
    registration = Registration(etcd, instance("a"))
    async with running(directory.run(), registration.run()):
        await eventually(lambda: names(directory) == ["a"], what="a")
        await etcd.delete_prefix(etcd.settings.root)
        await eventually(lambda: names(directory) == [], what="the deletion")
        await eventually(lambda: names(directory) == ["a"], what="a again")
        (entry,) = (await etcd.read_prefix(etcd.settings.root)).entries.values()
        await etcd.revoke(entry.lease_id)
        await eventually(lambda: names(directory) == ["a"] and registration.registration_count == 3, what="a again")


async def test_the_directory_stays_as_it_was_while_etcd_is_away(cluster: EtcdCluster, etcd: EtcdClient) -> None:
    directory = EtcdDirectory(etcd)
    registration = Registration(etcd, instance("a"))
    async with running(directory.run(), registration.run()):
        await eventually(lambda: names(directory) == ["a"], what="a")
        await cluster.members[0].kill()
        await eventually(lambda: not registration.is_registered, what="the lease being lost by our own clock")
        assert names(directory) == ["a"]
        await cluster.members[0].start()
        await eventually(lambda: registration.is_registered, what="registration")
        async with running(Registration(etcd, instance("b")).run()):
            await eventually(lambda: names(directory) == ["a", "b"], what="a and b")


async def test_what_others_wrote_into_the_register_does_no_harm(etcd: EtcdClient) -> None:
    directory = EtcdDirectory(etcd)
    async with running(directory.run(), Registration(etcd, instance("a")).run()):
        await etcd.put(f"{etcd.settings.root}instances/who/x", b"{")
        await etcd.put(f"{etcd.settings.root}instances/who/y", b'{"service":"who","instance":"y","address":"dns:z"}')
        await etcd.put(
            f"{etcd.settings.root}instances/who/z",
            b'{"service":"who","instance":"z","address":"127.0.0.1:9","of_a_later_version":1}',
        )
        await eventually(lambda: names(directory) == ["a", "z"], what="a and z")


@pytest.mark.parametrize("address", ["", "host:1", "127.0.0.1", "127.0.0.1:0", "0.0.0.0:5", "[::1]:5", "1.2.3.4:x"])
def test_an_address_that_clients_cannot_use_is_refused(address: str) -> None:
    with pytest.raises(ValueError, match=r"unix|stands for all"):
        check_address(address)


class Who:
    """Answers with its own name; "slow" waits until it is told."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.finish = asyncio.Event()
        self.is_busy = False

    async def ask(self, request: bytes, context) -> bytes:
        if request == b"slow":
            self.is_busy = True
            await self.finish.wait()
        return self.name.encode()


def add_who(servicer: Who, server: grpc.aio.Server) -> None:
    handlers = {"Ask": grpc.unary_unary_rpc_method_handler(servicer.ask)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))


async def test_calls_go_round_all_live_instances_and_a_kept_stub_follows_them(etcd: EtcdClient) -> None:
    whos = {name: Who(name) for name in "abc"}
    servers = {name: RpcServer("127.0.0.1:0", services=[(add_who, who, SERVICE)]) for name, who in whos.items()}
    for server in servers.values():
        await server.start()
    directory = EtcdDirectory(etcd)
    clients = BalancedClients(directory)
    ask = clients.channel("who").unary_unary(f"/{SERVICE}/Ask")
    with pytest.raises(Unavailable):
        await call(ask, b"")

    async def answers() -> set[bytes]:
        return {await call(ask, b"") for _ in range(10)}

    async def answered_by(expected: str) -> None:
        async def is_so() -> bool:
            return await answers() == {name.encode() for name in expected}

        await eventually(is_so, what=f"answers by {expected}")

    def registration(name: str) -> Registration:
        return Registration(etcd, instance(name, port=servers[name].port))

    async with running(directory.run(), registration("a").run()):
        await eventually(lambda: names(directory) == ["a"], what="a")
        await answered_by("a")
        slow = asyncio.ensure_future(call(ask, b"slow"))
        await eventually(lambda: whos["a"].is_busy, what="a slow call")
        async with running(registration("b").run(), registration("c").run()):
            await answered_by("abc")
            # A call that was running when the addresses changed is finished, not cut.
            whos["a"].finish.set()
            assert await slow == b"a"
            await servers["b"].stop(0)
            await answered_by("ac")
        await answered_by("a")
    await clients.close()
    for server in servers.values():
        await server.stop(0)
