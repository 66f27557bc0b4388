"""Work that one process at a time may do, such as paying."""

from collections.abc import Awaitable, Callable
from typing import Protocol


class Term(Protocol):
    """The time during which this process is the one.

    Being the one is decided by clocks and can be over without the process knowing it, when it was frozen. What must
    never happen twice is fenced in the database as well: see runtime.postgres.fence.
    """

    @property
    def is_current(self) -> bool:
        """Return whether this process is still the one, by its own clock."""
        ...

    @property
    def is_elected(self) -> bool:
        """Return whether an election gave the term, so that every earlier one is over; False where nobody was asked."""
        ...


class Exclusive(Protocol):
    """Lets one process of all that ask do a piece of work."""

    async def run(self, name: str, work: Callable[[Term], Awaitable[None]]) -> None:
        """Wait until this process is the one, then do the work.

        When the term is lost the work is cancelled and the process waits for another one. Returns when the work
        returns; its exceptions pass, after the term was given up.

        Args:
            name: What is exclusive, the same in all processes: "payouts/litecoin".
            work: Called with each term.
        """
        ...


class Alone:
    """For one machine, where the supervisor starts each process once."""

    @property
    def is_current(self) -> bool:
        """Return that nobody else can be it."""
        return True

    @property
    def is_elected(self) -> bool:
        """Return that nobody was asked: a second process may have been started by mistake."""
        return False

    async def run(self, name: str, work: Callable[[Term], Awaitable[None]]) -> None:  # noqa: ARG002  the protocol's
        """Do the work at once."""
        await work(self)
