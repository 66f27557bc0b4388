"""The rules of windows: when the work a block is paid by is complete, and where it begins. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from shares.domain import InstanceState


class WindowKind(StrEnum):
    """How a window is bounded."""

    PPLNS = "pplns"
    PROP = "prop"


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowRequest:
    """Asks for the window of one block.

    Attributes:
        request_id: Identifies the block.
        coin: Coin id.
        kind: The scheme.
        end_height: Height of the block: the newest height inside.
        start_height: PROP: the oldest height inside. PPLNS: zero.
        window_work: PPLNS: work the window should hold; None means no bound.
        found_time_ms: When the block was found, milliseconds since the Unix epoch.
    """

    request_id: str
    coin: str
    kind: WindowKind
    end_height: int
    start_height: int
    window_work: int | None
    found_time_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountWork:
    """One account's part of a window."""

    account: str
    work: int
    share_count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """Work by account.

    Attributes:
        accounts: Greatest work first, then by account.
        total_work: Their sum.
        start_height: Oldest height inside; the end height when the window is empty.
        start_minute: Oldest minute inside, minutes since the Unix epoch; zero when the window is empty.
        end_height: Newest height inside.
        instances_missing: Instances that were no longer waited for.
    """

    accounts: tuple[AccountWork, ...]
    total_work: int
    start_height: int
    start_minute: int
    end_height: int
    instances_missing: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitRules:
    """How long dead instances are waited for, and how far clocks may differ; see SharesSettings."""

    window_wait_ms: int
    instance_dead_ms: int
    instance_forgotten_ms: int
    clock_skew_ms_max: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Readiness:
    """Whether a window can be fixed.

    Attributes:
        waiting_for: What is still missing, one sentence each; empty when it can be fixed.
        instances_missing: Instances that are no longer waited for.
    """

    waiting_for: tuple[str, ...]
    instances_missing: tuple[str, ...]


def readiness(
    instances: Iterable[InstanceState],
    *,
    end_height: int,
    found_time_ms: int,
    booked_time_ms: int,
    rules: WaitRules,
) -> Readiness:
    """Tell whether the stream has passed the block.

    Silence is measured on the stream, up to `booked_time_ms`, not on the wall clock: a consumer that is behind must not
    take living instances for dead. An instance has passed when its newest job is above the block, or it is closed. A
    living one is waited for without limit; a dead one until `window_wait_ms` after the block was found.

    `found_time_ms` and an instance's times are read from the clocks of stratum hosts, `booked_time_ms` from that of the
    event log or of a consumer. Any two of them may differ by `clock_skew_ms_max`: each comparison waits so much longer.

    Example: a block found at 10,000 ms by a clock that is 2,000 ms slow was found at 12,000 ms by the log's clock; with
    a skew of 2,000 ms the stream must be booked to 12,000 ms.

    Args:
        instances: All instances of the coin.
        end_height: Height of the block.
        found_time_ms: When it was found.
        booked_time_ms: Everything the log took before is booked.
        rules: The limits.
    """
    waiting: list[str] = []
    missing: list[str] = []
    skew_ms = rules.clock_skew_ms_max
    if booked_time_ms < found_time_ms + skew_ms:
        waiting.append(
            f"the stream is booked to {booked_time_ms} ms, the block was found at {found_time_ms} ms "
            f"by a clock that may differ by {skew_ms} ms"
        )
    for state in sorted(instances, key=lambda state: state.instance):
        if state.is_closed or state.mark_height > end_height:
            continue
        silent_ms = booked_time_ms - state.seen_time_ms
        if silent_ms < rules.instance_dead_ms + skew_ms:
            waiting.append(f"instance {state.instance} is at height {state.mark_height}")
        elif silent_ms > rules.instance_forgotten_ms:
            continue
        elif booked_time_ms - found_time_ms < rules.window_wait_ms + skew_ms:
            waiting.append(f"instance {state.instance} is silent since {state.seen_time_ms} ms")
        else:
            missing.append(state.instance)
    return Readiness(waiting_for=tuple(waiting), instances_missing=tuple(missing))


@dataclass(slots=True, kw_only=True)
class WindowEdge:
    """Find where a PPLNS window begins, going back from the block.

    Whole groups (height, minute) are taken, newest first, until the window holds its work; the last group counts whole,
    so that shares of one minute are never treated differently. A window that is not full ends at the first share ever:
    those in it share the whole reward (R4).

    Example: window_work 100 and groups of 60, 30, 30, 50 from newest to oldest: the first three are inside, 120.

    Attributes:
        window_work: Work the window should hold; None means no bound.
        work: Work inside so far.
        start: (height, minute) of the oldest group inside; None while there is none.
    """

    window_work: int | None
    work: int = 0
    start: tuple[int, int] | None = None

    @property
    def is_full(self) -> bool:
        """Tell whether the window holds its work."""
        return self.window_work is not None and self.work >= self.window_work

    def take(self, *, height: int, minute: int, work: int) -> None:
        """Take the next older group in, unless the window is full."""
        if self.is_full or not work:
            return
        self.work += work
        self.start = (height, minute)
