"""A chart of a hashrate as a PNG picture. Pure.

Drawn by hand into one byte a pixel and packed by zlib: the bot needs one kind of picture, lines and a few digits, for
which an imaging library with its decoders of foreign formats would be a heavy and exposed dependency.
"""

import struct
import zlib
from collections.abc import Sequence
from typing import Final

WIDTH: Final = 800
HEIGHT: Final = 320
_LEFT, _RIGHT, _TOP, _BOTTOM = 92, 16, 28, 34
_SCALE: Final = 2
_BACK, _GRID, _AREA, _LINE, _TEXT = range(5)
_PALETTE: Final = bytes((255, 255, 255, 226, 230, 236, 205, 224, 250, 36, 104, 203, 68, 76, 88))
_GRID_LINES: Final = 4
_FONT: Final = {
    "0": (14, 17, 19, 21, 25, 17, 14),
    "1": (4, 12, 4, 4, 4, 4, 14),
    "2": (14, 17, 1, 2, 4, 8, 31),
    "3": (31, 2, 4, 2, 1, 17, 14),
    "4": (2, 6, 10, 18, 31, 2, 2),
    "5": (31, 16, 30, 1, 1, 17, 14),
    "6": (6, 8, 16, 30, 17, 17, 14),
    "7": (31, 1, 2, 4, 8, 8, 8),
    "8": (14, 17, 17, 14, 17, 17, 14),
    "9": (14, 17, 17, 15, 1, 2, 12),
    ".": (0, 0, 0, 0, 0, 12, 12),
    ":": (0, 12, 12, 0, 12, 12, 0),
    "/": (0, 1, 2, 4, 8, 16, 0),
    "k": (16, 16, 18, 20, 24, 20, 18),
    "H": (17, 17, 17, 31, 17, 17, 17),
    "s": (0, 0, 14, 16, 14, 1, 30),
    "M": (17, 27, 21, 21, 17, 17, 17),
    "G": (14, 17, 16, 23, 17, 17, 15),
    "T": (31, 4, 4, 4, 4, 4, 4),
    "P": (30, 17, 17, 30, 16, 16, 16),
    "E": (31, 16, 16, 30, 16, 16, 31),
    "Z": (31, 1, 2, 4, 8, 16, 31),
    " ": (0, 0, 0, 0, 0, 0, 0),
}
"""Letters of 5 by 7 points, a row a number, the leftmost point the highest bit."""


def draw_chart(values: Sequence[int], *, labels: Sequence[str], top_label: str, top: int) -> bytes:
    """Return a picture of values over time, oldest first.

    Args:
        values: One a step, not negative.
        labels: What stands below, evenly spread from the left edge to the right one.
        top_label: What stands beside the upper edge; characters without a glyph are left out.
        top: The value at the upper edge, not below any of the values.
    """
    canvas = _Canvas()
    width, height = WIDTH - _LEFT - _RIGHT, HEIGHT - _TOP - _BOTTOM
    for line in range(_GRID_LINES + 1):
        y = _TOP + height * line // _GRID_LINES
        canvas.row(y, _LEFT, WIDTH - _RIGHT, _GRID)
    canvas.text(top_label, _LEFT - 8 - canvas.text_width(top_label), _TOP - 7)
    canvas.text("0", _LEFT - 8 - canvas.text_width("0"), _TOP + height - 7)
    _draw_values(canvas, values, top=max(1, top), width=width, height=height)
    for place, label in enumerate(labels):
        centre = _LEFT + (width * place // max(1, len(labels) - 1))
        x = min(max(0, centre - canvas.text_width(label) // 2), WIDTH - canvas.text_width(label))
        canvas.text(label, x, HEIGHT - _BOTTOM + 12)
    return canvas.png()


def nice_top(value: int) -> int:
    """Return the next of 1, 2, 5 times a power of ten that is not below a value: 0 → 1, 130 → 200."""
    power = int("1" + "0" * (len(str(max(1, value))) - 1))
    return next(step * power for step in (1, 2, 5, 10) if step * power >= max(1, value))


def _draw_values(canvas: "_Canvas", values: Sequence[int], *, top: int, width: int, height: int) -> None:
    if not values:
        return
    base = _TOP + height
    before = None
    for x in range(width + 1):
        # Between two steps the line is straight.
        at = x * (len(values) - 1)
        step, rest = divmod(at, width) if len(values) > 1 else (0, 0)
        following = values[min(step + 1, len(values) - 1)]
        value = (values[step] * (width - rest) + following * rest) // width
        y = base - min(value, top) * height // top
        canvas.column(_LEFT + x, y, base, _AREA)
        low, high = (y, y) if before is None else (min(y, before), max(y, before))
        canvas.column(_LEFT + x, low - 1, high + 1, _LINE)
        before = y


class _Canvas:
    """Pixels as numbers of the palette."""

    def __init__(self) -> None:
        self._rows = [bytearray(WIDTH) for _ in range(HEIGHT)]

    def row(self, y: int, start: int, end: int, colour: int) -> None:
        self._rows[y][start:end] = bytes([colour]) * (end - start)

    def column(self, x: int, start: int, end: int, colour: int) -> None:
        for y in range(max(0, start), min(HEIGHT, end + 1)):
            self._rows[y][x] = colour

    def text_width(self, text: str) -> int:
        return sum(6 * _SCALE for char in text if char in _FONT)

    def text(self, text: str, x: int, y: int) -> None:
        for char in text:
            if char not in _FONT:
                continue
            for line, bits in enumerate(_FONT[char]):
                for place in range(5):
                    if bits >> (4 - place) & 1:
                        self._dot(x + place * _SCALE, y + line * _SCALE)
            x += 6 * _SCALE

    def png(self) -> bytes:
        header = struct.pack(">IIBBBBB", WIDTH, HEIGHT, 8, 3, 0, 0, 0)
        pixels = zlib.compress(b"".join(b"\0" + bytes(row) for row in self._rows), 6)
        chunks = ((b"IHDR", header), (b"PLTE", _PALETTE), (b"IDAT", pixels), (b"IEND", b""))
        return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(name, content) for name, content in chunks)

    def _dot(self, x: int, y: int) -> None:
        for line in range(y, y + _SCALE):
            for place in range(x, x + _SCALE):
                if 0 <= line < HEIGHT and 0 <= place < WIDTH:
                    self._rows[line][place] = _TEXT


def _chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
