"""Prepare share difficulties for use: target, work and the line that announces them."""

from dataclasses import dataclass
from fractions import Fraction

from coins.work import (
    difficulty_from_target,
    difficulty_number,
    target_from_difficulty,
    target_from_work,
    work_from_target,
)
from stratum.protocol.messages import set_difficulty_line

WORK_MAX = 2**63 - 1
"""Largest work that a share carries; the books hold 64-bit numbers."""

CACHE_MAX = 4096
_SNAP_BITS = 3
_FRACTION_BITS = 96


@dataclass(frozen=True, slots=True, eq=False)
class ShareTarget:
    """One share difficulty, shared by all sessions that have it.

    Attributes:
        target: 256 bits; a hash counts when it is at most this.
        target_le: The same, 32 bytes little-endian.
        work: Expected number of hashes, at most WORK_MAX.
        difficulty: In units of the coin's first target.
        line: The `mining.set_difficulty` message.
    """

    target: int
    target_le: bytes
    work: int
    difficulty: Fraction
    line: bytes


class ShareTargets:
    """Makes share targets of one coin, each once.

    Args:
        diff1_target: The coin's target of difficulty 1.
    """

    def __init__(self, diff1_target: int) -> None:
        self._diff1_target = diff1_target
        self._by_target: dict[int, ShareTarget] = {}

    def of_difficulty(self, difficulty: Fraction) -> ShareTarget:
        """Return the share target of a positive difficulty."""
        return self._of(target_from_difficulty(difficulty, self._diff1_target), difficulty)

    def of_target(self, target: int) -> ShareTarget:
        """Return the share target with exactly this target, 1..2**256-1."""
        return self._of(target, None)

    def of_work(self, work: int) -> ShareTarget:
        """Return a share target of about this work: rounded down to 3 leading bits (1, 1.25, 1.5 or 1.75 times 2^k).

        Few values mean that sessions share them, and that a difficulty does not wander by a hair.
        """
        target = max(target_from_work(max(work, 1)), 1)
        return self.of_difficulty(snap(difficulty_from_target(target, self._diff1_target)))

    def _of(self, target: int, difficulty: Fraction | None) -> ShareTarget:
        found = self._by_target.get(target)
        if found is not None:
            return found
        if len(self._by_target) >= CACHE_MAX:
            self._by_target.clear()
        exact = difficulty_from_target(target, self._diff1_target) if difficulty is None else difficulty
        made = ShareTarget(
            target=target,
            target_le=target.to_bytes(32, "little"),
            work=min(work_from_target(target), WORK_MAX),
            difficulty=exact,
            line=set_difficulty_line(difficulty_number(exact)),
        )
        self._by_target[target] = made
        return made


def snap(difficulty: Fraction) -> Fraction:
    """Round a positive difficulty down to 3 leading bits: 1000 is 896 (7 * 128), 0.3 is 0.25."""
    scaled = (difficulty.numerator << _FRACTION_BITS) // difficulty.denominator
    shift = max(scaled.bit_length() - _SNAP_BITS, 0)
    return Fraction(max(scaled >> shift << shift, 1), 1 << _FRACTION_BITS)
