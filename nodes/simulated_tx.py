"""Write transactions of the Bitcoin family, for the simulated node's wallet; reading them is in `coins`."""

import hashlib
from dataclasses import dataclass
from typing import Final

SEQUENCE_FINAL: Final = 0xFFFFFFFE
PLACEHOLDER_WITNESS: Final = (b"\x30" + bytes(71), b"\x02" + bytes(32))
"""Stands for signature and public key of a P2WPKH input: 72 and 33 bytes, so that the weight is a real one's."""

Outpoint = tuple[bytes, int]
"""(txid in internal order, output index)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DraftOutput:
    """An output: its script and amount in atomic units."""

    script: bytes
    amount_atomic: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A transaction without signatures."""

    inputs: tuple[Outpoint, ...]
    outputs: tuple[DraftOutput, ...]
    lock_time: int = 0

    def serialise(self, *, is_signed: bool) -> bytes:
        """Return the bytes; signed means with placeholder witnesses, otherwise without any."""
        body = [compact_size(len(self.inputs))]
        body += [txid + index.to_bytes(4, "little") + b"\0" + _SEQUENCE for txid, index in self.inputs]
        body.append(compact_size(len(self.outputs)))
        for output in self.outputs:
            body.append(output.amount_atomic.to_bytes(8, "little"))
            body.append(compact_size(len(output.script)) + output.script)
        end = self.lock_time.to_bytes(4, "little")
        if not is_signed:
            return _VERSION + b"".join(body) + end
        return _VERSION + b"\0\1" + b"".join(body) + _WITNESS * len(self.inputs) + end

    @property
    def weight(self) -> int:
        """Return the weight once signed: three times the size without witnesses plus the size with them."""
        return 3 * len(self.serialise(is_signed=False)) + len(self.serialise(is_signed=True))

    @property
    def txid(self) -> bytes:
        """Return the id in internal order; signing does not change it."""
        return hashlib.sha256(hashlib.sha256(self.serialise(is_signed=False)).digest()).digest()


def compact_size(value: int) -> bytes:
    """Return a length as Bitcoin writes it: 1, 3, 5 or 9 bytes."""
    if value < 0xFD:
        return bytes((value,))
    if value <= 0xFFFF:
        return b"\xfd" + value.to_bytes(2, "little")
    if value <= 0xFFFFFFFF:
        return b"\xfe" + value.to_bytes(4, "little")
    return b"\xff" + value.to_bytes(8, "little")


def parse_draft(data: bytes) -> Draft:
    """Read a transaction without witnesses; unlike a general parser it takes one without inputs.

    Raises:
        ValueError: When it is not one.
    """
    reader = _Reader(data)
    reader.take(4)
    inputs = []
    for _ in range(reader.size()):
        inputs.append((reader.take(32), int.from_bytes(reader.take(4), "little")))
        reader.take(reader.size() + 4)
    outputs = []
    for _ in range(reader.size()):
        amount = int.from_bytes(reader.take(8), "little")
        outputs.append(DraftOutput(script=reader.take(reader.size()), amount_atomic=amount))
    lock_time = int.from_bytes(reader.take(4), "little")
    reader.end()
    return Draft(inputs=tuple(inputs), outputs=tuple(outputs), lock_time=lock_time)


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def take(self, count: int) -> bytes:
        piece = self._data[self._at : self._at + count]
        if len(piece) != count:
            raise ValueError("the transaction ends early")
        self._at += count
        return piece

    def size(self) -> int:
        first = self.take(1)[0]
        return first if first < 0xFD else int.from_bytes(self.take(2 ** (first - 0xFC)), "little")

    def end(self) -> None:
        if self._at != len(self._data):
            raise ValueError("bytes follow the transaction")


_VERSION: Final = (2).to_bytes(4, "little")
_SEQUENCE: Final = SEQUENCE_FINAL.to_bytes(4, "little")
_WITNESS: Final = compact_size(len(PLACEHOLDER_WITNESS)) + b"".join(
    compact_size(len(item)) + item for item in PLACEHOLDER_WITNESS
)
