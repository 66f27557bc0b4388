"""The client, leases and watches on real etcd: failover, restarts, frozen members, certificates."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from runtime.errors import ConfigError
from runtime.etcd.client import Delete, EtcdClient, Put, Snapshot, absent, holds, nothing_written_since, unchanged
from runtime.etcd.errors import EtcdRefused, EtcdUnavailable, LeaseGone
from runtime.etcd.settings import EtcdSettings
from runtime.etcd.watch import PrefixWatch
from tests.fakes.etcd_cluster import Certificates, EtcdCluster
from tests.fakes.tcp_proxy import TcpProxy
from tests.fakes.waiting import eventually

NEWS_S_MAX = 2.0


@pytest.fixture
async def cluster() -> AsyncIterator[EtcdCluster]:
    async with EtcdCluster() as cluster:
        yield cluster


@pytest.fixture
async def three() -> AsyncIterator[EtcdCluster]:
    async with EtcdCluster(3) as cluster:
        yield cluster


class Follower:
    """Keeps the newest snapshot of a prefix."""

    def __init__(self, etcd: EtcdClient, prefix: str) -> None:
        self.watch = PrefixWatch(etcd, prefix)
        self.snapshots: list[Snapshot] = []

    @property
    def values(self) -> dict[str, bytes]:
        return {key: entry.value for key, entry in self.snapshots[-1].entries.items()} if self.snapshots else {}

    async def run(self) -> None:
        async with self.watch, contextlib.aclosing(self.watch.snapshots()) as snapshots:
            async for snapshot in snapshots:
                self.snapshots.append(snapshot)

    async def wait_for(self, key: str, value: bytes, *, timeout_s: float = NEWS_S_MAX) -> float:
        start_s = time.monotonic()
        await eventually(lambda: self.values.get(key) == value, timeout_s=timeout_s, what=f"{key} = {value!r}")
        return time.monotonic() - start_s


@contextlib.asynccontextmanager
async def following(etcd: EtcdClient, prefix: str) -> AsyncIterator[Follower]:
    follower = Follower(etcd, prefix)
    task = asyncio.create_task(follower.run())
    await eventually(lambda: follower.snapshots, what="the first snapshot")
    yield follower
    assert not task.done(), task
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_keys_transactions_and_leases_do_what_they_say(cluster: EtcdCluster) -> None:
    async with EtcdClient(cluster.settings()) as etcd:
        assert await etcd.get("/a/1") is None
        first = await etcd.put("/a/1", b"one")
        await etcd.put("/a/2", b"two")
        await etcd.put("/b/1", b"other")
        entry = await etcd.get("/a/1")
        assert entry is not None
        assert (entry.value, entry.mod_revision, entry.lease_id) == (b"one", first, 0)
        assert list((await etcd.read_prefix("/a/")).entries) == ["/a/1", "/a/2"]

        put = [Put(key="/a/1", value=b"new"), Delete(key="/a/2")]
        assert not (await etcd.transact([unchanged("/a/1", first + 100)], put)).succeeded
        assert not (await etcd.transact([absent("/a/1")], put)).succeeded
        assert not (await etcd.transact([holds("/a/9", b"")], put)).succeeded
        revision = (await etcd.read_prefix("/a/")).revision
        outcome = await etcd.transact([unchanged("/a/1", first), nothing_written_since("/a/", revision)], put)
        assert outcome.succeeded
        assert not (await etcd.transact([nothing_written_since("/a/", revision)], put)).succeeded
        assert list((await etcd.read_prefix("/a/")).entries) == ["/a/1"]

        lease_id = await etcd.grant(5)
        await etcd.put("/leased", b"x", lease_id=lease_id)
        await etcd.renew(lease_id)
        await etcd.revoke(lease_id)
        await etcd.revoke(lease_id)
        assert await etcd.get("/leased") is None
        with pytest.raises(LeaseGone):
            await etcd.renew(lease_id)
        with pytest.raises(LeaseGone):
            await etcd.put("/leased", b"x", lease_id=lease_id)


async def test_an_endpoint_given_by_name_is_resolved_to_ipv4(cluster: EtcdCluster) -> None:
    port = cluster.members[0].client_port
    async with EtcdClient(cluster.settings(endpoints=(f"localhost:{port}",))) as etcd:
        await etcd.put("/a", b"1")
        assert await etcd.get("/a") is not None
    async with EtcdClient(cluster.settings(endpoints=("no-such-host.invalid:1",))) as etcd:
        with pytest.raises(EtcdUnavailable, match="no-such-host"):
            await etcd.get("/a")


async def test_a_change_arrives_after_etcd_was_killed_and_started_again(cluster: EtcdCluster) -> None:
    member = cluster.members[0]
    async with EtcdClient(cluster.settings()) as etcd, following(etcd, "/w/") as follower:
        await etcd.put("/w/a", b"1")
        assert await follower.wait_for("/w/a", b"1") < NEWS_S_MAX

        await member.kill()
        with pytest.raises(EtcdUnavailable):
            await etcd.get("/w/a")
        await eventually(lambda: not follower.watch.is_reachable, what="the loss being noticed")
        assert follower.values == {"/w/a": b"1"}
        await member.start()
        await cluster.wait_healthy()

        await etcd.put("/w/a", b"2")
        assert await follower.wait_for("/w/a", b"2") < NEWS_S_MAX
        await etcd.delete("/w/a")
        await eventually(lambda: follower.values == {}, timeout_s=NEWS_S_MAX, what="the deletion")


async def test_a_watch_that_was_compacted_away_goes_on(cluster: EtcdCluster) -> None:
    async with TcpProxy(cluster.members[0].client_port) as proxy:
        settings = cluster.settings(endpoints=(proxy.endpoint,))
        async with (
            EtcdClient(settings) as etcd,
            EtcdClient(cluster.settings()) as direct,
            following(etcd, "/w/") as follower,
        ):
            await proxy.cut()
            revision = 0
            for number in range(20):
                revision = await direct.put("/w/a", b"%d" % number)
            member = direct._members[0]
            await member.kv.compact(revision, physical=True)
            proxy.thaw()
            await follower.wait_for("/w/a", b"19", timeout_s=5)
            await direct.put("/w/a", b"end")
            await follower.wait_for("/w/a", b"end")


async def test_a_member_killed_or_frozen_of_three_changes_nothing_for_the_caller(three: EtcdCluster) -> None:
    async with EtcdClient(three.settings()) as etcd, following(etcd, "/w/") as follower:
        for number, member in enumerate(three.members):
            value = b"%d" % number
            is_frozen = number != 1
            if is_frozen:
                member.freeze()
            else:
                await member.kill()

            async def written(value: bytes = value) -> bool:
                with contextlib.suppress(EtcdUnavailable):
                    await etcd.put("/w/a", value)
                    return True
                return False

            await eventually(written, timeout_s=5, what="a write")
            await follower.wait_for("/w/a", value)
            if is_frozen:
                member.thaw()
            else:
                await member.start()
            await three.wait_healthy()


async def test_a_watch_on_a_silent_connection_is_replaced(cluster: EtcdCluster) -> None:
    port = cluster.members[0].client_port
    async with TcpProxy(port) as first, TcpProxy(port) as second:
        settings = cluster.settings(endpoints=(first.endpoint, second.endpoint))
        async with (
            EtcdClient(settings) as etcd,
            EtcdClient(cluster.settings()) as direct,
            following(etcd, "/w/") as follower,
        ):
            await direct.put("/w/a", b"1")
            await follower.wait_for("/w/a", b"1")
            (first if etcd.preferred_endpoint == first.endpoint else second).freeze()
            await direct.put("/w/a", b"2")
            assert await follower.wait_for("/w/a", b"2", timeout_s=5) < NEWS_S_MAX


async def test_a_watch_that_sends_nothing_although_the_member_answers_is_replaced(cluster: EtcdCluster) -> None:
    async with EtcdClient(cluster.settings()) as etcd, EtcdClient(cluster.settings()) as direct:
        real, quiet = etcd.watch_once, asyncio.Event()

        async def deaf(prefix: str, *, start_revision: int):
            async for endpoint in real(prefix, start_revision=start_revision):
                if not quiet.is_set():
                    yield endpoint

        etcd.watch_once = deaf  # type: ignore[method-assign]  # as a server does that forgot the watch
        async with following(etcd, "/w/") as follower:
            quiet.set()
            before = follower.watch.restart_count
            await direct.put("/w/a", b"1")
            await follower.wait_for("/w/a", b"1")
            await eventually(lambda: follower.watch.restart_count > before, what="a new watch")


async def test_only_clients_with_a_certificate_of_our_authority_are_served(tmp_path: Path) -> None:
    certificates = Certificates(tmp_path / "ours")
    certificates.issue("reader")
    certificates.issue("root")
    strangers = Certificates(tmp_path / "theirs")
    strangers.issue("root")
    async with EtcdCluster(certificates=certificates) as cluster:

        def as_user(user: str, authority: Certificates = certificates, **changes: object) -> EtcdSettings:
            files = {"cert_file": authority.path(f"{user}.crt"), "key_file": authority.path(f"{user}.key")}
            return cluster.settings(**(files | changes))

        async with EtcdClient(as_user("root")) as root:
            await root.put("/a", b"1")
        for refused in (
            cluster.settings(cert_file="", key_file=""),
            as_user("root", strangers),
            as_user("root", ca_file=strangers.path("ca.crt")),
            as_user("root", tls_server_name="other.test"),
        ):
            async with EtcdClient(refused) as stranger:
                with pytest.raises(EtcdUnavailable):
                    await stranger.get("/a")

        async with EtcdClient(as_user("root")) as root:
            await root.get("/a")
            auth = root._members[0]
            await _let_read(auth, "reader", "/a")
            async with EtcdClient(as_user("reader")) as reader:
                entry = await reader.get("/a")
                assert entry is not None
                with pytest.raises(EtcdRefused, match="permission denied"):
                    await reader.put("/a", b"2")
                with pytest.raises(EtcdRefused):
                    await reader.get("/b")
                # A user by certificate needs no token, so a restart changes nothing.
                await cluster.members[0].kill()
                await cluster.members[0].start()

                async def can_read() -> bool:
                    with contextlib.suppress(EtcdUnavailable):
                        return await reader.get("/a") is not None
                    return False

                await eventually(can_read, what="reading after a restart")


async def _let_read(member, user: str, key: str) -> None:
    """Turn on etcd's users: root may everything, the user may read one key."""
    from etcd3aio.auth import AuthService, PermissionType

    auth = AuthService(member._channel)
    await auth.role_add("reading")
    await auth.role_grant_permission("reading", key, perm_type=PermissionType.READ)
    for name, role in (("root", "root"), (user, "reading")):
        await auth.user_add(name, "unused")
        if role == "root":
            await auth.role_add("root")
        await auth.user_grant_role(name, role)
    await auth.auth_enable()


def test_certificate_settings_that_cannot_work_are_refused_with_their_path(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("nothing")
    with pytest.raises(ConfigError, match=r"etcd\.ca_file: is missing"):
        EtcdClient(EtcdSettings(cert_file="x", key_file="y"))
    with pytest.raises(ConfigError, match=r"etcd\.key_file: is missing"):
        EtcdClient(EtcdSettings(ca_file="x", cert_file="x"))
    with pytest.raises(ConfigError, match=r"etcd\.ca_file: .*No such file"):
        EtcdClient(EtcdSettings(ca_file=str(tmp_path / "no.pem")))
    with pytest.raises(ConfigError, match="is not PEM"):
        EtcdClient(EtcdSettings(ca_file=str(tmp_path / "ca.pem")))
    for endpoint in ("localhost", "https://a:1", "a:0", "a:99999", ":1", "::1:2379"):
        with pytest.raises(ConfigError, match=r"etcd\.endpoints"):
            EtcdClient(EtcdSettings(endpoints=(endpoint,)))
