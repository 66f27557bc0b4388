"""Messages signed with an address: who has signed. Sources: BIP 137; SEC 1, 4.1.6; CompactSize of Bitcoin Core.

A signature is 65 bytes: a header that says the kind of address and which of the possible keys it is, then r and s. The
key is recovered from it, and its address compared. Addresses of scripts (P2WSH, Taproot, P2SH but for P2SH-P2WPKH) do
not sign so. Nothing secret is handled here, so nothing needs constant time; a check takes about 5 ms.
"""

import base64
import binascii
import hashlib
from typing import Final

from coins.bitcoin.address import decode, encode
from coins.bitcoin.hashing import sha256d
from coins.coin import AddressKind, Coin
from coins.errors import AddressError

SIGNATURE_BYTES: Final = 65
MESSAGE_BYTES_MAX: Final = 2_000
SIGNATURE_CHARS_MAX: Final = 100

_P: Final = 2**256 - 2**32 - 977
_N: Final = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
_G: Final = (
    0x79BE667EF9DCBBAC55A06295CE870B07029BFCDB2DCE28D959F2815B16F81798,
    0x483ADA7726A3C4655DA4FBFC0E1108A8FD17B448A68554199C47D08FFB10D4B8,
)
_HEADER_FIRST, _HEADER_LAST = 27, 42
_COMPRESSED, _NESTED, _NATIVE = 31, 35, 39
"""From which header on the key is compressed, the address P2SH-P2WPKH, and P2WPKH."""

_Jacobian = tuple[int, int, int]
"""A point of secp256k1, (x / z², y / z³); z = 0 is the point at infinity."""
_INFINITY: Final[_Jacobian] = (1, 1, 0)


def can_sign(coin: Coin, address: str) -> bool:
    """Return whether an address of the coin may be able to sign messages; a P2SH one can when it is P2SH-P2WPKH."""
    kinds = (AddressKind.P2PKH, AddressKind.P2SH, AddressKind.P2WPKH)
    return coin.message_magic is not None and decode(coin, address).kind in kinds


def is_signed_by(coin: Coin, *, address: str, message: str, signature: str) -> bool:
    """Return whether the signature over the message is that of the address.

    Wallets that know no headers of segwit addresses sign with the header of P2PKH; as most verifiers do, that is taken
    for every kind of address that the key can have. A Taproot or script address never signs so.

    Args:
        coin: The coin.
        address: Any form of it.
        message: The text as it was shown, at most `MESSAGE_BYTES_MAX` bytes in UTF-8.
        signature: Base64 of 65 bytes.
    """
    parsed = _parse(signature)
    data = message.encode()
    if coin.message_magic is None or parsed is None or len(data) > MESSAGE_BYTES_MAX:
        return False
    header, r, s = parsed
    key = _recover(int.from_bytes(message_hash(coin.message_magic, data), "big"), r, s, (header - _HEADER_FIRST) & 3)
    if key is None:
        return False
    try:
        script = decode(coin, address).script
    except AddressError:
        return False
    return any(decode(coin, text).script == script for text in _addresses(coin, header, key))


def message_hash(magic: str, message: bytes) -> bytes:
    """Return what is signed: the double SHA-256 of magic and message, each with its length before it."""
    return sha256d(_with_length(magic.encode()) + _with_length(message))


def _parse(signature: str) -> tuple[int, int, int] | None:
    """Return header, r and s, None for what cannot be a signature."""
    if len(signature) > SIGNATURE_CHARS_MAX:
        return None
    try:
        raw = base64.b64decode(signature.strip(), validate=True)
    except (binascii.Error, ValueError):
        return None
    if len(raw) != SIGNATURE_BYTES or not _HEADER_FIRST <= raw[0] <= _HEADER_LAST:
        return None
    r, s = int.from_bytes(raw[1:33], "big"), int.from_bytes(raw[33:], "big")
    return (raw[0], r, s) if 0 < r < _N and 0 < s < _N else None


def _addresses(coin: Coin, header: int, key: tuple[int, int]) -> list[str]:
    """Return the addresses that the signature can stand for."""
    x, y = key
    if header < _COMPRESSED:
        uncompressed = b"\x04" + x.to_bytes(32, "big") + y.to_bytes(32, "big")
        return [encode(coin, AddressKind.P2PKH, hash160(uncompressed))]
    key_hash = hash160(bytes([2 + (y & 1)]) + x.to_bytes(32, "big"))
    plain = encode(coin, AddressKind.P2PKH, key_hash)
    nested = encode(coin, AddressKind.P2SH, hash160(b"\x00\x14" + key_hash))
    native = encode(coin, AddressKind.P2WPKH, key_hash)
    if header >= _NATIVE:
        return [native]
    if header >= _NESTED:
        return [nested]
    return [plain, nested, native]


def _recover(digest: int, r: int, s: int, number: int) -> tuple[int, int] | None:
    """Return the public key of a signature, None when there is none (SEC 1, 4.1.6).

    Args:
        digest: What was signed.
        r: Of the signature.
        s: Of the signature.
        number: Which of the four keys: bit 0 is the parity of R's y, bit 1 says that r was reduced.
    """
    x = r + (_N if number & 2 else 0)
    if x >= _P:
        return None
    square = (pow(x, 3, _P) + 7) % _P
    y = pow(square, (_P + 1) // 4, _P)
    if y * y % _P != square:
        return None
    if y & 1 != number & 1:
        y = _P - y
    inverse = pow(r, -1, _N)
    return _affine(_sum_of_multiples((_G[0], _G[1], 1), -digest * inverse % _N, (x, y, 1), s * inverse % _N))


def _sum_of_multiples(a: _Jacobian, a_factor: int, b: _Jacobian, b_factor: int) -> _Jacobian:
    """Return a_factor · a + b_factor · b, both at once bit by bit (Strauss)."""
    both = _add(a, b)
    result = _INFINITY
    for bit in range(max(a_factor.bit_length(), b_factor.bit_length()) - 1, -1, -1):
        result = _double(result)
        match a_factor >> bit & 1, b_factor >> bit & 1:
            case 1, 1:
                result = _add(result, both)
            case 1, 0:
                result = _add(result, a)
            case 0, 1:
                result = _add(result, b)
            case _:
                pass
    return result


def _double(point: _Jacobian) -> _Jacobian:
    x, y, z = point
    square = y * y % _P
    s = 4 * x * square % _P
    m = 3 * x * x % _P
    new_x = (m * m - 2 * s) % _P
    return new_x, (m * (s - new_x) - 8 * square * square) % _P, 2 * y * z % _P


def _add(a: _Jacobian, b: _Jacobian) -> _Jacobian:
    if not a[2] or not b[2]:
        return b if not a[2] else a
    a_square, b_square = a[2] * a[2] % _P, b[2] * b[2] % _P
    u, h = a[0] * b_square % _P, (b[0] * a_square - a[0] * b_square) % _P
    v, r = a[1] * b_square * b[2] % _P, (b[1] * a_square * a[2] - a[1] * b_square * b[2]) % _P
    if not h:
        return _INFINITY if r else _double(a)
    h_square = h * h % _P
    h_cube, uh = h_square * h % _P, u * h_square % _P
    x = (r * r - h_cube - 2 * uh) % _P
    return x, (r * (uh - x) - v * h_cube) % _P, h * a[2] * b[2] % _P


def _affine(point: _Jacobian) -> tuple[int, int] | None:
    x, y, z = point
    if not z:
        return None
    inverse = pow(z, -1, _P)
    return x * inverse**2 % _P, y * inverse**3 % _P


def hash160(data: bytes) -> bytes:
    """Return RIPEMD-160 of SHA-256, 20 bytes: what addresses of keys and scripts hold."""
    return hashlib.new("ripemd160", hashlib.sha256(data).digest()).digest()


def _with_length(data: bytes) -> bytes:
    size = len(data)
    return (bytes([size]) if size < 253 else b"\xfd" + size.to_bytes(2, "little")) + data
