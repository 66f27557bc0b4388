"""The circuit breaker and the exact amounts."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodes.amounts import atomic_from_coins, coins_from_atomic
from nodes.breaker import COOLDOWN_S_MAX, PROBE_S_MAX, Breaker, BreakerState


def test_the_breaker_opens_after_two_failures_in_a_row():
    breaker = Breaker()
    breaker.failed(0)
    breaker.succeeded()
    breaker.failed(1)
    assert breaker.may_ask(1)
    breaker.failed(2)
    assert breaker.state is BreakerState.OPEN
    assert not breaker.may_ask(2.4)
    assert breaker.wait_s(2.25) == pytest.approx(0.25)


def test_one_probe_is_let_through_and_its_success_closes_the_breaker():
    breaker = Breaker()
    breaker.failed(0)
    breaker.failed(0)
    assert breaker.may_ask(0.5)
    assert not breaker.may_ask(0.6)
    breaker.succeeded()
    assert breaker.may_ask(0.6)


def test_failed_probes_wait_twice_as_long_up_to_a_limit():
    breaker, now_s, waits = Breaker(), 0.0, []
    breaker.failed(now_s)
    breaker.failed(now_s)
    for _ in range(7):
        waits.append(breaker.wait_s(now_s))
        now_s += waits[-1]
        assert breaker.may_ask(now_s)
        breaker.failed(now_s)
    assert waits == [0.5, 1, 2, 4, 8, COOLDOWN_S_MAX, COOLDOWN_S_MAX]


def test_a_probe_nobody_reports_on_does_not_close_the_way_for_ever():
    breaker = Breaker()
    breaker.failed(0)
    breaker.failed(0)
    assert breaker.may_ask(1)
    assert not breaker.may_ask(1 + PROBE_S_MAX / 2)
    assert breaker.may_ask(1 + PROBE_S_MAX)


@pytest.mark.parametrize(
    ("value", "atomic"),
    [
        (1, 100_000_000),
        ("0.00000001", 1),
        (Decimal("1E-8"), 1),
        (Decimal("83999999.99999999"), 8_399_999_999_999_999),
        (Decimal("-0.5"), -50_000_000),
        (0, 0),
    ],
)
def test_amounts_are_read_exactly(value, atomic):
    assert atomic_from_coins(value, decimals=8) == atomic


@pytest.mark.parametrize("value", [0.1, True, None, "abc", "NaN", "Infinity", Decimal("0.000000001"), [], "1e999999"])
def test_what_is_no_exact_amount_is_refused(value):
    with pytest.raises(ValueError, match=r"amount|finer"):
        atomic_from_coins(value, decimals=8)


@given(st.integers(-(2**62), 2**62))
def test_an_amount_written_and_read_is_the_same(atomic):
    """P5: no unit is lost on the way to the wallet."""
    assert atomic_from_coins(coins_from_atomic(atomic, decimals=8), decimals=8) == atomic
