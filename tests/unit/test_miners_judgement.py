"""Hashrates that have sunk and shares that are refused: what is certain enough to be told."""

import random

import pytest

from miners.domain import BIN_MS
from miners.judgement import USUAL_MS, Hour, bin_due, hashrate_step, refused, reject_step


def hour(accepted, *, usual_per_hour=60, usual_ms=USUAL_MS, work=1000):
    usual_work = usual_per_hour * work * usual_ms // 3_600_000
    return Hour(work=accepted * work, accepted=accepted, usual_work=usual_work, usual_ms=usual_ms)


@pytest.mark.parametrize(
    ("accepted", "usual_per_hour", "step"),
    [(60, 60, 0), (45, 60, 0), (15, 60, 60), (4, 60, 30), (600, 1200, 60), (240, 1200, 30), (1150, 1200, 0)],
)
def test_step_is_told_only_where_chance_cannot_explain_the_hashrate(accepted, usual_per_hour, step):
    assert hashrate_step(hour(accepted, usual_per_hour=usual_per_hour), told=0) == step


def test_steps_are_told_downwards_until_the_hashrate_has_recovered():
    assert hashrate_step(hour(600, usual_per_hour=1200), told=30) == 30
    assert hashrate_step(hour(240, usual_per_hour=1200), told=60) == 30
    assert hashrate_step(hour(1000, usual_per_hour=1200), told=60) == 60
    assert hashrate_step(hour(1090, usual_per_hour=1200), told=60) == 0


def test_silence_and_new_workers_have_no_step():
    assert hashrate_step(hour(0), told=0) == 0
    assert hashrate_step(hour(10, usual_ms=USUAL_MS // 3), told=0) == 0


def test_constant_hashrate_is_never_told_to_be_low_in_thirty_days():
    for rate in (60, 240, 1200):
        randomness = random.Random(rate)
        for _ in range(30 * 48):
            accepted = round(randomness.normalvariate(rate, rate**0.5))
            assert hashrate_step(hour(max(accepted, 0), usual_per_hour=rate), told=0) == 0


@pytest.mark.parametrize(
    ("counts", "told", "step"),
    [
        ((95, 5, 0, 0, 0), 0, 5),
        ((98, 1, 1, 0, 0), 0, 2),
        ((99, 1, 0, 0, 0), 0, 0),
        ((9, 9, 0, 0, 0), 0, 0),
        ((97, 3, 0, 0, 0), 5, 5),
        ((98, 2, 0, 0, 0), 5, 2),
        ((40, 60, 0, 0, 0), 5, 50),
        ((0, 0, 0, 0, 0), 5, 0),
    ],
)
def test_steps_of_refused_shares(counts, told, step):
    """S9."""
    assert reject_step(counts, told=told) == step


def test_reason_is_that_of_most():
    assert refused((90, 2, 0, 8, 0)) == ("low-difficulty", 1000, 100)


def test_half_hour_is_due_half_a_minute_after_its_end():
    assert bin_due(2 * BIN_MS + 29_999) == 0
    assert bin_due(2 * BIN_MS + 30_000) == BIN_MS
