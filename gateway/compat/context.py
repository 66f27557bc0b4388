"""What every handler of the second face works with."""

from dataclasses import dataclass

from coins.bitcoin.address import payee
from coins.errors import AddressError
from gateway.compat.lists import Lists
from gateway.context import Gateway

AWAY = 503
"""The status when a service is away."""


class Refused(Exception):
    """Raised when the answer is a status and a sentence.

    Attributes:
        status: The HTTP status.
        message: The body.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(status, message)
        self.status = status
        self.message = message


@dataclass(frozen=True, slots=True, kw_only=True)
class Compat:
    """The surroundings of a request.

    Attributes:
        gateway: The gateway's.
        pool_id: The pool's id.
        lists: Lists by page number.
    """

    gateway: Gateway
    pool_id: str
    lists: Lists

    def account_of(self, text: str) -> str | None:
        """Return an address as the pool knows it; None when it is no address of the coin, so nobody mines to it."""
        try:
            return payee(self.gateway.coin, text).text
        except AddressError:
            return None


def make_compat(gateway: Gateway) -> Compat:
    """Put the surroundings together."""
    return Compat(
        gateway=gateway,
        pool_id=gateway.settings.compat_pool_id or f"{gateway.coin.ticker.lower()}1",
        lists=Lists(gateway.sources, clock=gateway.clock),
    )
