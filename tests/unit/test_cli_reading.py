"""Numbers for people."""

import pytest

from cli.reading import hashrate_text, ratio_percent, time_text


@pytest.mark.parametrize(
    ("hashrate", "text"),
    [
        (0, "0 H/s"),
        (7, "7 H/s"),
        (999, "999 H/s"),
        (1000, "1.00 kH/s"),
        (1_234_567, "1.23 MH/s"),
        (123_456_789, "123 MH/s"),
        (98_765_432_100_000, "98.7 TH/s"),
        ("1500", "1.50 kH/s"),
        ("", "0 H/s"),
    ],
)
def test_a_hashrate_is_shown_with_three_digits_and_its_unit(hashrate: int | str, text: str) -> None:
    assert hashrate_text(hashrate) == text


def test_effort_is_work_over_work_and_a_dash_without_a_whole() -> None:
    assert ratio_percent("15", "10") == "150.0 %"
    assert ratio_percent("1", "3") == "33.3 %"
    assert ratio_percent("1", "0") == "–"


def test_a_time_that_never_was_is_a_dash() -> None:
    assert time_text(0) == "–"
    assert time_text(1_700_000_000_000) == "2023-11-14 22:13:20"
