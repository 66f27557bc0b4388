"""How read-only commands reach a running pool: gRPC over its unix sockets."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from typing import TypeVar

from cli.directory import local_directory
from cli.settings import Settings
from proto.lodepool.miners.v1.miners_pb2_grpc import MinerServiceStub
from proto.lodepool.payouts.v1.payouts_pb2_grpc import PayoutServiceStub
from proto.lodepool.rewards.v1.rewards_pb2_grpc import RewardServiceStub
from proto.lodepool.shares.v1.shares_pb2_grpc import ShareServiceStub
from proto.lodepool.stratum.v1.stratum_pb2_grpc import StratumServiceStub
from runtime.errors import UserError
from runtime.rpc.client import RpcClients
from runtime.rpc.errors import FailedPrecondition, InvalidArgument, NotFound, Unavailable
from stratum.supervisor import worker_name

T = TypeVar("T")

_UNITS = ("", "k", "M", "G", "T", "P", "E", "Z")


class Services:
    """Stubs of a running pool's services.

    Args:
        clients: Channels to them.
        worker_count: Number of stratum worker processes.
    """

    def __init__(self, clients: RpcClients, *, worker_count: int) -> None:
        self.shares = ShareServiceStub(clients.channel("shares"))
        self.miners = MinerServiceStub(clients.channel("miners"))
        self.rewards = RewardServiceStub(clients.channel("rewards"))
        self.payouts = PayoutServiceStub(clients.channel("payouts"))
        self.stratum = tuple(StratumServiceStub(clients.channel(worker_name(n))) for n in range(worker_count))


@contextlib.asynccontextmanager
async def services(settings: Settings) -> AsyncIterator[Services]:
    """Open channels to a pool that runs on this machine."""
    worker_count = settings.stratum.worker_count
    clients = RpcClients(local_directory(settings.data_dir, worker_count=worker_count))
    try:
        yield Services(clients, worker_count=worker_count)
    finally:
        await clients.close()


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
        raise UserError(
            f"The pool on {settings.data_dir} does not answer: {error}.", "start it with `lodepool up`"
        ) from None
    except (NotFound, InvalidArgument, FailedPrecondition) as error:
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
