"""Signed messages: known signatures, and keys that must not be taken for others."""

import base64
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils

from coins import registry
from coins.bitcoin.address import encode
from coins.bitcoin.message import can_sign, hash160, is_signed_by, message_hash
from coins.coin import AddressKind

BITCOIN, LITECOIN = registry.get("bitcoin"), registry.get("litecoin")

# From the tests of bitcoinjs-message and of btclib (made by Bitcoin Core and Electrum).
VECTORS = [
    (
        "16UwLL9Risc3QfPqBUvKofHmBQ7wMtjvM",
        "vires is numeris",
        "G8JawPtQOrybrSP1WHQnQPr67B9S3qrxBrl1mlzoTJOSHEpmnF7D3+t+LX0Xei9J20B5AIdPbeL3AaTBZ4N3bY0=",
    ),
    (
        "1DAag8qiPLHh6hMFVu9qJQm9ro1HtwuyK5",
        "test message",
        "IFqUo4/sxBEFkfK8mZeeN56V13BqOc0D90oPBChF3gTqMXtNSCTN79UxC33kZ8Mi0cHy4zYCnQfCxTyLpMVXKeA=",
    ),
]


@pytest.mark.parametrize(("address", "message", "signature"), VECTORS)
def test_known_signatures_are_those_of_their_addresses(address, message, signature):
    assert is_signed_by(BITCOIN, address=address, message=message, signature=signature)
    assert not is_signed_by(BITCOIN, address=address, message=message + " ", signature=signature)
    (other,) = [vector[0] for vector in VECTORS if vector[0] != address]
    assert not is_signed_by(BITCOIN, address=other, message=message, signature=signature)
    broken = bytearray(base64.b64decode(signature))
    for place in (0, 1, 40, 64):
        changed = bytes(broken[:place]) + bytes([broken[place] ^ 1]) + bytes(broken[place + 1 :])
        text = base64.b64encode(changed).decode()
        assert not is_signed_by(BITCOIN, address=address, message=message, signature=text)


def signed(message: str, header: int) -> tuple[bytes, list[str]]:
    """Return the compressed key and the four signatures it can have with a header, of which one is right."""
    key = ec.generate_private_key(ec.SECP256K1())
    digest = message_hash(LITECOIN.message_magic, message.encode())
    r, s = utils.decode_dss_signature(key.sign(digest, ec.ECDSA(utils.Prehashed(hashes.SHA256()))))
    numbers = key.public_key().public_numbers()
    public = bytes([2 + (numbers.y & 1)]) + numbers.x.to_bytes(32, "big")
    body = r.to_bytes(32, "big") + s.to_bytes(32, "big")
    return public, [base64.b64encode(bytes([header + number]) + body).decode() for number in range(4)]


@pytest.mark.parametrize(("header", "kinds"), [(31, "plain nested native"), (35, "nested"), (39, "native")])
def test_a_header_stands_for_its_kinds_of_address(header, kinds):
    public, signatures = signed("häy", header)
    key_hash = hash160(public)
    addresses = {
        "plain": encode(LITECOIN, AddressKind.P2PKH, key_hash),
        "nested": encode(LITECOIN, AddressKind.P2SH, hash160(b"\x00\x14" + key_hash)),
        "native": encode(LITECOIN, AddressKind.P2WPKH, key_hash),
        "taproot": encode(LITECOIN, AddressKind.P2TR, public[1:]),
    }
    for kind, address in addresses.items():
        found = [is_signed_by(LITECOIN, address=address, message="häy", signature=text) for text in signatures]
        assert sum(found) == (kind in kinds.split())
    bitcoin = replace(LITECOIN, message_magic=BITCOIN.message_magic)
    assert not any(
        is_signed_by(bitcoin, address=addresses["native"], message="häy", signature=text) for text in signatures
    ), "a signature for another coin is none"


@pytest.mark.parametrize(
    "signature",
    [
        "",
        "x",
        "é",
        "A" * 10_000,
        base64.b64encode(bytes(65)).decode(),
        base64.b64encode(b"\x1f" + bytes(64)).decode(),
        base64.b64encode(b"\x1f" + b"\xff" * 64).decode(),
        base64.b64encode(b"\x21" + b"\x7f" * 64).decode(),
        base64.b64encode(b"\x1f" + bytes(31) + b"\x05" + bytes(31) + b"\x01").decode(),
    ],
)
def test_what_is_no_signature_is_refused(signature):
    assert not is_signed_by(BITCOIN, address=VECTORS[0][0], message="m", signature=signature)


def test_addresses_of_keys_can_sign():
    key = bytes(20)
    for kind in (AddressKind.P2PKH, AddressKind.P2SH, AddressKind.P2WPKH):
        assert can_sign(LITECOIN, encode(LITECOIN, kind, key))
    for kind in (AddressKind.P2WSH, AddressKind.P2TR):
        assert not can_sign(LITECOIN, encode(LITECOIN, kind, bytes(32)))
    assert not can_sign(replace(LITECOIN, message_magic=None), encode(LITECOIN, AddressKind.P2PKH, key))
