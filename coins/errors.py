"""Every exception of this package; each carries fields and reads as a sentence."""

from collections.abc import Sequence


class CoinError(Exception):
    """Raised when a value breaks a coin's rules; the base of all errors here."""


class UnknownCoin(CoinError):
    """Raised when no coin has the identifier that was asked for.

    Attributes:
        coin_id: What was asked for.
        known: The identifiers that exist.
    """

    def __init__(self, coin_id: str, known: Sequence[str]) -> None:
        self.coin_id = coin_id
        self.known = tuple(known)
        super().__init__(coin_id, self.known)

    def __str__(self) -> str:
        return f"unknown coin {self.coin_id!r}, expected one of {', '.join(self.known)}"


class AddressError(CoinError):
    """Raised when a text is not an address of the coin.

    Attributes:
        address: The text as it was given.
        reason: What is wrong, as a phrase after the address: "is a bitcoin mainnet address".
        expected: What would have been right: "litecoin-regtest (rltc1…, m/n…, Q…, 2…)".
    """

    def __init__(self, address: str, reason: str, expected: str) -> None:
        self.address = address
        self.reason = reason
        self.expected = expected
        super().__init__(address, reason, expected)

    def __str__(self) -> str:
        shown = self.address if len(self.address) <= 128 else self.address[:128] + "…"
        return f"{shown!r} {self.reason}, expected {self.expected}"


class TemplateError(CoinError):
    """Raised when a node's block template cannot be used.

    Attributes:
        field: The path of the offending field: "transactions[3].data".
        reason: What is wrong with it.
    """

    def __init__(self, field: str, reason: str) -> None:
        self.field = field
        self.reason = reason
        super().__init__(field, reason)

    def __str__(self) -> str:
        return f"block template: {self.field} {self.reason}"


class TargetError(CoinError, ValueError):
    """Raised when a number is no target, work or difficulty.

    Attributes:
        reason: What is wrong with the number.
    """

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


class CoinbaseError(CoinError):
    """Raised when a coinbase transaction cannot be built as asked.

    Attributes:
        reason: What is wrong.
    """

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)

    def __str__(self) -> str:
        return f"coinbase: {self.reason}"


class BlockError(CoinError):
    """Raised when bytes are not the block or transaction they should be.

    Attributes:
        field: The part that is wrong: "header", "transactions[2].inputs".
        reason: What is wrong with it.
    """

    def __init__(self, field: str, reason: str) -> None:
        self.field = field
        self.reason = reason
        super().__init__(field, reason)

    def __str__(self) -> str:
        return f"{self.field} {self.reason}"
