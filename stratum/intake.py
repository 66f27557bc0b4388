"""Take shares from connections: examine, hash, record, answer; in batches of one turn of the event loop."""

import asyncio
import logging
import time
from collections.abc import Callable
from concurrent.futures import Executor
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias

from coins.coin import Algorithm
from native import sha256d
from proto.lodepool.events.v1 import events_pb2
from runtime.logs import log_event
from stratum.errors import JournalUnavailable, Outcome, RejectReason
from stratum.jobs.store import JobStore
from stratum.journal import JournalWriter
from stratum.metrics import StratumMetrics
from stratum.protocol.messages import (
    OddSubmit,
    Submit,
    accepted_line,
    not_recorded_line,
    rejected_line,
)
from stratum.protocol.session import Session
from stratum.protocol.user import Submitter
from stratum.traces import ShareTraces, TurnTrace
from stratum.validation import Candidate, Rejected, decide, examine, hash_work, is_block

if TYPE_CHECKING:
    from stratum.jobs.job import Job

BATCH_SHARES_MAX: Final = 4096
WAITING_SHARES_MAX: Final = 20_000
"""Shares that may wait for a slow hash; beyond this they are refused, or memory would go."""
CHUNK_SHARES_MAX: Final = 32
"""Shares hashed in one call of a thread: at about 60 µs a hash, 2 ms until the answers go out."""
LOST: Final = "this process has lost its piece of the search space, connect again"
_WIRES_MAX: Final = 65_536

_log = logging.getLogger("lodepool.stratum")


class Origin(Protocol):
    """Where a share came from."""

    session: Session

    def reply(self, data: bytes) -> None:
        """Send answers."""
        ...


_Row: TypeAlias = tuple[Origin, int | bytes, Submitter, int, int, int, RejectReason | None, Candidate | None]
_Waiting: TypeAlias = tuple[Origin, int | bytes, Candidate, float]
"""The last one is when it came, by the monotonic clock."""
FoundHandler: TypeAlias = Callable[[events_pb2.BlockFound], Callable[[], None]]
"""Puts a block on disk and begins to submit it; what it returns is called once the find is in the journal."""


class Intake:
    """The way of a share inside one process.

    Attributes:
        refusing_reason: Why shares cannot be recorded now; empty when they can.
        last_seq: Sequence number of the last recorded share.

    Args:
        journal: Where shares are recorded.
        jobs: The jobs.
        coin_id: The coin.
        instance: This life of the process.
        algorithm: Quick hashes are done at once, slow ones in `executor`.
        executor: Threads for slow hashes.
        threads: How many it has.
        metrics: What to count.
        on_found: Takes found blocks.
        on_retarget: Told of connections whose difficulty should change at once.
        is_held: Returns whether our piece of the search space is still ours; asked once before each write.
        traces: Begins traces; None where they would go nowhere.
    """

    def __init__(
        self,
        *,
        journal: JournalWriter,
        jobs: JobStore,
        coin_id: str,
        instance: str,
        algorithm: Algorithm,
        executor: Executor,
        threads: int,
        metrics: StratumMetrics,
        on_found: FoundHandler,
        on_retarget: Callable[[Origin], None],
        is_held: Callable[[], bool],
        traces: ShareTraces | None = None,
    ) -> None:
        self._journal = journal
        self._jobs = jobs
        self._coin_id = coin_id
        self._instance = instance
        self._is_slow = algorithm is not Algorithm.SHA256D
        self._executor = executor
        self._threads = threads
        self._metrics = metrics
        self._on_found = on_found
        self._on_retarget = on_retarget
        self._is_held = is_held
        self._traces = traces
        self._trace: TurnTrace | None = None
        self._arrived_s = 0.0
        self._loop = asyncio.get_running_loop()
        self._is_flush_due = False
        self._rows: list[_Row] = []
        self._loose: list[tuple[Origin, bytes]] = []
        self._finds: list[tuple[bytes, Callable[[], None]]] = []
        self._waiting: list[_Waiting] = []
        self._hashing: set[asyncio.Future[list[tuple[int, bytes]]]] = set()
        self._wires: dict[Submitter, bytes] = {}
        self._is_full = False
        self._turn_s = 0.0
        self.refusing_reason = ""
        self.last_seq = 0

    def submit(self, origin: Origin, submit: Submit | OddSubmit) -> None:
        """Take one share; its answer follows at the end of the turn, or when it is hashed."""
        if not self._is_flush_due:
            self._is_flush_due = True
            self._turn_s = time.monotonic()
            self._loop.call_soon(self.flush)
        examined = examine(origin.session, submit, self._jobs.by_id)
        if isinstance(examined, Candidate):
            if self._is_slow:
                self._wait(origin, submit.id, examined)
            else:
                verdict, pow_hash = examined.job.native.verify(examined.key, examined.target.target_le)
                self._settle(origin, submit.id, examined, verdict, pow_hash)
        else:
            self._reject(origin, submit.id, examined)

    def _reject(self, origin: Origin, request_id: int | bytes, rejected: Rejected) -> None:
        if rejected.submitter is None:
            self._metrics.unattributed += 1
            self._loose.append((origin, rejected_line(request_id, rejected.reason)))
            return
        job = rejected.job or self._jobs.active
        work = (rejected.target or origin.session.target).work
        height = job.height if job else 0
        self._rows.append((origin, request_id, rejected.submitter, height, work, 0, rejected.reason, None))

    def add_find(self, payload: bytes, on_recorded: Callable[[], None]) -> None:
        """Put a journal entry of a found block into the next write, again and again until it is in."""
        self._finds.append((payload, on_recorded))
        if not self._is_flush_due:
            self._is_flush_due = True
            self._turn_s = time.monotonic()
            self._loop.call_soon(self.flush)

    def flush(self) -> None:
        """Record what was decided, then answer it."""
        self._is_flush_due = False
        if self._waiting:
            self._dispatch()
        if self._rows or self._finds:
            self._record()
        if self._loose:
            loose, self._loose = self._loose, []
            for origin, line in loose:
                origin.reply(line)

    def watermark(self, *, is_closed: bool = False) -> None:
        """Write down how far this instance has come; shares of lower heights are refused from here on."""
        job = self._jobs.active
        if job is None or self._is_full:
            return
        mark = events_pb2.Watermark(
            instance=self._instance,
            coin=self._coin_id,
            last_seq=self.last_seq,
            height=job.height,
            time_ms=time.time_ns() // 1_000_000,
            is_closed=is_closed,
        )
        self._append([events_pb2.JournalEntry(watermark=mark).SerializeToString()])

    def note(self, payloads: list[bytes]) -> bool:
        """Write entries that are no shares, also while shares are refused; return whether they are in the journal."""
        return not self._append(payloads)

    async def drain(self) -> None:
        """Return when every share that was taken is answered."""
        self.flush()
        while self._hashing:
            await asyncio.wait(self._hashing)
        self.flush()

    @property
    def waiting_count(self) -> int:
        """Return about how many shares wait for their hash."""
        return len(self._waiting) + len(self._hashing) * CHUNK_SHARES_MAX

    # --- hashing ---

    def _wait(self, origin: Origin, request_id: int | bytes, candidate: Candidate) -> None:
        if len(self._waiting) >= WAITING_SHARES_MAX:
            self._metrics.overloaded += 1
            self._loose.append((origin, rejected_line(request_id, RejectReason.OVERLOADED)))
        else:
            self._waiting.append((origin, request_id, candidate, self._turn_s))

    def _dispatch(self) -> None:
        """Give waiting shares to the threads that are free, so that all of them have about the same."""
        while self._waiting and len(self._hashing) < self._threads:
            share_count = -(-len(self._waiting) // (self._threads - len(self._hashing)))
            size = min(share_count, CHUNK_SHARES_MAX)
            chunk, self._waiting = self._waiting[:size], self._waiting[size:]
            future = self._loop.run_in_executor(self._executor, _hash_chunk, chunk)
            self._hashing.add(future)
            future.add_done_callback(lambda done, chunk=chunk: self._hashed(chunk, done))  # type: ignore[misc]

    def _hashed(self, chunk: list[_Waiting], done: "asyncio.Future[list[tuple[int, bytes]]]") -> None:
        self._hashing.discard(done)
        self._arrived_s = chunk[0][3]
        self._metrics.answer_s.observe(time.monotonic() - chunk[0][3])
        for (origin, request_id, candidate, _), (verdict, pow_hash) in zip(chunk, done.result(), strict=True):
            self._settle(origin, request_id, candidate, verdict, pow_hash)
        self.flush()

    # --- deciding and recording ---

    def _settle(
        self, origin: Origin, request_id: int | bytes, candidate: Candidate, verdict: int, pow_hash: bytes
    ) -> None:
        if is_block(verdict) and candidate.key not in candidate.job.seen:
            self._found(candidate)
        reason = decide(candidate, verdict)
        if reason is RejectReason.STALE:
            candidate.job.seen.add(candidate.key)  # a late block is submitted once
        best = hash_work(pow_hash) if reason is None else 0
        target_work = candidate.target.work
        height = candidate.job.height
        self._rows.append((origin, request_id, candidate.submitter, height, target_work, best, reason, candidate))

    def _found(self, candidate: Candidate) -> None:
        self._metrics.blocks_found += 1
        job, key, submitter = candidate.job, candidate.key, candidate.submitter
        found = events_pb2.BlockFound(
            instance=self._instance,
            coin=self._coin_id,
            block_hash_hex=job.native.block_hash(key)[::-1].hex(),
            height=job.height,
            time_ms=time.time_ns() // 1_000_000,
            account=submitter.account,
            worker=submitter.worker,
            scheme=submitter.scheme,
            coinbase_value_atomic=job.template.coinbase_value_atomic,
            fees_atomic=job.template.fees_atomic,
            network_target=job.network_target.to_bytes(32, "big"),
            coinbase_txid_hex=sha256d(job.native.coinbase(key))[::-1].hex(),
            block=job.block(key),
            trace_parent=self._traced_block(),
        )
        on_recorded = self._on_found(found)
        self._finds.append((events_pb2.JournalEntry(block=found).SerializeToString(), on_recorded))

    def _traced_block(self) -> str:
        """Return the traceparent of this turn, which is traced whatever the sample; empty where tracing is off."""
        if self._traces is None:
            return ""
        if self._trace is None:
            self._trace = self._traces.begin(self._arrived_s or self._turn_s)
        return self._trace.parent

    def _take_trace(self) -> TurnTrace | None:
        """Return the trace of what is recorded now, if it has one."""
        if self._traces is not None and self._trace is None and self._traces.is_due(time.monotonic()):
            self._trace = self._traces.begin(self._arrived_s or self._turn_s)
        trace, self._trace = self._trace, None
        return trace

    def _record(self) -> None:
        rows, self._rows = self._rows, []
        finds, self._finds = self._finds, []
        trace = self._take_trace() if rows else None
        if rows and not self._is_held():
            self._refuse(rows, LOST)
            rows = []
        elif rows and self._is_full:
            self._refuse(rows, self.refusing_reason)
            rows = []
        payloads = [
            self._batch(rows[start : start + BATCH_SHARES_MAX], self.last_seq + 1 + start, trace)
            for start in range(0, len(rows), BATCH_SHARES_MAX)
        ]
        payloads += [payload for payload, _ in finds]
        if trace is not None:
            trace.begin_journal()
        refusal = self._append(payloads) if payloads else ""
        if trace is not None:
            trace.end_journal(share_count=len(rows), refusal=refusal)
        if refusal:
            self._finds = finds + self._finds
            self._refuse(rows, refusal)
            if trace is not None:
                trace.end()
            return
        self.last_seq += len(rows)
        self._answer(rows)
        if trace is not None:
            trace.end()
        for _, on_recorded in finds:
            on_recorded()

    def limit(self, *, journal_bytes: int, journal_bytes_max: int) -> None:
        """Refuse shares while more of the journal waits to be shipped than is allowed (D6)."""
        was_full, self._is_full = self._is_full, journal_bytes > journal_bytes_max
        if self._is_full:
            self.refusing_reason = f"the journal is full: {journal_bytes} bytes wait for the event log"
        elif was_full:
            self.refusing_reason = ""
        if self._is_full != was_full:
            event = "journal full, shares are refused" if self._is_full else "journal has room again"
            log_event(_log, logging.ERROR if self._is_full else logging.WARNING, event, journal_bytes=journal_bytes)

    def failed(self, reason: str) -> None:
        """Note that the journal's disk has failed; the next write that succeeds ends it."""
        log_event(_log, logging.ERROR, "journal failed, shares are refused", reason=reason)
        self.refusing_reason = reason

    def _append(self, payloads: list[bytes]) -> str:
        """Write to the journal; return why not, empty when written."""
        try:
            self._journal.append(payloads)
        except JournalUnavailable as error:
            if not self.refusing_reason:
                log_event(_log, logging.ERROR, "journal failed, shares are refused", reason=error.reason)
            self.refusing_reason = error.reason
            return error.reason
        if self.refusing_reason and not self._is_full:
            log_event(_log, logging.WARNING, "journal works again", was=self.refusing_reason)
            self.refusing_reason = ""
        return ""

    def _batch(self, rows: list[_Row], first_seq: int, trace: TurnTrace | None) -> bytes:
        """Return shares as a serialised JournalEntry.

        The submitters' bytes are kept ready and put behind the columns: the order of fields is free on the wire.
        """
        index: dict[Submitter, int] = {}
        accepted = Outcome.ACCEPTED.value
        batch = events_pb2.ShareBatch(
            instance=self._instance,
            first_seq=first_seq,
            coin=self._coin_id,
            base_time_ms=time.time_ns() // 1_000_000,
            submitter_index=[index.setdefault(row[2], len(index)) for row in rows],
            time_offset_ms=[0] * len(rows),
            height=[row[3] for row in rows],
            work=[row[4] for row in rows],
            hash_work=[row[5] for row in rows],
            outcome=[accepted if row[6] is None else row[6].outcome for row in rows],  # type: ignore[misc]
            trace_parents=None if trace is None else (trace.parent,),
        )
        body = batch.SerializeToString() + b"".join([self._wire(submitter) for submitter in index])
        return _field(events_pb2.JournalEntry.BATCH_FIELD_NUMBER, body)

    def _wire(self, submitter: Submitter) -> bytes:
        wire = self._wires.get(submitter)
        if wire is None:
            message = events_pb2.Submitter(
                account=submitter.account,
                worker=submitter.worker,
                scheme=submitter.scheme,
                user_agent=submitter.user_agent,
            )
            if len(self._wires) >= _WIRES_MAX:
                self._wires.clear()
            wire = _field(events_pb2.ShareBatch.SUBMITTERS_FIELD_NUMBER, message.SerializeToString())
            self._wires[submitter] = wire
        return wire

    def _answer(self, rows: list[_Row]) -> None:
        now_s = time.monotonic()
        if not self._is_slow and self._turn_s:
            self._metrics.answer_s.observe(now_s - self._turn_s)
        replies: dict[Origin, bytes] = {}
        shares = self._metrics.shares
        accepted_count = 0
        for origin, request_id, _, _, work, _, reason, _ in rows:
            if reason is None:
                accepted_count += 1
                line = accepted_line(request_id)
                if origin.session.record_accepted(work, now_s):
                    self._on_retarget(origin)
            else:
                shares[reason.outcome] += 1  # type: ignore[index]  # rows with a submitter have one
                line = rejected_line(request_id, reason)
            if origin in replies:
                replies[origin] += line
            else:
                replies[origin] = line
        shares[Outcome.ACCEPTED] += accepted_count
        for origin, data in replies.items():
            origin.reply(data)

    def _refuse(self, rows: list[_Row], why: str) -> None:
        """Answer shares that are not in the journal: never true, and free to be sent again (D6)."""
        for origin, request_id, _, _, _, _, reason, candidate in rows:
            if reason is not None:
                origin.reply(rejected_line(request_id, reason))
                continue
            self._metrics.not_recorded += 1
            if candidate is not None:
                candidate.job.seen.discard(candidate.key)
            origin.reply(not_recorded_line(request_id, why))


def _hash_chunk(chunk: list[_Waiting]) -> list[tuple[int, bytes]]:
    """Hash in a thread: one call for each job among the shares, answers in the order of the shares."""
    places: dict[Job, list[int]] = {}
    for place, (_, _, candidate, _) in enumerate(chunk):
        places.setdefault(candidate.job, []).append(place)
    answers: list[tuple[int, bytes]] = [(0, b"")] * len(chunk)
    for job, own in places.items():
        keys = [chunk[place][2].key for place in own]
        targets = [chunk[place][2].target.target_le for place in own]
        for place, answer in zip(own, job.native.verify_many(keys, targets), strict=True):
            answers[place] = answer
    return answers


def _field(number: int, body: bytes) -> bytes:
    """Return a length-delimited protobuf field."""
    length = len(body)
    head = bytearray([number << 3 | 2])
    while length > 0x7F:
        head.append(length & 0x7F | 0x80)
        length >>= 7
    head.append(length)
    return bytes(head) + body
