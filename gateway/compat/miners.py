"""One miner: what it has, what it was paid, what it mined."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence

from coins.work import work_from_target
from gateway.compat import models, translation
from gateway.compat.context import Compat, Refused
from gateway.compat.lists import CHUNK_ITEMS, part
from gateway.compat.numbers import money, whole
from gateway.compat.performance import DAY_MS, HOUR_MS, Step, by_time, finished, grouped
from gateway.compat.query import Query, SampleRange
from gateway.panels import need
from gateway.recent_blocks import recent_blocks
from gateway.translation import time_of
from proto.lodepool.payouts.v1 import payouts_pb2
from proto.lodepool.rewards.v1 import rewards_pb2
from proto.lodepool.shares.v1 import shares_pb2
from runtime.rpc.errors import NotFound

WORKERS_LISTED_MAX = 20
"""Workers of greatest hashrate that stand in samples under their own names; the others stand together."""
RECENT_MS = 20 * 60_000
"""A worker is shown as mining for so long after its last share."""
_MONTH_MS = 30 * DAY_MS
_WEEK_MS = 7 * DAY_MS
_SETTINGS_REFUSED = "Settings are changed with a message signed by the address: PUT /api/v1/miners/<address>/settings."

Path = Mapping[str, str]


async def get_miner(compat: Compat, query: Query, path: Path) -> models.MinerStats:
    """Answer a miner; who is not known has nothing, as there."""
    gateway = compat.gateway
    account, decimals = compat.account_of(path["address"]), gateway.coin.decimals
    if account is None:
        return _nobody(decimals)
    now_ms = gateway.clock.now_ms()
    stats, balance, (newest, today_atomic), work, samples, counts = await asyncio.gather(
        _stats(compat, account),
        _balance(compat, account),
        _paid(compat, account, since_ms=now_ms - now_ms % DAY_MS),
        _work_since_block(compat, account),
        _samples(compat, account, query.reach),
        _counts(compat, account),
    )
    return models.MinerStats(
        pending_shares=whole(work // work_from_target(gateway.coin.diff1_target)),
        pending_balance=money(balance.payable_atomic, decimals=decimals),
        total_paid=money(balance.paid_atomic + balance.reserved_atomic, decimals=decimals),
        today_paid=money(today_atomic, decimals=decimals),
        last_payment=None if newest is None else time_of(newest.create_time_ms),
        last_payment_link=None if newest is None else translation.tx_link(gateway.coin, newest.txid_hex),
        performance=translation.performance(stats, now_ms=now_ms, age_ms_max=RECENT_MS),
        performance_samples=samples,
        total_confirmed_blocks=counts.mature,
        total_pending_blocks=counts.candidate + counts.immature,
    )


async def get_performance(compat: Compat, query: Query, path: Path) -> list[models.WorkerSample]:
    """Answer a miner's workers over time."""
    account = compat.account_of(path["address"])
    return [] if account is None else await _samples(compat, account, query.reach)


async def get_settings(compat: Compat, _query: Query, path: Path) -> models.MinerSettings:
    """Answer what a miner chose; who has chosen nothing has no settings there."""
    account = compat.account_of(path["address"])
    threshold_atomic = 0
    if account is not None:
        try:
            known = await need("miners", compat.gateway.sources.account(account))
        except NotFound:
            pass
        else:
            threshold_atomic = known.payout_threshold_atomic
    if not threshold_atomic:
        raise Refused(404, "No settings found")
    return models.MinerSettings(payment_threshold=money(threshold_atomic, decimals=compat.gateway.coin.decimals))


async def refuse_settings(_compat: Compat, _query: Query, _path: Path) -> models.MinerSettings:
    """Refuse a change: the address it comes from proves nothing here."""
    raise Refused(403, _SETTINGS_REFUSED)


async def list_changes(compat: Compat, query: Query, path: Path) -> list[models.BalanceChange]:
    """Answer a page of what changed a miner's balance, newest first."""
    end = query.offset + query.page_size
    account = compat.account_of(path["address"])
    if account is None:
        return []
    if end > CHUNK_ITEMS:
        return (await page_changes(compat, query, path)).result
    rewarded, payouts = await asyncio.gather(
        part(_mature_credits(compat, account), offset=0, size=end),
        part(sent_payouts(compat, account), offset=0, size=end),
    )
    return _told(compat, account, translation.balance_changes(rewarded, payouts)[query.offset : end])


async def page_changes(compat: Compat, query: Query, path: Path) -> models.BalanceChangePage:
    """Answer a page of what changed a miner's balance, with the count of all."""
    account = compat.account_of(path["address"])
    every = [] if account is None else await _all_changes(compat, account)
    return models.BalanceChangePage(
        page_count=len(every) // query.page_size,
        item_count=len(every),
        result=_told(compat, account or "", every[query.offset : query.offset + query.page_size]),
        success=True,
    )


async def list_earnings(compat: Compat, query: Query, path: Path) -> list[models.DailyEarning]:
    """Answer a page of what a miner was paid a day, newest first."""
    return list((await _earnings(compat, path))[query.offset : query.offset + query.page_size])


async def page_earnings(compat: Compat, query: Query, path: Path) -> models.DailyEarningPage:
    """Answer a page of what a miner was paid a day, with the count of all."""
    every = await _earnings(compat, path)
    return models.DailyEarningPage(
        page_count=len(every) // query.page_size,
        item_count=len(every),
        result=list(every[query.offset : query.offset + query.page_size]),
        success=True,
    )


async def all_sent(compat: Compat, account: str) -> Sequence[payouts_pb2.Payout]:
    """Return all payments that were sent, as far as pages reach."""
    return await compat.lists.whole(("sent", account), lambda: sent_payouts(compat, account))


async def sent_payouts(compat: Compat, account: str) -> AsyncIterator[payouts_pb2.Payout]:
    """Walk the payments that were sent, newest first; an empty account asks for everybody's."""
    async for payout in compat.lists.payouts(account):
        if translation.is_sent(payout):
            yield payout


async def _all_changes(compat: Compat, account: str) -> Sequence[translation.Change]:
    async def walk() -> AsyncIterator[translation.Change]:
        rewarded = [credit async for credit in _mature_credits(compat, account)]
        for change in translation.balance_changes(rewarded, await all_sent(compat, account)):
            yield change

    return await compat.lists.whole(("changes", account), walk)


def _told(compat: Compat, account: str, changes: Sequence[translation.Change]) -> list[models.BalanceChange]:
    coin = compat.gateway.coin
    return [change.told(coin, pool_id=compat.pool_id, address=account) for change in changes]


async def _paid(compat: Compat, account: str, *, since_ms: int) -> tuple[payouts_pb2.Payout | None, int]:
    """Return the newest payment that was sent, and the sum of those since a time, atomic units."""
    newest, paid_atomic = None, 0
    async for payout in sent_payouts(compat, account):
        newest = newest or payout
        if payout.create_time_ms < since_ms:
            break
        paid_atomic += payout.amount_atomic
    return newest, paid_atomic


async def _mature_credits(compat: Compat, account: str) -> AsyncIterator[rewards_pb2.Credit]:
    async for credit in compat.lists.credits(account):
        if credit.status == rewards_pb2.BLOCK_STATUS_MATURE:
            yield credit


async def _earnings(compat: Compat, path: Path) -> Sequence[models.DailyEarning]:
    account = compat.account_of(path["address"])
    if account is None:
        return []

    async def walk() -> AsyncIterator[models.DailyEarning]:
        for earning in translation.daily_earnings(await all_sent(compat, account), compat.gateway.coin):
            yield earning

    return await compat.lists.whole(("earnings", account), walk)


async def _stats(compat: Compat, account: str) -> shares_pb2.AccountStats:
    try:
        return await need("shares", compat.gateway.sources.account_stats(account))
    except NotFound:
        return shares_pb2.AccountStats(account=account)


async def _balance(compat: Compat, account: str) -> rewards_pb2.Balance:
    try:
        return await need("rewards", compat.gateway.sources.balance(account))
    except NotFound:
        return rewards_pb2.Balance()


async def _counts(compat: Compat, account: str) -> rewards_pb2.BlockCounts:
    question = compat.gateway.sources.blocks(
        rewards_pb2.BLOCK_STATUS_UNSPECIFIED, account=account, page_size=1, page_token=""
    )
    return (await need("rewards", question)).counts


async def _work_since_block(compat: Compat, account: str) -> int:
    """Return an account's work since the pool's newest block that is not orphaned, hashes, to the step of a history."""
    gateway = compat.gateway
    blocks = await need("rewards", recent_blocks(gateway))
    since_ms = next((block.found_time_ms for block in blocks if block.status != rewards_pb2.BLOCK_STATUS_ORPHANED), 0)
    age_ms = gateway.clock.now_ms() - since_ms
    window = shares_pb2.HISTORY_WINDOW_QUARTER
    if age_ms < DAY_MS:
        window = shares_pb2.HISTORY_WINDOW_DAY
    elif age_ms < _WEEK_MS:
        window = shares_pb2.HISTORY_WINDOW_WEEK
    try:
        history = await need("shares", gateway.sources.history(window, account=account))
    except NotFound:
        return 0
    length_ms = history.interval_s * 1_000
    return sum(translation.number_of(point.work) for point in history.points if point.time_ms + length_ms > since_ms)


async def _samples(compat: Compat, account: str, reach: SampleRange) -> list[models.WorkerSample]:
    """Return what an account's workers mined: ten-minute steps of an hour, hours of a day, or days of a month."""
    stats, everybody = await asyncio.gather(_stats(compat, account), _steps(compat, account, reach))
    ranked = sorted(stats.workers, key=lambda worker: (-translation.number_of(worker.hashrates.hps_24h), worker.worker))
    listed = [worker.worker for worker in ranked[:WORKERS_LISTED_MAX]]
    if len(stats.workers) == 1:
        found = [everybody]
    else:
        found = await asyncio.gather(*(_steps(compat, account, reach, worker=name) for name in listed))
    samples = by_time(everybody, dict(zip(listed, found, strict=True)), has_others=len(stats.workers) > len(listed))
    return translation.worker_samples(samples)


async def _steps(compat: Compat, account: str, reach: SampleRange, *, worker: str | None = None) -> list[Step]:
    is_month = reach is SampleRange.MONTH
    window = shares_pb2.HISTORY_WINDOW_QUARTER if is_month else shares_pb2.HISTORY_WINDOW_DAY
    try:
        history = await need("shares", compat.gateway.sources.history(window, account=account, worker=worker))
    except NotFound:
        return []
    now_ms = compat.gateway.clock.now_ms()
    reach_ms = {SampleRange.HOUR: HOUR_MS, SampleRange.DAY: DAY_MS, SampleRange.MONTH: _MONTH_MS}[reach]
    steps = finished(translation.steps_of(history), now_ms=now_ms, since_ms=now_ms - reach_ms)
    match reach:
        case SampleRange.HOUR:
            return steps
        case SampleRange.DAY:
            return grouped(steps, group_ms=HOUR_MS)
        case SampleRange.MONTH:
            return grouped(steps, group_ms=DAY_MS)


def _nobody(decimals: int) -> models.MinerStats:
    nothing = money(0, decimals=decimals)
    return models.MinerStats(
        pending_shares=whole(0),
        pending_balance=nothing,
        total_paid=nothing,
        today_paid=nothing,
        performance_samples=[],
        total_confirmed_blocks=0,
        total_pending_blocks=0,
    )
