"""Work is conserved: however the stream is cut, sent again or restarted, the slices are the same."""

import copy
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from shares.domain import (
    Booking,
    InstanceState,
    Outcome,
    ShareColumns,
    Submitter,
    accepted_work,
    pool_sums,
    worker_sums,
)
from shares.window import WindowEdge

COIN = "litecoin-regtest"
BASE_MS = 1_700_000_000_000
SUBMITTERS = [
    Submitter(account=account, worker=worker, scheme=scheme, user_agent="")
    for account in ("alice", "bob")
    for worker in ("", "rig")
    for scheme in ("pplns", "solo")
]
SHARE = st.tuples(
    st.integers(0, len(SUBMITTERS) - 1),
    st.integers(0, 300_000),
    st.integers(0, 5),
    st.integers(1, (1 << 63) - 1),
    st.sampled_from([int(outcome) for outcome in Outcome]),
)
STREAM = st.lists(SHARE, min_size=1, max_size=40)
CUTS = st.lists(st.integers(0, 40), max_size=10)


def stream_of(shares: list[tuple[int, int, int, int, int]], instance: str = "a") -> ShareColumns:
    index, offset, height, work, outcome = (list(column) for column in zip(*shares, strict=True))
    return ShareColumns(
        instance=instance,
        coin=COIN,
        first_seq=1,
        base_time_ms=BASE_MS,
        submitters=SUBMITTERS,
        submitter_index=index,
        time_offset_ms=offset,
        height=height,
        work=work,
        hash_work=[value if kind == Outcome.ACCEPTED else 0 for value, kind in zip(work, outcome, strict=True)],
        outcome=outcome,
    )


def part(stream: ShareColumns, first: int, last: int) -> ShareColumns:
    """Return the shares from `first` up to, not including, `last`."""
    return ShareColumns(
        instance=stream.instance,
        coin=stream.coin,
        first_seq=stream.first_seq + first,
        base_time_ms=stream.base_time_ms,
        submitters=stream.submitters,
        submitter_index=stream.submitter_index[first:last],
        time_offset_ms=stream.time_offset_ms[first:last],
        height=stream.height[first:last],
        work=stream.work[first:last],
        hash_work=stream.hash_work[first:last],
        outcome=stream.outcome[first:last],
    )


class Books:
    """Slices and instances as the database keeps them between bookings; each booking may fail before it is stored."""

    def __init__(self, closed_heights: dict[tuple[str, str], int] | None = None) -> None:
        self.slices: dict[object, list[int]] = {}
        self.instances: dict[str, InstanceState] = {}
        self.closed_heights = closed_heights or {}

    def book(self, batches: list[ShareColumns], *, is_lost: bool = False) -> None:
        booking = Booking(instances=copy.deepcopy(self.instances), closed_heights=dict(self.closed_heights))
        for batch in batches:
            booking.add_batch(batch)
        if is_lost:
            return
        self.instances = booking.instances
        for key, found in booking.slices.items():
            total = self.slices.setdefault(key, [0] * len(found))
            total[:6] = [a + b for a, b in zip(total[:6], found[:6], strict=True)]
            total[6:] = [max(a, b) for a, b in zip(total[6:], found[6:], strict=True)]


def booked_at_once(stream: ShareColumns) -> Books:
    books = Books()
    books.book([stream])
    return books


@given(STREAM, CUTS)
def test_any_cut_of_the_stream_gives_the_same_slices(shares, cuts):
    """D3, D4."""
    stream = stream_of(shares)
    whole = booked_at_once(stream)
    edges = [0, *sorted(min(cut, len(shares)) for cut in cuts), len(shares)]
    books = Books()
    for first, last in pairwise(edges):
        books.book([part(stream, first, last)])
    assert books.slices == whole.slices
    assert books.instances == whole.instances


@given(STREAM, st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40), st.booleans()), max_size=12))
def test_replays_overlaps_and_lost_transactions_change_nothing(shares, tries):
    """D3, D4: what is sent again, overlapping or after a failed transaction, counts once."""
    stream = stream_of(shares)
    whole = booked_at_once(stream)
    books = Books()
    for start, length, is_lost in tries:
        booked = books.instances["a"].last_seq if "a" in books.instances else 0
        first = min(start, booked)
        books.book([part(stream, first, min(first + length, len(shares)))] * 2, is_lost=is_lost)
    books.book([stream])
    assert books.slices == whole.slices
    assert books.instances == whole.instances


@given(STREAM, STREAM, st.randoms(use_true_random=False))
def test_order_of_instances_does_not_matter(left, right, rng):
    parts = [part(stream_of(left, "a"), n, n + 1) for n in range(len(left))]
    others = [part(stream_of(right, "b"), n, n + 1) for n in range(len(right))]
    a, b = iter(parts), iter(others)
    turns = rng.sample(["a"] * len(parts) + ["b"] * len(others), len(parts) + len(others))
    mixed = [next(a if name == "a" else b) for name in turns]
    ordered, shuffled = Books(), Books()
    ordered.book([*parts, *others])
    shuffled.book(mixed)
    assert shuffled.slices == ordered.slices


@given(STREAM, st.dictionaries(st.sampled_from([(COIN, "pplns"), (COIN, "solo")]), st.integers(-1, 6)))
def test_work_is_conserved_and_never_enters_closed_heights(shares, closed_heights):
    """R3."""
    stream = stream_of(shares)
    books = Books(closed_heights)
    books.book([stream])
    assert sum(found[0] for found in books.slices.values()) == accepted_work(stream)
    assert sum(sum(found[1:6]) for found in books.slices.values()) == len(shares)
    assert books.instances["a"].work == accepted_work(stream)
    for (coin, scheme, _, _, height, _), found in books.slices.items():
        if height <= closed_heights.get((coin, scheme), -1):
            assert found[0] == found[1] == 0


@given(STREAM)
def test_sums_of_pool_and_workers_hold_what_the_slices_hold(shares):
    booking = Booking(instances={}, closed_heights={})
    booking.add_batch(stream_of(shares))
    expected = [sum(column) for column in zip(*(found[:6] for found in booking.slices.values()), strict=True)]
    for sums in (pool_sums(booking.slices), worker_sums(booking.slices)):
        assert [sum(column) for column in zip(*(found[:6] for found in sums.values()), strict=True)] == expected


@given(
    st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9), st.integers(0, 1 << 70)), unique_by=lambda g: g[:2]),
    st.one_of(st.none(), st.integers(0, 1 << 72)),
)
def test_pplns_window_is_the_shortest_run_of_whole_groups_that_holds_its_work(groups, window_work):
    """R4."""
    newest_first = sorted(groups, reverse=True)
    edge = WindowEdge(window_work=window_work)
    for height, minute, work in newest_first:
        edge.take(height=height, minute=minute, work=work)
    inside = [group for group in newest_first if edge.start is not None and group[:2] >= edge.start]
    assert edge.work == sum(work for _, _, work in inside)
    if window_work is None or sum(work for _, _, work in groups) < window_work:
        assert edge.work == sum(work for _, _, work in groups)
    else:
        assert edge.work >= window_work
        assert not inside or edge.work - inside[-1][2] < window_work
