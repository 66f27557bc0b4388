"""Keep decided shares in append-only files: accepted means recorded.

Layout: `<data_dir>/journal/<coin_id>/<instance>/00000001.seg`, and beside the segments the file `lock`, held with flock
by the process that writes. A segment is a row of frames: u32 length, u32 CRC-32C of the payload, both little-endian,
then the payload, a `lodepool.events.v1.JournalEntry`. A process crash can leave an unfinished frame at a segment's end;
nothing in it was ever answered.
"""

import contextlib
import fcntl
import os
import struct
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from google.protobuf.message import DecodeError

from native import crc32c
from proto.lodepool.events.v1.events_pb2 import JournalEntry
from stratum.errors import JournalUnavailable, PoolCannotStart

FRAME_HEAD: Final = struct.Struct("<II")
ENTRY_BYTES_MAX: Final = 64 * 1024 * 1024
"""A longer length field is damage; a block entry may have several megabytes."""
LOCK_NAME: Final = "lock"
SEGMENT_SUFFIX: Final = ".seg"
_READ_BYTES: Final = 1024 * 1024


def journal_dir(data_dir: Path) -> Path:
    """Return the folder of all journals of a host."""
    return data_dir / "journal"


def segment_name(number: int) -> str:
    """Return the file name of a segment, counted from 1."""
    return f"{number:08d}{SEGMENT_SUFFIX}"


def segments(instance_dir: Path) -> list[tuple[int, Path]]:
    """Return the segments of an instance, oldest first, with their numbers."""
    found = []
    for path in instance_dir.glob(f"*{SEGMENT_SUFFIX}"):
        with contextlib.suppress(ValueError):
            found.append((int(path.stem), path))
    return sorted(found)


def frame(payload: bytes) -> bytes:
    """Return a payload as it stands in a segment."""
    return FRAME_HEAD.pack(len(payload), crc32c(payload)) + payload


class JournalWriter:
    """Appends to the journal of one instance; belongs to one thread, but for `sync`.

    Args:
        instance_dir: Folder of the instance; made, with its lock taken.
        segment_bytes_max: Size at which a new segment begins.
    """

    def __init__(self, instance_dir: Path, *, segment_bytes_max: int) -> None:
        self._dir = instance_dir
        self._segment_bytes_max = segment_bytes_max
        self._segment_number = 0
        self._segment_bytes = 0
        self._fd = -1
        self._is_dirty = False
        self._is_torn = False
        self._sync_lock = threading.Lock()
        try:
            # Locked before it has its name: whoever sees the folder sees it alive.
            self._dir = instance_dir.with_name(f".{instance_dir.name}")
            self._dir.mkdir(parents=True)
            self._lock_fd = os.open(self._dir / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._open_segment()
            self._dir = self._dir.rename(instance_dir)
        except OSError as error:
            raise PoolCannotStart(
                f"The share journal {instance_dir} cannot be written: {error.strerror}.",
                "pool.data_dir must be a folder this user may write, on a disk with room",
            ) from error

    def append(self, payloads: Sequence[bytes]) -> None:
        """Write entries with one call; when this returns, a crash of the process cannot take them.

        Raises:
            JournalUnavailable: Nothing of them is in the journal.
        """
        data = b"".join([frame(payload) for payload in payloads])
        try:
            if self._is_torn or self._segment_bytes >= self._segment_bytes_max:
                self._open_segment()
            self._write(data)
        except OSError as error:
            self._cut_back()
            raise JournalUnavailable(f"cannot write the journal: {error.strerror or error}") from error
        self._segment_bytes += len(data)
        self._is_dirty = True

    def sync(self) -> None:
        """Force what was written to the disk; may be called from another thread.

        Raises:
            JournalUnavailable: The disk has failed.
        """
        if not self._is_dirty:
            return
        with self._sync_lock:
            self._is_dirty = False
            try:
                os.fdatasync(self._fd)
            except OSError as error:
                raise JournalUnavailable(f"cannot sync the journal: {error.strerror or error}") from error

    def bytes_on_disk(self) -> int:
        """Return the size of all segments that are not shipped and deleted yet."""
        total = 0
        for _, path in segments(self._dir):
            with contextlib.suppress(FileNotFoundError):
                total += path.stat().st_size
        return total

    @property
    def end(self) -> tuple[int, int]:
        """Return how far it goes: number of the segment, bytes in it."""
        return self._segment_number, self._segment_bytes

    @property
    def folder(self) -> Path:
        """Return the instance's folder."""
        return self._dir

    def close(self) -> None:
        """Sync, and let go of the lock: the shipper takes it that the instance is gone."""
        try:
            self.sync()
        finally:
            os.close(self._fd)
            os.close(self._lock_fd)

    def _write(self, data: bytes) -> None:
        written = os.write(self._fd, data)
        while written < len(data):
            written += os.write(self._fd, memoryview(data)[written:])

    def _cut_back(self) -> None:
        """Take back an unfinished write; when even that fails, go on in a new segment."""
        try:
            os.ftruncate(self._fd, self._segment_bytes)
        except OSError:
            self._is_torn = True

    def _open_segment(self) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC
        fd = os.open(self._dir / segment_name(self._segment_number + 1), flags, 0o600)
        with self._sync_lock:
            old, self._fd = self._fd, fd
            if old >= 0:
                try:
                    os.fdatasync(old)
                finally:
                    os.close(old)
        self._segment_number += 1
        self._segment_bytes = 0
        self._is_torn = False
        folder = os.open(self._dir, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """One whole frame: its payload, and the byte after it in the segment."""

    payload: bytes
    end: int


class SegmentReader:
    """Reads the frames of one segment, also while it is being written.

    Attributes:
        position: The byte after the last whole frame that was read.
        damage: Why reading stopped before the segment's end; empty when it did not.
        is_unfinished: Whether the damage is only a frame without its end: it may still grow, or a crash cut it off.

    Args:
        path: The segment.
        position: Where to begin; the end of a frame.
    """

    def __init__(self, path: Path, *, position: int = 0) -> None:
        self.path = path
        self.position = position
        self.damage = ""
        self.is_unfinished = False

    def frames(self) -> Iterator[Frame]:
        """Yield the whole frames from `position` on, as far as they stand now.

        Raises:
            OSError: The segment cannot be read.
        """
        self.damage = ""
        self.is_unfinished = False
        with self.path.open("rb") as file:
            file.seek(self.position)
            buffer = b""
            offset = 0
            while True:
                head = buffer[offset : offset + FRAME_HEAD.size]
                length, checksum = FRAME_HEAD.unpack(head) if len(head) == FRAME_HEAD.size else (0, 0)
                end = offset + FRAME_HEAD.size + length
                if length > ENTRY_BYTES_MAX:
                    self.damage = f"a frame of {length} bytes at byte {self.position}"
                    return
                if len(head) < FRAME_HEAD.size or len(buffer) < end:
                    more = file.read(max(_READ_BYTES, end - len(buffer)))
                    if not more:
                        if offset < len(buffer):
                            self.damage = f"an unfinished frame at byte {self.position}"
                            self.is_unfinished = True
                        return
                    buffer, offset = buffer[offset:] + more, 0
                    continue
                payload = buffer[offset + FRAME_HEAD.size : end]
                if crc32c(payload) != checksum:
                    self.damage = f"a wrong checksum at byte {self.position}"
                    return
                offset = end
                self.position += FRAME_HEAD.size + length
                yield Frame(payload=payload, end=self.position)


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceSummary:
    """What stands in the journal of one instance (D4).

    Attributes:
        instance: Folder name, which is the instance's id.
        coin_id: The coin.
        is_alive: Whether a process still writes it.
        share_count: Shares, accepted or not.
        accepted_count: Accepted shares.
        work: Work of the accepted shares.
        first_seq: Sequence number of the first share here; 0 when there is none. Earlier ones are shipped and deleted.
        last_seq: Sequence number of the last one.
        block_count: Found blocks.
        damages: Each place where a segment could not be read to its end.
    """

    instance: str
    coin_id: str
    is_alive: bool
    share_count: int
    accepted_count: int
    work: int
    first_seq: int
    last_seq: int
    block_count: int
    damages: tuple[str, ...]


def instance_dirs(data_dir: Path) -> list[Path]:
    """Return the folders of all instances of a host, in the order of their names."""
    found = journal_dir(data_dir).glob("*/*")
    return sorted(path for path in found if path.is_dir() and not path.name.startswith("."))


def entries(instance_dir: Path, damages: list[str] | None = None) -> Iterator[JournalEntry]:
    """Yield every entry of an instance, oldest first; safe while it is being written.

    Args:
        instance_dir: Its folder.
        damages: Takes a sentence for each place that could not be read.
    """
    for _, path in segments(instance_dir):
        reader = SegmentReader(path)
        try:
            for found in reader.frames():
                yield JournalEntry.FromString(found.payload)
        except FileNotFoundError:
            continue  # shipped meanwhile
        except DecodeError:
            reader.damage = f"an entry that is no JournalEntry before byte {reader.position}"
        if reader.damage and damages is not None:
            damages.append(f"{path.name}: {reader.damage}")


def summarise(instance_dir: Path) -> InstanceSummary:
    """Count what stands in the journal of one instance, changing nothing (D4)."""
    share_count = accepted_count = work = first_seq = last_seq = block_count = 0
    damages: list[str] = []
    for entry in entries(instance_dir, damages):
        match entry.WhichOneof("entry"):
            case "batch":
                batch = entry.batch
                first_seq = first_seq or batch.first_seq
                last_seq = batch.first_seq + len(batch.outcome) - 1
                share_count += len(batch.outcome)
                accepted = [share for share, hashes in zip(batch.work, batch.hash_work, strict=True) if hashes]
                accepted_count += len(accepted)
                work += sum(accepted)
            case "block":
                block_count += 1
            case _:
                pass
    return InstanceSummary(
        instance=instance_dir.name,
        coin_id=instance_dir.parent.name,
        is_alive=is_alive(instance_dir),
        share_count=share_count,
        accepted_count=accepted_count,
        work=work,
        first_seq=first_seq,
        last_seq=last_seq,
        block_count=block_count,
        damages=tuple(damages),
    )


def is_alive(instance_dir: Path) -> bool:
    """Return whether a process holds the lock of an instance."""
    try:
        fd = os.open(instance_dir / LOCK_NAME, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False
