"""What an event log does, whichever it is."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, TypeAlias


@dataclass(frozen=True, slots=True, kw_only=True)
class OutRecord:
    """A record to publish.

    Attributes:
        key: Records with the same key stay in order: they go to the same partition.
        payload: The message, at most about 1 MB.
    """

    key: bytes
    payload: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """A record that was read.

    Attributes:
        topic: Where it was published.
        partition: Its partition, from 0.
        offset: Its place in the partition; grows from record to record.
        key: As published.
        payload: As published.
        append_time_ms: When the log took it, milliseconds since the Unix epoch.
        log: Name of the log; where there is one, a position moves only while it belongs to that log (bound.py).
    """

    topic: str
    partition: int
    offset: int
    key: bytes
    payload: bytes
    append_time_ms: int
    log: str = ""

    def of(self, log: str) -> "Record":
        """Return the record with the name of the log that it is from."""
        return replace(self, log=log)


LoadPosition: TypeAlias = Callable[[int], Awaitable[int]]
"""Partition → the offset to read next; 0 means from the beginning."""


class EventLogUnavailable(Exception):
    """Raised when the log cannot be reached.

    A publish that ends so may have taken place: publishing it again can store it twice, which consumers must tell by
    what is in the payload.
    """


class Subscription(Protocol):
    """One consumer's view of a topic."""

    async def poll(self, *, records_max: int, timeout_s: float) -> Sequence[Record]:
        """Return the next records, ordered per partition; empty after `timeout_s` seconds without any.

        Raises:
            EventLogUnavailable: When the log is away. Polling again goes on where it stopped, nothing is skipped.
        """
        ...

    async def rewind(self) -> None:
        """Forget what was polled and load the positions again; needed after a transaction failed."""
        ...

    async def progress(self) -> Mapping[int, int]:
        """Return how far this member has read: partition → time in milliseconds since the Unix epoch.

        Every record whose publish had returned before that time has been returned by `poll`, also in a partition where
        nothing is published. Only partitions that this member reads now are in the answer: not one that was taken
        away, nor one whose position is not loaded yet (before the first poll, after a `rewind`), nor one of which
        nothing is known yet. Who asks while records that were polled are not yet in effect must wait with its answer
        until they are.

        The time is read from the clock of the log's server or of this process, whichever noticed; a reader that
        compares it with the clock of a third host allows for the difference between them. Cost: one question to the
        server.

        Raises:
            EventLogUnavailable: When the log is away; nothing is known then.
        """
        ...

    async def lag(self) -> Mapping[int, int]:
        """Return partition → records that `poll` has not returned yet, of the partitions that this member reads now.

        For people who look on; cost: one question to the server.

        Raises:
            EventLogUnavailable: When the log is away.
        """
        ...

    async def close(self) -> None:
        """Give back what the subscription holds."""
        ...


class EventLog(Protocol):
    """Publishes and reads durable ordered records."""

    async def publish(self, topic: str, records: Sequence[OutRecord]) -> None:
        """Append the records, all or none, and return once they are durable.

        Raises:
            EventLogUnavailable: When it is not known that they are durable.
        """
        ...

    async def subscribe(self, topic: str, *, group: str, load_position: LoadPosition) -> Subscription:
        """Return a subscription that reads from the positions that `load_position` tells.

        Args:
            topic: What to read.
            group: Name of the consumer; its members share the partitions where the log has several.
            load_position: Called when a partition is first read, and after each `rewind`.
        """
        ...

    async def partition_count(self, topic: str) -> int:
        """Return into how many partitions a topic is divided now; a topic that is not there yet is made.

        Raises:
            EventLogUnavailable: When the log cannot be asked.
        """
        ...

    async def close(self) -> None:
        """Close the log; its subscriptions end with it."""
        ...
