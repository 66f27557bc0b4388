"""Addresses: text into scripts and back. Sources: BIP 13, 141, 173, 350; base58 from Bitcoin Core."""

from dataclasses import dataclass
from typing import Final

from coins.bitcoin.hashing import sha256d
from coins.coin import AddressKind, Coin
from coins.errors import AddressError
from coins.registry import all_coins

ADDRESS_CHARS_MAX = 90
"""Longest address there is (BIP 173)."""

_BASE58: Final = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_BASE58_VALUES: Final = {char: value for value, char in enumerate(_BASE58)}
_BASE58_BYTES = 25
_BECH32: Final = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
_BECH32_VALUES: Final = {char: value for value, char in enumerate(_BECH32)}
_BECH32_GENERATOR: Final = (0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)
_BECH32_CHECKSUM_CHARS = 6
_BECH32_CONSTANT = 1
_BECH32M_CONSTANT = 0x2BC830A3
_HRPS: Final = frozenset(coin.bech32_hrp for coin in all_coins())
_MWEB_HRPS: Final = frozenset({"ltcmweb", "tmweb"})

_WITNESS_V0_KINDS: Final = {20: AddressKind.P2WPKH, 32: AddressKind.P2WSH}
_PAYLOAD_BYTES: Final = {
    AddressKind.P2PKH: 20,
    AddressKind.P2SH: 20,
    AddressKind.P2WPKH: 20,
    AddressKind.P2WSH: 32,
    AddressKind.P2TR: 32,
}
_WITNESS_VERSIONS: Final = {AddressKind.P2WPKH: 0, AddressKind.P2WSH: 0, AddressKind.P2TR: 1}


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """An address that was understood.

    Attributes:
        text: The canonical form: bech32 in lower case, base58 as it was written.
        kind: What it pays to.
        script: The scriptPubKey to put into an output.
    """

    text: str
    kind: AddressKind
    script: bytes


def decode(coin: Coin, text: str) -> Address:
    """Read an address of this coin.

    Networks that share prefixes (the test networks of one coin, base58 between the coins' test networks) cannot be
    told apart.

    Raises:
        AddressError: If it is not one; it says what is wrong and what was expected.
    """
    if not text:
        raise _error(coin, text, "is empty")
    if not (text.isascii() and text.isprintable()) or " " in text:
        raise _error(coin, text, "holds a space or a character outside ASCII")
    hrp = text.rpartition("1")[0].lower()
    if hrp in _MWEB_HRPS:
        raise _error(coin, text, "is a Litecoin MWEB address, which a coinbase or a plain output cannot pay to")
    if len(text) > ADDRESS_CHARS_MAX:
        raise _error(coin, text, f"has {len(text)} characters, more than any address")
    if hrp in _HRPS:
        return _decode_segwit(coin, text)
    if (unknown := [char for char in text if char not in _BASE58_VALUES]) or _is_bech32(text):
        if _is_bech32(text):
            raise _error(coin, text, f"has the unknown prefix {hrp + '1'!r}")
        raise _error(coin, text, f"holds {unknown[0]!r}, a character addresses do not have")
    return _decode_base58(coin, text)


def payee(coin: Coin, text: str) -> Address:
    """Read an address that money may be sent to, in the one form by which its owner is known.

    Two spellings of one script (Litecoin's old "3…" and its "M…") become the same account.

    Raises:
        AddressError: If it is not one, or of a witness version whose outputs anyone could take today.
    """
    address = decode(coin, text)
    if address.kind is AddressKind.WITNESS_UNKNOWN:
        raise _error(coin, text, "has a witness version without rules yet: anyone could take what is sent to it")
    return from_script(coin, address.script) or address


def encode(coin: Coin, kind: AddressKind, payload: bytes, witness_version: int = 0) -> str:
    """Write the address of a hash, key or witness program.

    Args:
        coin: The coin.
        kind: What it pays to.
        payload: 20 bytes for P2PKH, P2SH and P2WPKH, 32 for P2WSH and P2TR, 2..40 for an unknown witness.
        witness_version: 1..16; only read for an unknown witness.

    Raises:
        ValueError: If the payload or the version do not fit the kind.
    """
    if kind in _PAYLOAD_BYTES and len(payload) != _PAYLOAD_BYTES[kind]:
        raise ValueError(f"{kind} takes {_PAYLOAD_BYTES[kind]} bytes, not {len(payload)}")
    match kind:
        case AddressKind.P2PKH:
            return _base58check(bytes([coin.p2pkh_version]) + payload)
        case AddressKind.P2SH:
            return _base58check(bytes([coin.p2sh_versions[0]]) + payload)
        case AddressKind.P2WPKH | AddressKind.P2WSH | AddressKind.P2TR:
            return _segwit(coin.bech32_hrp, _WITNESS_VERSIONS[kind], payload)
        case AddressKind.WITNESS_UNKNOWN:
            if not 1 <= witness_version <= 16 or not 2 <= len(payload) <= 40:
                raise ValueError(
                    f"witness version {witness_version} with {len(payload)} bytes, expected 1..16 with 2..40"
                )
            return _segwit(coin.bech32_hrp, witness_version, payload)


def from_script(coin: Coin, script: bytes) -> Address | None:
    """Answer the address that pays to this scriptPubKey, or None where there is none."""
    recognised = _recognise(coin, script)
    if recognised is None:
        return None
    kind, payload, version = recognised
    return Address(text=encode(coin, kind, payload, version), kind=kind, script=script)


def describe(coin: Coin) -> str:
    """Say what an address of this coin looks like: "litecoin-regtest (rltc1…, m/n…, Q…, 2…)"."""
    forms = [f"{coin.bech32_hrp}1…", *(_first_chars(version) for version in (coin.p2pkh_version, *coin.p2sh_versions))]
    return f"{coin.coin_id} ({', '.join(forms)})"


def _decode_base58(coin: Coin, text: str) -> Address:
    number = 0
    for char in text:
        number = number * 58 + _BASE58_VALUES[char]
    zeros = len(text) - len(text.lstrip("1"))
    raw = bytes(zeros) + number.to_bytes((number.bit_length() + 7) // 8, "big")
    if len(raw) != _BASE58_BYTES:
        raise _error(coin, text, "has characters missing or added" if _looks_base58(text) else "is not an address")
    version, payload, checksum = raw[0], raw[1:21], raw[21:]
    if sha256d(raw[:21])[:4] != checksum:
        raise _error(coin, text, "has a wrong checksum: a character is mistyped")
    if version == coin.p2pkh_version:
        return Address(text=text, kind=AddressKind.P2PKH, script=b"\x76\xa9\x14" + payload + b"\x88\xac")
    if version in coin.p2sh_versions:
        return Address(text=text, kind=AddressKind.P2SH, script=b"\xa9\x14" + payload + b"\x87")
    owners = [other for other in all_coins() if version in (other.p2pkh_version, *other.p2sh_versions)]
    raise _foreign(coin, text, owners, f"has the unknown version {version}")


def _decode_segwit(coin: Coin, text: str) -> Address:
    lower = text.lower()
    hrp, _, data = lower.rpartition("1")
    if hrp != coin.bech32_hrp:
        owners = [other for other in all_coins() if other.bech32_hrp == hrp]
        raise _foreign(coin, text, owners, f"has the prefix {hrp + '1'!r}")
    if text not in (lower, text.upper()):
        raise _error(coin, text, "mixes upper and lower case")
    values = []
    for char in data:
        if char not in _BECH32_VALUES:
            raise _error(coin, text, f"holds {char!r}, a character bech32 does not have")
        values.append(_BECH32_VALUES[char])
    if len(values) <= _BECH32_CHECKSUM_CHARS:
        raise _error(coin, text, "is too short")
    constant = _bech32_polymod(_bech32_expand(hrp) + values)
    if constant not in (_BECH32_CONSTANT, _BECH32M_CONSTANT):
        raise _error(coin, text, "has a wrong checksum: a character is mistyped")
    version, words = values[0], values[1:-_BECH32_CHECKSUM_CHARS]
    if version > 16:
        raise _error(coin, text, f"has the witness version {version}, above 16")
    if constant != _checksum_constant(version):
        right, wrong = ("bech32m", "bech32") if version else ("bech32", "bech32m")
        raise _error(coin, text, f"has a {wrong} checksum, but witness version {version} takes {right} (BIP 350)")
    program = _regroup(words)
    if program is None:
        raise _error(coin, text, "has bits left over at its end")
    if not 2 <= len(program) <= 40 or (version == 0 and len(program) not in _WITNESS_V0_KINDS):
        raise _error(coin, text, f"has {len(program)} bytes, which witness version {version} does not take")
    return Address(text=lower, kind=_witness_kind(coin, version, program), script=_witness_script(version, program))


def _recognise(coin: Coin, script: bytes) -> tuple[AddressKind, bytes, int] | None:
    """Answer kind, payload and witness version of a scriptPubKey."""
    if len(script) == 25 and script.startswith(b"\x76\xa9\x14") and script.endswith(b"\x88\xac"):
        return AddressKind.P2PKH, script[3:23], 0
    if len(script) == 23 and script.startswith(b"\xa9\x14") and script.endswith(b"\x87"):
        return AddressKind.P2SH, script[2:22], 0
    if not 4 <= len(script) <= 42 or script[1] != len(script) - 2:
        return None
    version = 0 if script[0] == 0 else script[0] - 0x50
    program = script[2:]
    if not 0 <= version <= 16 or (version == 0 and len(program) not in _WITNESS_V0_KINDS):
        return None
    return _witness_kind(coin, version, program), program, version


def _witness_kind(coin: Coin, version: int, program: bytes) -> AddressKind:
    if version == 0:
        return _WITNESS_V0_KINDS[len(program)]
    if version == 1 and len(program) == 32 and coin.has_taproot:
        return AddressKind.P2TR
    return AddressKind.WITNESS_UNKNOWN


def _witness_script(version: int, program: bytes) -> bytes:
    return bytes([0x50 + version if version else 0, len(program)]) + program


def _base58check(data: bytes) -> str:
    raw = data + sha256d(data)[:4]
    number = int.from_bytes(raw, "big")
    chars = ""
    while number:
        number, value = divmod(number, 58)
        chars = _BASE58[value] + chars
    return "1" * (len(raw) - len(raw.lstrip(b"\x00"))) + chars


def _segwit(hrp: str, version: int, program: bytes) -> str:
    bits = len(program) * 8
    padding = -bits % 5
    number = int.from_bytes(program, "big") << padding
    values = [version, *(number >> shift & 31 for shift in range(bits + padding - 5, -1, -5))]
    polymod = _bech32_polymod(_bech32_expand(hrp) + values + [0] * _BECH32_CHECKSUM_CHARS)
    checksum = polymod ^ _checksum_constant(version)
    values += [checksum >> shift & 31 for shift in range(25, -1, -5)]
    return f"{hrp}1{''.join(_BECH32[value] for value in values)}"


def _regroup(words: list[int]) -> bytes | None:
    """Turn groups of five bits into bytes; None if more than four bits, or a set bit, are left over."""
    number = 0
    for word in words:
        number = number << 5 | word
    padding = len(words) * 5 % 8
    if padding > 4 or number & ((1 << padding) - 1):
        return None
    return (number >> padding).to_bytes(len(words) * 5 // 8, "big")


def _bech32_expand(hrp: str) -> list[int]:
    codes = hrp.encode("ascii")
    return [code >> 5 for code in codes] + [0] + [code & 31 for code in codes]


def _bech32_polymod(values: list[int]) -> int:
    state = 1
    for value in values:
        top = state >> 25
        state = (state & 0x1FFFFFF) << 5 ^ value
        for bit, generator in enumerate(_BECH32_GENERATOR):
            if top >> bit & 1:
                state ^= generator
    return state


def _checksum_constant(version: int) -> int:
    return _BECH32M_CONSTANT if version else _BECH32_CONSTANT


def _is_bech32(text: str) -> bool:
    """Whether the text has a bech32 or bech32m checksum, whatever its prefix."""
    lower = text.lower()
    hrp, _, data = lower.rpartition("1")
    if not hrp or not text.isascii() or text not in (lower, text.upper()):
        return False
    if len(data) < _BECH32_CHECKSUM_CHARS or any(char not in _BECH32_VALUES for char in data):
        return False
    values = [_BECH32_VALUES[char] for char in data]
    return _bech32_polymod(_bech32_expand(hrp) + values) in (_BECH32_CONSTANT, _BECH32M_CONSTANT)


def _looks_base58(text: str) -> bool:
    return 20 <= len(text) <= 45


def _first_chars(version: int) -> str:
    """Say with which characters base58 addresses of this version begin."""
    lowest = _base58check(bytes([version]) + bytes(20))[0]
    highest = _base58check(bytes([version]) + b"\xff" * 20)[0]
    return f"{lowest}…" if lowest == highest else f"{lowest}/{highest}…"


def _foreign(coin: Coin, text: str, owners: list[Coin], otherwise: str) -> AddressError:
    if not owners:
        return _error(coin, text, otherwise)
    networks = " or ".join(f"{owner.coin_id} mainnet" if owner.network == "main" else owner.coin_id for owner in owners)
    return _error(coin, text, f"is a {networks} address")


def _error(coin: Coin, text: str, reason: str) -> AddressError:
    return AddressError(text, reason, describe(coin))
