"""Targets, work and difficulty as 256-bit integers; a fraction appears only at the edge to people and miners.

A hash meets a target when, read as a little-endian number, it is at most the target. Work is the expected number of
hashes until that happens. Difficulty is work measured in units of a coin's own first target.
"""

from fractions import Fraction

from coins.errors import TargetError

MAX_TARGET = 2**256 - 1
"""The easiest target: every hash meets it."""

_HASHES = 2**256
_MANTISSA_MASK = 0x007FFFFF
_SIGN_BIT = 0x00800000
_NBITS_MAX = 0xFFFFFFFF


def target_from_nbits(nbits: int) -> int:
    """Expand the compact form of a target, as it stands in a block header.

    The top byte is the length in bytes, the low 23 bits are the leading digits, bit 23 is a sign.
    target = mantissa * 256 ** (length - 3), rounded down. 0x1b0404cb is 0x0404cb followed by 24 zero bytes.
    Source: Bitcoin Core, arith_uint256::SetCompact.

    Raises:
        TargetError: If the number does not fit 32 bits, is negative, zero or exceeds 256 bits.
    """
    if not 0 <= nbits <= _NBITS_MAX:
        raise TargetError(f"nbits {nbits:#x} does not fit 32 bits")
    length = nbits >> 24
    mantissa = nbits & _MANTISSA_MASK
    if nbits & _SIGN_BIT and mantissa:
        raise TargetError(f"nbits {nbits:#010x} is a negative target")
    target = mantissa >> 8 * (3 - length) if length <= 3 else mantissa << 8 * (length - 3)
    if target == 0:
        raise TargetError(f"nbits {nbits:#010x} is a target of zero")
    if target > MAX_TARGET:
        raise TargetError(f"nbits {nbits:#010x} is a target above 256 bits")
    return target


def nbits_from_target(target: int) -> int:
    """Compress a target to the compact form of a block header, rounding down.

    Only the leading 15 to 23 bits survive, so that `target_from_nbits` of the answer is at most `target`.
    Source: Bitcoin Core, arith_uint256::GetCompact.

    Raises:
        TargetError: If the target is outside 1..MAX_TARGET.
    """
    _check_target(target, lowest=1)
    length = (target.bit_length() + 7) // 8
    mantissa = target << 8 * (3 - length) if length <= 3 else target >> 8 * (length - 3)
    if mantissa & _SIGN_BIT:
        mantissa >>= 8
        length += 1
    return length << 24 | mantissa


def work_from_target(target: int) -> int:
    """Answer the expected number of hashes to meet a target: 2**256 // (target + 1).

    Difficulty 1 of Bitcoin, 0xffff * 2**208, is 4295032833 hashes.

    Raises:
        TargetError: If the target is outside 0..MAX_TARGET.
    """
    _check_target(target, lowest=0)
    return _HASHES // (target + 1)


def target_from_work(work: int) -> int:
    """Answer the largest target that takes at least this much work: 2**256 // work - 1, within 0..MAX_TARGET.

    Where a target with exactly this work exists, the answer has it: work 65536 is the target 2**240 - 1.

    Raises:
        TargetError: If the work is not positive.
    """
    if work <= 0:
        raise TargetError(f"work {work} is not positive")
    return max(_HASHES // work - 1, 0)


def target_from_difficulty(difficulty: Fraction, diff1_target: int) -> int:
    """Answer the target of a difficulty: diff1_target / difficulty rounded down, within 1..MAX_TARGET.

    With Bitcoin's 0xffff * 2**208, difficulty 2 is 0x7fff8 * 2**204.

    Args:
        difficulty: The difficulty, above zero.
        diff1_target: The coin's target at difficulty 1.

    Raises:
        TargetError: If the difficulty is not positive or diff1_target is outside 1..MAX_TARGET.
    """
    _check_target(diff1_target, lowest=1)
    if difficulty <= 0:
        raise TargetError(f"difficulty {difficulty} is not positive")
    target = diff1_target * difficulty.denominator // difficulty.numerator
    return min(max(target, 1), MAX_TARGET)


def difficulty_from_target(target: int, diff1_target: int) -> Fraction:
    """Answer the exact difficulty of a target: diff1_target / target.

    Raises:
        TargetError: If one of the targets is outside 1..MAX_TARGET.
    """
    _check_target(target, lowest=1)
    _check_target(diff1_target, lowest=1)
    return Fraction(diff1_target, target)


def difficulty_number(value: Fraction) -> int | float:
    """Answer the JSON number of a difficulty: an int when it is whole, else the nearest float.

    For the wire only; nothing may be computed from it.
    """
    return value.numerator if value.denominator == 1 else float(value)


def _check_target(target: int, *, lowest: int) -> None:
    if not lowest <= target <= MAX_TARGET:
        raise TargetError(f"target {target:#x} is outside {lowest}..2**256-1")
