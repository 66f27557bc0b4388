"""What chance allows to say, in whole numbers."""

import pytest

from gateway.expectation import expected_atomic_per_day, hashrate_interval, mean_percent

EXACT_95 = {1: (0.0253, 5.572), 5: (1.623, 11.668), 10: (4.795, 18.390), 50: (37.11, 65.92), 100: (81.36, 121.63)}
"""Count → exact (Garwood) bounds of the Poisson mean, from tables of the chi-square distribution."""


@pytest.mark.parametrize("count", EXACT_95)
def test_the_interval_is_that_of_a_poisson_count(count):
    low, high = hashrate_interval(count * 10**6, count)
    exact_low, exact_high = EXACT_95[count]
    assert low == pytest.approx(exact_low * 10**6, rel=0.01, abs=20_000)
    assert high == pytest.approx(exact_high * 10**6, rel=0.01)


def test_without_a_share_nothing_is_known():
    assert hashrate_interval(0, 0) is None


def test_the_interval_holds_the_hashrate_whatever_its_size():
    for hps in (0, 1, 10**30):
        for count in (1, 2, 360, 10**9):
            low, high = hashrate_interval(hps, count)
            assert 0 <= low <= hps <= high


def test_a_days_expectation_is_rounded_down():
    given = {"network_work": 864_000_000, "reward_atomic": 5_000_000_000, "fee_ppm": 10_000}
    assert expected_atomic_per_day(hps=1_000, **given) == 495_000_000
    assert expected_atomic_per_day(hps=1, network_work=86_400 * 3, reward_atomic=10, fee_ppm=0) == 3


def test_the_mean_of_efforts_leaves_out_what_is_not_known():
    assert mean_percent([None, 10_000, 3_333]) == "66.66"
    assert mean_percent([None]) is None
