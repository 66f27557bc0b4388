"""Makes the calls that answer updates: in the order of each chat, at the pace that Telegram allows.

A call is marked as being sent before it is sent, and as sent afterwards. What happens between the two is known unless
the connection breaks after the request went out, or the process is killed just then. Such a call is made once more:
most of them change nothing the second time (an edited message, an answered button); a text begins with a mark then.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final, assert_never

from notifier import bot_storage, subscriptions
from notifier.bot_calls import REPEATABLE, marked
from notifier.bot_metrics import BotCounters
from notifier.bot_storage import ATTEMPTS_MAX, StoredCall
from notifier.channels.interface import Scope
from notifier.channels.telegram import BURST, PER_S, Floods, interval_ms
from notifier.domain import ChannelKind
from notifier.quiet import backoff_ms
from notifier.telegram_client import CALL_TIMEOUT_S, Denied, Done, Doubt, Failed, Outcome, TelegramClient, Wait
from runtime.clock import Clock, sleep_unless
from runtime.logs import log_event
from runtime.postgres.pool import Connection, DatabaseUnavailable, Pool, acquired
from runtime.postgres.transactions import transact

CONCURRENT_MAX: Final = 8
POLL_S: Final = 0.5
STOP_S: Final = CALL_TIMEOUT_S + 5
LEASE_MS: Final = round(CALL_TIMEOUT_S * 1000) + 10_000
_RETRY_MS_MIN: Final = 500
_RETRY_MS_MAX: Final = 30_000

_log = logging.getLogger("lodepool.notifier.bot")


class CallSender:
    """Makes the calls that are queued.

    Args:
        pool: The database, migrated.
        clock: The time.
        client: The Bot API.
        floods: Shared with the channel of notices.
        woken: Set when there is something to send.
        counters: Counted into.
    """

    def __init__(
        self,
        *,
        pool: Pool,
        clock: Clock,
        client: TelegramClient,
        floods: Floods,
        woken: asyncio.Event,
        counters: BotCounters,
    ) -> None:
        self._pool = pool
        self._clock = clock
        self._client = client
        self._floods = floods
        self._woken = woken
        self._counters = counters
        self._busy: set[int] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._soonest_ms = 0

    async def run(self) -> None:
        """Make calls until cancelled, then wait for those that are under way: their answers are not to be lost."""
        try:
            while True:
                self._woken.clear()
                if self._soonest_ms <= self._clock.now_ms():
                    self._soonest_ms = 0
                for stored in await self._taken():
                    self._start(stored)
                wait_s = POLL_S
                if self._soonest_ms:
                    wait_s = min(POLL_S, max(0.005, (self._soonest_ms - self._clock.now_ms()) / 1000))
                await sleep_unless(self._woken, self._clock, wait_s)
        finally:
            if self._tasks:
                await asyncio.wait(self._tasks, timeout=STOP_S)

    async def _taken(self) -> list[StoredCall]:
        free = CONCURRENT_MAX - len(self._tasks)
        if free <= 0:
            return []
        now_ms = self._clock.now_ms()

        async def work(connection: Connection) -> list[StoredCall]:
            return await bot_storage.take_calls(
                connection, not_chats=sorted(self._busy), count_max=free, now_ms=now_ms, lease_ms=LEASE_MS
            )

        return await transact(self._pool, work)

    def _start(self, stored: StoredCall) -> None:
        chat_id = stored.call.chat_id
        self._busy.add(chat_id)
        task = asyncio.create_task(self._send(stored), name=f"bot call {stored.call_id}")
        self._tasks.add(task)

        def ended(_task: asyncio.Task[None]) -> None:
            self._tasks.discard(task)
            self._busy.discard(chat_id)
            self._woken.set()

        task.add_done_callback(ended)

    async def _send(self, stored: StoredCall) -> None:
        """Make one call and write down what became of it: the root of a task."""
        try:
            wait_ms = await self._wait_ms(stored)
            if wait_ms:
                await self._again(stored, wait_ms=wait_ms, error="waits for the pace", is_doubtful=False, is_try=False)
                return
            call = stored.call
            params = marked(call.method, call.params) if stored.is_doubtful else call.params
            outcome = await self._client.call(call.method, params, upload=call.upload)
            await self._note(stored, outcome)
        except DatabaseUnavailable as error:
            log_event(_log, logging.WARNING, "database away, call left to its lease", error=str(error))
        except Exception as error:
            description = f"{type(error).__name__}: {error}"
            log_event(_log, logging.ERROR, "call not written down", call=stored.call_id, error=description)

    async def _wait_ms(self, stored: StoredCall) -> int:
        call = stored.call
        async with acquired(self._pool) as connection:
            return await bot_storage.reserve(
                connection,
                call,
                now_ms=self._clock.now_ms(),
                per_s=PER_S,
                burst=BURST,
                interval_ms=interval_ms(str(call.chat_id)),
            )

    async def _note(self, stored: StoredCall, outcome: Outcome) -> None:
        self._counters.calls[_word(outcome)] += 1
        match outcome:
            case Done():
                message_id = outcome.message_id
                await self._record(
                    lambda connection: bot_storage.call_done(connection, stored.call_id, message_id=message_id)
                )
            case Wait(after_s=after_s):
                await self._hold(stored, round(after_s * 1000))
            case Failed(doubt=doubt, reason=reason):
                is_doubtful = doubt is Doubt.UNKNOWN and stored.call.method not in REPEATABLE
                if stored.attempt_count + 1 >= ATTEMPTS_MAX:
                    await self._dead(stored, reason)
                    return
                wait_ms = backoff_ms(
                    attempt=stored.attempt_count + 1, min_ms=_RETRY_MS_MIN, max_ms=_RETRY_MS_MAX, spread=0
                )
                await self._again(stored, wait_ms=wait_ms, error=reason, is_doubtful=is_doubtful, is_try=True)
            case Denied(reason=reason, is_chat_gone=is_gone):
                await self._dead(stored, reason)
                if is_gone:
                    address = str(stored.call.chat_id)
                    pause = "blocked by the user" if "blocked by the user" in reason.lower() else reason

                    async def work(connection: Connection) -> None:
                        await subscriptions.pause_address(connection, ChannelKind.TELEGRAM, address, reason=pause)

                    await self._record(work)
            case _:
                assert_never(outcome)

    async def _hold(self, stored: StoredCall, wait_ms: int) -> None:
        until_ms = self._clock.now_ms() + wait_ms
        address = str(stored.call.chat_id)
        scope = self._floods.scope(address)
        log_event(_log, logging.INFO, "bot waits", scope=scope.value, wait_ms=wait_ms)

        async def work(connection: Connection) -> None:
            if scope is Scope.CHANNEL:
                await bot_storage.hold_channel(connection, until_ms=until_ms)
            await bot_storage.hold_target(connection, address, until_ms=until_ms)

        await self._record(work)
        await self._again(
            stored, wait_ms=wait_ms, error="Telegram asks for fewer messages", is_doubtful=False, is_try=False
        )

    async def _again(self, stored: StoredCall, *, wait_ms: int, error: str, is_doubtful: bool, is_try: bool) -> None:
        due_ms = self._clock.now_ms() + wait_ms
        self._soonest_ms = min(self._soonest_ms or due_ms, due_ms)
        await self._record(
            lambda connection: bot_storage.call_again(
                connection, stored.call_id, due_ms=due_ms, error=error, is_doubtful=is_doubtful, is_try=is_try
            )
        )

    async def _dead(self, stored: StoredCall, reason: str) -> None:
        log_event(_log, logging.WARNING, "call given up", method=stored.call.method, reason=reason)
        await self._record(lambda connection: bot_storage.call_dead(connection, stored.call_id, error=reason))

    async def _record(self, work: Callable[[Connection], Awaitable[None]]) -> None:
        """Write something down, again as long as the database is away: what was sent must not be forgotten."""
        while True:
            try:
                await transact(self._pool, work)
            except DatabaseUnavailable as error:
                log_event(_log, logging.WARNING, "database away, outcome held", error=str(error))
                await self._clock.sleep(POLL_S)
            else:
                return


def _word(outcome: Outcome) -> str:
    """Return what a metric calls an outcome."""
    match outcome:
        case Done():
            return "sent"
        case Wait():
            return "wait"
        case Failed(doubt=doubt):
            return "doubtful" if doubt is Doubt.UNKNOWN else "failed"
        case Denied():
            return "denied"
        case _:
            assert_never(outcome)
