"""The Telegram bot: who watches which address, looked after by the people themselves.

Start with `bot_domain.py` (what people send) and `bot_calls.py` (what is answered), then `bot_handlers.py`,
`bot_buttons.py` and `bot_effects.py` (what is done, in two steps), `bot_views.py` with `texts/bot_*.py` (the words),
`bot_storage.py` (updates, answers), and the three loops: `bot_inbox.py`, `bot_worker.py`, `bot_sender.py`.
docs/BOT.md explains it to operators.
"""

import asyncio
import logging
from collections.abc import Mapping
from typing import Final

from coins import registry
from coins.settings import PoolSettings
from notifier import bot_storage, bot_views
from notifier.bot_handlers import Handlers
from notifier.bot_inbox import Inbox, Poller, Webhook
from notifier.bot_metrics import BotCounters
from notifier.bot_sender import CallSender
from notifier.bot_sources import Sources
from notifier.bot_worker import Worker
from notifier.channels.telegram import Floods, TelegramChannel
from notifier.telegram_client import Denied, Done, TelegramClient
from notifier.telegram_settings import TelegramSettings
from runtime.clock import Clock
from runtime.errors import UserError
from runtime.exclusive import Term
from runtime.logs import log_event
from runtime.platform import Platform
from runtime.postgres.pool import acquired
from runtime.process import keep_running

EXCLUSIVE: Final = "notifier/bot"
PRUNE_S: Final = 3600.0
ADMIN_KEEP_S: Final = 60.0
_ADMIN_KEPT_MAX: Final = 1000
_ADMIN: Final = frozenset({"creator", "administrator"})
_RETRY_S: Final = 5.0

_log = logging.getLogger("lodepool.notifier.bot")


class TelegramBot:
    """The bot and its channel for notices.

    One process of a cluster talks to people: Telegram answers one questioner only, and the order of a chat is kept.
    Every process may send notices, and with webhooks every process takes updates.

    Args:
        token: The bot's.
        settings: The `[notifier.telegram]` section.
        pool_settings: The `[pool]` section.
        platform: What the process runs on.
        counters: Counted into.
    """

    def __init__(
        self,
        token: str,
        *,
        settings: TelegramSettings,
        pool_settings: PoolSettings,
        platform: Platform,
        counters: BotCounters | None = None,
    ) -> None:
        self._token = token
        self._settings = settings
        self._pool_settings = pool_settings
        self._platform = platform
        self._counters = counters or BotCounters()
        self._client = TelegramClient(token, base_url=settings.base_url)
        self._floods = Floods(platform.clock)
        self._channel = TelegramChannel(self._client, clock=platform.clock, floods=self._floods)
        self._worker: Worker | None = None
        self._inbox = Inbox(pool=platform.pool, clock=platform.clock, kept=self._wake)
        self._webhook = Webhook(settings, token=token, inbox=self._inbox) if settings.mode == "webhook" else None

    @property
    def channel(self) -> TelegramChannel:
        """Return the channel by which the notifier sends notices to chats; closing it ends the bot's connections."""
        return self._channel

    @property
    def webhook_port(self) -> int:
        """Return the port on which Telegram's calls are taken."""
        assert self._webhook is not None
        return self._webhook.port

    async def run(self) -> None:
        """Talk to people until cancelled.

        Raises:
            UserError: When webhooks cannot be listened for.
        """
        if self._webhook is None:
            await self._platform.exclusive.run(EXCLUSIVE, self._term)
            return
        try:
            await self._webhook.start()
        except OSError as error:
            raise UserError(
                f"Telegram's calls cannot be listened for on {self._settings.webhook_host} port "
                f"{self._settings.webhook_port}: {error.strerror or error}.",
                "set notifier.telegram.webhook_host and webhook_port to a free address of this machine",
            ) from error
        try:
            await self._platform.exclusive.run(EXCLUSIVE, self._term)
        finally:
            await self._webhook.close()

    async def _term(self, _term: Term) -> None:
        clock, pool = self._platform.clock, self._platform.pool
        bot_name = await self._bot_name()
        answered = asyncio.Event()
        handlers = Handlers(
            coin=registry.get(self._pool_settings.coin),
            pool_name=self._pool_settings.name,
            bot_name=bot_name,
            settings=self._settings,
            sources=Sources(self._platform.clients, coin_id=self._pool_settings.coin),
            administrators=GroupAdministrators(self._client, clock=clock),
        )
        worker = self._worker = Worker(
            pool=pool,
            clock=clock,
            handlers=handlers,
            bot_name=bot_name,
            updates_per_minute=self._settings.updates_per_minute,
            answered=answered,
            counters=self._counters,
        )
        sender = CallSender(
            pool=pool, clock=clock, client=self._client, floods=self._floods, woken=answered, counters=self._counters
        )
        log_event(_log, logging.INFO, "bot started", name=bot_name, mode=self._settings.mode)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(keep_running("bot worker", worker.run, clock=clock))
            tasks.create_task(keep_running("bot sender", sender.run, clock=clock))
            tasks.create_task(keep_running("bot menu", self._offer_commands, clock=clock))
            tasks.create_task(keep_running("bot prune", self._prune, clock=clock))
            if self._webhook is not None:
                await self._webhook.announce(self._client, clock)
            else:
                poller = Poller(
                    client=self._client, clock=clock, inbox=self._inbox, poll_timeout_s=self._settings.poll_timeout_s
                )
                tasks.create_task(keep_running("bot poller", poller.run, clock=clock))

    def _wake(self) -> None:
        if self._worker is not None:
            self._worker.wake()

    async def _bot_name(self) -> str:
        """Ask Telegram who we are; tries until it answers."""
        while True:
            outcome = await self._client.call("getMe", {})
            if isinstance(outcome, Done) and isinstance(outcome.result, Mapping):
                name = outcome.result.get("username")
                if isinstance(name, str):
                    return name
            reason = "" if not isinstance(outcome, Denied) else outcome.reason
            log_event(_log, logging.WARNING, "Telegram does not know the bot yet", outcome=str(outcome), reason=reason)
            await self._platform.clock.sleep(_RETRY_S)

    async def _offer_commands(self) -> None:
        """Give Telegram the menu of commands in each language, then wait for ever."""
        for language in bot_views.TEXTS:
            commands = [
                {"command": name, "description": bot_views.plain(language, f"command_{name}")}
                for name in bot_views.COMMANDS
            ]
            # What has no language code is for everybody else.
            params: dict[str, object] = {"commands": commands}
            if language != "en":
                params["language_code"] = language
            while not isinstance(outcome := await self._client.call("setMyCommands", params), Done):
                log_event(_log, logging.WARNING, "menu of commands not taken", outcome=str(outcome))
                await self._platform.clock.sleep(_RETRY_S)
        await asyncio.get_running_loop().create_future()

    async def _prune(self) -> None:
        while True:
            async with acquired(self._platform.pool) as connection:
                await bot_storage.prune(connection, now_ms=self._platform.clock.now_ms())
            await self._platform.clock.sleep(PRUNE_S)


class GroupAdministrators:
    """Asks Telegram who runs a group, and remembers it for a minute.

    Args:
        client: The Bot API.
        clock: The time.
    """

    def __init__(self, client: TelegramClient, *, clock: Clock) -> None:
        self._client = client
        self._clock = clock
        self._kept: dict[tuple[int, int], tuple[bool, float]] = {}

    async def is_administrator(self, chat_id: int, user_id: int) -> bool:
        """Return whether a person runs a group; not when Telegram does not say so."""
        now_s = self._clock.monotonic_s()
        kept = self._kept.get((chat_id, user_id))
        if kept is not None and now_s - kept[1] < ADMIN_KEEP_S:
            return kept[0]
        outcome = await self._client.call("getChatMember", {"chat_id": chat_id, "user_id": user_id})
        if not isinstance(outcome, Done) or not isinstance(outcome.result, Mapping):
            return False
        found = outcome.result.get("status") in _ADMIN
        if len(self._kept) >= _ADMIN_KEPT_MAX:
            self._kept.clear()
        self._kept[chat_id, user_id] = (found, now_s)
        return found
