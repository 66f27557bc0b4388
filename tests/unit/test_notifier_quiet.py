"""When something is sent: quiet hours over changes of the clocks, digests, back-off, rates."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier.pacing import allowance
from notifier.quiet import backoff_ms, digest_ms, quiet_until_ms

BERLIN = "Europe/Berlin"


def ms(text: str) -> int:
    return round(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


@pytest.mark.parametrize(
    ("start", "end", "zone", "now", "until"),
    [
        # An ordinary day, over midnight and within one.
        ("23:00", "07:00", "UTC", "2026-06-01T22:59:59", None),
        ("23:00", "07:00", "UTC", "2026-06-01T23:00:00", "2026-06-02T07:00:00"),
        ("23:00", "07:00", "UTC", "2026-06-02T06:59:59", "2026-06-02T07:00:00"),
        ("23:00", "07:00", "UTC", "2026-06-02T07:00:00", None),
        ("13:00", "14:00", "UTC", "2026-06-02T13:30:00", "2026-06-02T14:00:00"),
        ("13:00", "13:00", "UTC", "2026-06-02T13:00:00", None),
        # In a zone: 22:30 UTC is 23:30 in Berlin in winter, 00:30 in summer.
        ("23:00", "07:00", BERLIN, "2026-01-10T22:30:00", "2026-01-11T06:00:00"),
        ("23:00", "07:00", BERLIN, "2026-07-10T21:30:00", "2026-07-11T05:00:00"),
        # Half-hour and far-away zones.
        ("22:00", "06:00", "Asia/Kolkata", "2026-06-01T16:30:00", "2026-06-02T00:30:00"),
        ("22:00", "06:00", "Pacific/Kiritimati", "2026-06-01T08:00:00", "2026-06-01T16:00:00"),
        # Clocks forward on 2026-03-29, 02:00 becomes 03:00 (01:00 UTC): the night is an hour shorter.
        ("23:00", "07:00", BERLIN, "2026-03-28T23:00:00", "2026-03-29T05:00:00"),
        # The end is skipped: it ends at the change.
        ("23:00", "02:30", BERLIN, "2026-03-29T00:30:00", "2026-03-29T01:00:00"),
        ("23:00", "02:30", BERLIN, "2026-03-29T01:00:00", None),
        # The start is skipped: it begins at the change.
        ("02:30", "07:00", BERLIN, "2026-03-29T00:59:59", None),
        ("02:30", "07:00", BERLIN, "2026-03-29T01:00:00", "2026-03-29T05:00:00"),
        # The whole window is skipped: there is none that day.
        ("02:10", "02:50", BERLIN, "2026-03-29T01:00:00", None),
        # Clocks back on 2026-10-25, 03:00 becomes 02:00 (01:00 UTC): the night is an hour longer.
        ("23:00", "07:00", BERLIN, "2026-10-24T22:00:00", "2026-10-25T06:00:00"),
        # The end comes twice: the first one counts, and it is not quiet again.
        ("23:00", "02:30", BERLIN, "2026-10-25T00:29:59", "2026-10-25T00:30:00"),
        ("23:00", "02:30", BERLIN, "2026-10-25T01:15:00", None),
        # The start comes twice: it begins the first time.
        ("02:30", "07:00", BERLIN, "2026-10-25T00:30:00", "2026-10-25T06:00:00"),
        ("02:30", "07:00", BERLIN, "2026-10-25T01:15:00", "2026-10-25T06:00:00"),
        # A change of half an hour: Lord Howe, 2026-10-04 02:00 becomes 02:30 (15:30 UTC the day before).
        ("22:00", "02:15", "Australia/Lord_Howe", "2026-10-03T15:00:00", "2026-10-03T15:30:00"),
    ],
)
def test_quiet_hours_are_what_the_clock_on_the_wall_shows(
    start: str, end: str, zone: str, now: str, until: str | None
) -> None:
    def minute(text: str) -> int:
        return int(text[:2]) * 60 + int(text[3:])

    found = quiet_until_ms(now_ms=ms(now), start_min=minute(start), end_min=minute(end), time_zone=zone)
    assert found == (ms(now) if until is None else ms(until))


@given(
    now_s=st.integers(ms("2020-01-01T00:00:00") // 1000, ms("2030-01-01T00:00:00") // 1000),
    start=st.integers(0, 1439),
    end=st.integers(0, 1439),
    zone=st.sampled_from([BERLIN, "UTC", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu", "Pacific/Apia"]),
)
def test_quiet_hours_end_within_a_day_and_are_over_then(now_s: int, start: int, end: int, zone: str) -> None:
    now_ms = now_s * 1000
    until = quiet_until_ms(now_ms=now_ms, start_min=start, end_min=end, time_zone=zone)
    assert now_ms <= until <= now_ms + timedelta(hours=26) / timedelta(milliseconds=1)
    # What ends is over: unless the window is a whole day less an overlap made by a change of the clocks.
    if until > now_ms and (end - start) % 1440 < 1440 - 180:
        assert quiet_until_ms(now_ms=until, start_min=start, end_min=end, time_zone=zone) == until


def test_a_digest_goes_out_at_multiples_of_its_length() -> None:
    assert digest_ms(now_ms=ms("2026-01-01T10:17:00"), digest_min=60) == ms("2026-01-01T11:00:00")
    assert digest_ms(now_ms=ms("2026-01-01T11:00:00"), digest_min=60) == ms("2026-01-01T12:00:00")
    assert digest_ms(now_ms=5, digest_min=0) == 5


@given(attempt=st.integers(1, 1000), spread=st.floats(0, 1, exclude_max=True))
def test_back_off_doubles_up_to_its_bound_and_spreads(attempt: int, spread: float) -> None:
    full = min(900_000, 5000 * 2 ** min(attempt - 1, 20))
    assert full / 2 <= backoff_ms(attempt=attempt, min_ms=5000, max_ms=900_000, spread=spread) <= full


@given(
    per_s=st.sampled_from([0.5, 1.0, 25.0, 200.0]),
    burst=st.integers(1, 20),
    steps=st.lists(st.tuples(st.integers(0, 2000), st.integers(1, 50)), min_size=1, max_size=60),
)
def test_in_any_second_no_more_goes_out_than_rate_and_burst(
    per_s: float, burst: int, steps: list[tuple[int, int]]
) -> None:
    now_ms, next_us = 1_700_000_000_000, 0
    sent: list[int] = []
    for step_ms, wanted in steps:
        now_ms += step_ms
        found = allowance(now_ms=now_ms, next_us=next_us, per_s=per_s, burst=burst, wanted=wanted)
        assert 0 <= found.count <= min(wanted, burst)
        assert found.count or found.wait_ms > 0
        next_us = found.next_us
        sent += [now_ms] * found.count
        if not found.count:
            later = allowance(now_ms=now_ms + found.wait_ms, next_us=next_us, per_s=per_s, burst=burst, wanted=1)
            assert later.count == 1
    for start in sent:
        assert sum(start <= at < start + 1000 for at in sent) <= per_s + burst
