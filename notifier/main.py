"""Composition root of the notifier."""

import asyncio
import contextlib
import logging
from collections.abc import Mapping
from functools import partial

from coins.settings import PoolSettings
from notifier import bot_metrics, metrics
from notifier.bot_metrics import BotCounters
from notifier.bot_start import open_bot
from notifier.channels.email import EmailChannel
from notifier.channels.interface import Channel
from notifier.channels.webhook import WebhookChannel
from notifier.config import NotifierSettings
from notifier.consumer import NoticeConsumer
from notifier.domain import ChannelKind
from notifier.metrics import Counters
from notifier.sender import Sender, prune
from notifier.service import ACCESS, SERVICE_NAME, NotifierServicer
from notifier.subscriptions import SCHEMA
from notifier.unsubscribe import serve_unsubscribe
from proto.lodepool.notifier.v1 import notifier_pb2_grpc
from runtime.clock import Clock
from runtime.exclusive import Term
from runtime.live import Live
from runtime.logs import log_event
from runtime.platform import Platform
from runtime.postgres.migrations import migrate
from runtime.process import keep_running
from runtime.telemetry import Reading

SERVICE = "notifier"
PRUNE_INTERVAL_S = 3600.0

_log = logging.getLogger("lodepool.notifier")


async def run(live: Live[NotifierSettings], pool_settings: PoolSettings, platform: Platform) -> None:
    """Tell people what happens until cancelled.

    Args:
        live: The `[notifier]` section.
        pool_settings: The `[pool]` section.
        platform: What the process runs on.
    """
    bot_counters = BotCounters()
    bot = open_bot(live.value.telegram, pool_settings=pool_settings, platform=platform, counters=bot_counters)
    await migrate(platform.pool, schema=SCHEMA, package="notifier")
    counters = Counters()
    async with contextlib.AsyncExitStack() as stack:
        channels = dict(open_channels(live.value, platform.clock))
        if bot is not None:
            channels[ChannelKind.TELEGRAM] = bot.channel
        for channel in channels.values():
            stack.push_async_callback(channel.close)
        senders = [
            Sender(kind, channel, pool=platform.pool, clock=platform.clock, live=live, counters=counters)
            for kind, channel in channels.items()
        ]

        def wake() -> None:
            for sender in senders:
                sender.wake()

        consumer = NoticeConsumer(live=live, clock=platform.clock, counters=counters)
        servicer = NotifierServicer(pool=platform.pool, clock=platform.clock, live=live, wake=wake)
        platform.telemetry.register(metrics.counted(counters))
        platform.telemetry.register(bot_metrics.counted(bot_counters))
        reading = Reading(
            SERVICE,
            read=lambda: metrics.read_standing(platform.pool, now_ms=platform.clock.now_ms()),
            families=metrics.read_families,
            clock=platform.clock,
        )
        consume = partial(consumer.run, platform.eventlog, platform.pool, after_commit=wake)
        offered = [(notifier_pb2_grpc.add_NotifierServiceServicer_to_server, servicer, SERVICE_NAME)]
        await stack.enter_async_context(serve_unsubscribe(live.value, platform.pool))
        async with platform.serve(SERVICE, offered, access=ACCESS), asyncio.TaskGroup() as tasks:
            tasks.create_task(keep_running("notifier consumer", consume, clock=platform.clock))
            for kind, sender in zip(channels, senders, strict=True):
                tasks.create_task(keep_running(f"notifier {kind}", sender.run, clock=platform.clock))
            tasks.create_task(
                keep_running("notifier retention", partial(_retain, live, platform), clock=platform.clock)
            )
            if bot is not None:
                tasks.create_task(keep_running("notifier bot", bot.run, clock=platform.clock))
            tasks.create_task(platform.telemetry.read(reading))
            names = ", ".join(channels)
            log_event(_log, logging.INFO, "notifier started", coin=pool_settings.coin, channels=names)
            platform.ready(SERVICE)


def open_channels(settings: NotifierSettings, clock: Clock) -> Mapping[ChannelKind, Channel]:
    """Return the channels that the settings name. What is queued for another one waits.

    Raises:
        ConfigError: When a channel's settings are not right.
    """
    channels: dict[ChannelKind, Channel] = {}
    if settings.email.host:
        channels[ChannelKind.EMAIL] = EmailChannel(settings.email, public_url=settings.public_url, clock=clock)
    if settings.webhook.is_enabled:
        channels[ChannelKind.WEBHOOK] = WebhookChannel(settings.webhook, clock=clock)
    return channels


async def _retain(live: Live[NotifierSettings], platform: Platform) -> None:
    async def prune_for_ever(_term: Term) -> None:
        while True:
            now_ms = platform.clock.now_ms()
            count = await prune(platform.pool, now_ms=now_ms, keep_days=live.value.keep_days)
            if count:
                log_event(_log, logging.INFO, "deliveries pruned", delivery_count=count)
            await platform.clock.sleep(PRUNE_INTERVAL_S)

    await platform.exclusive.run(f"{SERVICE}/retention", prune_for_ever)
