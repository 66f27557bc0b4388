"""Numbers as their JSON text, made from integers: no float ever holds money or work. Pure."""

from decimal import Decimal
from typing import Annotated

import msgspec

Number = Annotated[msgspec.Raw, msgspec.Meta(extra_json_schema={"type": "number"})]
"""A JSON number, written as it stands."""

NODE_DIFFICULTY_1_WORK = 0x1_0001_0001
"""Hashes of difficulty 1 as nodes of the Bitcoin family count it, whatever the proof of work.

Source: GetDifficulty in Bitcoin Core and Litecoin Core, rpc/blockchain.cpp.
"""
_RATIO_DIGITS = 6
_DIFFICULTY_DIGITS = 12


def whole(digits: int | str) -> msgspec.Raw:
    """Return a whole number; digits that a service left empty are 0."""
    return msgspec.Raw(str(int(digits or 0)).encode())


def money(atomic: int, *, decimals: int) -> msgspec.Raw:
    """Return atomic units in whole coins with every digit: 123450000 with 8 decimals is 1.23450000."""
    coins, rest = divmod(abs(atomic), 10**decimals)
    text = f"{coins}.{rest:0{decimals}d}" if decimals else str(coins)
    return msgspec.Raw(f"{'-' if atomic < 0 else ''}{text}".encode())


def ratio(numerator: int, denominator: int, *, digits: int = _RATIO_DIGITS) -> msgspec.Raw:
    """Return numerator / denominator, rounded down after so many digits, without closing zeros; x / 0 is 0.

    Example: 5 / 3 is 1.666666, 3 / 2 is 1.5.

    Args:
        numerator: Not negative.
        denominator: Not negative.
        digits: Digits after the point.
    """
    if not denominator:
        return msgspec.Raw(b"0")
    before, after = divmod(numerator * 10**digits // denominator, 10**digits)
    fraction = f"{after:0{digits}d}".rstrip("0")
    return msgspec.Raw((f"{before}.{fraction}" if fraction else str(before)).encode())


def network_difficulty(work: int) -> msgspec.Raw:
    """Return the network's difficulty as nodes tell it, from the hashes a block takes."""
    return ratio(work, NODE_DIFFICULTY_1_WORK, digits=_DIFFICULTY_DIGITS)


def configured(value: float) -> msgspec.Raw:
    """Return the digits of a number as it was configured: 1e-06 is 0.000001."""
    return msgspec.Raw(f"{Decimal(repr(value)).normalize():f}".encode())
