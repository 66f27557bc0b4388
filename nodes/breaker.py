"""Decide when a failing node is asked again. Pure: the time is an argument."""

from enum import StrEnum
from typing import Final

FAILURES_MAX: Final = 2
COOLDOWN_S_MIN: Final = 0.5
COOLDOWN_S_MAX: Final = 15.0
PROBE_S_MAX: Final = 15.0
"""A probe that was never reported on (its caller was cancelled) is given up after this."""


class BreakerState(StrEnum):
    """CLOSED: asked freely. OPEN: left alone until a cooldown ends. HALF_OPEN: one probe is on its way."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class Breaker:
    """A circuit breaker: closed → open after FAILURES_MAX failures in a row → one probe → closed, or open for longer.

    Example: cooldowns of a node that stays away are 0.5, 1, 2, 4, 8, 15, 15 … seconds.
    """

    def __init__(self) -> None:
        self._state = BreakerState.CLOSED
        self._failure_count = 0
        self._cooldown_s = COOLDOWN_S_MIN
        self._opened_s = 0.0
        self._probed_s = 0.0

    @property
    def state(self) -> BreakerState:
        """Return the state."""
        return self._state

    def may_ask(self, now_s: float) -> bool:
        """Return whether the node may be asked now; a True after a cooldown is the one probe.

        Args:
            now_s: Monotonic time in seconds.
        """
        match self._state:
            case BreakerState.CLOSED:
                return True
            case BreakerState.OPEN if now_s - self._opened_s >= self._cooldown_s:
                self._state = BreakerState.HALF_OPEN
                self._probed_s = now_s
                return True
            case BreakerState.HALF_OPEN if now_s - self._probed_s >= PROBE_S_MAX:
                self._probed_s = now_s
                return True
            case _:
                return False

    def wait_s(self, now_s: float) -> float:
        """Return the seconds until the next probe; 0 when the node may be asked."""
        if self._state is BreakerState.OPEN:
            return max(0.0, self._opened_s + self._cooldown_s - now_s)
        return 0.0

    def succeeded(self) -> None:
        """Close: the node has answered."""
        self._state = BreakerState.CLOSED
        self._failure_count = 0
        self._cooldown_s = COOLDOWN_S_MIN

    def failed(self, now_s: float) -> None:
        """Count a failure; open at the limit, and after a failed probe for twice as long."""
        self._failure_count += 1
        if self._state is BreakerState.HALF_OPEN:
            self._cooldown_s = min(self._cooldown_s * 2, COOLDOWN_S_MAX)
        elif self._failure_count < FAILURES_MAX:
            return
        self._state = BreakerState.OPEN
        self._opened_s = now_s
