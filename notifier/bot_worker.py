"""Deals with the updates that were kept, each once, those of one chat in their order."""

import asyncio
import json
import logging
from typing import Final

from telegram import Update

from notifier import bot_storage, subscriptions
from notifier.bot_domain import Command, FloodGate, Incoming, Inline, Press, language_for, understood
from notifier.bot_effects import Finish, Session, just
from notifier.bot_handlers import Handlers
from notifier.bot_metrics import BotCounters
from notifier.bot_storage import Chat, StoredUpdate
from notifier.domain import ChannelKind
from runtime.clock import Clock, sleep_unless
from runtime.logs import log_event
from runtime.postgres.pool import Connection, DatabaseUnavailable, Pool, acquired
from runtime.postgres.transactions import transact

CONCURRENT_MAX: Final = 8
POLL_S: Final = 0.5
RETRY_S: Final = 1.0
HANDLE_S: Final = 60.0
"""How long an update may take; an export reads many pages."""

_log = logging.getLogger("lodepool.notifier.bot")


class Worker:
    """Takes updates in their order and deals with them; updates of different chats at the same time.

    Args:
        pool: The database, migrated.
        clock: The time.
        handlers: What is done.
        bot_name: The bot's user name.
        updates_per_minute: What one chat may ask.
        answered: Set when there is something to send.
        counters: Counted into.
    """

    def __init__(
        self,
        *,
        pool: Pool,
        clock: Clock,
        handlers: Handlers,
        bot_name: str,
        updates_per_minute: int,
        answered: asyncio.Event,
        counters: BotCounters,
    ) -> None:
        self._pool = pool
        self._clock = clock
        self._handlers = handlers
        self._bot_name = bot_name
        self._gate = FloodGate(updates_per_minute)
        self._answered = answered
        self._counters = counters
        self._woken = asyncio.Event()
        self._busy: set[int] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    def wake(self) -> None:
        """Look for updates at once."""
        self._woken.set()

    async def run(self) -> None:
        """Deal with updates until cancelled."""
        try:
            while True:
                self._woken.clear()
                free = CONCURRENT_MAX - len(self._tasks)
                async with acquired(self._pool) as connection:
                    updates = await bot_storage.list_new_updates(
                        connection, not_chats=sorted(self._busy), count_max=free
                    )
                for update in updates:
                    self._start(update)
                await sleep_unless(self._woken, self._clock, POLL_S)
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def _start(self, update: StoredUpdate) -> None:
        # Updates without a chat are told apart by their own number; no chat's id is so near to the lowest one.
        key = update.chat_id or -(2**63) + update.update_id
        if key in self._busy:
            return
        self._busy.add(key)
        task = asyncio.create_task(self._deal(update), name=f"bot update {update.update_id}")
        self._tasks.add(task)

        def ended(_task: asyncio.Task[None]) -> None:
            self._tasks.discard(task)
            self._busy.discard(key)
            self.wake()

        task.add_done_callback(ended)

    async def _deal(self, update: StoredUpdate) -> None:
        """Deal with one update: the root of a task."""
        try:
            async with asyncio.timeout(HANDLE_S):
                await self._deal_once(update)
        except DatabaseUnavailable as error:
            log_event(_log, logging.WARNING, "database away, update kept", error=str(error))
            await self._clock.sleep(RETRY_S)
        except Exception as error:
            description = f"{type(error).__name__}: {error}"
            log_event(_log, logging.ERROR, "update failed", update=update.update_id, error=description)
            _log.debug("traceback of the failed update", exc_info=error)
            await self._fail(update, description)

    async def _deal_once(self, update: StoredUpdate) -> None:
        incoming = understood(Update.de_json(json.loads(update.payload), None), bot_name=self._bot_name)
        session = await self._session(update, incoming)
        finish = await self._gated(incoming, session)

        async def work(connection: Connection) -> None:
            if not await bot_storage.claim_update(connection, update.update_id):
                return
            calls = await finish(connection)
            await bot_storage.finish_update(connection, update.update_id, calls, now_ms=self._clock.now_ms())

        await transact(self._pool, work)
        self._counters.updates["done"] += 1
        self._answered.set()

    async def _gated(self, incoming: Incoming, session: Session) -> Finish:
        chat_id = session.chat.chat_id
        if isinstance(incoming, Command | Press | Inline):
            match self._gate.ask(chat_id, now_s=self._clock.monotonic_s()):
                case "shut":
                    self._counters.updates["flood"] += 1
                    return just()
                case "warn" if isinstance(incoming, Inline):
                    return just()
                case "warn":
                    return just(self._handlers.flooded(chat_id, session.chat.language))
        return await self._handlers.handle(incoming, session)

    async def _session(self, update: StoredUpdate, incoming: Incoming) -> Session:
        code = incoming.language_code if isinstance(incoming, Command | Press | Inline) else ""
        chat_id = update.chat_id
        async with acquired(self._pool) as connection:
            chat = await bot_storage.get_chat(connection, chat_id)
            own = await subscriptions.list_page(
                connection,
                channel=ChannelKind.TELEGRAM,
                address=str(chat_id),
                page_size=subscriptions.PER_ADDRESS_MAX,
            )
        return Session(
            update_id=update.update_id,
            chat=chat or Chat(chat_id=chat_id, language=language_for(code)),
            is_known=chat is not None,
            subscriptions=tuple(own),
            now_ms=self._clock.now_ms(),
        )

    async def _fail(self, update: StoredUpdate, description: str) -> None:
        async def work(connection: Connection) -> bool:
            is_given_up = await bot_storage.fail_update(connection, update.update_id, error=description)
            chat = await bot_storage.get_chat(connection, update.chat_id)
            if is_given_up and chat is not None:
                call = self._handlers.failed(chat.chat_id, chat.language)
                await bot_storage.put_calls(connection, update.update_id, [call], now_ms=self._clock.now_ms())
            return is_given_up

        is_given_up = False
        try:
            is_given_up = await transact(self._pool, work)
            self._counters.updates["poison" if is_given_up else "failed"] += 1
            self._answered.set()
        except DatabaseUnavailable as error:
            log_event(_log, logging.WARNING, "database away, update kept", error=str(error))
        if not is_given_up:
            await self._clock.sleep(RETRY_S)
