"""The rules of payouts: states, amounts, fees, sightings."""

from itertools import product

import msgspec
import pytest

from payouts.config import PayoutSettings
from payouts.domain import (
    OPEN,
    PAYING_ARROWS,
    TRANSITIONS,
    Arrow,
    BatchEvent,
    BatchStatus,
    Due,
    FeePolicy,
    Finding,
    Sighting,
    after,
    due_accounts,
    fee_problem,
    fee_rate_within,
    judge,
    output_weight,
    outputs_limit_after_split,
    outputs_limit_after_success,
)
from payouts.errors import IllegalTransition

POLICY = FeePolicy(rate_min_sat_per_kvb=1_000, rate_max_sat_per_kvb=500_000, fee_atomic_max=2_000_000)


@pytest.mark.parametrize(("status", "event"), list(product(BatchStatus, BatchEvent)))
def test_table_answers_or_refuses_every_pair_of_status_and_event(status: BatchStatus, event: BatchEvent) -> None:
    """P4"""
    if (status, event) in TRANSITIONS:
        assert after(status, event) is TRANSITIONS[status, event]
    else:
        with pytest.raises(IllegalTransition, match=f"{status} does not {event}"):
            after(status, event)


def test_confirmed_and_voided_are_final_and_everything_else_can_be_left() -> None:
    left = {status for status, _ in TRANSITIONS}
    assert set(BatchStatus) - left == {BatchStatus.CONFIRMED, BatchStatus.VOIDED}
    assert left == OPEN


def test_batch_that_may_have_been_sent_is_voided_from_review_only() -> None:
    """P3"""
    ways = {(status, event) for (status, event), target in TRANSITIONS.items() if target is BatchStatus.VOIDED}
    assert ways == {(BatchStatus.REVIEW, BatchEvent.VOID), (BatchStatus.RESERVED, BatchEvent.SPLIT)}


def test_batch_is_confirmed_only_from_broadcast() -> None:
    ways = {status for (status, _), target in TRANSITIONS.items() if target is BatchStatus.CONFIRMED}
    assert ways == {BatchStatus.BROADCAST}


def test_arrows_of_a_good_batch_are_all_but_those_of_review_and_void() -> None:
    assert set(Arrow) - set(PAYING_ARROWS) == {Arrow.REVIEWING, Arrow.REVIEWED, Arrow.VOIDING, Arrow.VOIDED}


@pytest.mark.parametrize(
    ("balance", "own", "is_due"),
    [
        (1_000_000, 0, True),
        (999_999, 0, False),
        (50_000, 50_000, True),
        (49_999, 50_000, False),
        (5_000_000, 5_000_001, False),
        (999, 1, False),
        (1_000, 1, True),
    ],
)
def test_balance_is_due_at_its_own_threshold_or_the_default_and_never_as_dust(
    balance: int, own: int, is_due: bool
) -> None:
    """P5"""
    due = due_accounts([("a", balance)], thresholds={"a": own}, threshold_default_atomic=1_000_000, dust_atomic=1_000)
    assert due == ([Due(account="a", amount_atomic=balance)] if is_due else [])


def test_largest_balances_come_first_and_equals_by_account() -> None:
    due = due_accounts([("c", 5), ("a", 7), ("b", 7)], thresholds={}, threshold_default_atomic=1, dust_atomic=1)
    assert [entry.account for entry in due] == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("estimate", "rate"),
    [(None, 10_000), (20_000, 20_000), (1, 1_000), (500_000, 500_000), (500_001, None)],
)
def test_fee_rate_is_the_estimate_raised_to_the_minimum_and_refused_above_the_maximum(
    estimate: int | None, rate: int | None
) -> None:
    """P9"""
    assert fee_rate_within(estimate, fallback=10_000, policy=POLICY) == rate


@pytest.mark.parametrize(
    ("fee_atomic", "weight", "word"),
    [
        (1_420, 565, ""),
        (128, 565, ""),
        (127, 565, "absurdly low"),
        (2_000_000, 400_000, ""),
        (2_000_001, 400_000, "above the ceiling"),
    ],
)
def test_fee_is_refused_above_its_ceiling_and_far_below_the_minimum_rate(
    fee_atomic: int, weight: int, word: str
) -> None:
    """P9"""
    problem = fee_problem(fee_atomic=fee_atomic, weight=weight, policy=POLICY)
    assert bool(problem) == bool(word)
    assert word in problem


@pytest.mark.parametrize(
    ("sighting", "finding"),
    [
        (None, Finding.RESEND),
        (Sighting(confirmations=-1, is_in_mempool=False), Finding.CONFLICT),
        (Sighting(confirmations=0, is_in_mempool=False), Finding.RESEND),
        (Sighting(confirmations=0, is_in_mempool=True), Finding.WAIT),
        (Sighting(confirmations=1, is_in_mempool=False), Finding.WAIT),
        (Sighting(confirmations=5, is_in_mempool=False), Finding.WAIT),
        (Sighting(confirmations=6, is_in_mempool=False), Finding.SETTLE),
    ],
)
def test_sighting_decides_what_becomes_of_a_batch(sighting: Sighting | None, finding: Finding) -> None:
    """P10"""
    assert judge(sighting, confirmations=6) is finding


def test_unconfirmed_transaction_is_never_settled_whatever_the_setting() -> None:
    assert judge(Sighting(confirmations=0, is_in_mempool=True), confirmations=0) is Finding.WAIT


def test_output_of_a_p2wpkh_address_weighs_124() -> None:
    assert output_weight(bytes(22)) == 124


def test_outputs_are_halved_when_too_heavy_and_doubled_until_there_is_no_own_limit() -> None:
    """P7"""
    assert [outputs_limit_after_split(count) for count in (200, 3, 2)] == [100, 1, 1]
    assert [outputs_limit_after_success(limit, outputs_max=200) for limit in (1, 50, 99, 100)] == [2, 100, 198, 0]


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ('{"treshold_atomic": 5}', "treshold_atomic"),
        ('{"confirmations": 0}', "confirmations"),
        ('{"fee_rate_min_sat_per_kvb": 9, "fee_rate_max_sat_per_kvb": 8}', "must not be above"),
        ('{"threshold_atomic": 9, "dust_atomic": 10}', "must not be above"),
        ('{"threshold_atomic": 0.5}', "int"),
    ],
)
def test_bad_settings_are_refused_with_what_is_wrong(text: str, word: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=word):
        msgspec.json.decode(text, type=PayoutSettings)
