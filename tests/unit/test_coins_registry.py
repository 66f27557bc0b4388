"""The coins as data, amounts for people, subsidies and the pool's own settings."""

import json
from pathlib import Path

import msgspec
import pytest

from coins import registry
from coins.bitcoin.address import encode
from coins.bitcoin.subsidy import subsidy_atomic
from coins.coin import AddressKind
from coins.errors import CoinError, UnknownCoin
from coins.settings import PoolSettings

ANSWERS = json.loads((Path(__file__).parents[1] / "vectors" / "known_answers.json").read_text())
COINS = registry.all_coins()


@pytest.mark.parametrize("coin", COINS, ids=lambda coin: coin.coin_id)
def test_every_coin_is_consistent_with_itself(coin):
    assert registry.get(coin.coin_id) is coin
    assert 10**coin.decimals == coin.atomic_per_coin
    assert coin.network in {"main", "test", "signet", "regtest"}
    assert ("mweb" in coin.template_rules) == coin.has_mweb
    assert "segwit" in coin.template_rules
    assert coin.p2pkh_version not in coin.p2sh_versions
    for url, field in (
        (coin.explorer_tx_url, "txid"),
        (coin.explorer_block_url, "hash"),
        (coin.explorer_address_url, "address"),
    ):
        assert (url is None) == (coin.network == "regtest")
        assert url is None or url.format(**{field: "X"}).endswith("/X")


def test_every_known_network_is_there_once():
    assert [coin.coin_id for coin in COINS] == [
        "litecoin",
        "litecoin-testnet",
        "litecoin-regtest",
        "bitcoin",
        "bitcoin-testnet",
        "bitcoin-signet",
        "bitcoin-regtest",
    ]


def test_unknown_coin_is_refused_with_those_that_exist():
    with pytest.raises(UnknownCoin) as caught:
        registry.get("dogecoin")
    assert caught.value.coin_id == "dogecoin"
    assert isinstance(caught.value, CoinError)
    assert str(caught.value) == (
        "unknown coin 'dogecoin', expected one of litecoin, litecoin-testnet, litecoin-regtest, "
        "bitcoin, bitcoin-testnet, bitcoin-signet, bitcoin-regtest"
    )


@pytest.mark.parametrize(
    ("atomic", "text"),
    [
        (0, "0.00000000 LTC"),
        (1, "0.00000001 LTC"),
        (123450000, "1.23450000 LTC"),
        (-1, "-0.00000001 LTC"),
        (84_000_000 * 10**8 + 1, "84000000.00000001 LTC"),
    ],
)
def test_amounts_are_written_with_every_digit(atomic, text):
    assert registry.get("litecoin").format_amount(atomic) == text


@pytest.mark.parametrize(
    ("coin_id", "height", "atomic"),
    [
        (coin_id, *row)
        for coin_id, table in (("bitcoin", "Bitcoin"), ("litecoin", "Litecoin"))
        for row in ANSWERS["subsidy"][table]
    ],
)
def test_subsidy_is_the_published_one(coin_id, height, atomic):
    assert subsidy_atomic(registry.get(coin_id), height) == atomic


@pytest.mark.parametrize("coin_id", ["litecoin-regtest", "bitcoin-regtest"])
def test_subsidy_halves_every_150_blocks_on_regtest(coin_id):
    coin = registry.get(coin_id)
    heights = (0, 149, 150, 299, 300, 150 * 64, 10**9)
    assert [subsidy_atomic(coin, height) for height in heights] == [
        5000000000,
        5000000000,
        2500000000,
        2500000000,
        1250000000,
        0,
        0,
    ]


def test_subsidy_of_a_negative_height_is_refused():
    with pytest.raises(ValueError, match="-1"):
        subsidy_atomic(registry.get("bitcoin"), -1)


def test_whole_supply_of_bitcoin_stays_below_21_million():
    coin = registry.get("bitcoin")
    supply = sum(subsidy_atomic(coin, era * 210_000) * 210_000 for era in range(64))
    assert supply == 2099999997690000


ADDRESS = encode(registry.get("litecoin-regtest"), AddressKind.P2WPKH, bytes(20))


def test_pool_settings_have_defaults():
    settings = msgspec.convert({"coin": "litecoin-regtest", "address": ADDRESS}, PoolSettings)
    assert (settings.name, settings.data_dir, settings.signature) == ("Lodepool", "./data", "/lodepool/")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"coin": "dogecoin"}, "coin: unknown coin 'dogecoin', expected one of litecoin"),
        ({"coin": "bitcoin"}, "address: .* is a litecoin-regtest address, expected bitcoin "),
        ({"address": "nonsense"}, "address: .* expected litecoin-regtest"),
        ({"signature": "x" * 33}, "at most 32"),
        ({"signature": "é"}, "printable ASCII"),
        ({"signature": "a\nb"}, "printable ASCII"),
        ({"adress": ADDRESS}, "unknown field `adress`"),
        ({"address": 5}, "Expected `str`"),
    ],
)
def test_bad_pool_settings_say_what_was_expected(change, expected):
    tree = {"coin": "litecoin-regtest", "address": ADDRESS} | change
    with pytest.raises(msgspec.ValidationError, match=expected):
        msgspec.convert(tree, PoolSettings)
