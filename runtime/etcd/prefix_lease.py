"""Number leases: each process of a cluster gets a number that no other one has.

A number's key is claimed by the rule in claims.py: the holder stops by its own clock before anybody else can get the
number, also when it is cut off from etcd, frozen for a while, or has a clock that is hours wrong.

With the number 5 of 0…255 a process makes identifiers that begin with 05 and knows that no other one makes the same.
"""

import contextlib
import logging
import secrets
from collections.abc import AsyncGenerator

from runtime.etcd.claims import Claim, ClaimRecord, ClaimTiming, Observer, decode_record, try_claim
from runtime.etcd.client import EtcdClient
from runtime.etcd.errors import EtcdError
from runtime.logs import log_event

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
            yield NumberLease(number, claim)

    async def holders(self) -> dict[int, str]:
        """Return number → owner of all claims, those of dead processes included until somebody takes them over."""
        snapshot = await self._etcd.read_prefix(self._prefix)
        found: dict[int, str] = {}
        for key, entry in snapshot.entries.items():
            name = key.removeprefix(self._prefix)
            record = decode_record(entry)
            if name.isascii() and name.isdigit():
                found[int(name)] = record.owner if record is not None else ""
        return found

    async def _acquire(self) -> tuple[int, Claim]:
        reported = ""
        while True:
            try:
                leased = await self._try_acquire()
                if leased is not None:
                    log_event(_log, logging.INFO, "number leased", prefix=self._prefix, number=leased[0])
                    return leased
                reason, details = "all numbers taken", ""
            except EtcdError as error:
                reason, details = "etcd away", str(error)
            if reason != reported:
                reported = reason
                log_event(_log, logging.WARNING, "number waited for", prefix=self._prefix, reason=reason, error=details)
            await self._etcd.clock.sleep(self._timing.renew_s)

    async def _try_acquire(self) -> tuple[int, Claim] | None:
        """Claim the lowest number that nobody has; else one whose holder has been silent for long enough."""
        snapshot = await self._etcd.read_prefix(self._prefix)
        now_s = self._etcd.clock.monotonic_s()
        self._observer.forget_others(set(snapshot.entries))
        silent = {key: entry for key, entry in snapshot.entries.items() if self._observer.may_take_over(entry, now_s)}
        keys = {number: f"{self._prefix}{number:0{self._width}}" for number in self._numbers}
        candidates = [number for number, key in keys.items() if key not in snapshot.entries]
        candidates += [number for number, key in keys.items() if key in silent]
        for number in candidates:
            claim = await try_claim(
                self._etcd,
                key=keys[number],
                entry=silent.get(keys[number]),
                record=ClaimRecord(owner=self._owner, nonce=secrets.token_hex(8)),
                timing=self._timing,
            )
            if claim is not None and claim.is_held:
                return number, claim
            if claim is not None:
                await claim.release()
        return None


def timing_of(etcd: EtcdClient) -> ClaimTiming:
    """Return the timing that the client's settings ask for."""
    ttl_s = float(etcd.settings.lease_ttl_s)
    return ClaimTiming(ttl_s=ttl_s, margin_s=min(etcd.settings.clock_margin_s, ttl_s / 2.5))
