"""Page sizes and opaque page tokens of List methods."""

import base64
import binascii
from collections.abc import Callable, Sequence
from typing import TypeVar

import msgspec

from runtime.rpc.errors import InvalidArgument

T = TypeVar("T")

PAGE_SIZE_DEFAULT = 100
PAGE_SIZE_MAX = 1000


def clamp_page_size(page_size: int, *, default: int = PAGE_SIZE_DEFAULT, maximum: int = PAGE_SIZE_MAX) -> int:
    """Return the number of rows to read: 0 means the default, more than the maximum means the maximum.

    Raises:
        InvalidArgument: When it is negative.
    """
    if page_size < 0:
        raise InvalidArgument("page_size", "must not be negative")
    return min(page_size or default, maximum)


def encode_page_token(position: object) -> str:
    """Return the token for a position: the last row's sort key, as a list or struct of plain values."""
    return base64.urlsafe_b64encode(msgspec.msgpack.encode(position)).decode("ascii").rstrip("=")


def token_after(rows: Sequence[T], *, page_size: int, position: Callable[[T], object]) -> str:
    """Return the token of the page after `rows`; "" when these are fewer than were asked for, so that none follow.

    Args:
        rows: The page.
        page_size: How many rows were asked for.
        position: A row's sort key; asked of the last one.
    """
    return encode_page_token(position(rows[-1])) if rows and len(rows) == page_size else ""


def decode_page_token(token: str, position_type: type[T]) -> T | None:
    """Return the position in a token that `encode_page_token` made; None for "" (the first page).

    Raises:
        InvalidArgument: When the token is not one of ours.
    """
    if not token:
        return None
    try:
        data = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        position = msgspec.msgpack.decode(data, type=position_type)
    except (binascii.Error, ValueError, msgspec.MsgspecError):
        raise InvalidArgument("page_token", "is not a token that this method returned") from None
    parts = position if isinstance(position, tuple) else (position,)
    if not all(map(_is_storable, parts)):
        raise InvalidArgument("page_token", "is not a token that this method returned")
    return position


def _is_storable(part: object) -> bool:
    """Return whether a database can compare with it: what made the token came out of one."""
    match part:
        case int():
            return -(2**63) <= part < 2**63
        case str():
            return "\x00" not in part
        case _:
            return True
