"""Tell how old the oldest share is that waits to be shipped; pure."""

from collections import deque
from typing import Final, TypeAlias

MARKS_MAX: Final = 3600

Position: TypeAlias = tuple[int, int]
"""A place in the journal of an instance: number of the segment, byte in it."""


class Backlog:
    """Remembers when the journal had grown to where."""

    def __init__(self) -> None:
        self._marks: deque[tuple[Position, float]] = deque()
        self._last: Position = (0, 0)

    def written(self, end: Position, now_s: float) -> None:
        """Note how far the journal goes now; call it about every second."""
        if end == self._last:
            return
        self._last = end
        if len(self._marks) >= MARKS_MAX:
            # An hour of seconds; then of two seconds, and so on: the oldest stays.
            self._marks = deque(mark for place, mark in enumerate(self._marks) if place % 2 == 0)
        self._marks.append((end, now_s))

    def shipped(self, end: Position) -> None:
        """Note how far it is shipped."""
        while self._marks and self._marks[0][0] <= end:
            self._marks.popleft()

    def age_s(self, now_s: float) -> float:
        """Return for how long the oldest entry has been waiting; 0 when none does."""
        return max(now_s - self._marks[0][1], 0.0) if self._marks else 0.0
