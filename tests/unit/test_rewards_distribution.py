"""Who gets what of a block."""

import json
from pathlib import Path

import pytest

from rewards.distribution import (
    Credit,
    Distribution,
    distribute_by_work,
    distribute_to_finder,
    pool_fee,
    split,
)

VECTORS = Path(__file__).parents[1] / "vectors" / "known_answers.json"


@pytest.mark.parametrize(
    ("amount", "work", "parts"),
    [
        (100, {"a": 1, "b": 1, "c": 1}, {"a": 34, "b": 33, "c": 33}),
        (101, {"c": 1, "b": 1, "a": 1}, {"a": 34, "b": 34, "c": 33}),
        (100, {"a": 5, "b": 3, "c": 3}, {"a": 46, "b": 27, "c": 27}),
        (1, {"a": 1, "b": 10**30}, {"a": 0, "b": 1}),
        (0, {"a": 1}, {"a": 0}),
        (5_000_000_000, {"a": 2**200, "b": 2**200}, {"a": 2_500_000_000, "b": 2_500_000_000}),
    ],
)
def test_an_amount_is_divided_by_largest_remainders_then_by_name(amount, work, parts):
    """R1: floors, then the units left over by remainder, ties by name."""
    assert split(amount, work) == parts


@pytest.mark.parametrize("work", [{}, {"a": 0}, {"a": 3, "b": -1}])
def test_an_amount_is_only_divided_over_accounts_with_work(work):
    with pytest.raises(ValueError):
        split(100, work)


def test_the_known_answer_of_a_pool_that_rounds_to_nearest_differs_by_no_unit():
    """R1: the vector rounds each part to the nearest unit; here its parts sum to the reward, and both rules agree.

    They differ where rounding to nearest makes up or loses units (see the next test).
    """
    vector = json.loads(VECTORS.read_text())["reward_split_prop"]
    parts = split(vector["reward"], vector["shares"])
    assert parts == vector["expected"]
    assert sum(parts.values()) == vector["sum"]


def test_rounding_to_nearest_would_lose_or_make_up_units_where_largest_remainders_do_not():
    """R1: three equal parts of 100 are 33 each to the nearest, one unit lost; of 101 they are 34 each, one made up."""
    work = {"a": 1, "b": 1, "c": 1}
    for amount, nearest_sum in ((100, 99), (101, 102)):
        assert sum(round(amount * part / 3) for part in work.values()) == nearest_sum
        assert sum(split(amount, work).values()) == amount


def test_the_fee_is_rounded_down():
    assert pool_fee(1_250_000_099, fee_ppm=10_000) == 12_500_000
    assert pool_fee(99, fee_ppm=10_000) == 0
    assert pool_fee(99, fee_ppm=1_000_000) == 99


def test_a_window_pays_all_of_the_rest_to_those_in_it_greatest_first():
    """R1, R4."""
    assert distribute_by_work(1000, {"bob": 1, "alice": 1, "carol": 8, "idle": 0}, fee_ppm=10_000) == Distribution(
        reward_atomic=1000,
        pool_fee_atomic=10,
        remainder_atomic=0,
        credits=(
            Credit(account="carol", work=8, amount_atomic=792),
            Credit(account="alice", work=1, amount_atomic=99),
            Credit(account="bob", work=1, amount_atomic=99),
        ),
    )


@pytest.mark.parametrize("work", [{}, {"idle": 0}])
def test_an_empty_window_is_all_remainder(work):
    distribution = distribute_by_work(1000, work, fee_ppm=10_000)
    assert (distribution.pool_fee_atomic, distribution.remainder_atomic, distribution.credits) == (0, 1000, ())


def test_a_solo_block_is_the_finders_but_for_the_fee():
    distribution = distribute_to_finder(1000, "alice", fee_ppm=10_000)
    assert distribution.credits == (Credit(account="alice", work=0, amount_atomic=990),)


def test_a_distribution_that_is_not_the_reward_cannot_be_made():
    """R1."""
    with pytest.raises(ValueError, match="does not make a reward"):
        Distribution(reward_atomic=1000, pool_fee_atomic=10, remainder_atomic=0, credits=())
