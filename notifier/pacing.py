"""How many messages a channel may take now. Pure; one number in the database does it for all processes.

The rule is the generic cell rate algorithm: each message takes an interval of the channel's time, and the channel may
be at most `burst` intervals behind the clock. Source: ITU-T I.371.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowance:
    """What may be sent now.

    Attributes:
        count: Messages.
        next_us: When the channel will have caught up if `count` are sent, microseconds since the Unix epoch.
        wait_ms: How long until the next one may be sent when `count` is 0.
    """

    count: int
    next_us: int
    wait_ms: int


def allowance(*, now_ms: int, next_us: int, per_s: float, burst: int, wanted: int) -> Allowance:
    """Return how many of `wanted` messages may be sent now.

    Example: 25 a second, burst 5, idle for long: 5 now, then one each 40 ms. In any second that is at most 30.
    """
    now_us = now_ms * 1000
    interval_us = round(1_000_000 / per_s)
    start_us = max(next_us, now_us - burst * interval_us)
    count = max(0, min(wanted, (now_us - start_us) // interval_us))
    wait_us = 0 if count else max(0, start_us + interval_us - now_us)
    return Allowance(count=count, next_us=start_us + count * interval_us, wait_ms=-(-wait_us // 1000))
