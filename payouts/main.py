"""Compose the payout service."""

import asyncio

from coins import registry
from coins.settings import PoolSettings
from ledger.storage import migrate_ledger
from nodes.interface import BitcoinWallet
from payouts import metrics
from payouts.adoption import Adopter
from payouts.config import PayoutSettings
from payouts.payer import Payer
from payouts.review import Reviewer
from payouts.service import ACCESS, SERVICE_NAME, PayoutServicer
from payouts.storage import SCHEMA, migrate_payouts
from payouts.thresholds import MinerServiceThresholds
from proto.lodepool.payouts.v1.payouts_pb2_grpc import add_PayoutServiceServicer_to_server
from runtime.live import Live
from runtime.outbox import OutboxPublisher
from runtime.platform import Platform
from runtime.postgres.pool import check_database
from runtime.process import keep_running
from runtime.telemetry import Reading

SERVICE = "payouts"


async def run(
    live: Live[PayoutSettings], pool_settings: PoolSettings, platform: Platform, wallet: BitcoinWallet
) -> None:
    """Serve and pay until cancelled.

    Args:
        live: The section [payouts].
        pool_settings: Names the coin.
        platform: What the process runs on.
        wallet: Pays; closed by whoever made it.
    """
    settings = live.value
    coin = registry.get(pool_settings.coin)
    await migrate_ledger(platform.pool)
    await migrate_payouts(platform.pool)
    payer = Payer(
        coin=coin,
        live=live,
        pool=platform.pool,
        wallet=wallet,
        thresholds=MinerServiceThresholds(platform.clients, timeout_s=settings.miners_timeout_s),
        clock=platform.clock,
        telemetry=platform.telemetry,
    )
    reviewer = Reviewer(coin=coin, settings=settings, pool=platform.pool, wallet=wallet, clock=platform.clock)
    adopter = Adopter(coin=coin, settings=settings, pool=platform.pool, wallet=wallet, clock=platform.clock)
    servicer = PayoutServicer(
        pool=platform.pool, reviewer=reviewer, adopter=adopter, clock=platform.clock, coin_id=coin.coin_id
    )

    outbox = OutboxPublisher(platform.pool, platform.eventlog, SCHEMA, platform.clock)

    async def pay() -> None:
        # Who does not reach the database leaves the term to a process that does.
        await check_database(platform.pool)
        await platform.exclusive.run(f"{SERVICE}/{coin.coin_id}", payer.run)

    platform.telemetry.register(metrics.counted(payer.metrics, outbox, is_payer=lambda: payer.is_active))
    reading = Reading(
        SERVICE,
        read=lambda: metrics.read_standing(platform.pool, coin_id=coin.coin_id, now_ms=platform.clock.now_ms()),
        families=metrics.read_families,
        clock=platform.clock,
    )
    offered = [(add_PayoutServiceServicer_to_server, servicer, SERVICE_NAME)]
    async with platform.serve(SERVICE, offered, access=ACCESS), asyncio.TaskGroup() as tasks:
        tasks.create_task(keep_running("payer", pay, clock=platform.clock))
        tasks.create_task(keep_running("payouts outbox", outbox.run, clock=platform.clock))
        tasks.create_task(platform.telemetry.read(reading))
        platform.ready(SERVICE)
