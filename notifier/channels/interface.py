"""What a channel is."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Protocol, TypeAlias

from notifier.domain import Subscription
from notifier.notices import Notice


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """What is sent to one person at once: one notice, or several of a digest.

    Attributes:
        key: The same at every try, different for every message: what a receiver can tell repetitions by.
        subscription: To whom, and in which language and time zone.
        notices: What is told, oldest first; never empty.
        attempt: This try's number, from 1.
        secrets: What a webhook is signed with, newest first.
        unsubscribe_token: Lets whoever has it end the subscription.
    """

    key: str
    subscription: Subscription
    notices: tuple[Notice, ...]
    attempt: int = 1
    secrets: tuple[str, ...] = ()
    unsubscribe_token: str = ""


class Scope(Enum):
    """What has to wait."""

    MESSAGE = "message"
    TARGET = "target"
    CHANNEL = "channel"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """The other side has taken it.

    Attributes:
        reference: What the other side calls it; "" when it has no name for it.
    """

    reference: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryAfter:
    """It did not work, or nobody knows; it can later.

    Attributes:
        after_s: When; None leaves it to the back-off and counts as a try. A time that the other side has named does
            not count.
        reason: Why, in English, for the operator; no secrets.
        scope: What has to wait until then besides this message.
    """

    after_s: float | None = None
    reason: str
    scope: Scope = Scope.MESSAGE


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """It will never work.

    Attributes:
        reason: Why, in English; shown as the subscription's pause reason as well.
        pause_subscription: Whether nothing else will work either: the chat is gone, the mailbox does not exist.
    """

    reason: str
    pause_subscription: bool = False


Outcome: TypeAlias = Sent | RetryAfter | Refused


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How fast a channel may be used, by all processes together.

    In any second at most `per_s + burst` messages go out.

    Attributes:
        per_s: Messages a second in the long run.
        burst: Messages that may go out at once after a pause.
        target_interval_ms: Address → least time between two messages to it.
        concurrent_max: Messages under way at once in one process.
    """

    per_s: float
    burst: int
    target_interval_ms: Callable[[str], int]
    concurrent_max: int


class Channel(Protocol):
    """Sends messages one way.

    `send` must return within `timeout_s`; after that it is cancelled and the message is tried again. It need not be
    quick: others are sent meanwhile. What it raises is logged and counts as a failed try.
    """

    @property
    def pace(self) -> Pace:
        """Return how fast it may be used; asked before every claim, so it may follow live settings."""
        ...

    @property
    def timeout_s(self) -> float:
        """Return how long one `send` may take."""
        ...

    async def send(self, message: Message) -> Outcome:
        """Send one message."""
        ...

    async def close(self) -> None:
        """Give back what it holds."""
        ...
