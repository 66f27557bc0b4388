"""Keep found blocks on disk until every node has had them (D2).

`<data_dir>/blocks/<height>-<hash>.block` is the complete block as hex: what `submitblock` takes, so that it can be sent
by hand. Beside it `.found` says who found it (a `lodepool.events.v1.BlockFound` without the block), and `.done`, once
it exists, what the nodes answered and that the find is in the journal.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from google.protobuf.message import DecodeError

from nodes.interface import SubmitOutcome, SubmitStatus
from proto.lodepool.events.v1.events_pb2 import BlockFound

_DEFINITE = (SubmitStatus.ACCEPTED, SubmitStatus.DUPLICATE, SubmitStatus.REJECTED)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredBlock:
    """A block on disk.

    Attributes:
        path: The `.block` file.
        height: Its height.
        block_hash_hex: Its hash as people read it.
        is_done: Whether nothing is left to do for it.
    """

    path: Path
    height: int
    block_hash_hex: str
    is_done: bool

    def read_block(self) -> bytes:
        """Return the serialised block.

        Raises:
            ValueError: The file is damaged.
            OSError: It cannot be read.
        """
        return bytes.fromhex(self.path.read_text(encoding="ascii").strip())

    def read_found(self) -> BlockFound | None:
        """Return who found it, with the block in it; None when that file is missing or damaged."""
        try:
            found = BlockFound.FromString(self.path.with_suffix(".found").read_bytes())
            found.block = self.read_block()
        except (OSError, DecodeError, ValueError):
            return None
        return found


def blocks_dir(data_dir: Path) -> Path:
    """Return the folder of found blocks."""
    return data_dir / "blocks"


def store(data_dir: Path, found: BlockFound) -> StoredBlock:
    """Write a found block; when this returns it is on the disk.

    Costs a few milliseconds; a block is rare.

    Raises:
        OSError: It cannot be written; submit it all the same.
    """
    folder = blocks_dir(data_dir)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{found.height}-{found.block_hash_hex}.block"
    without_block = BlockFound()
    without_block.CopyFrom(found)
    without_block.ClearField("block")
    _write(path.with_suffix(".found"), without_block.SerializeToString())
    _write(path, found.block.hex().encode() + b"\n")
    _sync_folder(folder)
    return StoredBlock(path=path, height=found.height, block_hash_hex=found.block_hash_hex, is_done=False)


def list_blocks(data_dir: Path) -> list[StoredBlock]:
    """Return every block on disk, lowest first."""
    stored = []
    for path in blocks_dir(data_dir).glob("*.block"):
        height, _, block_hash_hex = path.stem.partition("-")
        if height.isdigit():
            is_done = path.with_suffix(".done").exists()
            stored.append(StoredBlock(path=path, height=int(height), block_hash_hex=block_hash_hex, is_done=is_done))
    return sorted(stored, key=lambda block: (block.height, block.block_hash_hex))


def is_definite(outcomes: Mapping[str, SubmitOutcome]) -> bool:
    """Return whether some node has taken the block, or all have refused it for good."""
    statuses = [outcome.status for outcome in outcomes.values()]
    has_taken = any(status in {SubmitStatus.ACCEPTED, SubmitStatus.DUPLICATE} for status in statuses)
    return has_taken or (bool(statuses) and all(status in _DEFINITE for status in statuses))


def mark_done(block: StoredBlock, outcomes: Mapping[str, SubmitOutcome]) -> None:
    """Write down that nothing is left to do, with what each node answered."""
    _write(block.path.with_suffix(".done"), json.dumps(answers(outcomes)).encode() + b"\n")


def answers(outcomes: Mapping[str, SubmitOutcome]) -> dict[str, str]:
    """Return each node's answer in words, by its name."""
    return {
        name: outcome.status.value + (f": {outcome.reason}" if outcome.reason not in {"", outcome.status.value} else "")
        for name, outcome in outcomes.items()
    }


def _write(path: Path, data: bytes) -> None:
    temporary = path.with_suffix(path.suffix + f".{os.getpid()}.tmp")
    with temporary.open("wb") as file:
        file.write(data)
        file.flush()
        os.fdatasync(file.fileno())
    temporary.replace(path)


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
