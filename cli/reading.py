"""How commands reach a running pool: gRPC over its unix sockets, on a cluster through the register in etcd."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from typing import TypeVar

from cli.directory import local_directory
from cli.settings import Settings
from proto.lodepool.miners.v1.miners_pb2_grpc import MinerServiceStub
from proto.lodepool.notifier.v1.notifier_pb2_grpc import NotifierServiceStub
from proto.lodepool.payouts.v1.payouts_pb2_grpc import PayoutServiceStub
from proto.lodepool.rewards.v1 import rewards_pb2
from proto.lodepool.rewards.v1.rewards_pb2_grpc import RewardServiceStub
from proto.lodepool.shares.v1 import shares_pb2
from proto.lodepool.shares.v1.shares_pb2_grpc import ShareServiceStub
from proto.lodepool.stratum.v1.stratum_pb2_grpc import StratumServiceStub
from runtime.errors import UserError
from runtime.etcd.client import EtcdClient
from runtime.etcd.discovery import EtcdDirectory, Instance
from runtime.etcd.settings import EtcdSettings
from runtime.rpc.access import OPERATOR
from runtime.rpc.client import Directory, RpcClients, StaticDirectory, call
from runtime.rpc.errors import (
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    Unauthenticated,
    Unavailable,
)
from runtime.rpc.identity import Identity, load_identity

T = TypeVar("T")

_UNITS = ("", "k", "M", "G", "T", "P", "E", "Z")


class Services:
    """Stubs of a running pool's services.

    Args:
        directory: Where they listen.
        clients: Channels to them.
        identity: Who asks; None without TLS and tokens.
        instances: Every process in the register; empty on one machine.
    """

    def __init__(
        self,
        directory: Directory,
        clients: RpcClients,
        *,
        identity: Identity | None = None,
        instances: tuple[Instance, ...] = (),
    ) -> None:
        self.instances = instances
        self.shares = ShareServiceStub(clients.channel("shares"))
        self.miners = MinerServiceStub(clients.channel("miners"))
        self.rewards = RewardServiceStub(clients.channel("rewards"))
        self.payouts = PayoutServiceStub(clients.channel("payouts"))
        self.notifier = NotifierServiceStub(clients.channel("notifier"))
        self._each = [
            RpcClients(StaticDirectory({"stratum": target}), identity)
            for target in directory.members("stratum").values()
        ]
        self.stratum = tuple(StratumServiceStub(each.channel("stratum")) for each in self._each)

    async def close(self) -> None:
        """Close the channels to single instances."""
        for each in self._each:
            await each.close()


async def blocks_and_round(
    stubs: Services, *, coin_id: str, blocks_shown: int
) -> tuple[rewards_pb2.ListBlocksResponse, shares_pb2.PoolStats]:
    """Return the newest blocks with their counts, and the pool's numbers in the round since the last one.

    Raises:
        RpcError: A service does not answer.
    """
    blocks = await call(stubs.rewards.ListBlocks, rewards_pb2.ListBlocksRequest(coin=coin_id, page_size=blocks_shown))
    round_start = blocks.blocks[0].height if blocks.blocks else 0
    request = shares_pb2.GetPoolStatsRequest(coin=coin_id, round_start_height=round_start)
    return blocks, await call(stubs.shares.GetPoolStats, request)


@contextlib.asynccontextmanager
async def services(settings: Settings) -> AsyncIterator[Services]:
    """Open channels to a running pool: on this machine, or where the register of the cluster shows it.

    Raises:
        UserError: etcd does not answer in time, or our certificate is not right.
    """
    async with contextlib.AsyncExitStack() as stack:
        directory: Directory
        identity: Identity | None = None
        instances: tuple[Instance, ...] = ()
        if settings.etcd is None:
            directory = local_directory(settings.data_dir, worker_count=settings.stratum.worker_count)
        else:
            directory = registered = await stack.enter_async_context(register(settings.etcd))
            instances = all_instances(registered)
            identity = load_identity(settings.rpc, OPERATOR)
        clients = RpcClients(directory, identity)
        stack.push_async_callback(clients.close)
        stubs = Services(directory, clients, identity=identity, instances=instances)
        stack.push_async_callback(stubs.close)
        yield stubs


@contextlib.asynccontextmanager
async def register(etcd_settings: EtcdSettings) -> AsyncIterator[EtcdDirectory]:
    """Follow the register of a cluster; it has been read once when the block begins.

    Raises:
        UserError: etcd does not answer in time.
    """
    async with EtcdClient(etcd_settings) as etcd:
        directory = EtcdDirectory(etcd)
        task = asyncio.create_task(directory.run())
        try:
            async with asyncio.timeout(etcd_settings.request_timeout_s):
                await directory.wait_current()
            yield directory
        except TimeoutError:
            raise UserError("etcd does not answer.", "see etcd.endpoints") from None
        finally:
            task.cancel()
            await asyncio.wait([task])


def all_instances(directory: EtcdDirectory) -> tuple[Instance, ...]:
    """Return every process that the register shows, by service and name."""
    return tuple(instance for service in directory.services() for instance in directory.instances(service))


def read(settings: Settings, work: Callable[[Services], Awaitable[T]]) -> T:
    """Run a command's questions against the running pool.

    Raises:
        UserError: The pool does not run, or refuses the question.
    """

    async def ask() -> T:
        async with services(settings) as stubs:
            return await work(stubs)

    try:
        return asyncio.run(ask())
    except Unavailable as error:
        if settings.etcd is not None:
            raise UserError(
                f"The pool of the cluster {settings.etcd.cluster} does not answer: {error}.",
                "`lodepool status --processes` shows what runs",
            ) from None
        raise UserError(
            f"The pool on {settings.data_dir} does not answer: {error}.", "start it with `lodepool up`"
        ) from None
    except (NotFound, InvalidArgument, FailedPrecondition, Unauthenticated, PermissionDenied) as error:
        raise UserError(str(error)) from None


def time_text(time_ms: int) -> str:
    """Return a time in UTC for people; a dash for zero."""
    return datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S") if time_ms else "–"


def hashrate_text(hashrate_hps: int | str) -> str:
    """Return a hashrate with three digits and its unit: 1234567 → "1.23 MH/s"."""
    value = int(hashrate_hps or 0)
    power = min(max((len(str(value)) - 1) // 3, 0), len(_UNITS) - 1)
    scale = 1000**power
    whole, part = divmod(value, scale)
    digits = 3 - len(str(whole))
    fraction = f".{part * 10**digits // scale:0{digits}d}" if power and digits > 0 else ""
    return f"{whole}{fraction} {_UNITS[power]}H/s"


def ratio_percent(part: str, whole: str) -> str:
    """Return part / whole in percent, whole numbers in, one decimal out; a dash when there is no whole."""
    if not int(whole or 0):
        return "–"
    tenths = int(part or 0) * 1000 // int(whole)
    return f"{tenths // 10}.{tenths % 10} %"
