"""The owner of an address, who signs messages as wallets do."""

import base64
from collections.abc import Callable

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils

from coins import registry
from coins.bitcoin.address import encode
from coins.bitcoin.message import hash160, is_signed_by, message_hash
from coins.coin import AddressKind

COIN = registry.get("litecoin-regtest")
_KEY = ec.derive_private_key(7, ec.SECP256K1())


def _public(key: ec.EllipticCurvePrivateKey) -> bytes:
    numbers = key.public_key().public_numbers()
    return bytes([2 + (numbers.y & 1)]) + numbers.x.to_bytes(32, "big")


OWNER = encode(COIN, AddressKind.P2WPKH, hash160(_public(_KEY)))


def sign(text: str, *, address: str = OWNER, is_right: Callable[..., bool] = is_signed_by) -> str:
    """Return the signature that a wallet makes."""
    digest = message_hash(COIN.message_magic, text.encode())
    r, s = utils.decode_dss_signature(_KEY.sign(digest, ec.ECDSA(utils.Prehashed(hashes.SHA256()))))
    body = r.to_bytes(32, "big") + s.to_bytes(32, "big")
    signatures = [base64.b64encode(bytes([39 + number]) + body).decode() for number in range(4)]
    return next(each for each in signatures if is_right(COIN, address=address, message=text, signature=each))
