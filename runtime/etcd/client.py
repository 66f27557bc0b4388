"""A thin typed client: one channel a member, failover between them, deadlines on everything."""

import asyncio
import logging
import secrets
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from types import TracebackType
from typing import Any, Self, TypeAlias, TypeVar

import etcd3aio
import grpc
from etcd3aio._protobuf import (  # the only place it exports its messages from
    Compare,
    WatchCreateRequest,
    WatchRequest,
    WatchStub,
)
from etcd3aio.connections import ConnectionManager
from etcd3aio.kv import KVService, SortOrder, SortTarget, prefix_range_end
from etcd3aio.lease import LeaseService

from runtime.clock import Clock, SystemClock
from runtime.etcd.errors import EtcdRefused, EtcdUnavailable, LeaseGone
from runtime.etcd.settings import EtcdSettings, TlsFiles, is_ipv4, read_tls_files, split_endpoint

T = TypeVar("T")

_KEEPALIVE_MS = 10_000
_KEEPALIVE_TIMEOUT_MS = 3_000
_CHANNEL_OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    ("grpc.enable_http_proxy", 0),
    ("grpc.use_local_subchannel_pool", 1),
    # etcd takes pings of an idle connection for an attack and closes it.
    ("grpc.keepalive_permit_without_calls", 0),
)
_REFUSALS = {
    grpc.StatusCode.UNAUTHENTICATED,
    grpc.StatusCode.PERMISSION_DENIED,
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.FAILED_PRECONDITION,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A key with its value.

    Attributes:
        key: The whole key.
        value: What lies there.
        create_revision: Revision of the cluster at which the key was made.
        mod_revision: Revision of its last write.
        lease_id: Lease that takes the key with it; 0 means none.
    """

    key: str
    value: bytes
    create_revision: int
    mod_revision: int
    lease_id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """All keys under a prefix at one revision.

    Attributes:
        revision: The cluster's revision; everything written up to it is in here.
        entries: Key → entry, ordered by key.
    """

    revision: int
    entries: dict[str, Entry]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fingerprint:
    """What changes whenever something under a prefix is written or deleted.

    Attributes:
        key_count: Number of keys.
        mod_revision_max: Newest write among them; 0 without keys.
    """

    key_count: int
    mod_revision_max: int


class Field(Enum):
    """What a condition looks at."""

    VALUE = "value"
    CREATE_REVISION = "create_revision"
    MOD_REVISION = "mod_revision"


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """A comparison in a transaction; see the functions below.

    Attributes:
        key: The key, or a prefix.
        field: What is compared.
        operand: With what.
        is_less: True for "less than", False for "equal".
        is_prefix: Whether the condition holds for all keys under `key`.
    """

    key: str
    field: Field
    operand: bytes | int
    is_less: bool = False
    is_prefix: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Put:
    """A write in a transaction."""

    key: str
    value: bytes
    lease_id: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Delete:
    """A deletion in a transaction."""

    key: str


Operation: TypeAlias = Put | Delete


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of a transaction.

    Attributes:
        succeeded: Whether the conditions held and the operations were done.
        revision: The cluster's revision after it; when it succeeded with a write, the revision of that write.
    """

    succeeded: bool
    revision: int


def absent(key: str) -> Condition:
    """Return the condition that there is no such key."""
    return Condition(key=key, field=Field.CREATE_REVISION, operand=0)


def unchanged(key: str, mod_revision: int) -> Condition:
    """Return the condition that the key's last write is this one; 0 means that there is no such key."""
    return Condition(key=key, field=Field.MOD_REVISION, operand=mod_revision)


def holds(key: str, value: bytes) -> Condition:
    """Return the condition that the key exists with this value."""
    return Condition(key=key, field=Field.VALUE, operand=value)


def nothing_written_since(prefix: str, revision: int) -> Condition:
    """Return the condition that no key under the prefix was written after the revision (deletions do not count)."""
    return Condition(key=prefix, field=Field.MOD_REVISION, operand=revision + 1, is_less=True, is_prefix=True)


class Member:
    """One member of the cluster: a channel, made at first use and again when the name moves to another address.

    Args:
        endpoint: "host:port".
        settings: Server name and time limits.
        tls: Certificates; None means plain text.
    """

    def __init__(self, endpoint: str, settings: EtcdSettings, tls: TlsFiles | None) -> None:
        self.endpoint = endpoint
        self._host, self._port = split_endpoint(endpoint)
        self._server_name = settings.tls_server_name or self._host
        self._tls = tls
        self._address = ""
        self._channel: grpc.aio.Channel | None = None
        self._kv: KVService | None = None
        self._lease: LeaseService | None = None
        self._watch: WatchStub | None = None

    @property
    def kv(self) -> KVService:
        """Return the service for keys; only after `connect`."""
        assert self._kv is not None
        return self._kv

    @property
    def lease(self) -> LeaseService:
        """Return the service for leases; only after `connect`."""
        assert self._lease is not None
        return self._lease

    @property
    def watch(self) -> WatchStub:
        """Return the stub for watches; only after `connect`."""
        assert self._watch is not None
        return self._watch

    async def connect(self) -> None:
        """Resolve the name and make the channel, unless it is there.

        Raises:
            OSError: When the name has no IPv4 address now.
        """
        if self._channel is not None:
            return
        address = await self._resolve()
        if self._channel is not None:
            return
        manager = ConnectionManager(
            [f"{address}:{self._port}"], keepalive_time_ms=_KEEPALIVE_MS, keepalive_timeout_ms=_KEEPALIVE_TIMEOUT_MS
        )
        # Of two options of one name the first would count.
        ours = {name for name, _ in _CHANNEL_OPTIONS}
        manager.grpc_options = [option for option in manager.grpc_options if option[0] not in ours]
        manager.grpc_options.extend(_CHANNEL_OPTIONS)
        if self._tls is None:
            channel = manager.get_channel()
        else:
            channel = manager.get_channel(
                ca_cert=self._tls.authority,
                cert_key=self._tls.private_key,
                cert_chain=self._tls.certificate,
                tls_server_name=self._server_name,
            )
        self._address, self._channel = address, channel
        self._kv = KVService(channel, max_attempts=1)
        self._lease = LeaseService(channel, max_attempts=1)
        self._watch = WatchStub(channel)

    async def check_address(self) -> None:
        """Drop the channel when the name has moved to another address since it was made."""
        if self._channel is None or is_ipv4(self._host):
            return
        try:
            address = await self._resolve()
        except OSError:
            return
        if address != self._address:
            await self.close()

    async def close(self) -> None:
        """Close the channel; the next `connect` makes another."""
        channel, self._channel = self._channel, None
        if channel is not None:
            await channel.close()

    async def _resolve(self) -> str:
        if is_ipv4(self._host):
            return self._host
        found = await asyncio.get_running_loop().getaddrinfo(
            self._host, self._port, family=socket.AF_INET, type=socket.SOCK_STREAM
        )
        if not found:
            raise OSError(f"{self._host} has no IPv4 address")
        return str(found[0][4][0])


class EtcdClient:
    """Reads, writes, leases and watches; a call goes to the member that answered last, then to the others.

    Opening does not need a reachable cluster: a process can start with etcd away.

    Args:
        settings: Where the cluster is.
        clock: The time, for everything that builds on this client.
        answered_count: Calls that a member answered.
        unanswered_count: Calls that none answered, or not in time.
        answered_s: When a member last answered, by the clock's monotonic time; None before.
    """

    def __init__(self, settings: EtcdSettings, *, clock: Clock | None = None) -> None:
        self.settings = settings
        self.clock: Clock = clock or SystemClock()
        self.answered_count = 0
        self.unanswered_count = 0
        self.answered_s: float | None = None
        tls = read_tls_files(settings)
        self._members = [Member(endpoint, settings, tls) for endpoint in settings.endpoints]
        self._preferred = secrets.randbelow(len(self._members))
        # Its own retries are noise: whoever called us reports what they come to.
        logging.getLogger(etcd3aio.__name__).setLevel(logging.ERROR)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the channels. Leases are left to expire: who holds one gives it back first."""
        for member in self._members:
            await member.close()

    async def get(self, key: str) -> Entry | None:
        """Return the newest state of a key, agreed by a majority; None when there is no such key."""
        response = await self._anywhere(lambda member, timeout_s: member.kv.get(key, timeout=timeout_s))
        return _entry(response.kvs[0]) if response.kvs else None

    async def read_prefix(self, prefix: str) -> Snapshot:
        """Return all keys under a prefix at one revision, agreed by a majority."""
        end = prefix_range_end(prefix)
        response = await self._anywhere(
            lambda member, timeout_s: member.kv.get(prefix, end, sort_order=SortOrder.ASCEND, timeout=timeout_s)
        )
        entries = [_entry(kv) for kv in response.kvs]
        return Snapshot(revision=int(response.header.revision), entries={entry.key: entry for entry in entries})

    async def fingerprint(self, prefix: str) -> Fingerprint:
        """Return what tells whether anything under the prefix has changed, agreed by a majority."""
        end = prefix_range_end(prefix)
        response = await self._anywhere(
            lambda member, timeout_s: member.kv.get(
                prefix,
                end,
                limit=1,
                sort_order=SortOrder.DESCEND,
                sort_target=SortTarget.MOD,
                keys_only=True,
                timeout=timeout_s,
            )
        )
        newest = int(response.kvs[0].mod_revision) if response.kvs else 0
        return Fingerprint(key_count=int(response.count), mod_revision_max=newest)

    async def put(self, key: str, value: bytes, *, lease_id: int = 0) -> int:
        """Write a key and return the revision; done twice when the answer to the first was lost.

        Raises:
            LeaseGone: When the lease has expired.
        """
        response = await self._anywhere(
            lambda member, timeout_s: member.kv.put(key, value, lease=lease_id, timeout=timeout_s)
        )
        return int(response.header.revision)

    async def delete(self, key: str) -> bool:
        """Delete a key and return whether it was there."""
        response = await self._anywhere(lambda member, timeout_s: member.kv.delete(key, timeout=timeout_s))
        return bool(response.deleted)

    async def delete_prefix(self, prefix: str) -> int:
        """Delete all keys under a prefix and return how many there were."""
        end = prefix_range_end(prefix)
        response = await self._anywhere(lambda member, timeout_s: member.kv.delete(prefix, end, timeout=timeout_s))
        return int(response.deleted)

    async def transact(self, conditions: Sequence[Condition], operations: Sequence[Operation]) -> Outcome:
        """Do all operations if all conditions hold, else none; in one revision.

        It is sent to one member once. After EtcdUnavailable nobody knows whether it took place, or will.
        """
        compares = [_compare(condition) for condition in conditions]
        requests = [_request(operation) for operation in operations]
        response = await self._once(lambda member, timeout_s: member.kv.txn(compares, requests, timeout=timeout_s))
        return Outcome(succeeded=bool(response.succeeded), revision=int(response.header.revision))

    async def grant(self, ttl_s: int) -> int:
        """Return the id of a new lease that etcd ends `ttl_s` seconds after its last renewal."""
        response = await self._anywhere(lambda member, timeout_s: member.lease.grant(ttl_s, timeout=timeout_s))
        return int(response.ID)

    async def renew(self, lease_id: int) -> None:
        """Renew a lease.

        Raises:
            LeaseGone: When it has expired.
        """
        remaining_s = await self._anywhere(lambda member, _timeout_s: _keep_alive(member, lease_id))
        if remaining_s <= 0:
            raise LeaseGone(f"lease {lease_id:x} has expired")

    async def revoke(self, lease_id: int) -> None:
        """End a lease and delete its keys; one that is gone already is fine."""
        try:
            await self._anywhere(lambda member, timeout_s: member.lease.revoke(lease_id, timeout=timeout_s))
        except LeaseGone:
            return

    async def watch_once(self, prefix: str, *, start_revision: int) -> AsyncGenerator[str, None]:
        """Yield the member's endpoint for each news of the prefix, until etcd ends the watch.

        It may also go quiet for ever; `PrefixWatch` in watch.py finds that out. Yields "" once when it stands.
        """
        member = self._members[self._preferred]
        try:
            await member.connect()
        except OSError as error:
            self._demote(member)
            raise EtcdUnavailable(f"{member.endpoint}: {error}") from error
        # The library's own watch leaves a task of its endless request behind each time one is given up.
        stream = member.watch.Watch()
        wanted = WatchCreateRequest(
            key=prefix.encode(), range_end=prefix_range_end(prefix), start_revision=start_revision
        )
        try:
            await stream.write(WatchRequest(create_request=wanted))
            async for response in stream:
                if response.canceled:
                    return
                if response.created:
                    yield ""
                if response.events:
                    yield member.endpoint
        except grpc.aio.AioRpcError as error:
            raise _translated(error, member.endpoint) from error
        finally:
            stream.cancel()

    @property
    def preferred_endpoint(self) -> str:
        """Return the endpoint that the next call goes to."""
        return self._members[self._preferred].endpoint

    async def _anywhere(self, call: Callable[[Member, float], Awaitable[T]]) -> T:
        """Try each member once, the preferred one first, within the request's time limit."""
        deadline_s = asyncio.get_running_loop().time() + self.settings.request_timeout_s
        problems: list[str] = []
        for _ in self._members:
            left_s = deadline_s - asyncio.get_running_loop().time()
            if left_s <= 0:
                break
            try:
                return await self._once(call, timeout_s_max=left_s)
            except EtcdUnavailable as error:
                problems.append(str(error))
        raise EtcdUnavailable("; ".join(problems))

    async def _once(self, call: Callable[[Member, float], Awaitable[T]], *, timeout_s_max: float = 3600.0) -> T:
        """Call the preferred member; when it does not answer, another one is preferred from now on."""
        member = self._members[self._preferred]
        timeout_s = min(self.settings.attempt_timeout_s, timeout_s_max)
        try:
            async with asyncio.timeout(timeout_s):
                await member.connect()
                answer = await call(member, timeout_s)
                self._note_answer()
                return answer
        except (TimeoutError, OSError) as error:
            problem = EtcdUnavailable(f"{member.endpoint}: {error or 'no answer in time'}")
            cause: BaseException = error
        except (grpc.aio.AioRpcError, etcd3aio.EtcdError) as error:
            translated = _translated(error, member.endpoint)
            if not isinstance(translated, EtcdUnavailable):
                self._note_answer()
                raise translated from error
            problem, cause = translated, error
        except asyncio.CancelledError as error:
            # A channel that is closed under a call cancels the call, not the task.
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            problem, cause = EtcdUnavailable(f"{member.endpoint}: the connection was closed"), error
        self.unanswered_count += 1
        self._demote(member)
        await member.check_address()
        raise problem from cause

    def _note_answer(self) -> None:
        self.answered_count += 1
        self.answered_s = self.clock.monotonic_s()

    def _demote(self, member: Member) -> None:
        if self._members[self._preferred] is member:
            self._preferred = (self._preferred + 1) % len(self._members)


async def _keep_alive(member: Member, lease_id: int) -> int:
    stream = member.lease.keep_alive(lease_id)
    try:
        async for response in stream:
            return int(response.TTL)
    finally:
        stream.cancel()
    raise EtcdUnavailable(f"{member.endpoint}: the renewal was not answered")


def _translated(error: Exception, endpoint: str) -> EtcdUnavailable | LeaseGone | EtcdRefused:
    status = error if isinstance(error, grpc.aio.AioRpcError) else error.__cause__
    if not isinstance(status, grpc.aio.AioRpcError):
        return EtcdUnavailable(f"{endpoint}: {error}")
    details = status.details() or status.code().name
    if status.code() is grpc.StatusCode.NOT_FOUND:
        return LeaseGone(details)
    if status.code() in _REFUSALS:
        return EtcdRefused(f"etcd at {endpoint} refused a request: {details}.", "check the certificate's user and role")
    return EtcdUnavailable(f"{endpoint}: {details}")


def _entry(kv: Any) -> Entry:
    return Entry(
        key=kv.key.decode("utf-8", "replace"),
        value=bytes(kv.value),
        create_revision=int(kv.create_revision),
        mod_revision=int(kv.mod_revision),
        lease_id=int(kv.lease),
    )


def _compare(condition: Condition) -> Any:
    target = {
        Field.VALUE: Compare.VALUE,
        Field.CREATE_REVISION: Compare.CREATE,
        Field.MOD_REVISION: Compare.MOD,
    }[condition.field]
    return Compare(
        result=Compare.LESS if condition.is_less else Compare.EQUAL,
        target=target,
        key=condition.key.encode(),
        range_end=prefix_range_end(condition.key) if condition.is_prefix else b"",
        **{condition.field.value: condition.operand},
    )


def _request(operation: Operation) -> Any:
    match operation:
        case Put():
            return KVService.txn_op_put(operation.key, operation.value, lease=operation.lease_id)
        case Delete():
            return KVService.txn_op_delete(operation.key)
