"""Choose a connection's share difficulty from the work it has done: integers and given times only."""

from dataclasses import dataclass

BURST_SHARES = 8
"""So many shares, four times too fast, are reason enough not to wait for the interval's end."""
BURST_RATIO = 4
RAISE_MAX = 64
LOWER_MAX = 4
DEVIATION_SQUARED = 6
"""A deviation from the expected share count is taken seriously from about 2.4 standard deviations on."""
PATIENCE_INTERVALS = 4

_MILLI = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class VardiffRules:
    """What vardiff aims at.

    Attributes:
        share_interval_ms: Milliseconds between two shares of a connection.
        retarget_interval_ms: Milliseconds between two looks.
    """

    share_interval_ms: int
    retarget_interval_ms: int


class Vardiff:
    """The shares of one connection since its difficulty was last looked at.

    Attributes:
        share_count: Accepted shares of the window.

    Args:
        now_ms: Any clock that does not go back.
    """

    __slots__ = ("_start_ms", "_work_sum", "share_count")

    def __init__(self, now_ms: int) -> None:
        self._start_ms = now_ms
        self._work_sum = 0
        self.share_count = 0

    def record(self, work: int) -> None:
        """Count an accepted share of some work."""
        self.share_count += 1
        self._work_sum += work

    def restart(self, now_ms: int) -> None:
        """Begin a new window."""
        self._start_ms = now_ms
        self._work_sum = 0
        self.share_count = 0

    def retarget(self, now_ms: int, *, work: int, rules: VardiffRules) -> int | None:
        """Return the work a share should have; None while the present one may stay.

        With an aim of 10 s, 24 shares of work 1000 within 60 s were done at 400 hashes/s: a share should have work
        4000. At most 64 times up and 4 times down in a step; a change needs a deviation beyond chance.

        Args:
            now_ms: The time, of the same clock.
            work: The work of a share now.
            rules: The aim.
        """
        elapsed_ms = max(now_ms - self._start_ms, 1)
        is_burst = (
            self.share_count >= BURST_SHARES and self.share_count * rules.share_interval_ms > BURST_RATIO * elapsed_ms
        )
        if not is_burst and elapsed_ms < rules.retarget_interval_ms:
            return None
        is_window_full = elapsed_ms >= PATIENCE_INTERVALS * rules.retarget_interval_ms
        wanted = self._work_sum * rules.share_interval_ms // elapsed_ms
        seen = self._work_sum * _MILLI // work
        expected = elapsed_ms * _MILLI // rules.share_interval_ms
        is_beyond_chance = (seen - expected) ** 2 > DEVIATION_SQUARED * _MILLI * max(expected, _MILLI)
        is_near = 2 * work <= 3 * wanted and 2 * wanted <= 3 * work
        if is_near or not (is_beyond_chance or is_window_full):
            if is_window_full:
                self.restart(now_ms)
            return None
        self.restart(now_ms)
        return min(max(wanted, work // LOWER_MAX, 1), work * RAISE_MAX)
