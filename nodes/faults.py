"""Plan what goes wrong with a simulated node."""

from collections import deque
from dataclasses import dataclass, field
from enum import StrEnum


class FaultKind(StrEnum):
    """How a call fails."""

    REFUSE = "refuse"
    TIMEOUT = "timeout"
    ERROR = "error"
    DROP_ANSWER = "drop_answer"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One failure; `code` and `message` are for ERROR. DROP_ANSWER acts first and then loses the answer."""

    kind: FaultKind
    code: int = -1
    message: str = "simulated failure"


@dataclass(slots=True, kw_only=True)
class Faults:
    """The plan of one node.

    Attributes:
        latency_s: Added to each call, seconds.
        is_down: Whether every call is refused.
    """

    latency_s: float = 0.0
    is_down: bool = False
    _planned: dict[str, deque[Fault]] = field(default_factory=dict)

    def fail_next(self, method: str, fault: Fault, *, count: int = 1) -> None:
        """Make the next calls of an RPC method fail, after those planned before."""
        self._planned.setdefault(method, deque()).extend([fault] * count)

    def take(self, method: str) -> Fault | None:
        """Return and use up what is planned for this call; None lets it pass."""
        if self.is_down:
            return Fault(kind=FaultKind.REFUSE)
        planned = self._planned.get(method)
        return planned.popleft() if planned else None
