"""When a worker counts as offline: false alarms and delays, over thirty simulated days."""

import random

import pytest

from miners.pace import LIMIT_MS_MIN, NEW_LIMIT_MS_MIN, RESTLESS_LIMIT_MS_MIN, Pace, interval_ms, limit_ms
from stratum.protocol.vardiff import Vardiff, VardiffRules

MONTH_MS = 30 * 86_400_000


def new_pace(work=1000):
    return Pace(last_time_ms=0, last_work=work, return_time_ms=0)


def steady(interval, count, work=1000):
    pace = new_pace(work)
    for number in range(1, count + 1):
        pace.note(number * interval, work)
    return pace


def simulate(rate_per_min, *, seed, duration_ms=MONTH_MS):
    """Let a worker of constant hashrate mine; return false alarms and the limits that were in force, sorted."""
    draw, rate = random.Random(seed).expovariate, rate_per_min / 60_000
    pace, now_ms, alarm_count, limits = new_pace(), 0.0, 0, []
    note, number = pace.note, 0
    while now_ms < duration_ms:
        now_ms += draw(rate)
        note(int(now_ms), 1000)
        number += 1
        if pace.return_time_ms:
            alarm_count, pace.return_time_ms = alarm_count + 1, 0
        if number % 499 == 0:
            limits.append(limit_ms(pace))
    return alarm_count, sorted(limits)


# Seconds: docs/NOTICES.md has the same table. Nobody here is told sooner than a minute after the last share.
@pytest.mark.parametrize(
    ("rate_per_min", "worker_count", "typical_s", "longest_s"), [(1, 20, 900, 1100), (4, 8, 260, 310), (20, 2, 62, 70)]
)
def test_worker_is_falsely_offline_at_most_once_in_thirty_days(rate_per_min, worker_count, typical_s, longest_s):
    total = 0
    for seed in range(worker_count):
        alarm_count, limits = simulate(rate_per_min, seed=seed)
        assert alarm_count <= 1, f"seed {seed}"
        assert limits[len(limits) // 2] <= typical_s * 1000, f"seed {seed}"
        assert limits[len(limits) * 95 // 100] <= longest_s * 1000, f"seed {seed}"
        total += alarm_count
    assert total <= max(2, worker_count // 4)


def test_changes_of_the_share_difficulty_are_no_alarm():
    """The pool's own vardiff, from a start that is 300 times too easy."""
    rules = VardiffRules(share_interval_ms=10_000, retarget_interval_ms=60_000)
    alarm_count, changes = 0, 0
    for seed in range(60):
        randomness = random.Random(seed)
        work, hashes_per_ms, now_ms = 1000, 30.0, 0.0
        pace, vardiff = new_pace(work), Vardiff(0)
        while now_ms < 86_400_000 / 2:
            now_ms += randomness.expovariate(hashes_per_ms / work)
            pace.note(int(now_ms), work)
            alarm_count += pace.return_time_ms > 0
            pace.return_time_ms = 0
            vardiff.record(work)
            changed = vardiff.retarget(int(now_ms), work=work, rules=rules)
            changes += changed is not None
            work = changed or work
    assert changes > 60
    assert alarm_count == 0


def test_worked_examples_of_the_docstrings():
    assert round(limit_ms(steady(60_000, 48)) / 1000) == 894
    pace = steady(20_000, 10)
    pace.note(220_000, 4000)
    assert round(interval_ms(pace)) == 62_857


def test_raised_difficulty_lengthens_the_limit_at_once():
    pace = steady(20_000, 48)
    before = limit_ms(pace)
    pace.note(49 * 20_000, 8000)
    assert limit_ms(pace) > 5 * before


def test_quick_worker_has_a_minute_a_new_one_a_quarter_of_an_hour_a_restless_one_five_minutes():
    assert limit_ms(steady(100, 48)) == LIMIT_MS_MIN
    assert limit_ms(new_pace()) == limit_ms(steady(100, 15)) == NEW_LIMIT_MS_MIN
    restless = steady(100, 48)
    restless.note(4_900, 1500)
    assert limit_ms(restless) == RESTLESS_LIMIT_MS_MIN


def test_silence_beyond_the_limit_is_no_interval_and_what_was_before_is_forgotten():
    pace = steady(1_000, 48)
    pace.note(48_000 + 60_001, 1000)
    assert (pace.return_time_ms, pace.old_count, pace.new_count) == (108_001, 0, 0)
    assert limit_ms(pace) == NEW_LIMIT_MS_MIN


def test_share_that_comes_late_does_not_set_the_last_one_back():
    pace = steady(1_000, 10)
    pace.note(5_000, 1000)
    assert (pace.last_time_ms, pace.new_count, pace.new_ms) == (10_000, 11, 10_000)
