"""Carry the journals of a host to the event log, each share at least once, in order, and delete what has arrived.

A record can arrive twice after a crash: consumers tell by (instance, first_seq).
"""

import asyncio
import contextlib
import fcntl
import json
import logging
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from google.protobuf.message import DecodeError
from prometheus_client import Metric

from proto.lodepool.events.v1.events_pb2 import JournalEntry, ShareBatch, ShareRecord, Watermark
from runtime.clock import Clock
from runtime.errors import UserError
from runtime.eventlog.interface import EventLog, EventLogUnavailable, OutRecord
from runtime.logs import log_event
from runtime.telemetry import Telemetry
from stratum.journal import SegmentReader, instance_dirs, is_alive, journal_dir, segments
from stratum.metrics import shipper_families

TOPIC_SHARES: Final = "shares"
TOPIC_BLOCKS: Final = "blocks"
TOPIC_NOTICES: Final = "notices"
POLL_S: Final = 0.03
RETRY_S_MIN: Final = 0.1
RETRY_S_MAX: Final = 2.0
RECORD_SHARES_MAX: Final = 4096
PAYLOAD_BYTES_MAX: Final = 1_000_000
"""What every event log takes as one record."""
ROUND_BYTES_MAX: Final = 4 * 1024 * 1024
"""Journal bytes of one instance that go into one publish call, as soon as they are exceeded."""
TRACE_PARENTS_MAX: Final = 16
"""Traces that one record names."""
PLACE_NAME: Final = "shipped.json"
LOCK_NAME: Final = "shipper.lock"

_log = logging.getLogger("lodepool.shipper")


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """How far the journal of an instance is shipped.

    Attributes:
        segment: Number of the segment to read next; 0 before the first.
        position: Byte in it.
        last_seq: Sequence number of the last share shipped.
        height: Height of the newest mark or share shipped.
    """

    segment: int = 0
    position: int = 0
    last_seq: int = 0
    height: int = 0


@dataclass(slots=True, kw_only=True)
class _Load:
    """What one round takes from one instance."""

    folder: Path
    place: Place
    shares: list[OutRecord]
    blocks: list[OutRecord]
    notices: list[OutRecord]
    emptied: list[Path]
    trace_parents: list[str]
    is_finished: bool = False


class Shipper:
    """Ships all journals of one host.

    Attributes:
        data_dir: Where the pool keeps its files.
        records_published: Records that the log has acknowledged.

    Args:
        data_dir: As above.
        eventlog: Where to.
        clock: Source of time.
        telemetry: For traces; None makes none.
    """

    def __init__(self, data_dir: Path, eventlog: EventLog, *, clock: Clock, telemetry: Telemetry | None = None) -> None:
        self._telemetry = telemetry or Telemetry.off()
        self.data_dir = data_dir
        self._eventlog = eventlog
        self._clock = clock
        self._reported: set[tuple[Path, str]] = set()
        self._failing: set[Path] = set()
        self._unwritten: dict[Path, Place] = {}
        self._unremoved: set[Path] = set()
        self._caught_up_s = clock.monotonic_s()
        self._is_behind = False
        self._is_log_up = True
        self.records_published = 0

    def families(self) -> Iterable[Metric]:
        """Return the shipper's metrics as they are now."""
        return shipper_families(
            records=self.records_published,
            lag_bytes=self._lag_bytes(),
            lag_s=self._clock.monotonic_s() - self._caught_up_s if self._is_behind else 0.0,
            is_log_up=self._is_log_up,
        )

    async def run(self) -> None:
        """Ship until cancelled; while the log is away, wait for it."""
        delay_s = RETRY_S_MIN
        while True:
            try:
                has_more = await self.ship_round()
            except EventLogUnavailable as error:
                self._is_log_up = False
                if delay_s == RETRY_S_MIN:
                    log_event(_log, logging.WARNING, "event log away, journal grows", reason=str(error))
                await self._clock.sleep(delay_s)
                delay_s = min(delay_s * 2, RETRY_S_MAX)
                continue
            self._is_log_up = True
            if delay_s != RETRY_S_MIN:
                log_event(_log, logging.INFO, "event log back")
                delay_s = RETRY_S_MIN
            if not has_more:
                await self._clock.sleep(POLL_S)

    async def ship_round(self) -> bool:
        """Ship some of every journal; return whether there was anything.

        Raises:
            EventLogUnavailable: The log is away; the same is shipped again next time.
        """
        loads = [load for folder in instance_dirs(self.data_dir) if (load := self._try_load(folder)) is not None]
        shares = [record for load in loads for record in load.shares]
        blocks = [record for load in loads for record in load.blocks]
        notices = [record for load in loads for record in load.notices]
        record_count = len(shares) + len(blocks) + len(notices)
        if not record_count:
            self._caught_up_s = self._clock.monotonic_s()
        self._is_behind = bool(record_count)
        with self._telemetry.spans("shipper.publish", (parent for load in loads for parent in load.trace_parents)):
            if shares:
                await self._eventlog.publish(TOPIC_SHARES, shares)
            if blocks:
                await self._eventlog.publish(TOPIC_BLOCKS, blocks)
            if notices:
                await self._eventlog.publish(TOPIC_NOTICES, notices)
        self.records_published += record_count
        for load in loads:
            self._settle(load)
        return bool(record_count)

    def _lag_bytes(self) -> int:
        total = 0
        for folder in instance_dirs(self.data_dir):
            place = self._place(folder)
            for number, path in segments(folder):
                if number >= place.segment:
                    with contextlib.suppress(FileNotFoundError):
                        total += path.stat().st_size - (place.position if number == place.segment else 0)
        return total

    def _place(self, folder: Path) -> Place:
        return self._unwritten.get(folder) or read_place(folder)

    def _try_load(self, folder: Path) -> _Load | None:
        """Read the next entries of an instance; None when its files cannot be read, which must not hold others up."""
        if folder in self._unremoved:
            return None
        try:
            load = self._load(folder)
        except OSError as error:
            if folder not in self._failing:
                log_event(_log, logging.ERROR, "journal cannot be read", path=str(folder), reason=str(error))
            self._failing.add(folder)
            return None
        if folder in self._failing:
            self._failing.discard(folder)
            log_event(_log, logging.WARNING, "journal can be read again", path=str(folder))
        return load

    def _load(self, folder: Path) -> _Load:
        """Read the next entries of an instance, without changing anything."""
        alive = is_alive(folder)  # before reading: what a process wrote before it died is read below
        place = self._place(folder)
        load = _Load(folder=folder, place=place, shares=[], blocks=[], notices=[], emptied=[], trace_parents=[])
        packer = _Packer(instance=folder.name, coin_id=folder.parent.name, place=place)
        listed = [(number, path) for number, path in segments(folder) if number >= place.segment]
        for index, (number, path) in enumerate(listed):
            start = packer.place.position if number == packer.place.segment else 0
            reader = SegmentReader(path, position=start)
            is_last = index == len(listed) - 1
            has_room = self._read_segment(reader, packer)
            packer.place = replace(packer.place, segment=number, position=reader.position)
            if not has_room:
                break
            if reader.damage and not (alive and is_last and reader.is_unfinished):
                self._report(path, reader)
            if not is_last:
                load.emptied.append(path)
                packer.place = replace(packer.place, segment=number + 1, position=0)
        else:
            load.is_finished = not alive
            if load.is_finished:
                packer.close(time_ms=self._clock.now_ms())
        load.shares, load.blocks = packer.records()
        load.notices = packer.notices
        load.trace_parents = packer.trace_parents
        load.place = packer.place
        return load

    def _read_segment(self, reader: SegmentReader, packer: "_Packer") -> bool:
        """Read one segment; return whether there is room for more."""
        for found in reader.frames():
            try:
                packer.add(JournalEntry.FromString(found.payload), len(found.payload))
            except DecodeError:
                reader.damage = f"an entry that is no JournalEntry before byte {found.end}"
                return True
            if packer.byte_count >= ROUND_BYTES_MAX:
                return False
        return True

    def _report(self, path: Path, reader: SegmentReader) -> None:
        if (path, reader.damage) not in self._reported:
            self._reported.add((path, reader.damage))
            level = logging.WARNING if reader.is_unfinished else logging.ERROR
            log_event(_log, level, "journal segment ends early", path=str(path), reason=reader.damage)

    def _settle(self, load: _Load) -> None:
        """Delete what has arrived, and remember how far that is; a damaged segment is kept aside for the operator.

        To delete comes first: on a full disk there is no room to remember before.
        """
        if load.is_finished:
            self._remove(load)
            return
        try:
            for path in load.emptied:
                self._keep_damaged(path)
                path.unlink(missing_ok=True)
            if load.place != read_place(load.folder):
                _write_place(load.folder, load.place)
        except OSError as error:
            if load.folder not in self._unwritten:
                log_event(_log, logging.ERROR, "journal cannot be changed", path=str(load.folder), reason=str(error))
            self._unwritten[load.folder] = load.place
        else:
            self._unwritten.pop(load.folder, None)

    def _remove(self, load: _Load) -> None:
        self._unwritten.pop(load.folder, None)
        try:
            for path in [path for _, path in segments(load.folder)]:
                self._keep_damaged(path)
            shutil.rmtree(load.folder)
        except OSError as error:
            # Until the next start; then it is shipped once more, and the books know it.
            self._unremoved.add(load.folder)
            log_event(_log, logging.ERROR, "journal cannot be removed", path=str(load.folder), reason=str(error))
            return
        log_event(_log, logging.INFO, "instance closed", instance=load.folder.name, last_seq=load.place.last_seq)

    def _keep_damaged(self, path: Path) -> None:
        is_damaged = any(
            reported == path and not reason.startswith("an unfinished") for reported, reason in self._reported
        )
        if is_damaged:
            aside = journal_dir(self.data_dir) / f"{path.parent.name}-{path.stem}.damaged"
            path.rename(aside)
        self._reported = {entry for entry in self._reported if entry[0] != path}


class _Packer:
    """Makes records of journal entries: small batches of shares become large ones, a row of watermarks the last."""

    def __init__(self, *, instance: str, coin_id: str, place: Place) -> None:
        self._instance = instance
        self._coin_id = coin_id
        self._key = instance.encode()
        self._shares: list[OutRecord] = []
        self._blocks: list[OutRecord] = []
        self._batches: list[ShareBatch] = []
        self._batched = 0
        self._mark: Watermark | None = None
        self.notices: list[OutRecord] = []
        self.trace_parents: list[str] = []
        self.place = place
        self.byte_count = 0

    def add(self, entry: JournalEntry, byte_count: int) -> None:
        """Take the next entry."""
        self.byte_count += byte_count
        match entry.WhichOneof("entry"):
            case "batch":
                self._put_mark()
                self._add_batch(entry.batch)
            case "watermark":
                self._put_batches()
                self._mark = entry.watermark
                self.place = replace(self.place, height=max(self.place.height, entry.watermark.height))
            case "block":
                key = entry.block.coin.encode()
                if byte_count > PAYLOAD_BYTES_MAX:
                    # No log takes it, and everything behind would wait; the block lies in a file of its own.
                    entry.block.ClearField("block")
                self._blocks.append(OutRecord(key=key, payload=entry.block.SerializeToString()))
                self.trace_parents += [entry.block.trace_parent] if entry.block.trace_parent else []
            case "notice":
                key = f"{entry.notice.coin}/{entry.notice.account}".encode()
                self.notices.append(OutRecord(key=key, payload=entry.notice.SerializeToString()))
            case _:
                pass

    def close(self, *, time_ms: int) -> None:
        """Say that the instance is gone; silent for one that never said anything."""
        self._put_batches()
        self._mark = None
        if self.place.last_seq or self.place.height:
            self._mark = Watermark(
                instance=self._instance,
                coin=self._coin_id,
                last_seq=self.place.last_seq,
                height=self.place.height,
                time_ms=time_ms,
                is_closed=True,
            )

    def records(self) -> tuple[list[OutRecord], list[OutRecord]]:
        """Return the records for the two topics."""
        self._put_batches()
        self._put_mark()
        return self._shares, self._blocks

    def _add_batch(self, batch: ShareBatch) -> None:
        share_count = len(batch.outcome)
        if not share_count:
            return
        last = self._batches[-1] if self._batches else None
        is_next = last is None or last.first_seq + len(last.outcome) == batch.first_seq
        if not is_next or self._batched + share_count > RECORD_SHARES_MAX:
            self._put_batches()
        self._batches.append(batch)
        self.trace_parents += batch.trace_parents[:TRACE_PARENTS_MAX]
        self._batched += share_count
        last_seq = batch.first_seq + share_count - 1
        self.place = replace(self.place, last_seq=last_seq, height=max(self.place.height, *batch.height))

    def _put_batches(self) -> None:
        if self._batches:
            self._put(ShareRecord(batch=merge_batches(self._batches)))
            self._batches = []
            self._batched = 0

    def _put_mark(self) -> None:
        if self._mark is not None:
            self._put(ShareRecord(watermark=self._mark))
            self._mark = None

    def _put(self, record: ShareRecord) -> None:
        self._shares.append(OutRecord(key=self._key, payload=record.SerializeToString()))


def merge_batches(batches: Sequence[ShareBatch]) -> ShareBatch:
    """Return consecutive batches of one instance as one, sequence numbers and times kept.

    Args:
        batches: At least one; each begins where the one before ends.
    """
    merged = ShareBatch()
    merged.CopyFrom(batches[0])
    if len(batches) == 1:
        return merged
    index = {
        (entry.account, entry.worker, entry.scheme, entry.user_agent): place
        for place, entry in enumerate(merged.submitters)
    }
    base_ms = min(batch.base_time_ms for batch in batches)  # the wall clock may have been set back
    del merged.submitter_index[:]
    del merged.time_offset_ms[:]
    merged.base_time_ms = base_ms
    for batch in batches:
        places = []
        for entry in batch.submitters:
            key = (entry.account, entry.worker, entry.scheme, entry.user_agent)
            place = index.setdefault(key, len(index))
            if place == len(merged.submitters):
                merged.submitters.append(entry)
            places.append(place)
        shift_ms = batch.base_time_ms - base_ms
        merged.submitter_index.extend([places[own] for own in batch.submitter_index])
        merged.time_offset_ms.extend([offset + shift_ms for offset in batch.time_offset_ms])
        if batch is not batches[0]:
            merged.height.extend(batch.height)
            merged.work.extend(batch.work)
            merged.hash_work.extend(batch.hash_work)
            merged.outcome.extend(batch.outcome)
            merged.trace_parents.extend(batch.trace_parents[: TRACE_PARENTS_MAX - len(merged.trace_parents)])
    return merged


@contextlib.contextmanager
def only_shipper(data_dir: Path) -> Iterator[None]:
    """Hold the place of the host's only shipper.

    Raises:
        UserError: Another one has it.
    """
    folder = journal_dir(data_dir)
    folder.mkdir(parents=True, exist_ok=True)
    fd = os.open(folder / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f"Another shipper works on {folder}.", "one a host is enough; stop the other") from None
        yield
    finally:
        os.close(fd)


def read_place(folder: Path) -> Place:
    """Return how far an instance is shipped; from the beginning when that is not known: twice is better than never."""
    try:
        return Place(**json.loads((folder / PLACE_NAME).read_bytes()))
    except (OSError, ValueError, TypeError):
        return Place()


def _write_place(folder: Path, place: Place) -> None:
    fields = {name: getattr(place, name) for name in Place.__slots__}
    temporary = folder / f"{PLACE_NAME}.tmp"
    temporary.write_text(json.dumps(fields), encoding="ascii")
    temporary.replace(folder / PLACE_NAME)


async def run_shipper(shipper: Shipper, *, on_start: Callable[[], None]) -> None:
    """Ship until cancelled; what is written by then is shipped by whoever comes next.

    Raises:
        UserError: Another shipper works on this host.
    """
    with only_shipper(shipper.data_dir):
        on_start()
        try:
            await shipper.run()
        except asyncio.CancelledError:
            log_event(_log, logging.INFO, "shipper stopped", records=shipper.records_published)
            raise
