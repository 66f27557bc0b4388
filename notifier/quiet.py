"""Quiet hours, digests and back-off: when something is sent. Pure; times are milliseconds since the Unix epoch."""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo


def quiet_until_ms(*, now_ms: int, start_min: int, end_min: int, time_zone: str) -> int:
    """Return when the quiet hours that hold now end; now itself when none hold.

    The hours are what a clock on the wall of the zone shows: from `start_min` to `end_min` minutes after midnight,
    passing midnight when the end is the smaller one. On the days of a change of the clocks they are shorter or longer
    by what is skipped or repeated:

    * Clocks go forward over the end (end 02:30, 02:00 becomes 03:00): the hours end at the change.
    * Clocks go forward over the start (start 02:30): the hours begin at the change; nothing that was skipped is quiet.
    * Clocks go back over the end (end 02:30, 03:00 becomes 02:00): they end when 02:30 comes the first time, and are
      not taken up again when 02:00 to 02:30 is shown the second time. In the same way hours begin the first time that
      their start is shown, and last over what is repeated.
    * Where a day has 24 hours, the usual.

    Example: 23:00 to 07:00 in Europe/Berlin, asked at 22:30 UTC in winter (23:30 there), gives 06:00 UTC.
    """
    if start_min == end_min:
        return now_ms
    zone = ZoneInfo(time_zone)
    today = datetime.fromtimestamp(now_ms / 1000, UTC).astimezone(zone).date()
    # A window may have begun yesterday; one of tomorrow may begin today in UTC terms only, never in the zone's.
    for day in (today - timedelta(days=1), today):
        last = day + timedelta(days=1) if end_min <= start_min else day
        begin_ms, end_ms = wall_ms(day, start_min, zone), wall_ms(last, end_min, zone)
        if begin_ms <= now_ms < end_ms:
            return end_ms
    return now_ms


def wall_ms(day: date, minute: int, zone: ZoneInfo) -> int:
    """Return when a zone's clock first shows a minute of a day, or is set over it."""
    wall = datetime(day.year, day.month, day.day, minute // 60, minute % 60, tzinfo=zone)
    moment = wall.astimezone(UTC)
    if moment.astimezone(zone).replace(tzinfo=None) == wall.replace(tzinfo=None):
        return _ms(moment)
    # The minute is skipped. The change is where the offset becomes the later one; look for it by halves.
    low, high = moment - timedelta(days=1), moment + timedelta(days=1)
    after = high.astimezone(zone).utcoffset()
    while high - low > timedelta(milliseconds=1):
        middle = low + (high - low) / 2
        if middle.astimezone(zone).utcoffset() == after:
            high = middle
        else:
            low = middle
    return round(_ms(high) / 1000) * 1000


def digest_ms(*, now_ms: int, digest_min: int) -> int:
    """Return when what is collected now is sent: the next multiple of `digest_min` since the Unix epoch (UTC)."""
    step_ms = digest_min * 60_000
    return now_ms if step_ms == 0 else (now_ms // step_ms + 1) * step_ms


def backoff_ms(*, attempt: int, min_ms: int, max_ms: int, spread: float) -> int:
    """Return how long to wait after the n-th failed try: doubled each time, and less by up to a half.

    Args:
        attempt: Tries so far, from 1.
        min_ms: After the first one.
        max_ms: Never longer.
        spread: From 0 to 1, by chance, so that what failed together does not come back together.
    """
    full = min(max_ms, min_ms << min(attempt - 1, 30))
    return full - int(full * spread / 2)


def _ms(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)
