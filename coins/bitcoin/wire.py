"""Integers, byte strings and script numbers as they stand on the wire."""

from coins.errors import BlockError

_SIZE_MAX = 0x02000000
"""Largest count or length a node reads (Bitcoin Core, MAX_SIZE)."""


def compact_size(value: int) -> bytes:
    """Write a count or length: one byte below 253, else a marker and 2, 4 or 8 bytes little-endian."""
    if value < 253:
        return value.to_bytes(1, "little")
    if value <= 0xFFFF:
        return b"\xfd" + value.to_bytes(2, "little")
    if value <= 0xFFFFFFFF:
        return b"\xfe" + value.to_bytes(4, "little")
    return b"\xff" + value.to_bytes(8, "little")


def script_push(data: bytes) -> bytes:
    """Write a script push of up to 75 bytes: the length, then the data.

    Raises:
        ValueError: If the data is empty or longer.
    """
    if not 1 <= len(data) <= 75:
        raise ValueError(f"a push has 1..75 bytes, not {len(data)}")
    return bytes([len(data)]) + data


def height_push(height: int) -> bytes:
    """Write the height that begins a coinbase's script (BIP 34), as nodes compare it byte for byte.

    0 is OP_0, 1..16 are OP_1..OP_16, above that a minimal little-endian signed number: 128 is 02 80 00.

    Raises:
        ValueError: If the height is negative.
    """
    if height < 0:
        raise ValueError(f"height {height} is negative")
    if height <= 16:
        return bytes([0x50 + height]) if height else b"\x00"
    return script_push(height.to_bytes(height.bit_length() // 8 + 1, "little"))


class Reader:
    """Read the wire's values from bytes, front to back, and never past their end.

    Attributes:
        position: Bytes read so far.
        end: Where reading stops.
    """

    __slots__ = ("_data", "end", "position")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.position = 0
        self.end = len(data)

    @property
    def remaining(self) -> int:
        """Bytes not read yet."""
        return self.end - self.position

    def take(self, count: int, field: str) -> bytes:
        """Read this many bytes.

        Raises:
            BlockError: If fewer are left; it names the field.
        """
        start = self.position
        if count > self.end - start:
            raise BlockError(field, f"is cut off: {count} bytes expected, {self.end - start} left")
        self.position = start + count
        return self._data[start : self.position]

    def since(self, start: int) -> bytes:
        """Answer the bytes from a position up to the current one."""
        return self._data[start : self.position]

    def peek(self, count: int) -> bytes:
        """Answer up to this many of the next bytes without reading them."""
        return self._data[self.position : min(self.position + count, self.end)]

    def integer(self, count: int, field: str, *, signed: bool = False) -> int:
        """Read a little-endian integer of this many bytes."""
        return int.from_bytes(self.take(count, field), "little", signed=signed)

    def compact_size(self, field: str) -> int:
        """Read a count or length, which must be written in its shortest form.

        Raises:
            BlockError: If it is cut off, not the shortest form, or beyond what a node reads.
        """
        first = self.integer(1, field)
        if first < 253:
            return first
        value = self.integer(1 << (first - 252), field)
        if value < (253, 0x10000, 0x100000000)[first - 253]:
            raise BlockError(field, "has a length that is not in its shortest form")
        if value > _SIZE_MAX:
            raise BlockError(field, f"has a length of {value}, above {_SIZE_MAX}")
        return value

    def var_bytes(self, field: str) -> bytes:
        """Read a length and that many bytes."""
        return self.take(self.compact_size(field), field)
