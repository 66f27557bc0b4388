"""Ask the shares service for windows and round work."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

from proto.lodepool.shares.v1 import shares_pb2
from proto.lodepool.shares.v1.shares_pb2_grpc import ShareServiceStub
from rewards.domain import FoundBlock, WindowPlan
from runtime.rpc.client import RpcClients, call

if TYPE_CHECKING:
    from proto.lodepool.shares.v1.shares_pb2_grpc import ShareServiceAsyncStub

TIMEOUT_S = 30.0


class Windows(Protocol):
    """Knows the work that blocks are paid by. Each method raises RpcError when it cannot say it now."""

    async def fix(self, found: FoundBlock, plan: WindowPlan) -> Mapping[str, int]:
        """Return the work of each account in the block's window; the same answer each time.

        Raises:
            FailedPrecondition: While a live instance has not passed the block.
        """
        ...

    async def round_work(self, found: FoundBlock, *, previous_height: int) -> int:
        """Return the pool's work at the heights above `previous_height` up to the block's."""
        ...


class SharesWindows:
    """The shares service's answers over gRPC."""

    def __init__(self, clients: RpcClients) -> None:
        self._clients = clients

    async def fix(self, found: FoundBlock, plan: WindowPlan) -> Mapping[str, int]:
        """Return the work of each account in the block's window."""
        window = await call(
            self._stub().FixWindow,
            shares_pb2.FixWindowRequest(
                coin=found.coin,
                scheme=found.scheme.value,
                end_height=plan.end_height,
                start_height=plan.start_height,
                window_work="" if plan.window_work is None else str(plan.window_work),
                found_time_ms=found.found_time_ms,
                request_id=found.block_hash_hex,
            ),
            timeout_s=TIMEOUT_S,
        )
        return {entry.account: int(entry.work) for entry in window.accounts}

    async def round_work(self, found: FoundBlock, *, previous_height: int) -> int:
        """Return the pool's work in the round: all since the block before, without what came after this one."""
        since_previous = await self._work_since(found.coin, previous_height)
        since_this = await self._work_since(found.coin, found.height)
        return max(0, since_previous - since_this)

    async def _work_since(self, coin: str, height: int) -> int:
        stats = await call(
            self._stub().GetPoolStats, shares_pb2.GetPoolStatsRequest(coin=coin, round_start_height=height)
        )
        return int(stats.round_work or 0)

    def _stub(self) -> "ShareServiceAsyncStub":
        return ShareServiceStub(self._clients.channel("shares"))
