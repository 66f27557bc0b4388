"""Properties of the pure coin rules, over generated values."""

import copy
import json
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from coins import registry
from coins.bitcoin.address import decode, encode, from_script
from coins.bitcoin.block import assemble_block, parse_block, parse_transaction
from coins.bitcoin.coinbase import CoinbaseOutput, build_coinbase
from coins.bitcoin.hashing import sha256d
from coins.bitcoin.merkle import merkle_branch, merkle_root, merkle_root_from_branch
from coins.bitcoin.template import parse_template
from coins.bitcoin.wire import Reader, compact_size, height_push
from coins.coin import AddressKind
from coins.errors import AddressError, BlockError, TemplateError
from coins.work import (
    MAX_TARGET,
    difficulty_from_target,
    nbits_from_target,
    target_from_difficulty,
    target_from_nbits,
    target_from_work,
    work_from_target,
)

VECTORS = Path(__file__).parents[1] / "vectors"
RECORDED = json.loads((VECTORS / "litecoin_regtest_blocks.json").read_text())["blocks"]
REGTEST = registry.get("litecoin-regtest")

targets = st.integers(1, MAX_TARGET) | st.integers(0, 255).map(lambda bit: 1 << bit)
coins = st.sampled_from(registry.all_coins())
diff1_targets = st.sampled_from([0xFFFF << 208, 0xFFFF << 224])
hashes = st.binary(min_size=32, max_size=32)
LENGTHS = {
    AddressKind.P2PKH: 20,
    AddressKind.P2SH: 20,
    AddressKind.P2WPKH: 20,
    AddressKind.P2WSH: 32,
    AddressKind.P2TR: 32,
}
programs = st.sampled_from(sorted(LENGTHS)).flatmap(
    lambda kind: st.tuples(st.just(kind), st.binary(min_size=LENGTHS[kind], max_size=LENGTHS[kind]), st.just(0))
) | st.tuples(st.just(AddressKind.WITNESS_UNKNOWN), st.binary(min_size=2, max_size=40), st.integers(2, 16))


def outcome(call, expected_error):
    """Return what the call returns, or the error it may raise; any other error fails the test."""
    try:
        return call()
    except expected_error as error:
        return error


@given(targets)
def test_compact_form_never_makes_a_target_easier_and_is_stable(target):
    nbits = nbits_from_target(target)
    expanded = target_from_nbits(nbits)
    assert expanded <= target
    assert target - expanded <= target >> 15
    assert nbits_from_target(expanded) == nbits


@given(targets)
def test_work_and_target_agree(target):
    work = work_from_target(target)
    easiest = target_from_work(work)
    assert easiest >= target or work_from_target(easiest) == work
    assert work_from_target(easiest) >= work


@given(st.integers(1, 2**255))
def test_target_of_a_work_takes_at_least_that_work_and_no_easier_one_does(work):
    target = target_from_work(work)
    assert work_from_target(target) >= work
    assert target == MAX_TARGET or work_from_target(target + 1) < work


@given(st.fractions(Fraction(1, 10**6), 10**30), diff1_targets)
def test_difficulty_is_kept_up_to_the_rounding_of_its_target(difficulty, diff1):
    target = target_from_difficulty(difficulty, diff1)
    assert difficulty_from_target(target, diff1) >= min(difficulty, Fraction(diff1)) or target == MAX_TARGET
    assert target == MAX_TARGET or Fraction(diff1, target + 1) < difficulty


@given(coins, programs)
def test_every_address_is_read_back_to_its_script(coin, program):
    kind, payload, version = program
    text = encode(coin, kind, payload, version)
    address = decode(coin, text)
    assert (address.text, address.kind) == (text, kind)
    assert payload in address.script
    assert from_script(coin, address.script) == address
    if text.startswith(f"{coin.bech32_hrp}1"):
        assert decode(coin, text.upper()) == address


@given(coins, programs, st.data())
def test_any_mistyped_character_is_noticed(coin, program, data):
    text = encode(coin, *program)
    at = data.draw(st.integers(0, len(text) - 1))
    other = data.draw(st.characters(codec="ascii"))
    mistyped = text[:at] + other + text[at + 1 :]
    if mistyped == text:
        return
    with pytest.raises(AddressError):
        decode(coin, mistyped)


@given(coins, st.text(max_size=120) | st.text("1qpzry9x8gf2tvdw0s3jn54khce6mua7lbctmwebLM3mnQ", max_size=120))
@example(registry.get("bitcoin"), "1" * 90)
@example(registry.get("litecoin"), "ltc1")
def test_any_text_is_an_address_or_a_clear_error(coin, text):
    match outcome(lambda: decode(coin, text), AddressError):
        case AddressError() as error:
            assert error.expected.startswith(coin.coin_id)
            assert error.reason
        case address:
            assert address.script


@given(coins, st.binary(max_size=60))
def test_any_script_has_an_address_that_pays_to_it_or_none(coin, script):
    address = from_script(coin, script)
    assert address is None or decode(coin, address.text) == address


@given(st.lists(hashes, min_size=1, max_size=40))
def test_branch_and_whole_tree_give_one_root(txids):
    branch = merkle_branch(txids[1:])
    assert len(branch) == (len(txids) - 1).bit_length()
    assert merkle_root_from_branch(txids[0], branch) == merkle_root(txids) == plain_root(txids)


def plain_root(txids: list[bytes]) -> bytes:
    """The tree as textbooks draw it."""
    level = list(txids)
    while len(level) > 1:
        if len(level) % 2:
            level.append(level[-1])
        level = [sha256d(left + right) for left, right in zip(level[::2], level[1::2], strict=True)]
    return level[0]


@given(st.integers(0, 0x2000000))
def test_every_count_is_read_as_written(value):
    reader = Reader(compact_size(value) + b"rest")
    assert reader.compact_size("count") == value
    assert reader.remaining == 4


@given(st.integers(17, 2**31 - 1))
def test_every_height_is_a_minimal_positive_number(height):
    push = height_push(height)
    assert push[0] == len(push) - 1
    assert int.from_bytes(push[1:], "little", signed=True) == height
    assert push[-1] or push[-2] & 0x80


@given(
    row=st.sampled_from(RECORDED),
    shares=st.lists(st.integers(0, 10**6), max_size=20),
    scripts=st.lists(st.binary(max_size=300), min_size=1, max_size=20),
    extranonce=st.binary(min_size=1, max_size=40),
    signature=st.binary(max_size=32),
    header=st.binary(min_size=80, max_size=80),
)
def test_any_block_that_is_put_together_is_taken_apart_to_the_same_parts(
    row, shares, scripts, extranonce, signature, header
):
    template = parse_template(REGTEST, row["template"])
    amounts = [*shares, template.coinbase_value_atomic - sum(shares)]
    outputs = [
        CoinbaseOutput(script=scripts[index % len(scripts)], amount_atomic=amount)
        for index, amount in enumerate(amounts)
    ]
    parts = build_coinbase(template, outputs=outputs, signature=signature, extranonce_bytes=len(extranonce))
    coinbase = parts.coinbase1 + extranonce + parts.coinbase2
    raw = assemble_block(template, header=header, coinbase=coinbase)
    block = parse_block(raw)
    assert block.header.data == header
    assert block.coinbase.txid == sha256d(coinbase)
    assert block.coinbase.amount_atomic == template.coinbase_value_atomic
    assert block.coinbase.inputs[0].script.startswith(height_push(template.height))
    assert block.txids[1:] == tuple(transaction.txid for transaction in template.transactions)
    assert block.mweb == template.mweb
    assert block.commitment == template.witness_commitment[6:]


@given(st.binary(max_size=400))
def test_any_bytes_are_a_block_or_an_error_with_a_place(data):
    for parse in (parse_block, parse_transaction):
        found = outcome(lambda parse=parse: parse(data), BlockError)
        assert not isinstance(found, BlockError) or (found.field and found.reason)


@given(st.sampled_from(RECORDED), st.data())
def test_any_damaged_block_is_taken_apart_or_an_error_with_a_place(row, data):
    raw = bytearray.fromhex(row["block"])
    for _ in range(data.draw(st.integers(1, 3))):
        raw[data.draw(st.integers(80, len(raw) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(raw)))
    for damaged in (bytes(raw), bytes(raw[:cut])):
        found = outcome(lambda damaged=damaged: parse_block(damaged), BlockError)
        assert not isinstance(found, BlockError) or found.field


json_values = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=70) | st.just([]) | st.just({})


@given(st.sampled_from(RECORDED), st.data())
def test_any_damaged_template_is_read_or_an_error_with_a_field(row, data):
    tree = copy.deepcopy(row["template"])
    tree[data.draw(st.sampled_from(sorted(tree)))] = data.draw(json_values)
    if isinstance(tree["transactions"], list) and tree["transactions"]:
        entry = data.draw(st.sampled_from(tree["transactions"]))
        entry[data.draw(st.sampled_from(sorted(entry)))] = data.draw(json_values)
    match outcome(lambda: parse_template(REGTEST, tree), TemplateError):
        case TemplateError() as error:
            assert error.field
        case template:
            assert template.height > 0
