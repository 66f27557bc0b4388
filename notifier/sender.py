"""The loop that sends what is queued for one channel."""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final, assert_never

from notifier import claims, subscriptions
from notifier.channels.interface import Channel, Outcome, Refused, RetryAfter, Scope, Sent
from notifier.claims import Claim, Claimed, Terms
from notifier.config import NotifierSettings
from notifier.domain import ChannelKind
from notifier.metrics import Counters
from notifier.quiet import backoff_ms
from runtime.clock import Clock, sleep_unless
from runtime.live import Live
from runtime.logs import log_event
from runtime.postgres.pool import Connection, DatabaseUnavailable, Pool, acquired
from runtime.postgres.transactions import transact

POLL_S: Final = 1.0
STOP_S: Final = 15.0
"""How long messages that are under way may take when the process is told to stop."""
LEASE_MARGIN_MS: Final = 1000

_log = logging.getLogger("lodepool.notifier")


class Sender:
    """Sends one channel's messages; any number of processes may run one.

    A message is claimed and the claim committed before it is sent, and what became of it is written down before the
    process ends. So it is sent again only when the process died, or the answer was lost, between the two: then at
    least once wins, and receivers tell repetitions by the message's key where their channel can carry one.

    Args:
        kind: Which channel it is.
        channel: The way out.
        pool: The database, migrated.
        clock: The time.
        live: The `[notifier]` section.
        counters: Counted into.
    """

    def __init__(
        self,
        kind: ChannelKind,
        channel: Channel,
        *,
        pool: Pool,
        clock: Clock,
        live: Live[NotifierSettings],
        counters: Counters,
    ) -> None:
        self._kind = kind
        self._channel = channel
        self._pool = pool
        self._clock = clock
        self._live = live
        self._counters = counters
        self._woken = asyncio.Event()
        self._under_way: dict[str, asyncio.Task[None]] = {}

    def wake(self) -> None:
        """Look into the queue at once: something new may be there."""
        self._woken.set()

    async def run(self) -> None:
        """Send for ever; on cancellation wait for what is under way. Any error of the queue ends it."""
        looking: asyncio.Task[Claimed] | None = None
        try:
            while True:
                self._woken.clear()
                # In a task of its own: a claim that is committed must come back, also when we are told to stop.
                looking = asyncio.create_task(self._look())
                claimed = await asyncio.shield(looking)
                looking = None
                for each in claimed.claims:
                    self._start(each)
                if claimed.wait_ms != 0:
                    wait_s = POLL_S if claimed.wait_ms is None else min(POLL_S, claimed.wait_ms / 1000)
                    await sleep_unless(self._woken, self._clock, wait_s)
        finally:
            await self._finish(looking)

    async def _look(self) -> Claimed:
        pace = self._channel.pace
        free = pace.concurrent_max - len(self._under_way)
        if free <= 0:
            return Claimed(claims=())
        settings = self._live.value
        now_ms = self._clock.now_ms()
        terms = Terms(
            per_s=pace.per_s,
            burst=pace.burst,
            interval_ms=pace.target_interval_ms,
            lease_ms=settings.lease_s * 1000,
            breakers=settings.quiet_breakers,
        )

        async def work(connection: Connection) -> tuple[int, Claimed]:
            recovered = await claims.recover(connection, now_ms=now_ms, own=self._under_way)
            return recovered, await claims.claim(connection, self._kind, wanted=free, now_ms=now_ms, terms=terms)

        recovered, claimed = await transact(self._pool, work)
        self._counters.taken_over_total += recovered
        return claimed

    def _start(self, claim: Claim) -> None:
        task = asyncio.create_task(self._send(claim), name=f"notifier {self._kind}")
        self._under_way[claim.claim_id] = task
        self._counters.sending[self._kind.value] = len(self._under_way)

        def ended(_task: asyncio.Task[None]) -> None:
            del self._under_way[claim.claim_id]
            self._counters.sending[self._kind.value] = len(self._under_way)
            self.wake()

        task.add_done_callback(ended)

    async def _finish(self, looking: asyncio.Task[Claimed] | None) -> None:
        if looking is not None:
            await asyncio.wait([looking], timeout=STOP_S)
            if looking.done() and not looking.cancelled() and looking.exception() is None:
                for each in looking.result().claims:
                    await transact(self._pool, partial(claims.give_up, claim=each))
            looking.cancel()
        tasks = list(self._under_way.values())
        if not tasks:
            return
        _, late = await asyncio.wait(tasks, timeout=STOP_S)
        for task in late:
            task.cancel()
        if late:
            await asyncio.wait(late, timeout=1)

    async def _send(self, claim: Claim) -> None:
        """Send one message and write down what became of it: the root of a task."""
        try:
            if claim.lease_until_ms - self._clock.now_ms() <= self._channel.timeout_s * 1000 + LEASE_MARGIN_MS:
                # This process stood still: by the time of an answer somebody else would be sending it too.
                await self._record(partial(claims.give_up, claim=claim))
                return
            outcome = await self._outcome(claim)
            await self._note(claim, outcome)
        except Exception as error:
            description = f"{type(error).__name__}: {error}"
            log_event(_log, logging.ERROR, "message not written down", channel=self._kind, error=description)

    async def _outcome(self, claim: Claim) -> Outcome:
        try:
            async with asyncio.timeout(self._channel.timeout_s):
                return await self._channel.send(claim.message)
        except TimeoutError:
            return RetryAfter(reason="no answer in time")
        except Exception as error:
            _log.debug("traceback of the failed message", exc_info=error)
            return RetryAfter(reason=f"{type(error).__name__}: {error}")

    async def _note(self, claim: Claim, outcome: Outcome) -> None:
        now_ms = self._clock.now_ms()
        settings = self._live.value
        match outcome:
            case Sent(reference=reference):
                word = "sent"
                delay_s = max(0, now_ms - claim.create_time_ms) / 1000
                self._counters.delays[self._kind.value].observe(delay_s)
                is_ours = await self._record(
                    lambda connection: claims.record_sent(connection, claim, reference=reference, now_ms=now_ms)
                )
                if not is_ours:
                    self._counters.claims_lost_total += 1
                    log_event(_log, logging.WARNING, "message perhaps sent twice", channel=self._kind)
            case RetryAfter(after_s=after_s, reason=reason, scope=scope):
                is_counted = after_s is None
                is_worn = is_counted and claim.failed_count + 1 >= settings.attempts_max
                if is_worn or now_ms - claim.create_time_ms > settings.give_up_s * 1000:
                    word = "dead"
                    self._log_dead(claim, reason)
                    await self._record(lambda connection: claims.record_dead(connection, claim, reason=reason))
                else:
                    word = "retry"
                    due_ms = now_ms + self._wait_ms(claim, after_s)
                    await self._record(
                        lambda connection: claims.record_retry(
                            connection, claim, due_ms=due_ms, reason=reason, scope=scope, is_counted=is_counted
                        )
                    )
                    if scope is not Scope.MESSAGE:
                        log_event(_log, logging.INFO, "channel waits", channel=self._kind, reason=reason)
            case Refused(reason=reason, pause_subscription=is_paused):
                word = "refused"
                self._log_dead(claim, reason)
                await self._record(lambda connection: self._refuse(connection, claim, reason, is_paused=is_paused))
                self._counters.paused_total += is_paused
            case _:
                assert_never(outcome)
        self._counters.outcomes[self._kind.value, word] += 1

    def _wait_ms(self, claim: Claim, after_s: float | None) -> int:
        if after_s is not None:
            return max(1, round(after_s * 1000))
        settings = self._live.value
        return backoff_ms(
            attempt=claim.failed_count + 1,
            min_ms=round(settings.retry_s_min * 1000),
            max_ms=round(settings.retry_s_max * 1000),
            spread=random.random(),  # noqa: S311  spreads retries, no secret
        )

    async def _refuse(self, connection: Connection, claim: Claim, reason: str, *, is_paused: bool) -> bool:
        is_ours = await claims.record_dead(connection, claim, reason=reason)
        if is_paused:
            subscription = claim.message.subscription
            await subscriptions.pause_address(connection, self._kind, subscription.address, reason=reason)
        return is_ours

    async def _record(self, work: Callable[[Connection], Awaitable[bool]]) -> bool:
        """Write something down, again as long as the database is away: what was sent must not be forgotten."""
        while True:
            try:
                return await transact(self._pool, work)
            except DatabaseUnavailable as error:
                log_event(_log, logging.WARNING, "database away, message held", channel=self._kind, error=str(error))
                await self._clock.sleep(POLL_S)

    def _log_dead(self, claim: Claim, reason: str) -> None:
        log_event(
            _log,
            logging.WARNING,
            "message given up",
            channel=self._kind,
            subscription=claim.message.subscription.subscription_id,
            reason=reason,
        )


async def prune(pool: Pool, *, now_ms: int, keep_days: int) -> int:
    """Delete notices with their deliveries that are older than is kept and not on their way; return how many."""
    async with acquired(pool) as connection:
        rows = await connection.fetch(
            """
            DELETE FROM notifier.delivery WHERE create_time_ms < $1 AND state IN ('sent', 'dead', 'skipped')
            RETURNING 1
            """,
            now_ms - keep_days * 86_400_000,
            timeout=120,
        )
        await connection.execute(
            """
            DELETE FROM notifier.notice n WHERE create_time_ms < $1
                AND NOT EXISTS (SELECT FROM notifier.delivery d WHERE d.notice_no = n.notice_no)
            """,
            now_ms - keep_days * 86_400_000,
            timeout=120,
        )
        # Queued while their subscription was ended.
        await connection.execute(
            """
            DELETE FROM notifier.delivery d WHERE state IN ('queued', 'retry') AND due_ms < $1
                AND NOT EXISTS (SELECT FROM notifier.subscription s WHERE s.subscription_id = d.subscription_id)
            """,
            now_ms,
            timeout=120,
        )
        await connection.execute("DELETE FROM notifier.target WHERE next_free_ms < $1", now_ms - 3_600_000)
    return len(rows)
