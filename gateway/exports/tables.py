"""What the tables hold: columns, and rows page by page from the services."""

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from gateway import translation
from gateway.exports.formats import Row
from gateway.sources import Sources

PAGE_ROWS = 1_000
MINUTE_MS = 60_000
BLOCK_TIMES_OFF_MS = 86_400_000
"""A block above another was found at most so long before it."""


class Table(StrEnum):
    """A table, by its file's name."""

    SHARES = "shares"
    CREDITS = "credits"
    PAYOUTS = "payouts"


COLUMNS = {
    Table.SHARES: (
        "time",
        "height",
        "worker",
        "scheme",
        "work",
        "accepted",
        "stale",
        "duplicate",
        "low_difficulty",
        "invalid",
    ),
    Table.CREDITS: ("time", "height", "block_hash", "status", "work", "amount_atomic"),
    Table.PAYOUTS: ("time", "payout_id", "amount_atomic", "status", "txid", "confirm_time"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A time, begin included and end not, milliseconds since the Unix epoch."""

    start_ms: int
    end_ms: int

    def holds(self, time_ms: int) -> bool:
        """Return whether a time lies inside."""
        return self.start_ms <= time_ms < self.end_ms


async def pages(sources: Sources, table: Table, address: str, span: Span) -> AsyncGenerator[Sequence[Row], None]:
    """Yield the rows of a table, page by page, some of them empty.

    Shares come oldest first, credits and payouts newest first.

    Raises:
        RpcError: When a service does not answer.
    """
    match table:
        case Table.SHARES:
            found = _shares(sources, address, span)
        case Table.CREDITS:
            found = _credits(sources, address, span)
        case Table.PAYOUTS:
            found = _payouts(sources, address, span)
    async for page in found:
        yield page


async def _shares(sources: Sources, address: str, span: Span) -> AsyncGenerator[Sequence[Row], None]:
    token = ""
    while True:
        answer = await sources.slices(
            address,
            start_minute=-(-span.start_ms // MINUTE_MS),
            end_minute=(span.end_ms - 1) // MINUTE_MS,
            page_size=PAGE_ROWS,
            page_token=token,
        )
        yield [
            (
                _iso(entry.minute * MINUTE_MS),
                entry.height,
                entry.worker,
                entry.scheme,
                translation.work_of(entry.work),
                entry.counts.accepted,
                entry.counts.stale,
                entry.counts.duplicate,
                entry.counts.low_difficulty,
                entry.counts.invalid,
            )
            for entry in answer.slices
        ]
        token = answer.next_page_token
        if not token:
            return


async def _credits(sources: Sources, address: str, span: Span) -> AsyncGenerator[Sequence[Row], None]:
    token = ""
    while True:
        answer = await sources.credits(address, page_size=PAGE_ROWS, page_token=token)
        yield [
            (
                _iso(entry.found_time_ms),
                entry.height,
                entry.block_hash_hex,
                translation.block_status(entry.status).value,
                translation.work_of(entry.work),
                entry.amount_atomic,
            )
            for entry in answer.credits
            if span.holds(entry.found_time_ms)
        ]
        token = answer.next_page_token
        # Credits come highest block first, and times of blocks may go back a little.
        if not token or answer.credits[-1].found_time_ms < span.start_ms - BLOCK_TIMES_OFF_MS:
            return


async def _payouts(sources: Sources, address: str, span: Span) -> AsyncGenerator[Sequence[Row], None]:
    token = ""
    while True:
        answer = await sources.payouts(address, page_size=PAGE_ROWS, page_token=token)
        rows: list[Row] = []
        for entry in answer.payouts:
            if span.holds(entry.create_time_ms):
                status = translation.payout_status(entry.status)
                confirm_time = _iso(entry.confirm_time_ms) if entry.confirm_time_ms else None
                rows.append(
                    (
                        _iso(entry.create_time_ms),
                        entry.payout_id,
                        entry.amount_atomic,
                        None if status is None else status.value,
                        entry.txid_hex or None,
                        confirm_time,
                    )
                )
        yield rows
        token = answer.next_page_token
        # Payments come newest first, by the order in which they were made.
        if not token or answer.payouts[-1].create_time_ms < span.start_ms:
            return


def _iso(time_ms: int) -> str:
    return translation.time_of(time_ms).isoformat().replace("+00:00", "Z")
