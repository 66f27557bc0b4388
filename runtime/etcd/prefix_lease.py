"""Number leases: each process of a cluster gets a number that no other one has.

A number's key is claimed by the rule in claims.py: the holder stops by its own clock before anybody else can get the
number, also when it is cut off from etcd, frozen for a while, or has a clock that is hours wrong.

Numbers go round: the next one to be lent stands beside them, and moves on in the transaction of each claim, so that a
number is lent again only after all others that were free. What was made with it is old by then.

With the number 5 of 0…255 a process makes identifiers that begin with 05 and knows that no other one makes the same.
"""

import asyncio
import contextlib
import itertools
import logging
import secrets
from collections.abc import AsyncGenerator, Iterator
from typing import Final

from runtime.etcd.claims import Claim, ClaimRecord, ClaimTiming, Observer, decode_record, try_claim
from runtime.etcd.client import Delete, Entry, EtcdClient, Put, Snapshot, absent, unchanged
from runtime.etcd.errors import EtcdError
from runtime.logs import log_event

_RACES_MAX: Final = 32
_LOOKS_PER_TAKEOVER: Final = 8

_log = logging.getLogger("lodepool.etcd")


class NumberLease:
    """A number of ours for as long as `is_held` says so.

    Args:
        number: The number.
        claim: Its key.
    """

    def __init__(self, number: int, claim: Claim) -> None:
        self.number = number
        self._claim = claim

    @property
    def is_held(self) -> bool:
        """Return whether the number may be used now: ask before each use. Costs two readings of the clock."""
        return self._claim.is_held

    @property
    def left_s(self) -> float:
        """Return for how many seconds it may be used if etcd does not answer again."""
        return self._claim.left_s

    @property
    def token(self) -> int:
        """Return a number that grows from claim to claim: of two holders of one number the later has the higher."""
        return self._claim.token

    async def wait_lost(self) -> None:
        """Return when the number must no longer be used."""
        await self._claim.wait_lost()


class NumberLeases:
    """Lends the numbers of a range.

    Args:
        etcd: The client.
        prefix: Where the numbers lie, ending in a slash.
        numbers: The numbers there are.
        owner: Who we are, for people to read.
        timing: The rule's numbers; None takes those of the client's settings.
    """

    def __init__(
        self, etcd: EtcdClient, *, prefix: str, numbers: range, owner: str, timing: ClaimTiming | None = None
    ) -> None:
        self._etcd = etcd
        self._prefix = prefix
        self._numbers = numbers
        self._owner = owner
        self._timing = timing or timing_of(etcd)
        self._next_key = f"{prefix}next"
        self._width = len(str(max(numbers)))
        self._observer = Observer(self._timing)

    @contextlib.asynccontextmanager
    async def hold(self) -> AsyncGenerator[NumberLease, None]:
        """Wait for a free number, hold it while the block runs, give it back afterwards.

        The block is not interrupted when the number is lost: it waits for `wait_lost` beside its work, and asks
        `is_held` before each use. All numbers taken means waiting; so does etcd being away.
        """
        number, claim = await self._acquire()
        async with claim.kept():
            sweeper = asyncio.create_task(self._sweep(), name=f"claims of the dead {self._prefix}")
            try:
                yield NumberLease(number, claim)
            finally:
                sweeper.cancel()
                await asyncio.gather(sweeper, return_exceptions=True)

    async def holders(self) -> dict[int, str]:
        """Return number → owner of all claims, those of dead processes included until somebody takes them over."""
        snapshot = await self._etcd.read_prefix(self._prefix)
        records = {number: decode_record(entry) for number, entry in self._claims(snapshot).items()}
        return {number: record.owner if record is not None else "" for number, record in records.items()}

    async def _acquire(self) -> tuple[int, Claim]:
        reported = ""
        while True:
            try:
                leased = await self._try_acquire()
                if leased is not None:
                    log_event(_log, logging.INFO, "number leased", prefix=self._prefix, number=leased[0])
                    return leased
                reason, details, delay_s = "all numbers taken", "", self._timing.renew_s
            except EtcdError as error:
                reason, details, delay_s = "etcd away", str(error), self._timing.retry_s
            if reason != reported:
                reported = reason
                log_event(_log, logging.WARNING, "number waited for", prefix=self._prefix, reason=reason, error=details)
            await self._etcd.clock.sleep(delay_s)

    async def _try_acquire(self) -> tuple[int, Claim] | None:
        """Claim the next number that nobody has, or whose holder has been silent for long enough.

        Others may do the same at the same time: then one of us was first, and the rest look again.
        """
        for _ in range(_RACES_MAX):
            snapshot = await self._etcd.read_prefix(self._prefix)
            claims = self._claims(snapshot)
            silent = self._silent(claims)
            last = snapshot.entries.get(self._next_key)
            free = (number for number in self._from(last) if number not in claims or number in silent)
            number = next(free, None)
            if number is None:
                return None
            is_same = absent(self._next_key) if last is None else unchanged(self._next_key, last.mod_revision)
            claim = await try_claim(
                self._etcd,
                key=self._key(number),
                entry=silent.get(number),
                record=ClaimRecord(owner=self._owner, nonce=secrets.token_hex(8)),
                timing=self._timing,
                given=(is_same,),
                beside=(Put(key=self._next_key, value=str(number + 1).encode()),),
            )
            if claim is not None and claim.is_held:
                return number, claim
            if claim is not None:
                await claim.release()
        return None

    async def _sweep(self) -> None:
        """Take away the claims of processes that died: who waits for a number has no time to watch them die."""
        while True:
            await self._etcd.clock.sleep(self._timing.takeover_s / _LOOKS_PER_TAKEOVER)
            with contextlib.suppress(EtcdError):
                snapshot = await self._etcd.read_prefix(self._prefix)
                for number, entry in self._silent(self._claims(snapshot)).items():
                    key = self._key(number)
                    await self._etcd.transact([unchanged(key, entry.mod_revision)], [Delete(key=key)])

    def _claims(self, snapshot: Snapshot) -> dict[int, Entry]:
        names = {key.removeprefix(self._prefix): entry for key, entry in snapshot.entries.items()}
        return {int(name): entry for name, entry in names.items() if name.isascii() and name.isdigit()}

    def _silent(self, claims: dict[int, Entry]) -> dict[int, Entry]:
        now_s = self._etcd.clock.monotonic_s()
        self._observer.forget_others({entry.key for entry in claims.values()})
        return {number: entry for number, entry in claims.items() if self._observer.may_take_over(entry, now_s)}

    def _from(self, last: Entry | None) -> Iterator[int]:
        """Yield every number once, beginning with the one that is next."""
        text = last.value if last is not None else b""
        wanted = int(text) if text.isdigit() else self._numbers.start
        start = self._numbers.index(wanted) if wanted in self._numbers else 0
        return itertools.chain(self._numbers[start:], self._numbers[:start])

    def _key(self, number: int) -> str:
        return f"{self._prefix}{number:0{self._width}}"


def timing_of(etcd: EtcdClient) -> ClaimTiming:
    """Return the timing that the client's settings ask for."""
    ttl_s = float(etcd.settings.lease_ttl_s)
    return ClaimTiming(ttl_s=ttl_s, margin_s=min(etcd.settings.clock_margin_s, ttl_s / 2.5))
