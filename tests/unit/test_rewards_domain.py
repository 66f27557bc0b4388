"""A block's life as a table, and what each scheme asks for."""

from dataclasses import replace

import pytest

from ledger import domain as ledger
from rewards.domain import (
    STEPS,
    FoundBlock,
    Scheme,
    Sight,
    Status,
    Step,
    WindowPlan,
    check_found,
    distribute,
    parse_scheme,
    sight,
    window_plan,
)
from rewards.errors import BlockInvalid
from rewards.transfers import credit_transfers, maturity_transfers, reversal_transfers

FOUND = FoundBlock(
    coin="litecoin-regtest",
    block_hash_hex="ab" * 32,
    height=100,
    found_time_ms=1_700_000_000_000,
    account="alice",
    worker="rig1",
    scheme=Scheme.PPLNS,
    reward_atomic=5_000_000_000,
    fees_atomic=0,
    network_work=1_000_000,
    coinbase_txid_hex="cd" * 32,
    instance="stratum-1",
    fee_ppm=10_000,
)


def test_every_status_has_a_step_for_every_sight():
    assert set(STEPS) == {(status, seen) for status in Status for seen in Sight}


def test_money_that_is_payable_is_never_reversed_by_itself():
    """R5."""
    assert {STEPS[Status.MATURE, seen] for seen in Sight} == {Step.STAY, Step.HOLD}


def test_a_block_is_orphaned_only_by_another_block_at_its_height():
    """R5: not knowing is no answer."""
    assert all(STEPS[status, Sight.UNSEEN] is Step.STAY for status in Status)
    orphaning = {key for key, step in STEPS.items() if step in {Step.ORPHAN, Step.REVERSE}}
    assert {seen for _, seen in orphaning} == {Sight.REPLACED, Sight.BURIED}


@pytest.mark.parametrize(
    ("hash_at_height", "confirmations", "tip_height", "expected"),
    [
        (None, -1, 99, Sight.UNSEEN),
        ("ab" * 32, 1, 100, Sight.IN_CHAIN),
        ("ab" * 32, 99, 198, Sight.IN_CHAIN),
        ("ab" * 32, 100, 199, Sight.CONFIRMED),
        ("ab" * 32, -1, 150, Sight.UNSEEN),
        ("ee" * 32, -1, 100, Sight.REPLACED),
        ("ee" * 32, -1, 109, Sight.REPLACED),
        ("ee" * 32, -1, 110, Sight.BURIED),
    ],
)
def test_the_answer_at_the_height_says_where_a_block_is(hash_at_height, confirmations, tip_height, expected):
    """R5."""
    assert (
        sight(
            FOUND,
            hash_at_height=hash_at_height,
            confirmations=confirmations,
            tip_height=tip_height,
            maturity_blocks=100,
            orphan_depth=10,
        )
        is expected
    )


@pytest.mark.parametrize(
    ("scheme", "plan"),
    [
        (Scheme.PPLNS, WindowPlan(start_height=0, end_height=100, window_work=2_000_000)),
        (Scheme.PROP, WindowPlan(start_height=81, end_height=100, window_work=None)),
        (Scheme.SOLO, None),
    ],
)
def test_each_scheme_asks_for_its_window(scheme, plan):
    """R3."""
    assert window_plan(replace(FOUND, scheme=scheme), previous_height=80, pplns_window_percent=200) == plan


def test_a_solo_block_ignores_the_window():
    assert distribute(replace(FOUND, scheme=Scheme.SOLO), {"bob": 5}).credits[0].account == "alice"
    assert distribute(FOUND, {"bob": 5}).credits[0].account == "bob"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("coin", ""),
        ("block_hash_hex", "AB" * 32),
        ("block_hash_hex", "ab" * 31),
        ("height", 0),
        ("account", ""),
        ("account", "pool:fee"),
        ("reward_atomic", 0),
        ("fees_atomic", -1),
        ("fees_atomic", 5_000_000_001),
        ("network_work", 0),
    ],
)
def test_a_report_that_cannot_be_booked_is_refused(field, value):
    with pytest.raises(BlockInvalid):
        check_found(replace(FOUND, **{field: value}))


def test_an_unknown_scheme_is_refused_by_name():
    check_found(FOUND)
    with pytest.raises(BlockInvalid, match="lottery"):
        parse_scheme("lottery")


def test_the_transfers_of_a_block_are_the_same_when_made_again_and_new_for_each_generation():
    """R2, R5: ids follow from coin, block, generation, step and owner."""
    distribution = distribute(FOUND, {"bob": 5, "carol": 1, "dave": 1})
    first, again, second = (
        credit_transfers(distribution, coin=FOUND.coin, block_hash_hex=FOUND.block_hash_hex, generation=generation)
        for generation in (1, 1, 2)
    )
    transfers = [
        *first,
        *second,
        *reversal_transfers(first, generation=1),
        *maturity_transfers(second, generation=2),
    ]
    assert first == again
    assert len({transfer.transfer_id for transfer in transfers}) == len(transfers) == 16
    assert sum(transfer.amount_atomic for transfer in first) == FOUND.reward_atomic
    for transfer in transfers:
        ledger.check(transfer)
