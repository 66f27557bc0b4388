"""Hand out search space: no two open connections get the same extranonce1."""

from collections.abc import Callable

from stratum.errors import ExtranonceExhausted

PREFIX_BYTES = 2
COUNTER_BYTES = 2
EXTRANONCE1_BYTES = PREFIX_BYTES + COUNTER_BYTES
EXTRANONCE2_BYTES = 8
"""cgminer-based firmware takes 2 to 8, NiceHash needs room for itself."""

_COUNTERS = 1 << 8 * COUNTER_BYTES


class ExtranonceSpace:
    """The extranonce1 values of one process: its prefix and a counter.

    Args:
        prefix: 0..65535, unique to this life of the process.
        is_held: Returns whether the prefix is still ours.
    """

    def __init__(self, prefix: int, *, is_held: Callable[[], bool] = lambda: True) -> None:
        self._is_held = is_held
        self._prefix = prefix.to_bytes(PREFIX_BYTES, "big")
        self._next = 0
        self._in_use: set[int] = set()

    @property
    def in_use_count(self) -> int:
        """Return how many are handed out."""
        return len(self._in_use)

    def take(self, wanted: bytes | None = None) -> bytes:
        """Return a value nobody else holds; the wanted one when it is ours and free (a miner that comes back).

        Raises:
            ExtranonceExhausted: When all are in use, or the prefix is lost.
        """
        if not self._is_held():
            raise ExtranonceExhausted
        if wanted is not None and len(wanted) == EXTRANONCE1_BYTES and wanted[:PREFIX_BYTES] == self._prefix:
            counter = int.from_bytes(wanted[PREFIX_BYTES:], "big")
            if counter not in self._in_use:
                return self._give(counter)
        if len(self._in_use) >= _COUNTERS:
            raise ExtranonceExhausted
        while self._next in self._in_use:
            self._next = (self._next + 1) % _COUNTERS
        counter, self._next = self._next, (self._next + 1) % _COUNTERS
        return self._give(counter)

    def release(self, extranonce1: bytes) -> None:
        """Take a value back."""
        self._in_use.discard(int.from_bytes(extranonce1[PREFIX_BYTES:], "big"))

    def _give(self, counter: int) -> bytes:
        self._in_use.add(counter)
        return self._prefix + counter.to_bytes(COUNTER_BYTES, "big")
