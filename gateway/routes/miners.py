"""Miners: the list by hashrate, and one miner with workers, balance, credits and payouts."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence, Sized
from typing import TypeVar

from coins.bitcoin.address import payee
from coins.errors import AddressError
from gateway import examples, models, translation
from gateway.context import Gateway
from gateway.panels import Panel, ask, degraded, need
from gateway.problems import Kind, ProblemFound, from_service
from gateway.recent_blocks import recent_blocks
from gateway.routing import ADDRESS, COIN, PAGED, Page, Route, page_of
from gateway.sources import Sources
from proto.lodepool.miners.v1 import miners_pb2
from proto.lodepool.payouts.v1 import payouts_pb2
from proto.lodepool.rewards.v1 import rewards_pb2
from proto.lodepool.shares.v1 import shares_pb2
from runtime.rpc.errors import NotFound, Unavailable

Answer = TypeVar("Answer")

DAY_MS = 86_400_000
WORKERS_PAGE = 1_000
WORKERS_PAGES_MAX = 5
"""A miner's answer lists at most WORKERS_PAGE × WORKERS_PAGES_MAX workers."""


async def list_miners(gateway: Gateway, values: Mapping[str, str]) -> models.MinerPage:
    """Answer a page of miners, greatest hashrate first.

    Without the miners service nobody knows how many workers are online, nor who wants to stay anonymous.
    """
    page = page_of(values, gateway.settings)
    sources = gateway.sources
    answer = await need("shares", sources.accounts_by_hashrate(page_size=page.size, page_token=page.token))
    known: Panel[miners_pb2.BatchGetAccountsResponse] = Panel(service="miners")
    if answer.accounts:
        known = await ask("miners", sources.accounts([stats.account for stats in answer.accounts]))
    by_address = {} if known.value is None else {account.account: account for account in known.value.accounts}
    return models.MinerPage(
        miners=[
            translation.miner_summary(stats, by_address.get(stats.account), is_named=not known.is_down)
            for stats in answer.accounts
        ],
        next_page_token=answer.next_page_token or None,
        degraded=degraded(known),
    )


async def get_miner(gateway: Gateway, values: Mapping[str, str]) -> models.Miner:
    """Answer a miner, with null for what a service that is away knows."""
    address = address_of(gateway, values)
    sources = gateway.sources
    account, stats, workers, balance, blocks = await asyncio.gather(
        ask("miners", sources.account(address)),
        ask("shares", sources.account_stats(address)),
        ask("miners", _workers(sources, address)),
        ask("rewards", sources.balance(address)),
        ask("rewards", recent_blocks(gateway)),
    )
    _check_is_known(address, account, stats, is_rewards_down=balance.is_down)
    known_workers, has_more = ([], False) if workers.value is None else workers.value
    return models.Miner(
        address=address,
        coin=gateway.coin.coin_id,
        account=None
        if account.value is None
        else translation.miner_account(account.value, threshold_default_atomic=gateway.info.payout_threshold_atomic),
        shares=None if stats.value is None else translation.miner_shares(stats.value),
        balance=None if balance.value is None else translation.miner_balance(balance.value),
        estimate=_estimate(gateway, account=account, stats=stats, blocks=blocks),
        uncertainty=None if stats.value is None else translation.uncertainty(stats.value),
        workers=None
        if workers.is_down and stats.is_down
        else _join_workers(known_workers, [] if stats.value is None else list(stats.value.workers), has_more=has_more),
        has_more_workers=has_more,
        degraded=degraded(account, stats, workers, balance, blocks),
    )


async def list_miner_blocks(gateway: Gateway, values: Mapping[str, str]) -> models.MinerBlockPage:
    """Answer a page of the blocks a miner found, newest first."""

    async def ask_page(address: str, page: Page) -> rewards_pb2.ListBlocksResponse:
        return await gateway.sources.blocks(
            rewards_pb2.BLOCK_STATUS_UNSPECIFIED, account=address, page_size=page.size, page_token=page.token
        )

    answer = await _page_of_miner(gateway, values, "rewards", ask_page, lambda answer: answer.blocks)
    return models.MinerBlockPage(
        blocks=[translation.block(block) for block in answer.blocks],
        next_page_token=answer.next_page_token or None,
    )


async def list_credits(gateway: Gateway, values: Mapping[str, str]) -> models.CreditPage:
    """Answer a page of a miner's credits, newest first."""

    async def ask_page(address: str, page: Page) -> rewards_pb2.ListCreditsResponse:
        return await gateway.sources.credits(address, page_size=page.size, page_token=page.token)

    answer = await _page_of_miner(gateway, values, "rewards", ask_page, lambda answer: answer.credits)
    return models.CreditPage(
        credits=[translation.credit(credit) for credit in answer.credits],
        next_page_token=answer.next_page_token or None,
    )


async def list_miner_payouts(gateway: Gateway, values: Mapping[str, str]) -> models.PayoutPage:
    """Answer a page of a miner's payments, newest first."""

    async def ask_page(address: str, page: Page) -> payouts_pb2.ListPayoutsResponse:
        return await gateway.sources.payouts(address, page_size=page.size, page_token=page.token)

    answer = await _page_of_miner(gateway, values, "payouts", ask_page, lambda answer: answer.payouts)
    return models.PayoutPage(
        payouts=[translation.payout(payout) for payout in answer.payouts],
        next_page_token=answer.next_page_token or None,
    )


async def _page_of_miner(
    gateway: Gateway,
    values: Mapping[str, str],
    service: str,
    ask_page: Callable[[str, Page], Awaitable[Answer]],
    items: Callable[[Answer], Sized],
) -> Answer:
    """Ask for a page of a miner's list.

    Raises:
        ProblemFound: When nobody has mined to the address, or the service does not answer.
    """
    address = address_of(gateway, values)
    page = page_of(values, gateway.settings)
    try:
        answer = await need(service, ask_page(address, page))
    except NotFound:
        raise unknown_miner(address) from None
    if not len(items(answer)) and not page.token:
        await _refuse_stranger(gateway, address)
    return answer


def address_of(gateway: Gateway, values: Mapping[str, str]) -> str:
    """Return the canonical form of the address in the path.

    Raises:
        ProblemFound: When it is not an address of the coin.
    """
    try:
        return payee(gateway.coin, values["address"]).text
    except AddressError as error:
        raise ProblemFound(Kind.BAD_ADDRESS, f"{error}.") from None


def _estimate(
    gateway: Gateway,
    *,
    account: Panel[miners_pb2.Account],
    stats: Panel[shares_pb2.AccountStats],
    blocks: Panel[Sequence[rewards_pb2.Block]],
) -> models.Estimate | None:
    if stats.value is None or blocks.value is None:
        return None
    create_time_ms = 0 if account.value is None else account.value.create_time_ms
    is_day_old = 0 < create_time_ms <= gateway.clock.now_ms() - DAY_MS
    newest = blocks.value[0] if blocks.value else None
    return translation.estimate(stats.value, newest, is_day_old=is_day_old, fee_ppm=gateway.info.fee_ppm)


async def _refuse_stranger(gateway: Gateway, address: str) -> None:
    """Tell an empty list of a miner from a miner nobody knows; while the miners service is away the list is answered.

    Raises:
        ProblemFound: When the address has never mined here.
    """
    account = await ask("miners", gateway.sources.account(address))
    if account.is_absent:
        raise unknown_miner(address)


def _check_is_known(
    address: str,
    account: Panel[miners_pb2.Account],
    stats: Panel[shares_pb2.AccountStats],
    *,
    is_rewards_down: bool,
) -> None:
    """Check that one of those who see shares knows the address, as far as they answered.

    Raises:
        ProblemFound: When it is unknown, or when nobody at all answered.
    """
    if account.value is not None or stats.value is not None:
        return
    if account.is_absent or stats.is_absent:
        raise unknown_miner(address)
    if is_rewards_down:
        raise from_service(Unavailable("nobody answered"), service="miners")


async def _workers(sources: Sources, address: str) -> tuple[list[miners_pb2.Worker], bool]:
    """Return the account's workers up to the limit, and whether there are more."""
    workers: list[miners_pb2.Worker] = []
    token = ""
    for _ in range(WORKERS_PAGES_MAX):
        answer = await sources.workers(address, page_size=WORKERS_PAGE, page_token=token)
        workers += answer.workers
        token = answer.next_page_token
        if not token:
            break
    return workers, bool(token)


def _join_workers(
    known: list[miners_pb2.Worker], stats: list[shares_pb2.WorkerStats], *, has_more: bool
) -> list[models.Worker]:
    """Join what both services know by the workers' names; when the list was cut, only those in it."""
    known_by_name = {worker.worker: worker for worker in known}
    stats_by_name = {worker.worker: worker for worker in stats}
    names = known_by_name.keys() if has_more else known_by_name.keys() | stats_by_name.keys()
    return [
        translation.worker(name, known=known_by_name.get(name), stats=stats_by_name.get(name))
        for name in sorted(names)[: WORKERS_PAGE * WORKERS_PAGES_MAX]
    ]


def unknown_miner(address: str) -> ProblemFound:
    """Return the problem of somebody who has never mined here."""
    return ProblemFound(
        Kind.UNKNOWN_MINER, f"{address} has not mined here, expected an address with at least one accepted share."
    )


MINER_PROBLEMS = (Kind.BAD_ADDRESS, Kind.UNKNOWN_MINER, Kind.SERVICE_UNAVAILABLE)

ROUTES = (
    Route(
        path="/api/v1/miners",
        operation_id="listMiners",
        summary="Miners by hashrate over the last hour, greatest first.",
        handler=list_miners,
        answer=models.MinerPage,
        example=examples.MINER_PAGE,
        parameters=(*PAGED, COIN),
        problems=(Kind.BAD_PARAMETER, Kind.SERVICE_UNAVAILABLE),
        is_shared=True,
    ),
    Route(
        path="/api/v1/miners/{address}",
        operation_id="getMiner",
        summary="One miner: hashrates, workers, balance and threshold.",
        handler=get_miner,
        answer=models.Miner,
        example=examples.MINER,
        parameters=(ADDRESS, COIN),
        problems=MINER_PROBLEMS,
    ),
    Route(
        path="/api/v1/miners/{address}/credits",
        operation_id="listMinerCredits",
        summary="What blocks brought a miner, newest first.",
        handler=list_credits,
        answer=models.CreditPage,
        example=examples.CREDIT_PAGE,
        parameters=(ADDRESS, *PAGED, COIN),
        problems=MINER_PROBLEMS,
    ),
    Route(
        path="/api/v1/miners/{address}/blocks",
        operation_id="listMinerBlocks",
        summary="Blocks that a miner found, newest first.",
        handler=list_miner_blocks,
        answer=models.MinerBlockPage,
        example=examples.MINER_BLOCK_PAGE,
        parameters=(ADDRESS, *PAGED, COIN),
        problems=MINER_PROBLEMS,
    ),
    Route(
        path="/api/v1/miners/{address}/payouts",
        operation_id="listMinerPayouts",
        summary="Payments to a miner, newest first.",
        handler=list_miner_payouts,
        answer=models.PayoutPage,
        example=examples.PAYOUT_PAGE,
        parameters=(ADDRESS, *PAGED, COIN),
        problems=MINER_PROBLEMS,
    ),
)
