"""Claims: a key that one process holds, decided by the cluster's order of writes and by nobody's wall clock.

A holder writes its key again and again (a renewal); each write goes through the majority. The rule, with the time to
live T and the margin M:

* The holder counts from the moment it SENT its last successful renewal and stops at T − M, by its own clock.
* Another process may take the key over only with the condition that the key's last write is still the one that it has
  itself SEEN unchanged for T + M, by its own clock.

A renewal is sent before it is written, and written before it is seen, so the takeover comes at least 2 M after the
holder has stopped, whatever the two wall clocks say; only their speed during T matters. Example: T = 10 s, M = 1 s: the
holder sends at its 100.0 and stops at its 109.0; the write is seen at the earliest at that moment and taken over 11 s
later. An etcd lease does not give this: its renewals do not go through the majority, so a member that was frozen or
cut off can confirm one that the others know nothing of.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator
from dataclasses import dataclass

import msgspec

from runtime.clock import Clock
from runtime.etcd.client import (
    Condition,
    Delete,
    Entry,
    EtcdClient,
    Operation,
    Put,
    absent,
    holds,
    unchanged,
)
from runtime.etcd.errors import EtcdError, EtcdUnavailable
from runtime.logs import log_event

_log = logging.getLogger("lodepool.etcd")

_RENEWALS_PER_TTL = 5
_RETRY_S_MIN = 0.1
_RETRIES_PER_RENEWAL = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimTiming:
    """The two numbers of the rule; the same for all processes that compete.

    Attributes:
        ttl_s: T, how long a claim lasts after its last renewal.
        margin_s: M, less than half of it.
        renewal_s: Time between two renewals; None means a fifth of T. A short one for a long claim makes its loss known
            soon.
    """

    ttl_s: float
    margin_s: float
    renewal_s: float | None = None

    def __post_init__(self) -> None:
        if not 0 < self.margin_s < self.ttl_s / 2:
            raise ValueError("the margin is more than 0 and less than half of the time to live")
        if self.renewal_s is not None and not 0 < self.renewal_s <= self.ttl_s / 2:
            raise ValueError("the time between renewals is more than 0 and at most half of the time to live")

    @property
    def hold_s(self) -> float:
        """Return how long a holder goes on after sending its last successful renewal."""
        return self.ttl_s - self.margin_s

    @property
    def takeover_s(self) -> float:
        """Return how long a claim must be seen unchanged before it may be taken over."""
        return self.ttl_s + self.margin_s

    @property
    def renew_s(self) -> float:
        """Return the time between two renewals, and between two looks at another's claim."""
        return self.ttl_s / _RENEWALS_PER_TTL if self.renewal_s is None else self.renewal_s

    @property
    def retry_s(self) -> float:
        """Return the time until a call that failed is made again."""
        return max(_RETRY_S_MIN, self.renew_s / _RETRIES_PER_RENEWAL)


class ClaimRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What lies under a claimed key, as JSON.

    Attributes:
        owner: Who holds it, for people to read.
        nonce: Made for this one claim, so that nobody mistakes another's for its own.
    """

    owner: str
    nonce: str


class Stopwatch:
    """Time that has passed since it was started: the larger of what both clocks say.

    A suspended machine's monotonic clock may stand still while its wall clock goes on. The larger one ends a hold
    early; for waiting (`takeover_s`) it would be wrong, so that uses the monotonic clock alone.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._monotonic_s = clock.monotonic_s()
        self._wall_s = clock.now_s()

    def elapsed_s(self) -> float:
        """Return the seconds since the start."""
        return max(self._clock.monotonic_s() - self._monotonic_s, self._clock.now_s() - self._wall_s)


class Observer:
    """Remembers since when other processes' claims have been unchanged.

    Args:
        timing: The rule's numbers.
    """

    def __init__(self, timing: ClaimTiming) -> None:
        self._timing = timing
        self._seen: dict[str, tuple[int, float]] = {}

    def may_take_over(self, entry: Entry, now_s: float) -> bool:
        """Note what was seen and return whether it has been the same for long enough.

        Args:
            entry: The claim as just read.
            now_s: The monotonic clock after the read was answered, in seconds.
        """
        revision, since_s = self._seen.get(entry.key, (0, now_s))
        if revision != entry.mod_revision:
            self._seen[entry.key] = (entry.mod_revision, now_s)
            return False
        return now_s - since_s >= self._timing.takeover_s

    def forget_others(self, keys: set[str]) -> None:
        """Forget the claims that are not among the keys."""
        for key in self._seen.keys() - keys:
            del self._seen[key]


class Claim:
    """A key of ours: ask `is_held` before each use, keep it with `kept`, which gives it back.

    Args:
        etcd: The client.
        key: The claimed key.
        record: What we wrote there.
        timing: The rule's numbers.
        sent: Started when the successful write was sent.
        token: Revision of that write; higher than that of any earlier claim on any key.
    """

    def __init__(
        self, etcd: EtcdClient, *, key: str, record: ClaimRecord, timing: ClaimTiming, sent: Stopwatch, token: int
    ) -> None:
        self._etcd = etcd
        self._value = msgspec.json.encode(record)
        self._timing = timing
        self._sent: Stopwatch | None = sent
        self._lost = asyncio.Event()
        self.key = key
        self.record = record
        self.token = token

    @property
    def left_s(self) -> float:
        """Return for how many seconds it may still be used; 0 when it is over."""
        return max(0.0, self._timing.hold_s - self._sent.elapsed_s()) if self._sent is not None else 0.0

    @property
    def is_held(self) -> bool:
        """Return whether it may be used now; once False it stays so."""
        if self._sent is not None and self._sent.elapsed_s() >= self._timing.hold_s:
            self._sent = None
        return self._sent is not None

    def still_ours(self) -> Condition:
        """Return the condition that no other process has the key, for transactions that must not come too late."""
        return holds(self.key, self._value)

    async def renew(self) -> None:
        """Write the key again, once; afterwards `is_held` tells. Does nothing when it is over already.

        Raises:
            EtcdError: When etcd did not answer; the claim stays as it was.
        """
        sent = Stopwatch(self._etcd.clock)
        outcome = await self._etcd.transact([self.still_ours()], [Put(key=self.key, value=self._value)])
        if not outcome.succeeded:
            if self._sent is not None:
                log_event(_log, logging.WARNING, "claim taken by another", key=self.key, owner=self.record.owner)
            self._sent = None
        elif self.is_held:
            self._sent = sent

    async def wait_lost(self) -> None:
        """Return when it must no longer be used; only where it is `kept`."""
        await self._lost.wait()

    @contextlib.asynccontextmanager
    async def kept(self) -> AsyncGenerator[None, None]:
        """Renew it while the block runs, give it back afterwards.

        The block is not interrupted when the claim is lost: see `wait_lost`.
        """
        keeper = asyncio.create_task(self.keep(), name=f"claim {self.key}")
        try:
            yield
        finally:
            keeper.cancel()
            await asyncio.gather(keeper, return_exceptions=True)
            await self.release()

    async def keep(self) -> None:
        """Renew until the claim is over, by our own clock; returns then."""
        try:
            await self._renew_until_over()
        finally:
            self._lost.set()

    async def _renew_until_over(self) -> None:
        clock = self._etcd.clock
        delay_s = self._timing.renew_s
        is_away = False
        while self.is_held:
            await clock.sleep(min(delay_s, self.left_s))
            if not self.is_held:
                break
            delay_s = self._timing.renew_s
            try:
                await self._renew_while_held()
            except (EtcdError, TimeoutError) as error:
                level = logging.DEBUG if is_away else logging.WARNING
                log_event(_log, level, "renewal failed", key=self.key, left_s=self.left_s, error=str(error))
                is_away = True
                delay_s = min(delay_s, self._timing.retry_s)
            else:
                if is_away and self.is_held:
                    log_event(_log, logging.INFO, "renewed again", key=self.key)
                is_away = False
        log_event(_log, logging.WARNING, "claim lost", key=self.key, owner=self.record.owner)

    async def _renew_while_held(self) -> None:
        """Renew, but wait no longer than the claim lasts: who waits for its end must learn of it in time."""
        renewing = asyncio.ensure_future(self.renew())
        ending = asyncio.ensure_future(self._etcd.clock.sleep(self.left_s))
        try:
            await asyncio.wait((renewing, ending), return_when=asyncio.FIRST_COMPLETED)
            if not renewing.done():
                raise TimeoutError("no answer while it was held")
            renewing.result()
        finally:
            for task in (renewing, ending):
                task.cancel()
            await asyncio.gather(renewing, ending, return_exceptions=True)

    async def release(self) -> None:
        """Stop and give the key back, so that others need not wait; when etcd is away it expires by itself."""
        self._sent = None
        self._lost.set()
        try:
            await self._etcd.transact([self.still_ours()], [Delete(key=self.key)])
        except EtcdError as error:
            log_event(_log, logging.INFO, "claim left to expire", key=self.key, error=str(error))


async def try_claim(
    etcd: EtcdClient,
    *,
    key: str,
    entry: Entry | None,
    record: ClaimRecord,
    timing: ClaimTiming,
    given: tuple[Condition, ...] = (),
    beside: tuple[Operation, ...] = (),
) -> Claim | None:
    """Write our record under the key if nobody has written it since it was read.

    Whether an existing claim may be taken over is for the caller to know (`Observer`). When the answer is lost, nobody
    knows whether the key is ours: it is then left to expire, like the claim of a dead process.

    Args:
        etcd: The client.
        key: The key.
        entry: What was read there; None when nothing was.
        record: Ours, with a nonce of its own.
        timing: The rule's numbers.
        given: More conditions of the same transaction.
        beside: More writes for it.

    Returns:
        The claim, None when another process was faster or a condition does not hold.
    """
    sent = Stopwatch(etcd.clock)
    condition = absent(key) if entry is None else unchanged(key, entry.mod_revision)
    try:
        outcome = await etcd.transact([condition, *given], [Put(key=key, value=msgspec.json.encode(record)), *beside])
    except EtcdUnavailable:
        await _withdraw(etcd, key, record)
        raise
    if not outcome.succeeded:
        return None
    return Claim(etcd, key=key, record=record, timing=timing, sent=sent, token=outcome.revision)


def decode_record(entry: Entry) -> ClaimRecord | None:
    """Return the record of a claimed key; None when something else lies there."""
    try:
        return msgspec.json.decode(entry.value, type=ClaimRecord)
    except msgspec.MsgspecError:
        return None


async def _withdraw(etcd: EtcdClient, key: str, record: ClaimRecord) -> None:
    """Take back a claim of which nobody knows whether it was made; a late one expires unused."""
    try:
        await etcd.transact([holds(key, msgspec.json.encode(record))], [Delete(key=key)])
    except EtcdError:
        return
