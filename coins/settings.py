"""The part of the configuration that says which coin is mined, and for whom."""

import msgspec

from coins import registry
from coins.bitcoin.address import payee
from coins.errors import AddressError, UnknownCoin

SIGNATURE_BYTES_MAX = 32


class PoolSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The section `[pool]`.

    Attributes:
        name: What the pool calls itself.
        coin: The coin's identifier: "litecoin", "bitcoin-regtest".
        address: The pool's own address; every block's coinbase pays to it.
        data_dir: Where the pool keeps its files.
        signature: The mark in every block's coinbase; printable ASCII, at most 32 bytes.

    Raises:
        ValueError: If a value breaks a rule; msgspec reports it as a validation error.
    """

    coin: str
    address: str
    name: str = "Lodepool"
    data_dir: str = "./data"
    signature: str = "/lodepool/"

    def __post_init__(self) -> None:
        try:
            payee(registry.get(self.coin), self.address)
        except UnknownCoin as error:
            raise ValueError(f"coin: {error}") from error
        except AddressError as error:
            raise ValueError(f"address: {error}") from error
        is_plain = self.signature.isascii() and self.signature.isprintable()
        if len(self.signature) > SIGNATURE_BYTES_MAX or not is_plain:
            raise ValueError(
                f"signature: {self.signature!r} is too long or not plain text, "
                f"expected at most {SIGNATURE_BYTES_MAX} printable ASCII characters"
            )
