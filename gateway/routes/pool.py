"""The pool as a whole."""

import asyncio
from collections.abc import Mapping
from decimal import Decimal

from coins.work import work_from_target
from gateway import examples, models, translation
from gateway.context import Gateway
from gateway.panels import Panel, ask, degraded
from gateway.recent_blocks import recent_blocks
from gateway.routing import COIN, Route
from gateway.sources import Sources
from proto.lodepool.rewards.v1 import rewards_pb2
from proto.lodepool.shares.v1 import shares_pb2

PASSWORD_OPTIONS = ("d=", "m=")
_LIVE_STATUSES = (
    rewards_pb2.BLOCK_STATUS_CANDIDATE,
    rewards_pb2.BLOCK_STATUS_IMMATURE,
    rewards_pb2.BLOCK_STATUS_MATURE,
)


async def get_pool(gateway: Gateway, _values: Mapping[str, str]) -> models.Pool:
    """Answer the pool at this moment, with null for what a service that is away knows."""
    sources = gateway.sources
    (blocks, round_block, shares), payer, recent = await asyncio.gather(
        _blocks_and_shares(sources), ask("payouts", sources.payer_status()), ask("rewards", recent_blocks(gateway))
    )
    last = blocks.value.blocks[0] if blocks.value is not None and blocks.value.blocks else None
    coin, info = gateway.coin, gateway.info
    return models.Pool(
        name=gateway.pool_settings.name,
        coin=coin.coin_id,
        coin_name=coin.name,
        ticker=coin.ticker,
        decimals=coin.decimals,
        network=coin.network,
        algorithm=coin.algorithm.value,
        block_interval_s=coin.block_interval_s,
        maturity_blocks=coin.maturity_blocks,
        difficulty_1_work=str(work_from_target(coin.diff1_target)),
        scheme=info.scheme_default,
        fee_ppm=info.fee_ppm,
        payout_threshold_atomic=info.payout_threshold_atomic,
        stratum_port=info.stratum_port,
        stratum=_stratum(gateway),
        explorer=models.Explorer(
            tx_url=coin.explorer_tx_url, block_url=coin.explorer_block_url, address_url=coin.explorer_address_url
        ),
        shares=None if shares.value is None else translation.pool_shares(shares.value),
        round=_round(round_block, shares),
        blocks=None if blocks.value is None else _blocks(blocks.value),
        chain=None if last is None else models.Network(height=last.height, work=translation.work_of(last.network_work)),
        payer=None if payer.value is None else translation.payer(payer.value),
        luck=None if recent.value is None else translation.luck(recent.value, now_ms=gateway.clock.now_ms()),
        degraded=degraded(shares, blocks, round_block, payer, recent),
    )


def _stratum(gateway: Gateway) -> models.Stratum:
    info = gateway.info
    highest = info.difficulty_max
    return models.Stratum(
        host=gateway.settings.stratum_host,
        port=info.stratum_port,
        is_tls=info.is_stratum_tls,
        difficulty_start=_decimal(info.difficulty_start),
        difficulty_min=_decimal(info.difficulty_min),
        difficulty_max=None if highest is None else _decimal(highest),
        schemes_allowed=list(info.schemes_allowed),
        password_options=list(PASSWORD_OPTIONS),
    )


def _decimal(difficulty: float) -> str:
    """Return the digits of a difficulty as it was configured: 1e-06 is "0.000001"."""
    return f"{Decimal(repr(difficulty)).normalize():f}"


async def shares_and_round(gateway: Gateway) -> tuple[models.PoolShares | None, models.PoolRound | None]:
    """Return what the pool's miners do and the current round; None where a service is away."""
    _, round_block, shares = await _blocks_and_shares(gateway.sources)
    return None if shares.value is None else translation.pool_shares(shares.value), _round(round_block, shares)


async def _blocks_and_shares(
    sources: Sources,
) -> tuple[Panel[rewards_pb2.ListBlocksResponse], Panel[rewards_pb2.Block | None], Panel[shares_pb2.PoolStats]]:
    """Ask for the newest block, then for the shares since the newest that is not orphaned."""
    blocks, round_block = await asyncio.gather(
        ask("rewards", sources.blocks(rewards_pb2.BLOCK_STATUS_UNSPECIFIED, page_size=1, page_token="")),
        ask("rewards", _newest_live_block(sources)),
    )
    start_height = 0 if round_block.value is None else round_block.value.height
    return blocks, round_block, await ask("shares", sources.pool_stats(round_start_height=start_height))


async def _newest_live_block(sources: Sources) -> rewards_pb2.Block | None:
    """Return the newest block that is not orphaned, None before the first."""
    answers = await asyncio.gather(*(sources.blocks(status, page_size=1, page_token="") for status in _LIVE_STATUSES))
    blocks = [block for answer in answers for block in answer.blocks]
    return max(blocks, key=lambda block: block.height, default=None)


def _blocks(answer: rewards_pb2.ListBlocksResponse) -> models.PoolBlocks:
    return models.PoolBlocks(
        counts=translation.block_counts(answer.counts),
        last=translation.block(answer.blocks[0]) if answer.blocks else None,
    )


def _round(block: Panel[rewards_pb2.Block | None], shares: Panel[shares_pb2.PoolStats]) -> models.PoolRound | None:
    if block.is_down or shares.value is None:
        return None
    round_work = translation.work_of(shares.value.round_work)
    if block.value is None:
        return models.PoolRound(start_height=0, round_work=round_work, network_work=None, effort_percent=None)
    return models.PoolRound(
        start_height=block.value.height,
        round_work=round_work,
        network_work=translation.work_of(block.value.network_work),
        effort_percent=translation.effort_percent(round_work, block.value.network_work),
    )


ROUTES = (
    Route(
        path="/api/v1/pool",
        operation_id="getPool",
        summary="The pool at this moment: its rules, hashrates, round, newest block and payouts.",
        handler=get_pool,
        answer=models.Pool,
        example=examples.POOL,
        parameters=(COIN,),
        is_shared=True,
    ),
)
