"""The table of paths of the second face; blocks and payments, which the pool and a miner have alike."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from gateway.compat import miners, models, pool, translation
from gateway.compat.context import Compat
from gateway.compat.query import BlockState, Query
from proto.lodepool.rewards.v1 import rewards_pb2

Path = Mapping[str, str]
Handler = Callable[[Compat, Query, Path], Awaitable[object]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """A path that answers GET.

    Attributes:
        path: With {parameters}; {poolId} must be the pool's.
        name: Its name in generated clients.
        summary: One line for people.
        handler: Makes the answer, which is encoded as `answer`.
        answer: The type of the answer.
        parameters: What it reads from the query, by its usual name.
        is_shared: Readers within a second of each other get the same answer.
    """

    path: str
    name: str
    summary: str
    handler: Handler
    answer: Any
    parameters: tuple[str, ...] = ()
    is_shared: bool = False


async def list_blocks(compat: Compat, query: Query, path: Path) -> list[models.Block]:
    """Answer a page of blocks, of the pool or of a miner, newest first."""
    account = _account(compat, path)
    name = ("blocks", account, query.states)
    is_sparse = len(query.states) < len(BlockState)
    found = await compat.lists.page(name, lambda: _blocks(compat, query, account), query, is_sparse=is_sparse)
    return [translation.block(block, compat.gateway.coin, pool_id=compat.pool_id) for block in found]


async def page_blocks(compat: Compat, query: Query, path: Path) -> models.BlockPage:
    """Answer a page of blocks, with the count of all of these states."""
    account = _account(compat, path)
    items = len(await compat.lists.whole(("blocks", account, query.states), lambda: _blocks(compat, query, account)))
    return models.BlockPage(
        page_count=items // query.page_size,
        item_count=items,
        result=await list_blocks(compat, query, path),
        success=True,
    )


async def list_payments(compat: Compat, query: Query, path: Path) -> list[models.Payment]:
    """Answer a page of payments, to all or to a miner, newest first."""
    account = _account(compat, path)
    if account is None:
        return []
    found = await compat.lists.page(("sent", account), lambda: miners.sent_payouts(compat, account), query)
    return [translation.payment(payout, compat.gateway.coin) for payout in found]


async def page_payments(compat: Compat, query: Query, path: Path) -> models.PaymentPage:
    """Answer a page of payments, with the count of all."""
    account = _account(compat, path)
    items = 0 if account is None else len(await miners.all_sent(compat, account))
    return models.PaymentPage(
        page_count=items // query.page_size,
        item_count=items,
        result=await list_payments(compat, query, path),
        success=True,
    )


async def _blocks(compat: Compat, query: Query, account: str | None) -> AsyncIterator[rewards_pb2.Block]:
    if account is None:
        return
    async for block in compat.lists.blocks(account):
        if translation.state_of(block) in query.states:
            yield block


def _account(compat: Compat, path: Path) -> str | None:
    """Return the account in the path, empty for everybody when there is none, None for what is no address."""
    return compat.account_of(path["address"]) if "address" in path else ""


_PAGED = ("page", "pageSize")
_MINER = "/pools/{poolId}/miners/{address}"


def _both(
    path: str, name: str, summary: str, listed: tuple[Handler, Any], paged: tuple[Handler, Any], *more: str
) -> tuple[Route, Route]:
    """Return a list in its two forms: bare, and in a page that counts."""
    return (
        Route(
            path=f"/api{path}",
            name=name,
            summary=summary,
            handler=listed[0],
            answer=listed[1],
            parameters=_PAGED + more,
        ),
        Route(
            path=f"/api/v2{path}",
            name=f"{name}V2",
            summary=f"{summary[:-1]}, with the count of all.",
            handler=paged[0],
            answer=paged[1],
            parameters=_PAGED + more,
        ),
    )


_BLOCK_LISTS = ((list_blocks, list[models.Block]), (page_blocks, models.BlockPage))
_PAYMENT_LISTS = ((list_payments, list[models.Payment]), (page_payments, models.PaymentPage))
_CHANGE_LISTS = ((miners.list_changes, list[models.BalanceChange]), (miners.page_changes, models.BalanceChangePage))
_EARNING_LISTS = ((miners.list_earnings, list[models.DailyEarning]), (miners.page_earnings, models.DailyEarningPage))

ROUTES: tuple[Route, ...] = (
    Route(
        path="/api/pools",
        name="compatListPools",
        summary="The pool, in a list.",
        handler=pool.get_pools,
        answer=models.Pools,
        parameters=("topMinersRange",),
        is_shared=True,
    ),
    Route(
        path="/api/pools/{poolId}",
        name="compatGetPool",
        summary="The pool.",
        handler=pool.get_pool,
        answer=models.SinglePool,
        parameters=("topMinersRange",),
        is_shared=True,
    ),
    Route(
        path="/api/pools/{poolId}/performance",
        name="compatGetPoolPerformance",
        summary="The pool over time.",
        handler=pool.get_performance,
        answer=models.PoolSamples,
        parameters=("r", "i"),
        is_shared=True,
    ),
    Route(
        path="/api/pools/{poolId}/miners",
        name="compatListMiners",
        summary="Miners, greatest hashrate first.",
        handler=pool.list_miners,
        answer=list[models.MinerPerformance],
        parameters=(*_PAGED, "topMinersRange"),
        is_shared=True,
    ),
    Route(
        path="/api/blocks",
        name="compatListAllBlocks",
        summary="Blocks of all pools: of the one, newest first.",
        handler=list_blocks,
        answer=list[models.Block],
        parameters=(*_PAGED, "state"),
    ),
    *_both("/pools/{poolId}/blocks", "compatListBlocks", "Blocks, newest first.", *_BLOCK_LISTS, "state"),
    *_both("/pools/{poolId}/payments", "compatListPayments", "Payments, newest first.", *_PAYMENT_LISTS),
    Route(
        path=f"/api{_MINER}",
        name="compatGetMiner",
        summary="One miner.",
        handler=miners.get_miner,
        answer=models.MinerStats,
        parameters=("perfMode",),
        is_shared=True,
    ),
    Route(
        path=f"/api{_MINER}/performance",
        name="compatGetMinerPerformance",
        summary="A miner's workers over time.",
        handler=miners.get_performance,
        answer=list[models.WorkerSample],
        parameters=("mode",),
        is_shared=True,
    ),
    *_both(f"{_MINER}/blocks", "compatListMinerBlocks", "Blocks a miner found, newest first.", *_BLOCK_LISTS, "state"),
    *_both(f"{_MINER}/payments", "compatListMinerPayments", "Payments to a miner, newest first.", *_PAYMENT_LISTS),
    *_both(
        f"{_MINER}/balancechanges",
        "compatListBalanceChanges",
        "What changed a miner's balance, newest first.",
        *_CHANGE_LISTS,
    ),
    *_both(
        f"{_MINER}/earnings/daily", "compatListEarnings", "What a miner was paid a day, newest first.", *_EARNING_LISTS
    ),
    Route(
        path=f"/api{_MINER}/settings",
        name="compatGetSettings",
        summary="What a miner chose.",
        handler=miners.get_settings,
        answer=models.MinerSettings,
    ),
)
