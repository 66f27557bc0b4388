"""The pool as a whole, and who mines most."""

import asyncio
from collections.abc import Sequence

from gateway import models as own
from gateway.compat import models, translation
from gateway.compat.context import AWAY, Compat, Refused
from gateway.compat.numbers import configured, money, network_difficulty, ratio, whole
from gateway.compat.performance import DAY_MS, HOUR_MS, Step, finished, grouped
from gateway.compat.query import Query, SampleInterval, SampleRange
from gateway.panels import need
from gateway.recent_blocks import recent_blocks
from gateway.routes.pool import shares_and_round
from gateway.sources import BATCH_ACCOUNTS_MAX
from gateway.translation import time_of
from proto.lodepool.rewards.v1 import rewards_pb2
from proto.lodepool.shares.v1 import shares_pb2
from runtime.rpc.errors import NotFound, RpcError

TOP_MINERS = 15
MINERS_MAX = 1_000
"""Ranks that are told."""
_PPM_PER_PERCENT = 10_000
_FEE_DIGITS = 4
_MONTH_MS = 30 * DAY_MS


async def get_pools(compat: Compat, query: Query, _path: object) -> models.Pools:
    """Answer all pools: the one."""
    return models.Pools(pools=[await _pool(compat, query)])


async def get_pool(compat: Compat, query: Query, _path: object) -> models.SinglePool:
    """Answer the pool."""
    return models.SinglePool(pool=await _pool(compat, query))


async def get_performance(compat: Compat, query: Query, _path: object) -> models.PoolSamples:
    """Answer the pool over time: ten-minute steps in an hour, hours or days in a day, six hours or days in a month."""
    gateway = compat.gateway
    is_month = query.reach is SampleRange.MONTH
    window = shares_pb2.HISTORY_WINDOW_QUARTER if is_month else shares_pb2.HISTORY_WINDOW_DAY
    history, blocks = await asyncio.gather(_history(compat, window), _blocks(compat))
    now_ms = gateway.clock.now_ms()
    reach_ms = {SampleRange.HOUR: HOUR_MS, SampleRange.DAY: DAY_MS, SampleRange.MONTH: _MONTH_MS}[query.reach]
    steps = finished(history, now_ms=now_ms, since_ms=now_ms - reach_ms)
    if query.interval is SampleInterval.DAY:
        steps = grouped(steps, group_ms=DAY_MS)
    elif query.reach is SampleRange.DAY:
        steps = grouped(steps, group_ms=HOUR_MS)
    return translation.pool_samples(steps, blocks, block_interval_s=gateway.coin.block_interval_s)


async def list_miners(compat: Compat, query: Query, _path: object) -> list[models.MinerPerformance]:
    """Answer a page of miners, greatest hashrate first."""
    end = min(query.offset + query.page_size, MINERS_MAX)
    if query.offset >= end:
        return []
    return (await _top_miners(compat, hours=query.top_miners_h, size=end))[query.offset :]


async def _pool(compat: Compat, query: Query) -> models.PoolInfo:
    gateway = compat.gateway
    coin, info = gateway.coin, gateway.info
    (shares, pool_round), blocks, counts, payer, books = await asyncio.gather(
        _shares(compat),
        _blocks(compat),
        _counts(compat),
        need("payouts", gateway.sources.payer_status()),
        asyncio.gather(
            need("rewards", gateway.sources.ledger_totals()),
            _history(compat, shares_pb2.HISTORY_WINDOW_DAY),
            _top_miners(compat, hours=query.top_miners_h, size=TOP_MINERS),
            chain_height(compat),
        ),
    )
    ledger, history, top, height = books
    last_step = finished(history, now_ms=gateway.clock.now_ms(), since_ms=0)[-1:]
    confirmed = next((block for block in blocks if block.status == rewards_pb2.BLOCK_STATUS_MATURE), None)
    return models.PoolInfo(
        id=compat.pool_id,
        coin=models.Coin(
            type=coin.ticker,
            name=coin.name,
            symbol=coin.ticker,
            family=coin.family,
            algorithm=coin.algorithm.value,
            canonical_name=coin.name,
        ),
        ports={str(info.stratum_port): _port(compat)},
        payment_processing=models.PaymentProcessing(
            enabled=not payer.is_held,
            minimum_payment=money(info.payout_threshold_atomic, decimals=coin.decimals),
            payout_scheme=info.scheme_default.upper(),
        ),
        pool_fee_percent=ratio(info.fee_ppm, _PPM_PER_PERCENT, digits=_FEE_DIGITS),
        address=gateway.pool_settings.address,
        address_info_link=translation.address_link(coin, gateway.pool_settings.address),
        pool_stats=models.PoolStats(
            connected_miners=shares.miner_online_count,
            pool_hashrate=whole(shares.hashrates.hps_15m),
            shares_per_second=last_step[0].accepted // last_step[0].length_s if last_step else 0,
        ),
        network_stats=_network(compat, blocks, height),
        top_miners=top,
        total_paid=money(ledger.paid_atomic + ledger.reserved_atomic, decimals=coin.decimals),
        total_blocks=counts.candidate + counts.immature + counts.mature + counts.orphaned,
        total_confirmed_blocks=counts.mature,
        total_pending_blocks=counts.candidate + counts.immature,
        block_reward=money(0 if confirmed is None else confirmed.reward_atomic, decimals=coin.decimals),
        last_pool_block_time=time_of(blocks[0].found_time_ms) if blocks else None,
        pool_effort=ratio(int(pool_round.round_work), int(pool_round.network_work or 0)),
    )


def _port(compat: Compat) -> models.Port:
    info = compat.gateway.info
    highest = info.difficulty_max
    return models.Port(
        listen_address=compat.gateway.settings.stratum_host or "*",
        name=compat.gateway.pool_settings.name,
        difficulty=configured(info.difficulty_start),
        var_diff=models.VarDiff(
            min_diff=configured(info.difficulty_min), max_diff=None if highest is None else configured(highest)
        ),
        tls=info.is_stratum_tls,
        tls_auto=False,
    )


def _network(compat: Compat, blocks: Sequence[rewards_pb2.Block], height: int) -> models.NetworkStats:
    """Return the network as the pool's newest block tells it; front ends need the zeros that stand before the first."""
    coin = compat.gateway.coin
    newest = blocks[0] if blocks else rewards_pb2.Block()
    network_work = translation.number_of(newest.network_work)
    return models.NetworkStats(
        network_type=translation.network_name(coin.network),
        network_hashrate=whole(network_work // coin.block_interval_s),
        network_difficulty=network_difficulty(network_work),
        block_height=height or newest.height,
        reward_type="POW",
    )


async def chain_height(compat: Compat) -> int:
    """Return the height that is mined on, as the stratum servers know it; 0 when none tells."""
    sources = compat.gateway.sources

    async def ask(name: str) -> int:
        try:
            return (await sources.stratum_status(name)).height
        except RpcError:
            return 0

    return max(await asyncio.gather(*map(ask, sources.stratum_names())), default=0)


async def _shares(compat: Compat) -> tuple[own.PoolShares, own.PoolRound]:
    shares, pool_round = await shares_and_round(compat.gateway)
    if shares is None or pool_round is None:
        raise Refused(AWAY, "A service behind the pool does not answer; try again in a moment.")
    return shares, pool_round


async def _blocks(compat: Compat) -> Sequence[rewards_pb2.Block]:
    return await need("rewards", recent_blocks(compat.gateway))


async def _counts(compat: Compat) -> rewards_pb2.BlockCounts:
    question = compat.gateway.sources.blocks(rewards_pb2.BLOCK_STATUS_UNSPECIFIED, page_size=1, page_token="")
    return (await need("rewards", question)).counts


async def _history(compat: Compat, window: shares_pb2.HistoryWindow.ValueType) -> list[Step]:
    try:
        return translation.steps_of(await need("shares", compat.gateway.sources.history(window)))
    except NotFound:
        return []


async def _top_miners(compat: Compat, *, hours: int, size: int) -> list[models.MinerPerformance]:
    """Return the greatest miners of the last hour or of the last day.

    Nobody counts an account's shares by the hour: each is given its part, by hashrate, of the pool's.
    """
    sources = compat.gateway.sources
    span_ms = HOUR_MS if hours <= 1 else DAY_MS
    history = await _history(compat, shares_pb2.HISTORY_WINDOW_DAY)
    if hours <= 1:
        accounts = (await need("shares", sources.accounts_by_hashrate(page_size=size, page_token=""))).accounts
        rates = [(stats.account, translation.number_of(stats.hashrates.hps_1h)) for stats in accounts]
    else:
        leaders = (await need("shares", sources.leaders(page_size=size))).leaders
        rates = [(leader.account, translation.number_of(leader.hps)) for leader in leaders]
    rates = [(account, hps) for account, hps in rates if hps]
    now_ms = compat.gateway.clock.now_ms()
    steps = finished(history, now_ms=now_ms, since_ms=now_ms - span_ms)
    accepted = sum(step.accepted for step in steps)
    hash_count = sum(step.hps * step.length_s for step in steps)
    anonymous = await _anonymous(compat, [account for account, _ in rates])
    return [
        models.MinerPerformance(
            miner=translation.ANONYMOUS if account in anonymous else account,
            hashrate=whole(hps),
            shares_per_second=ratio(accepted * hps, hash_count),
        )
        for account, hps in rates
    ]


async def _anonymous(compat: Compat, accounts: list[str]) -> set[str]:
    """Return which accounts want no name in lists."""
    if not accounts:
        return set()
    known = await need("miners", compat.gateway.sources.accounts(accounts[:BATCH_ACCOUNTS_MAX]))
    return {account.account for account in known.accounts if account.is_anonymous}
