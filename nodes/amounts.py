"""Turn a node's decimal coins into atomic units and back, exactly."""

from decimal import Decimal, InvalidOperation
from typing import Final

DIGITS_MAX: Final = 18
"""Digits before the point of the largest amount that is read."""


def atomic_from_coins(value: object, *, decimals: int) -> int:
    """Return a node's amount in atomic units.

    Args:
        value: An int, a Decimal or a decimal string, in whole coins.
        decimals: Digits after the point, 8 for the Bitcoin family.

    Raises:
        ValueError: When it is no amount, or finer than one atomic unit.
    """
    if isinstance(value, bool) or not isinstance(value, int | Decimal | str):
        raise ValueError(f"{value!r} is not an amount")  # noqa: TRY004  # one error for all that is no amount
    try:
        amount = Decimal(value)
    except InvalidOperation as error:
        raise ValueError(f"{value!r} is not an amount") from error
    if not amount.is_finite() or amount.adjusted() > DIGITS_MAX:
        raise ValueError(f"{value!r} is not an amount")
    scaled = amount.scaleb(decimals)
    atomic = int(scaled)
    if scaled != atomic:
        raise ValueError(f"{value!r} is finer than one atomic unit")
    return atomic


def coins_from_atomic(amount_atomic: int, *, decimals: int) -> str:
    """Return an amount as the decimal string that nodes read: 150000001 with 8 decimals is "1.50000001"."""
    sign = "-" if amount_atomic < 0 else ""
    whole, rest = divmod(abs(amount_atomic), 10**decimals)
    return f"{sign}{whole}.{rest:0{decimals}d}"
