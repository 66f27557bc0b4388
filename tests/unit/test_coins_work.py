"""Targets, work and difficulty against known answers."""

import json
from fractions import Fraction
from pathlib import Path

import pytest

from coins import registry
from coins.errors import TargetError
from coins.work import (
    MAX_TARGET,
    difficulty_from_target,
    difficulty_number,
    nbits_from_target,
    target_from_difficulty,
    target_from_nbits,
    target_from_work,
    work_from_target,
)

ANSWERS = json.loads((Path(__file__).parents[1] / "vectors" / "known_answers.json").read_text())
DIFF1 = {"Bitcoin": "BTC", "Litecoin": "LTC(scrypt)", "ZCash": "ZEC"}


def diff1_of(coin: str) -> int:
    return int(ANSWERS["diff_to_target"]["diff1"][DIFF1[coin]], 16)


@pytest.mark.parametrize(
    ("coin", "difficulty", "target_hex"),
    [(coin, *row) for coin in DIFF1 for row in ANSWERS["diff_to_target"]["rows"][coin]],
)
def test_target_of_a_difficulty_is_the_published_one(coin, difficulty, target_hex):
    assert target_from_difficulty(Fraction(difficulty), diff1_of(coin)) == int(target_hex, 16)


def test_registry_has_the_published_first_targets():
    assert registry.get("bitcoin").diff1_target == diff1_of("Bitcoin")
    assert registry.get("litecoin").diff1_target == diff1_of("Litecoin")


@pytest.mark.parametrize("row", ANSWERS["bits_to_target"])
def test_nbits_of_real_blocks_expand_to_their_target_and_difficulty(row):
    target = target_from_nbits(int(row["bits"], 16))
    assert target == int(row["target"], 16)
    assert nbits_from_target(target) == int(row["bits"], 16)
    difficulty = difficulty_from_target(target, registry.get("bitcoin").diff1_target)
    assert difficulty_number(difficulty) == row["difficulty"]


@pytest.mark.parametrize(
    ("nbits", "target", "back"),
    [
        (0x01123456, 0x12, 0x01120000),
        (0x02123456, 0x1234, 0x02123400),
        (0x03123456, 0x123456, 0x03123456),
        (0x04123456, 0x12345600, 0x04123456),
        (0x05009234, 0x92340000, 0x05009234),
        (0x20123456, 0x123456 << 232, 0x20123456),
        (0x1D00FFFF, 0xFFFF << 208, 0x1D00FFFF),
        (0x1E0FFFF0, 0x0FFFF0 << 216, 0x1E0FFFF0),
        (0x207FFFFF, 0x7FFFFF << 232, 0x207FFFFF),
        (0x2100FFFF, 0xFFFF << 240, 0x2100FFFF),
    ],
)
def test_compact_targets_follow_bitcoin_core(nbits, target, back):
    """Source: Bitcoin Core, arith_uint256_tests.cpp, bignum_SetCompact, and genesis blocks."""
    assert target_from_nbits(nbits) == target
    assert nbits_from_target(target) == back


@pytest.mark.parametrize(
    ("nbits", "reason"),
    [
        (0x00000000, "zero"),
        (0x00123456, "zero"),
        (0x01003456, "zero"),
        (0x04800000, "zero"),
        (0x04923456, "negative"),
        (0x01FEDCBA, "negative"),
        (0xFF123456, "above 256 bits"),
        (0x21010000, "above 256 bits"),
        (-1, "32 bits"),
        (1 << 32, "32 bits"),
    ],
)
def test_compact_numbers_that_are_no_target_are_refused_with_the_reason(nbits, reason):
    with pytest.raises(TargetError, match=reason):
        target_from_nbits(nbits)


@pytest.mark.parametrize(
    ("target", "work"),
    [
        (0xFFFF << 208, 4295032833),
        (0xFFFF << 224, 65537),
        (2**240 - 1, 65536),
        (MAX_TARGET, 1),
        (0x7FFFFF << 232, 2),
        (0, 2**256),
    ],
)
def test_work_is_the_expected_number_of_hashes(target, work):
    assert work_from_target(target) == work


def test_work_that_has_an_exact_target_gives_it_back():
    assert target_from_work(65536) == 2**240 - 1
    assert target_from_work(1) == MAX_TARGET
    assert target_from_work(2**300) == 0


def test_share_difficulties_below_and_beyond_every_hash_are_clamped():
    diff1 = registry.get("litecoin").diff1_target
    assert target_from_difficulty(Fraction(1, 10**12), diff1) == MAX_TARGET
    assert target_from_difficulty(Fraction(10**90), diff1) == 1
    assert target_from_difficulty(Fraction("0.00015"), diff1) == diff1 * 100000 // 15


@pytest.mark.parametrize(
    "call",
    [
        lambda: target_from_difficulty(Fraction(0), 1),
        lambda: target_from_difficulty(Fraction(-1), 1),
        lambda: target_from_difficulty(Fraction(1), 0),
        lambda: difficulty_from_target(0, 1),
        lambda: difficulty_from_target(1, MAX_TARGET + 1),
        lambda: nbits_from_target(0),
        lambda: work_from_target(-1),
        lambda: work_from_target(MAX_TARGET + 1),
        lambda: target_from_work(0),
    ],
)
def test_numbers_out_of_range_are_refused(call):
    with pytest.raises(TargetError):
        call()


def test_whole_difficulties_are_written_as_whole_numbers():
    whole = difficulty_number(Fraction(1024))
    assert (whole, type(whole)) == (1024, int)
    part = difficulty_number(Fraction(1, 4))
    assert (part, type(part)) == (0.25, float)
