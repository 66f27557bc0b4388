"""Leader election: of all candidates one leads, with a token that tells its writes from those of an earlier leader.

Leadership is a claim (claims.py): the leader stops by its own clock before another one can begin. A process can still
be frozen between asking `is_leader` and acting. So what must never happen twice carries the token: the receiver
remembers the highest token it has seen and refuses a lower one, for example

    UPDATE fence SET token = $1 WHERE name = $2 AND token <= $1      -- no row changed: a later leader has been here

in the transaction of the effect. Writes to etcd itself take `still_leader()` as a condition.
"""

import asyncio
import contextlib
import logging
import secrets
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass

from runtime.etcd.claims import Claim, ClaimRecord, ClaimTiming, Observer, decode_record, try_claim
from runtime.etcd.client import Condition, EtcdClient, Put
from runtime.etcd.errors import EtcdError
from runtime.etcd.prefix_lease import timing_of
from runtime.logs import log_event

_log = logging.getLogger("lodepool.etcd")


@dataclass(frozen=True, slots=True, kw_only=True)
class Leader:
    """Who leads, as etcd says; it may be dead and its time not yet over.

    Attributes:
        owner: The candidate's name.
        token: Its token.
    """

    owner: str
    token: int


class Leadership:
    """One term as leader.

    Args:
        claim: The key of the election.
    """

    def __init__(self, claim: Claim) -> None:
        self._claim = claim

    @property
    def is_leader(self) -> bool:
        """Return whether we lead now: ask before each step. Costs two readings of the clock."""
        return self._claim.is_held

    @property
    def left_s(self) -> float:
        """Return for how many seconds we lead if etcd does not answer again."""
        return self._claim.left_s

    @property
    def token(self) -> int:
        """Return the fencing token: higher than that of every earlier leader."""
        return self._claim.token

    def still_leader(self) -> Condition:
        """Return the condition for transactions in etcd that only the leader may do."""
        return self._claim.still_ours()

    async def wait_lost(self) -> None:
        """Return when we lead no longer."""
        await self._claim.wait_lost()


class Election:
    """A candidate of one election.

    Args:
        etcd: The client.
        prefix: Where the election's keys lie, ending in a slash; a prefix of its own for each election.
        owner: Who we are, for people to read.
        timing: The rule's numbers; None takes those of the client's settings.
    """

    def __init__(self, etcd: EtcdClient, *, prefix: str, owner: str, timing: ClaimTiming | None = None) -> None:
        self._etcd = etcd
        self._prefix = prefix
        self._holder_key = f"{prefix}holder"
        self._term_key = f"{prefix}term"
        self._owner = owner
        self._timing = timing or timing_of(etcd)
        self._observer = Observer(self._timing)
        self._rival = ""

    @contextlib.asynccontextmanager
    async def lead(self) -> AsyncGenerator[Leadership, None]:
        """Wait until we lead, lead while the block runs, resign afterwards.

        The block is not interrupted when leadership is lost; `run` does that.
        """
        claim = await self._campaign()
        async with claim.kept():
            yield Leadership(claim)

    async def run(self, work: Callable[[Leadership], Awaitable[None]]) -> None:
        """Lead and do the work; when leadership is lost the work is cancelled, and we stand for election again.

        Returns when the work returns; its exceptions pass, after resigning. Cancelled work has twice the margin to
        clean up before another leader can begin.
        """
        while True:
            async with self.lead() as leadership:
                if await _until_lost(leadership, work):
                    return

    async def leader(self) -> Leader | None:
        """Return who leads; None when nobody does."""
        snapshot = await self._etcd.read_prefix(self._prefix)
        holder, term = snapshot.entries.get(self._holder_key), snapshot.entries.get(self._term_key)
        record = decode_record(holder) if holder is not None else None
        if record is None or term is None:
            return None
        return Leader(owner=record.owner, token=term.mod_revision)

    async def _campaign(self) -> Claim:
        """Stand until we are elected; say once what it waits for, and again when that is something else."""
        reported = ""
        while True:
            try:
                claim = await self._try_lead()
            except EtcdError as error:
                level, reason = logging.WARNING, f"etcd is away: {error}"
                kind = "etcd away"
            else:
                if claim is not None:
                    log_event(_log, logging.INFO, "election won", prefix=self._prefix, token=claim.token)
                    return claim
                level, reason = logging.INFO, f"{self._rival or 'another process'} leads"
                kind = reason
            if kind != reported:
                log_event(_log, level, "election waited for", prefix=self._prefix, reason=reason)
            reported = kind
            await self._etcd.clock.sleep(self._timing.renew_s)

    async def _try_lead(self) -> Claim | None:
        entry = await self._etcd.get(self._holder_key)
        if entry is not None and not self._observer.may_take_over(entry, self._etcd.clock.monotonic_s()):
            record = decode_record(entry)
            self._rival = record.owner if record is not None else ""
            return None
        claim = await try_claim(
            self._etcd,
            key=self._holder_key,
            entry=entry,
            record=ClaimRecord(owner=self._owner, nonce=secrets.token_hex(8)),
            timing=self._timing,
            beside=(Put(key=self._term_key, value=self._owner.encode()),),
        )
        if claim is not None and not claim.is_held:
            await claim.release()
            return None
        return claim


async def _until_lost(leadership: Leadership, work: Callable[[Leadership], Awaitable[None]]) -> bool:
    """Return True when the work has returned, False when it was cancelled because leadership was lost."""
    working = asyncio.ensure_future(work(leadership))
    losing = asyncio.ensure_future(leadership.wait_lost())
    try:
        await asyncio.wait((working, losing), return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            working.result()
            return True
        return False
    finally:
        for task in (working, losing):
            task.cancel()
        await asyncio.gather(working, losing, return_exceptions=True)
