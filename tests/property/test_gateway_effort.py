"""Effort is a percent in whole hundredths."""

from hypothesis import given
from hypothesis import strategies as st

from gateway import translation


@given(st.integers(0, 2**130), st.integers(1, 2**130))
def test_effort_never_exceeds_the_exact_value_and_is_within_a_hundredth_of_it(round_work, network_work):
    text = translation.effort_percent(str(round_work), str(network_work))
    hundredths = int(text.replace(".", ""))
    assert hundredths * network_work <= round_work * 10_000 < (hundredths + 1) * network_work
