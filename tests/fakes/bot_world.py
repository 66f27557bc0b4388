"""The bot over a Bot API of our own, a real database and recorded services, each a real gRPC server."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from coins import registry
from coins.settings import PoolSettings
from notifier.bot import TelegramBot
from notifier.channels.interface import Message, Sent
from notifier.subscriptions import SCHEMA
from notifier.telegram_settings import TelegramSettings
from proto.lodepool.miners.v1 import miners_pb2
from proto.lodepool.payouts.v1 import payouts_pb2
from proto.lodepool.rewards.v1 import rewards_pb2
from proto.lodepool.shares.v1 import shares_pb2
from runtime.platform import Platform
from runtime.postgres.migrations import migrate
from runtime.rpc.server import RpcServer
from tests.fakes.bot_api import TOKEN, BotApi, SentMessage
from tests.fakes.gateway_world import _KINDS, ADDRESS, OTHER, Recorded, _servicer
from tests.fakes.waiting import eventually

COIN = registry.get("litecoin-regtest")
POOL = PoolSettings(coin=COIN.coin_id, address=OTHER, name="Proof & Co")
HOUR_MS = 3_600_000
START_MS = 1_700_000_000_000 - 1_700_000_000_000 % HOUR_MS


@dataclass(kw_only=True)
class BotWorld:
    """What a test needs: the API, the bot, the services' recorded answers and the database."""

    api: BotApi
    platform: Platform
    settings: TelegramSettings
    services: dict[str, Recorded]
    bot: TelegramBot | None = None
    task: asyncio.Task[None] | None = None
    killed: list[asyncio.Task[None]] = field(default_factory=list)

    def start(self) -> None:
        """Start a bot, as a new process would."""
        self.bot = TelegramBot(TOKEN, settings=self.settings, pool_settings=POOL, platform=self.platform)
        self.task = asyncio.create_task(self.bot.run())

    async def stop(self) -> None:
        """Stop the bot as a process that is told to."""
        if self.task is not None and self.bot is not None:
            self.task.cancel()
            await asyncio.gather(self.task, return_exceptions=True)
            await self.bot.channel.close()
            self.task = self.bot = None

    async def kill(self) -> None:
        """End the bot as a process that is killed: no task of it does anything more, calls under way end unseen."""
        assert self.task is not None
        own = {
            task
            for task in asyncio.all_tasks()
            if task is not asyncio.current_task() and (task.get_name().startswith("bot ") or task is self.task)
        }
        for task in own:
            task.cancel()
        await asyncio.gather(*own, return_exceptions=True)
        self.task = self.bot = None

    async def told(self, chat_id: int, text: str, *, timeout_s: float = 10.0) -> SentMessage:
        """Wait until a chat has received a text with a part; return the newest such message."""

        def found() -> list[SentMessage]:
            return [each for each in self.api.messages if each.chat_id == chat_id and text in each.text]

        await eventually(found, timeout_s=timeout_s, what=f"{text!r} in {self.api.texts(chat_id)}")
        return found()[-1]

    async def idle(self) -> None:
        """Wait until every update is dealt with and every answer sent."""

        async def is_idle() -> bool:
            # What has come in comes first: afterwards it can only be dealt with.
            if set(self.api.unconfirmed) - await self.kept():
                return False
            count = await self.platform.pool.fetchval(
                "SELECT (SELECT count(*) FROM notifier.bot_update WHERE state = 'new') + "
                "(SELECT count(*) FROM notifier.bot_call WHERE state IN ('queued', 'sending'))"
            )
            return count == 0

        await eventually(is_idle, timeout_s=30, what="an idle bot")

    async def kept(self) -> set[int]:
        """Return the numbers of the updates that were kept."""
        return {row["update_id"] for row in await self.platform.pool.fetch("SELECT update_id FROM notifier.bot_update")}

    async def watches(self, chat_id: int) -> list[dict[str, object]]:
        """Return a chat's subscriptions."""
        rows = await self.platform.pool.fetch(
            "SELECT * FROM notifier.subscription WHERE address = $1 ORDER BY subscription_id", str(chat_id)
        )
        return [dict(row) for row in rows]

    async def rest(self) -> None:
        """Let every chat be written to at once: a test is no flood."""
        await self.platform.pool.execute("DELETE FROM notifier.target")

    async def send(self, message: Message) -> Sent:
        """Send a notice by the bot's channel."""
        assert self.bot is not None
        outcome = await self.bot.channel.send(message)
        assert isinstance(outcome, Sent), outcome
        return outcome


@asynccontextmanager
async def run_world(platform: Platform, *, start: bool = True, **settings: object) -> AsyncIterator[BotWorld]:
    """Run services and the API, and start the bot."""
    await migrate(platform.pool, schema=SCHEMA, package="notifier")
    services = {name: Recorded(answers=recorded()[name]) for name in _KINDS}
    servers = []
    for name, (add, base) in _KINDS.items():
        server = RpcServer(
            platform.directory.target(name), services=[(add, _servicer(base, services[name]), f"test.{name}")]
        )
        await server.start()
        servers.append(server)
    async with BotApi() as api:
        found = TelegramSettings(**{"base_url": api.base_url, "poll_timeout_s": 5, **settings})
        world = BotWorld(api=api, platform=platform, settings=found, services=services)
        if start:
            world.start()
        try:
            yield world
        finally:
            await world.stop()
            for server in servers:
                await server.stop(0)


def recorded() -> dict[str, dict[str, object]]:
    """Return what the services answer: an account with 25 workers, balances, payouts, credits, blocks."""
    rates = shares_pb2.Hashrates(hps_5m="1234567", hps_1h="1200000", hps_24h="1100000")
    counts = shares_pb2.ShareCounts(accepted=1000, stale=7, duplicate=2, low_difficulty=1)
    names = [f"rig{number:02d}" for number in range(24)] + ["<b>evil</b>&\u202e@admin"]
    stats = shares_pb2.AccountStats(
        account=ADDRESS,
        hashrates=rates,
        counts=counts,
        workers=[
            shares_pb2.WorkerStats(worker=name, hashrates=rates, counts=counts, last_share_time_ms=START_MS)
            for name in names
        ],
    )
    workers = miners_pb2.ListWorkersResponse(
        workers=[
            miners_pb2.Worker(worker=name, presence=miners_pb2.PRESENCE_ONLINE, last_share_time_ms=START_MS)
            for name in names
        ]
    )
    history = shares_pb2.HashrateHistory(
        interval_s=600,
        points=[
            shares_pb2.HistoryPoint(time_ms=START_MS + step * 600_000, hps=str(1_000_000 + step * step * 100))
            for step in range(144)
        ],
    )
    payouts = payouts_pb2.ListPayoutsResponse(
        payouts=[
            payouts_pb2.Payout(
                payout_id="p1",
                account=ADDRESS,
                amount_atomic=123_456_789,
                status=payouts_pb2.BATCH_STATUS_CONFIRMED,
                txid_hex="ab" * 32,
                create_time_ms=START_MS,
            ),
            payouts_pb2.Payout(
                payout_id="p2",
                account=ADDRESS,
                amount_atomic=1,
                status=payouts_pb2.BATCH_STATUS_RESERVED,
                create_time_ms=START_MS,
            ),
        ]
    )
    credits_page = rewards_pb2.ListCreditsResponse(
        credits=[
            rewards_pb2.Credit(
                account=ADDRESS,
                amount_atomic=617_283_945,
                height=77,
                block_hash_hex="cd" * 32,
                status=rewards_pb2.BLOCK_STATUS_MATURE,
                found_time_ms=START_MS,
            )
        ]
    )
    blocks = rewards_pb2.ListBlocksResponse(
        blocks=[
            rewards_pb2.Block(
                height=77,
                status=rewards_pb2.BLOCK_STATUS_IMMATURE,
                found_time_ms=START_MS,
                reward_atomic=625_000_000,
                round_work="150",
                network_work="100",
                block_hash_hex="cd" * 32,
            )
        ]
    )
    balance = rewards_pb2.Balance(immature_atomic=1, payable_atomic=250_000_000, reserved_atomic=3, paid_atomic=4)
    pool = shares_pb2.PoolStats(hashrates=rates, account_count=3, worker_count=9)
    status = payouts_pb2.PayerStatus(paid_atomic=987_654_321, reason="no node <answers>")
    return {
        "shares": {"GetAccountStats": stats, "GetHashrateHistory": history, "GetPoolStats": pool},
        "miners": {"ListWorkers": workers},
        "rewards": {"GetBalance": balance, "ListCredits": credits_page, "ListBlocks": blocks},
        "payouts": {"ListPayouts": payouts, "GetStatus": status, "HoldPayouts": status, "ResumePayouts": status},
    }
