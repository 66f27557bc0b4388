"""Addresses: published vectors, and errors that say what is wrong."""

import hashlib
import json
from pathlib import Path

import pytest

from coins import registry
from coins.bitcoin.address import decode, encode, from_script, payee
from coins.coin import AddressKind
from coins.errors import AddressError

ANSWERS = json.loads((Path(__file__).parents[1] / "vectors" / "known_answers.json").read_text())["addresses"]
BITCOIN = registry.get("bitcoin")
TESTNET = registry.get("bitcoin-testnet")
LITECOIN = registry.get("litecoin")
REGTEST = registry.get("litecoin-regtest")


@pytest.mark.parametrize(
    ("coin_id", "text"),
    [
        (coin_id, text)
        for coin_id, table in (
            ("bitcoin", "btc_main_valid"),
            ("bitcoin-testnet", "btc_test_valid"),
            ("litecoin", "ltc_main_valid"),
        )
        for text in ANSWERS[table]
    ],
)
def test_valid_addresses_are_read_and_written_back(coin_id, text):
    coin = registry.get(coin_id)
    address = decode(coin, text)
    assert address.text == text
    found = from_script(coin, address.script)
    assert found is not None
    assert decode(coin, found.text).script == address.script


@pytest.mark.parametrize(
    ("coin_id", "text"),
    [
        (coin_id, text)
        for coin_id, table in (("bitcoin", "btc_main_invalid"), ("bitcoin-testnet", "btc_test_invalid"))
        for text in ANSWERS[table]
    ],
)
def test_addresses_with_a_mistyped_character_are_refused(coin_id, text):
    with pytest.raises(AddressError, match="wrong checksum: a character is mistyped"):
        decode(registry.get(coin_id), text)


@pytest.mark.parametrize("text", [*ANSWERS["bch_valid"], *ANSWERS["zec_main_valid"], *ANSWERS["zec_test_valid"]])
@pytest.mark.parametrize("coin", registry.all_coins(), ids=lambda coin: coin.coin_id)
def test_addresses_of_other_coins_are_refused(coin, text):
    with pytest.raises(AddressError):
        decode(coin, text)


@pytest.mark.parametrize(
    ("coin", "text", "kind", "script_hex"),
    [
        (
            BITCOIN,
            "BC1QW508D6QEJXTDG4Y5R3ZARVARY0C5XW7KV8F3T4",
            AddressKind.P2WPKH,
            "0014751e76e8199196d454941c45d1b3a323f1433bd6",
        ),
        (
            TESTNET,
            "tb1qrp33g0q5c5txsp9arysrx4k6zdkfs4nce4xj0gdcccefvpysxf3q0sl5k7",
            AddressKind.P2WSH,
            "00201863143c14c5166804bd19203356da136c985678cd4d27a1b8c6329604903262",
        ),
        (
            BITCOIN,
            "bc1pw508d6qejxtdg4y5r3zarvary0c5xw7kw508d6qejxtdg4y5r3zarvary0c5xw7kt5nd6y",
            AddressKind.WITNESS_UNKNOWN,
            "5128751e76e8199196d454941c45d1b3a323f1433bd6751e76e8199196d454941c45d1b3a323f1433bd6",
        ),
        (BITCOIN, "BC1SW50QGDZ25J", AddressKind.WITNESS_UNKNOWN, "6002751e"),
        (
            BITCOIN,
            "bc1zw508d6qejxtdg4y5r3zarvaryvaxxpcs",
            AddressKind.WITNESS_UNKNOWN,
            "5210751e76e8199196d454941c45d1b3a323",
        ),
        (
            TESTNET,
            "tb1qqqqqp399et2xygdj5xreqhjjvcmzhxw4aywxecjdzew6hylgvsesrxh6hy",
            AddressKind.P2WSH,
            "0020000000c4a5cad46221b2a187905e5266362b99d5e91c6ce24d165dab93e86433",
        ),
        (
            TESTNET,
            "tb1pqqqqp399et2xygdj5xreqhjjvcmzhxw4aywxecjdzew6hylgvsesf3hn0c",
            AddressKind.P2TR,
            "5120000000c4a5cad46221b2a187905e5266362b99d5e91c6ce24d165dab93e86433",
        ),
        (
            BITCOIN,
            "bc1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vqzk5jj0",
            AddressKind.P2TR,
            "512079be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798",
        ),
    ],
)
def test_segwit_addresses_have_the_scripts_of_bip_350(coin, text, kind, script_hex):
    address = decode(coin, text)
    assert (address.kind, address.script.hex(), address.text) == (kind, script_hex, text.lower())
    assert from_script(coin, address.script) == address


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("tc1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vq5zuyut", "has the unknown prefix 'tc1'"),
        ("bc1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vqh2y7hd", "has a bech32 checksum"),
        ("tb1z0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vqglt7rf", "has a bech32 checksum"),
        ("BC1S0XLXVLHEMJA6C4DQV22UAPCTQUPFHLXM9H8Z3K2E72Q4K9HCZ7VQ54WELL", "has a bech32 checksum"),
        ("bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kemeawh", "has a bech32m checksum"),
        ("tb1q0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vq24jc47", "has a bech32m checksum"),
        ("bc1p38j9r5y49hruaue7wxjce0updqjuyyx0kh56v8s25huc6995vvpql3jow4", "holds 'o'"),
        ("BC130XLXVLHEMJA6C4DQV22UAPCTQUPFHLXM9H8Z3K2E72Q4K9HCZ7VQ7ZWS8R", "witness version 17"),
        ("bc1pw5dgrnzv", "has 1 bytes"),
        ("bc1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7v8n0nx0muaewav253zgeav", "has 41 bytes"),
        ("BC1QR508D6QEJXTDG4Y5R3ZARVARYV98GJ9P", "has 16 bytes"),
        ("tb1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vq47Zagq", "mixes upper and lower case"),
        ("bc1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7v07qwwzcrf", "bits left over"),
        ("tb1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vpggkg4j", "bits left over"),
        ("bc1gmk9yu", "too short"),
    ],
)
def test_invalid_addresses_of_bip_350_are_refused_for_the_reason_given_there(text, reason):
    coin = TESTNET if text.startswith("tb") else BITCOIN
    with pytest.raises(AddressError, match=reason):
        decode(coin, text)


def test_litecoin_script_addresses_of_both_versions_pay_to_one_script():
    old = decode(LITECOIN, "3Lms3onWvriv6AdKanUYDytgWyuFcFM7nU")
    new = from_script(LITECOIN, old.script)
    assert old.kind is AddressKind.P2SH
    assert new is not None
    assert new.text.startswith("M")
    assert decode(LITECOIN, new.text).script == old.script


def test_keys_of_one_hash_have_their_published_addresses_on_each_coin():
    """The genesis key of Bitcoin and the all-zero hash; sources: block explorers of each coin."""
    script = decode(BITCOIN, "1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa").script
    assert script.hex() == "76a91462e907b15cbf27d5425399ebf6f0fb50ebb88f1888ac"
    assert encode(BITCOIN, AddressKind.P2PKH, bytes(20)) == "1111111111111111111114oLvT2"


@pytest.mark.parametrize(
    ("coin_id", "text", "sentence"),
    [
        (
            "litecoin-regtest",
            "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4",
            (
                "'bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4' is a bitcoin mainnet address, "
                "expected litecoin-regtest (rltc1…, m/n…, Q…, 2…)"
            ),
        ),
        (
            "litecoin",
            "1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa",
            "'1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa' is a bitcoin mainnet address, expected litecoin (ltc1…, L…, M…, 3…)",
        ),
        (
            "bitcoin",
            "LNECQRGAYTEdfPqmPehVjB71HSccAJLRPK",
            "'LNECQRGAYTEdfPqmPehVjB71HSccAJLRPK' is a litecoin mainnet address, expected bitcoin (bc1…, 1…, 3…)",
        ),
        (
            "bitcoin",
            "tb1qw508d6qejxtdg4y5r3zarvary0c5xw7kxpjzsx",
            (
                "'tb1qw508d6qejxtdg4y5r3zarvary0c5xw7kxpjzsx' is a bitcoin-testnet or bitcoin-signet address, "
                "expected bitcoin (bc1…, 1…, 3…)"
            ),
        ),
        (
            "bitcoin-regtest",
            "1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa",
            (
                "'1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa' is a bitcoin mainnet address, "
                "expected bitcoin-regtest (bcrt1…, m/n…, 2…)"
            ),
        ),
    ],
)
def test_address_of_another_network_names_that_network_and_what_was_expected(coin_id, text, sentence):
    """S6: an operator who pastes the wrong address is told which one it is."""
    with pytest.raises(AddressError) as caught:
        decode(registry.get(coin_id), text)
    assert str(caught.value) == sentence
    assert caught.value.address == text


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "is empty"),
        (" " + ANSWERS["ltc_main_valid"][0], "holds a space"),
        (ANSWERS["ltc_main_valid"][0] + "\n", "holds a space"),
        ("ltc1q\u212a", "outside ASCII"),
        ("BC1QW508D6\u212aEJXTDG4Y5R3ZARVARY0C5XW7KV8F3T4", "outside ASCII"),
        ("l" * 91, "has 91 characters"),
        ("worker", "is not an address"),
        ("LNECQRGAYTEdfPqmPehVjB71HSccAJLRP", "characters missing or added"),
        ("LNECQRGAYTEdfPqmPehVjB71HSccAJLRPK1", "characters missing or added"),
        ("LNECQRGAYTEdfPqmPehVjB71HSccAJLRP0", "holds '0'"),
        ("0x32Be343B94f860124dC4fEe278FDCBD38C102D88", "holds '0'"),
        ("ltc1", "too short"),
        ("ltc1qqqqqq", "too short|checksum"),
        ("ltcx", "holds 'l'|is not an address"),
        ("1", "is not an address"),
        ("ltcmweb1" + "q" * 118, "is a Litecoin MWEB address"),
        ("tmweb1" + "q" * 118, "is a Litecoin MWEB address"),
    ],
)
def test_texts_that_are_no_address_are_refused_with_what_is_wrong(text, reason):
    with pytest.raises(AddressError, match=reason) as caught:
        decode(LITECOIN, text)
    assert caught.value.expected == "litecoin (ltc1…, L…, M…, 3…)"


def test_errors_show_at_most_the_beginning_of_a_very_long_text():
    with pytest.raises(AddressError) as caught:
        decode(LITECOIN, "q" * 100_000)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    ("kind", "payload", "version"),
    [
        (AddressKind.P2PKH, bytes(19), 0),
        (AddressKind.P2SH, bytes(21), 0),
        (AddressKind.P2WPKH, bytes(32), 0),
        (AddressKind.P2WSH, bytes(20), 0),
        (AddressKind.P2TR, bytes(20), 0),
        (AddressKind.WITNESS_UNKNOWN, bytes(20), 0),
        (AddressKind.WITNESS_UNKNOWN, bytes(20), 17),
        (AddressKind.WITNESS_UNKNOWN, bytes(1), 2),
        (AddressKind.WITNESS_UNKNOWN, bytes(41), 2),
    ],
)
def test_payload_that_does_not_fit_its_kind_is_refused(kind, payload, version):
    with pytest.raises(ValueError, match="bytes"):
        encode(REGTEST, kind, payload, version)


@pytest.mark.parametrize(
    "script_hex",
    [
        "",
        "6a",
        "6a24aa21a9ed" + "00" * 32,
        "76a914" + "00" * 19 + "88ac",
        "76a914" + "00" * 20 + "88ad",
        "a914" + "00" * 20 + "88",
        "0015" + "00" * 21,
        "0014" + "00" * 19,
        "5101" + "00",
        "6129" + "00" * 41,
        "6102" + "0000",
        "4f02" + "0000",
        "21" + "02" * 33 + "ac",
    ],
)
def test_scripts_without_an_address_have_none(script_hex):
    assert from_script(LITECOIN, bytes.fromhex(script_hex)) is None


def test_two_spellings_of_one_litecoin_script_are_one_payee() -> None:
    coin = registry.get("litecoin")
    script_hash = bytes(range(20))
    old = encode(coin, AddressKind.P2SH, script_hash)
    script = decode(coin, old).script
    spellings = {
        text
        for version in coin.p2sh_versions
        for text in [_base58_of(version, script_hash)]
        if decode(coin, text).script == script
    }
    assert len(spellings) == len(coin.p2sh_versions) > 1
    assert {payee(coin, text).text for text in spellings} == {old}


def test_an_address_of_a_witness_version_without_rules_is_no_payee() -> None:
    coin = registry.get("bitcoin-regtest")
    future = encode(coin, AddressKind.WITNESS_UNKNOWN, bytes(32), witness_version=5)
    assert decode(coin, future).kind is AddressKind.WITNESS_UNKNOWN
    with pytest.raises(AddressError, match="anyone could take"):
        payee(coin, future)


def _base58_of(version: int, payload: bytes) -> str:
    """Spell a version and a hash in base58check, independently of the code under test."""
    data = bytes([version]) + payload
    data += hashlib.sha256(hashlib.sha256(data).digest()).digest()[:4]
    number, text = int.from_bytes(data, "big"), ""
    while number:
        number, digit = divmod(number, 58)
        text = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"[digit] + text
    return "1" * (len(data) - len(data.lstrip(b"\0"))) + text
