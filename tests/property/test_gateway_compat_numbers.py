"""Numbers of the second face hold exactly what they are made from."""

from decimal import Decimal
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from gateway.compat.numbers import money, ratio
from gateway.compat.query import ValueRefused, read_query


@given(st.integers(-(10**20), 10**20), st.integers(0, 18))
def test_money_reads_back_exactly(atomic, decimals):
    """R1: no unit is lost between the ledger and the text."""
    text = bytes(money(atomic, decimals=decimals)).decode()
    assert Fraction(Decimal(text)) * 10**decimals == atomic


@given(st.integers(0, 10**40), st.integers(1, 10**40), st.integers(1, 12))
def test_a_ratio_is_rounded_down_by_less_than_its_last_digit(numerator, denominator, digits):
    exact = Fraction(numerator, denominator)
    written = Fraction(Decimal(bytes(ratio(numerator, denominator, digits=digits)).decode()))
    assert written <= exact < written + Fraction(1, 10**digits)


@given(st.lists(st.tuples(st.sampled_from(["page", "pageSize", "state", "r", "i", "mode", "x"]), st.text(max_size=12))))
def test_any_parameters_are_read_or_refused(pairs):
    try:
        query = read_query(pairs, page_size_max=100)
    except ValueRefused:
        return
    assert 1 <= query.page_size <= 100
    assert query.states
