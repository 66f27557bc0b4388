"""Compose and run the rewards service."""

import asyncio

from coins import registry
from coins.bitcoin.address import decode
from coins.settings import PoolSettings
from ledger.storage import migrate_ledger
from proto.lodepool.rewards.v1.rewards_pb2_grpc import add_RewardServiceServicer_to_server
from rewards import metrics
from rewards.config import RewardsSettings
from rewards.consumer import BlockConsumer
from rewards.follower import ChainReader, Follower
from rewards.metrics import Counters
from rewards.service import ACCESS, FULL_NAME, RewardService
from rewards.windows import SharesWindows
from runtime.live import Live
from runtime.outbox import OutboxPublisher
from runtime.platform import Platform
from runtime.postgres.migrations import migrate
from runtime.postgres.pool import check_database
from runtime.process import keep_running
from runtime.telemetry import Reading

SERVICE = "rewards"


async def run(live: Live[RewardsSettings], pool_settings: PoolSettings, platform: Platform, nodes: ChainReader) -> None:
    """Run the service until cancelled.

    Every process reads `blocks`; one of them follows the chain and books. Only that one is woken at once by a block it
    has read itself: a block read by another process waits for its next look, `confirmations_poll_s` at most.

    Args:
        live: The `[rewards]` section.
        pool_settings: The `[pool]` section: the coin, and the address that coinbases pay.
        platform: What the process gives its services.
        nodes: The coin's nodes; followed by the caller.
    """
    coin = registry.get(pool_settings.coin)
    await migrate_ledger(platform.pool)
    await migrate(platform.pool, schema="rewards", package="rewards")
    counters = Counters()
    follower = Follower(
        pool=platform.pool,
        chain=nodes,
        windows=SharesWindows(platform.clients),
        coin=coin,
        script=decode(coin, pool_settings.address).script,
        settings=live.value,
        clock=platform.clock,
        counters=counters,
        telemetry=platform.telemetry,
    )
    consumer = BlockConsumer(fee_ppm=lambda: live.value.fee_ppm, counters=counters, telemetry=platform.telemetry)
    outbox = OutboxPublisher(platform.pool, platform.eventlog, "rewards", platform.clock)

    def on_blocks() -> None:
        follower.wake()
        outbox.wake()

    service = RewardService(
        platform.pool, maturity_blocks={known.coin_id: known.maturity_blocks for known in registry.all_coins()}
    )

    async def follow() -> None:
        # Who does not reach the database leaves the term to a process that does.
        await check_database(platform.pool)
        await platform.exclusive.run(f"{SERVICE}/{coin.coin_id}", follower.run)

    platform.telemetry.register(metrics.counted(counters, outbox))
    reading = Reading(
        SERVICE,
        read=lambda: metrics.read_standing(platform.pool, coin_id=coin.coin_id),
        families=metrics.read_families,
        clock=platform.clock,
    )
    offered = [(add_RewardServiceServicer_to_server, service, FULL_NAME)]
    async with platform.serve(SERVICE, offered, access=ACCESS), asyncio.TaskGroup() as tasks:
        tasks.create_task(
            keep_running(
                "rewards consumer",
                lambda: consumer.run(platform.eventlog, platform.pool, after_commit=on_blocks),
                clock=platform.clock,
            )
        )
        tasks.create_task(keep_running("rewards follower", follow, clock=platform.clock))
        tasks.create_task(keep_running("rewards outbox", outbox.run, clock=platform.clock))
        tasks.create_task(platform.telemetry.read(reading))
        platform.ready(SERVICE)
