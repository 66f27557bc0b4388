"""Distributions sum exactly, whatever the window."""

from fractions import Fraction
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from rewards.distribution import PPM, distribute_by_work, split

WORK = st.dictionaries(st.text(min_size=1, max_size=8), st.integers(1, 2**256), min_size=1, max_size=40)
AMOUNT = st.integers(0, 2**62)


@given(amount=AMOUNT, work=WORK)
def test_parts_sum_to_the_amount_and_none_is_a_unit_off_its_share(amount, work):
    """R1."""
    parts = split(amount, work)
    total = sum(work.values())
    assert sum(parts.values()) == amount
    for account, part in parts.items():
        assert abs(part - Fraction(amount * work[account], total)) < 1


@given(amount=AMOUNT, work=WORK)
def test_more_work_never_gets_less(amount, work):
    parts = split(amount, work)
    ordered = sorted(work, key=lambda account: work[account])
    for less, more in pairwise(ordered):
        assert work[less] == work[more] or parts[less] <= parts[more]


@given(amount=AMOUNT, work=WORK, order=st.randoms(use_true_random=False))
def test_the_order_of_accounts_does_not_matter(amount, work, order):
    shuffled = list(work.items())
    order.shuffle(shuffled)
    assert split(amount, dict(shuffled)) == split(amount, work)


@given(reward=st.integers(1, 2**62), work=st.one_of(WORK, st.just({})), fee_ppm=st.integers(0, PPM))
def test_credits_fee_and_remainder_are_the_reward(reward, work, fee_ppm):
    """R1, R4: to the unit; a window with work in it leaves no remainder."""
    distribution = distribute_by_work(reward, work, fee_ppm=fee_ppm)
    credited = sum(credit.amount_atomic for credit in distribution.credits)
    assert credited + distribution.pool_fee_atomic + distribution.remainder_atomic == reward
    assert distribution.remainder_atomic == (0 if work else reward)
    assert 0 <= distribution.pool_fee_atomic * PPM <= reward * fee_ppm
