"""Rules of slices."""

from dataclasses import replace

import pytest

from shares.domain import Booking, Gap, Mark, Outcome, ShareColumns, Submitter, check_batch, check_mark
from shares.errors import MalformedRecord

COIN = "litecoin-regtest"
MINUTE_MS = 60_000
NOON_MS = 28_333_334 * MINUTE_MS
ALICE = Submitter(account="alice", worker="rig", scheme="pplns", user_agent="cgminer/4.11.1")
BOB = Submitter(account="bob", worker="", scheme="solo", user_agent="")


def batch_of(*shares: tuple[int, int, int, int, Outcome], first_seq: int = 1, instance: str = "0-a-1") -> ShareColumns:
    """Build a batch from (submitter index, offset in ms, height, work, outcome)."""
    return ShareColumns(
        instance=instance,
        coin=COIN,
        first_seq=first_seq,
        base_time_ms=NOON_MS,
        submitters=[ALICE, BOB],
        submitter_index=[share[0] for share in shares],
        time_offset_ms=[share[1] for share in shares],
        height=[share[2] for share in shares],
        work=[share[3] for share in shares],
        hash_work=[share[3] * 3 if share[4] == Outcome.ACCEPTED else 0 for share in shares],
        outcome=[int(share[4]) for share in shares],
    )


def fresh_booking() -> Booking:
    return Booking(instances={}, closed_heights={})


def alice_at(height: int, minute: int = NOON_MS // MINUTE_MS) -> tuple[str, str, str, str, int, int]:
    return COIN, "pplns", "alice", "rig", height, minute


def mark_of(**changes: object) -> Mark:
    mark = Mark(instance="0-a-1", coin=COIN, last_seq=0, height=7, time_ms=NOON_MS, is_closed=False)
    return replace(mark, **changes)  # type: ignore[arg-type]


def test_shares_of_one_height_and_minute_are_one_slice():
    booking = fresh_booking()
    booking.add_batch(batch_of((0, 0, 7, 10, Outcome.ACCEPTED), (0, 59_000, 7, 20, Outcome.ACCEPTED)))
    assert booking.slices == {alice_at(7): [30, 2, 0, 0, 0, 0, 60, NOON_MS + 59_000]}


def test_shares_before_and_after_a_block_never_mix():
    booking = fresh_booking()
    booking.add_batch(batch_of((0, 0, 7, 10, Outcome.ACCEPTED), (0, 1, 8, 20, Outcome.ACCEPTED)))
    assert booking.slices[alice_at(7)][0] == 10
    assert booking.slices[alice_at(8)][0] == 20


def test_rejected_shares_are_counted_by_reason_and_carry_no_work():
    """S9."""
    booking = fresh_booking()
    rejected = [outcome for outcome in Outcome if outcome != Outcome.ACCEPTED]
    booking.add_batch(batch_of(*[(0, 0, 7, 10, outcome) for outcome in rejected]))
    assert booking.slices == {alice_at(7): [0, 0, 1, 1, 1, 1, 0, 0]}
    assert booking.instances["0-a-1"].counts == [0, 1, 1, 1, 1]
    assert booking.instances["0-a-1"].work == 0


def test_batch_that_comes_again_changes_nothing():
    """D3, D4."""
    booking = fresh_booking()
    batch = batch_of((0, 0, 7, 10, Outcome.ACCEPTED), (1, 0, 7, 20, Outcome.ACCEPTED))
    booking.add_batch(batch)
    before = {key: list(found) for key, found in booking.slices.items()}
    booking.add_batch(batch)
    assert booking.slices == before
    assert booking.repeated_count == 2
    assert booking.instances["0-a-1"].last_seq == 2


def test_overlapping_batch_counts_only_its_new_shares():
    """D3, D4."""
    booking = fresh_booking()
    booking.add_batch(batch_of((0, 0, 7, 10, Outcome.ACCEPTED), (0, 0, 7, 20, Outcome.ACCEPTED)))
    booking.add_batch(batch_of((0, 0, 7, 20, Outcome.ACCEPTED), (0, 0, 7, 40, Outcome.ACCEPTED), first_seq=2))
    assert booking.slices[alice_at(7)][:2] == [70, 3]
    assert booking.gaps == []


def test_gap_is_named_and_what_follows_is_booked():
    booking = fresh_booking()
    booking.add_batch(batch_of((0, 0, 7, 10, Outcome.ACCEPTED)))
    booking.add_batch(batch_of((0, 0, 7, 10, Outcome.ACCEPTED), first_seq=5))
    assert booking.gaps == [Gap(instance="0-a-1", first_seq=2, last_seq=4)]
    assert booking.slices[alice_at(7)][:2] == [20, 2]
    assert booking.instances["0-a-1"].last_seq == 5


def test_late_accepted_share_is_booked_above_the_closed_height_and_counted():
    """R3."""
    booking = Booking(instances={}, closed_heights={(COIN, "pplns"): 9})
    booking.add_batch(batch_of((0, 0, 7, 10, Outcome.ACCEPTED), (0, 0, 9, 20, Outcome.ACCEPTED)))
    assert list(booking.slices) == [alice_at(10)]
    assert booking.slices[alice_at(10)][:2] == [30, 2]
    assert booking.late_counts == {COIN: 2}


def test_rejected_share_of_a_closed_height_stays_where_it_was_made():
    booking = Booking(instances={}, closed_heights={(COIN, "pplns"): 9})
    booking.add_batch(batch_of((0, 0, 7, 10, Outcome.STALE), (0, 0, 7, 10, Outcome.ACCEPTED)))
    assert booking.slices[alice_at(7)] == [0, 0, 1, 0, 0, 0, 0, 0]
    assert booking.slices[alice_at(10)][:3] == [10, 1, 0]
    assert booking.late_counts == {COIN: 1}


def test_closed_height_of_one_scheme_does_not_move_shares_of_another():
    booking = Booking(instances={}, closed_heights={(COIN, "pplns"): 9})
    booking.add_batch(batch_of((1, 0, 7, 10, Outcome.ACCEPTED)))
    assert list(booking.slices) == [(COIN, "solo", "bob", "", 7, NOON_MS // MINUTE_MS)]


def test_newest_mark_counts_by_its_own_time():
    booking = fresh_booking()
    booking.add_mark(mark_of(height=9, time_ms=NOON_MS + 2))
    booking.add_mark(mark_of(height=8, time_ms=NOON_MS + 1))
    assert booking.instances["0-a-1"].mark_height == 9
    booking.add_mark(mark_of(height=7, time_ms=NOON_MS + 3))
    assert booking.instances["0-a-1"].mark_height == 7


def test_mark_names_the_shares_that_should_have_come_before_it_once():
    booking = fresh_booking()
    assert booking.add_mark(mark_of(last_seq=3)) == Gap(instance="0-a-1", first_seq=1, last_seq=3)
    assert booking.add_mark(mark_of(last_seq=3)) is None


def test_closed_instance_stays_closed():
    booking = fresh_booking()
    booking.add_mark(mark_of(is_closed=True))
    booking.add_mark(mark_of(time_ms=NOON_MS + 1))
    assert booking.instances["0-a-1"].is_closed


def test_instance_of_another_coin_is_refused_without_effect():
    booking = fresh_booking()
    booking.add_batch(batch_of((0, 0, 7, 10, Outcome.ACCEPTED)))
    with pytest.raises(MalformedRecord, match="serves litecoin-regtest"):
        booking.add_batch(replace(batch_of((0, 0, 7, 10, Outcome.ACCEPTED), first_seq=2), coin="bitcoin"))
    assert booking.instances["0-a-1"].last_seq == 1


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"height": [7, 7]}, "differ in length"),
        ({"submitter_index": [2]}, "names no submitter"),
        ({"outcome": [0]}, "unknown outcome"),
        ({"outcome": [6]}, "unknown outcome"),
        ({"work": [-1]}, "negative"),
        ({"hash_work": [-1]}, "negative"),
        ({"work": [0]}, "no work"),
        ({"first_seq": 0}, "first_seq is out of range"),
        ({"base_time_ms": -1}, "out of range"),
        ({"base_time_ms": 1 << 42}, "out of range"),
        ({"instance": ""}, "instance is empty"),
        ({"coin": "a\x00b"}, "NUL"),
        ({"submitters": [replace(ALICE, account="")]}, "account is empty"),
        ({"submitters": [replace(ALICE, worker="w" * 256)]}, "longer"),
        ({"submitters": [replace(ALICE, scheme="")]}, "scheme is empty"),
    ],
)
def test_batch_that_breaks_a_rule_is_refused(changes, problem):
    batch = batch_of((0, 0, 7, 10, Outcome.ACCEPTED))
    check_batch(batch)
    with pytest.raises(MalformedRecord, match=problem):
        check_batch(replace(batch, **changes))


@pytest.mark.parametrize(
    ("changes", "problem"),
    [({"height": -1}, "range"), ({"last_seq": 1 << 62}, "range"), ({"time_ms": -1}, "range"), ({"coin": ""}, "empty")],
)
def test_mark_that_breaks_a_rule_is_refused(changes, problem):
    with pytest.raises(MalformedRecord, match=problem):
        check_mark(mark_of(**changes))
