"""Block templates and the coinbases built from them: what is read, and what is refused with which sentence."""

import copy
import json
from dataclasses import replace
from pathlib import Path

import pytest

from coins import registry
from coins.bitcoin.block import parse_transaction
from coins.bitcoin.coinbase import CoinbaseOutput, build_coinbase
from coins.bitcoin.hashing import sha256d
from coins.bitcoin.template import parse_template
from coins.errors import CoinbaseError, TemplateError

VECTORS = Path(__file__).parents[1] / "vectors"
RECORDED = {row["name"]: row for row in json.loads((VECTORS / "litecoin_regtest_blocks.json").read_text())["blocks"]}
REGTEST = registry.get("litecoin-regtest")
SCRIPT = bytes.fromhex("0014" + "11" * 20)


def answer(name: str = "segwit_transactions", **changes: object) -> dict[str, object]:
    tree = copy.deepcopy(RECORDED[name]["template"])
    tree.update(changes)
    return {key: value for key, value in tree.items() if value is not None}


def test_template_of_a_real_node_is_read_field_by_field():
    tree = answer("mweb_with_transactions")
    template = parse_template(REGTEST, tree)
    assert template.coin_id == "litecoin-regtest"
    assert template.height == 433
    assert template.prev_hash[::-1].hex() == tree["previousblockhash"]
    assert template.version == tree["version"]
    assert template.nbits == 0x207FFFFF
    assert template.target == 0x7FFFFF << 232
    assert (template.curtime, template.mintime) == (tree["curtime"], tree["mintime"])
    assert template.coinbase_value_atomic == tree["coinbasevalue"]
    assert template.fees_atomic == template.coinbase_value_atomic - 1250000000
    assert template.witness_commitment.hex() == tree["default_witness_commitment"]
    assert template.mweb.hex() == tree["mweb"]
    assert template.longpollid == tree["longpollid"]
    assert template.rules == ("csv", "segwit", "testdummy", "taproot", "mweb")
    for entry, given in zip(template.transactions, tree["transactions"], strict=True):
        parsed = parse_transaction(entry.data)
        assert (parsed.txid, parsed.wtxid, parsed.weight) == (entry.txid, entry.wtxid, entry.weight)
        assert (entry.txid[::-1].hex(), entry.fee_atomic) == (given["txid"], given["fee"])


def test_optional_fields_may_be_missing():
    tree = answer(mintime=None, longpollid=None, target=None, default_witness_commitment=None)
    template = parse_template(REGTEST, tree)
    assert template.mintime == template.curtime
    assert template.longpollid is None
    assert template.target == 0x7FFFFF << 232
    assert template.witness_commitment == parse_template(REGTEST, answer()).witness_commitment


@pytest.mark.parametrize("rule", ["segwit", "!segwit"])
def test_commitment_is_taken_when_segwit_is_in_force(rule):
    assert parse_template(REGTEST, answer(rules=["csv", rule])).witness_commitment is not None


@pytest.mark.parametrize("rules", [[], ["csv"], None])
def test_commitment_is_left_out_before_segwit_even_if_the_node_offers_one(rules):
    assert parse_template(REGTEST, answer(rules=rules)).witness_commitment is None


def test_extension_block_is_read_only_for_coins_that_have_one():
    tree = answer("mweb_with_transactions")
    assert parse_template(registry.get("bitcoin-regtest"), tree).mweb is None
    assert parse_template(REGTEST, answer("last_before_mweb")).mweb is None


def test_version_with_its_top_bit_set_is_read_as_the_header_writes_it():
    assert parse_template(REGTEST, answer(version=-0x40000000)).version == 0xC0000000


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"height": None}, "block template: height is missing"),
        ({"height": "12"}, "block template: height is not a whole number"),
        ({"height": True}, "block template: height is not a whole number"),
        ({"height": 0}, "block template: height is 0, expected 1..4294967295"),
        ({"coinbasevalue": -1}, "block template: coinbasevalue is -1, expected 0..9223372036854775807"),
        ({"coinbasevalue": 12.5}, "block template: coinbasevalue is not a whole number"),
        ({"previousblockhash": None}, "block template: previousblockhash is missing"),
        ({"previousblockhash": "00"}, "block template: previousblockhash has 1 bytes, expected 32"),
        ({"previousblockhash": "xx"}, "block template: previousblockhash is not hexadecimal"),
        ({"bits": "207fff"}, "block template: bits has 3 bytes, expected 4"),
        ({"bits": "20800001"}, "block template: bits is no target: nbits 0x20800001 is a negative target"),
        ({"bits": 5}, "block template: bits is not text"),
        ({"bits": "1d00ffff"}, "block template: target is not the target of bits 1d00ffff"),
        ({"curtime": 2**32}, "block template: curtime is 4294967296, expected 0..4294967295"),
        ({"version": 2**32}, "block template: version is 4294967296, expected -2147483648..4294967295"),
        ({"transactions": None}, "block template: transactions is not a list"),
        ({"transactions": [5]}, "block template: transactions[0] is not an object"),
        ({"transactions": []}, "block template: default_witness_commitment is not that of the transactions, "),
        ({"rules": "segwit"}, "block template: rules is not a list of names"),
        ({"rules": [1]}, "block template: rules is not a list of names"),
        ({"rules": ["segwit", "mweb"]}, "block template: mweb is missing"),
        ({"mweb": ""}, "block template: mweb has 0 bytes, expected some"),
        ({"longpollid": 5}, "block template: longpollid is not text"),
        ({"signet_challenge": "5121"}, "block template: signet_challenge asks for signed blocks, "),
    ],
)
def test_template_with_a_bad_field_is_refused_and_the_field_named(changes, sentence):
    with pytest.raises(TemplateError) as caught:
        parse_template(REGTEST, answer(**changes))
    assert str(caught.value).startswith(sentence)


@pytest.mark.parametrize(
    ("field", "value", "sentence"),
    [
        ("data", None, "transactions[1].data is missing"),
        ("data", "zz", "transactions[1].data is not hexadecimal"),
        ("data", "00", "transactions[1].hash is not the hash of its data"),
        ("hash", "00" * 32, "transactions[1].hash is not the hash of its data"),
        ("hash", None, "transactions[1].hash is missing"),
        ("txid", "00", "transactions[1].txid has 1 bytes, expected 32"),
        ("fee", None, "transactions[1].fee is missing"),
        ("fee", -1, "transactions[1].fee is -1, "),
        ("weight", 0, "transactions[1].weight is 0, "),
    ],
)
def test_template_with_a_bad_transaction_is_refused_and_the_place_named(field, value, sentence):
    tree = answer()
    tree["transactions"][1][field] = value
    with pytest.raises(TemplateError) as caught:
        parse_template(REGTEST, tree)
    assert str(caught.value).startswith(f"block template: {sentence}")


def test_signet_without_signatures_is_mined_like_any_network():
    signet = registry.get("bitcoin-signet")
    assert parse_template(signet, answer(signet_challenge="51")).coin_id == "bitcoin-signet"


TEMPLATE = parse_template(REGTEST, answer())
VALUE = TEMPLATE.coinbase_value_atomic


def pay(*amounts: int) -> tuple[CoinbaseOutput, ...]:
    return tuple(CoinbaseOutput(script=SCRIPT, amount_atomic=amount) for amount in amounts)


def test_coinbase_has_height_extranonce_signature_payments_and_commitment_in_this_order():
    parts = build_coinbase(TEMPLATE, outputs=pay(VALUE - 7, 7), signature=b"/lodepool/", extranonce_bytes=12)
    extranonce = bytes(range(0xA0, 0xAC))
    transaction = parse_transaction(parts.coinbase1 + extranonce + parts.coinbase2)
    assert transaction.is_coinbase
    assert transaction.inputs[0].script == b"\x02\x80\x00" + b"\x0c" + extranonce + b"\x0a/lodepool/"
    assert transaction.inputs[0].sequence == 0xFFFFFFFF
    assert [(output.script, output.amount_atomic) for output in transaction.outputs] == [
        (SCRIPT, VALUE - 7),
        (SCRIPT, 7),
        (TEMPLATE.witness_commitment, 0),
    ]
    assert (transaction.version, transaction.locktime, transaction.has_witness) == (2, 0, False)
    assert transaction.txid == sha256d(parts.coinbase1 + extranonce + parts.coinbase2)


def test_coinbase_before_segwit_has_no_commitment():
    template = replace(TEMPLATE, witness_commitment=None)
    parts = build_coinbase(template, outputs=pay(VALUE), signature=b"", extranonce_bytes=8)
    transaction = parse_transaction(parts.coinbase1 + bytes(8) + parts.coinbase2)
    assert [output.script for output in transaction.outputs] == [SCRIPT]
    assert transaction.inputs[0].script == b"\x02\x80\x00\x08" + bytes(8)


def test_coinbase_script_may_fill_its_100_bytes_and_not_one_more():
    for height, signature_bytes in ((16, 32), (840_000, 32), (2**31, 32)):
        template = replace(TEMPLATE, height=height)
        room = 100 - len(build_coinbase_script(template, b"", 50))
        assert room > signature_bytes
        assert len(build_coinbase_script(template, b"s" * (room - 1), 50)) == 100
        with pytest.raises(CoinbaseError, match=f"a signature of {room} bytes, expected at most {room - 1}"):
            build_coinbase_script(template, b"s" * room, 50)


def build_coinbase_script(template, signature: bytes, extranonce_bytes: int) -> bytes:
    parts = build_coinbase(template, outputs=pay(VALUE), signature=signature, extranonce_bytes=extranonce_bytes)
    return parse_transaction(parts.coinbase1 + bytes(extranonce_bytes) + parts.coinbase2).inputs[0].script


@pytest.mark.parametrize(
    ("amounts", "reason"),
    [
        ((), "no outputs"),
        ((VALUE - 1,), f"outputs of {VALUE - 1} in sum, expected {VALUE}"),
        ((VALUE, 1), f"outputs of {VALUE + 1} in sum, expected {VALUE}"),
        ((VALUE + 1, -1), "an output of -1"),
    ],
)
def test_coinbase_that_pays_another_sum_than_it_may_is_refused(amounts, reason):
    """R1: the coinbase pays the whole reward, to the unit."""
    with pytest.raises(CoinbaseError, match=reason):
        build_coinbase(TEMPLATE, outputs=pay(*amounts), signature=b"", extranonce_bytes=12)


@pytest.mark.parametrize("extranonce_bytes", [0, 76, -1])
def test_extranonce_that_does_not_fit_a_push_is_refused(extranonce_bytes):
    with pytest.raises(CoinbaseError, match="an extranonce of"):
        build_coinbase(TEMPLATE, outputs=pay(VALUE), signature=b"", extranonce_bytes=extranonce_bytes)
