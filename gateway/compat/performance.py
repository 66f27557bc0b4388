"""Steps of a history into samples of the length that is asked for. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
OTHERS = "(others)"
"""The name under which the workers stand together that are not listed one by one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What was mined over a span of time.

    Attributes:
        time_ms: Its begin, milliseconds since the Unix epoch.
        length_s: Its length, seconds.
        hps: Mean hashrate, hashes per second.
        accepted: Accepted shares.
        worker_count: Workers at most at a time; 0 when not known.
    """

    time_ms: int
    length_s: int
    hps: int
    accepted: int
    worker_count: int = 0


def finished(steps: Iterable[Step], *, now_ms: int, since_ms: int) -> list[Step]:
    """Return the steps that began since a time and are over."""
    return [step for step in steps if step.time_ms >= since_ms and step.time_ms + step.length_s * 1_000 <= now_ms]


def grouped(steps: Iterable[Step], *, group_ms: int) -> list[Step]:
    """Return one step for each span of time that has steps, oldest first; hashrates are means, rounded down.

    A span that begins or ends within the steps is as long as the steps in it.

    Example: two steps of ten minutes with 100 and 50 H/s make one of twenty minutes with 75 H/s.
    """
    spans: dict[int, list[Step]] = {}
    for step in steps:
        spans.setdefault(step.time_ms // group_ms * group_ms, []).append(step)
    return [
        Step(
            time_ms=begin_ms,
            length_s=sum(step.length_s for step in inside),
            hps=sum(step.hps for step in inside) // len(inside),
            accepted=sum(step.accepted for step in inside),
            worker_count=max(step.worker_count for step in inside),
        )
        for begin_ms, inside in sorted(spans.items())
    ]


def by_time(
    everybody: Sequence[Step], workers: Mapping[str, Sequence[Step]], *, has_others: bool
) -> list[tuple[int, dict[str, Step]]]:
    """Return for each time the workers that mined then, oldest first; times when nobody did are left out.

    Args:
        everybody: The whole account.
        workers: Those that are listed, by name, in the same steps.
        has_others: There are workers that are not listed: what they did stands under `OTHERS`.
    """
    at = {name: {step.time_ms: step for step in steps} for name, steps in workers.items()}
    found = []
    for whole in everybody:
        inside = {name: steps[whole.time_ms] for name, steps in at.items() if whole.time_ms in steps}
        inside = {name: step for name, step in inside.items() if step.hps or step.accepted}
        rest = Step(
            time_ms=whole.time_ms,
            length_s=whole.length_s,
            hps=max(0, whole.hps - sum(step.hps for step in inside.values())),
            accepted=max(0, whole.accepted - sum(step.accepted for step in inside.values())),
        )
        if has_others and (rest.hps or rest.accepted):
            inside[OTHERS] = rest
        if inside:
            found.append((whole.time_ms, inside))
    return found
