"""What the Telegram bot shows about itself; zeros where there is none."""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

from prometheus_client import Metric

from runtime.telemetry.families import counter

UPDATES = counter(
    "lodepool_notifier_bot_updates_total",
    "What people have sent to the Telegram bot: done, failed (tried again), poison (set aside), flood (ignored)",
    "outcome",
)
CALLS = counter(
    "lodepool_notifier_bot_calls_total",
    "Tries to answer: sent, wait (retry_after), failed (not sent), doubtful (perhaps sent), denied (given up)",
    "outcome",
)

UPDATE_OUTCOMES: Final = ("done", "failed", "poison", "flood")
CALL_OUTCOMES: Final = ("sent", "wait", "failed", "doubtful", "denied")


@dataclass(slots=True, kw_only=True)
class BotCounters:
    """Numbers since the process started.

    Attributes:
        updates: Outcome → updates.
        calls: Outcome → tries.
    """

    updates: Counter[str] = field(default_factory=lambda: Counter(dict.fromkeys(UPDATE_OUTCOMES, 0)))
    calls: Counter[str] = field(default_factory=lambda: Counter(dict.fromkeys(CALL_OUTCOMES, 0)))


def counted(counters: BotCounters) -> Callable[[], Iterator[Metric]]:
    """Return the source of what is counted in this process."""

    def families() -> Iterator[Metric]:
        yield UPDATES.by(counters.updates)
        yield CALLS.by(counters.calls)

    return families
