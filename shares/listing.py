"""Page over slices in a unique order (R6)."""

from dataclasses import dataclass

from runtime.postgres.pool import Connection
from shares.stats import Counts

Place = tuple[int, int, str, str, str]
"""height, minute, account, worker, scheme: the order of slices, no two alike."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """Shares of one worker at one height in one minute."""

    scheme: str
    account: str
    worker: str
    height: int
    minute: int
    work: int
    counts: Counts
    best_hash_work: int

    @property
    def place(self) -> Place:
        """Return where it stands in the order."""
        return self.height, self.minute, self.account, self.worker, self.scheme


@dataclass(frozen=True, slots=True, kw_only=True)
class SliceFilter:
    """Which slices are asked for.

    Attributes:
        coin: Coin id.
        account: Only this account; empty for all.
        start_height: Oldest height; zero for all.
        end_height: Newest height; zero for all.
        start_minute: Oldest minute; zero for all.
        end_minute: Newest minute; zero for all.
    """

    coin: str
    account: str = ""
    start_height: int = 0
    end_height: int = 0
    start_minute: int = 0
    end_minute: int = 0


_HEIGHT_MAX = (1 << 63) - 1
_MINUTE_MAX = (1 << 31) - 1


async def list_slices(
    connection: Connection, wanted: SliceFilter, *, page_size: int, after: Place | None
) -> list[Slice]:
    """Return up to `page_size` slices behind `after`, oldest first.

    Args:
        connection: Any.
        wanted: Which.
        page_size: At most this many.
        after: Place of the last slice of the page before; None for the first page.
    """
    account_ids = None
    if wanted.account:
        query = """
            SELECT account_id FROM shares.account JOIN shares.coin USING (coin_key) WHERE coin = $1 AND account = $2
            """
        account_id = await connection.fetchval(query, wanted.coin, wanted.account)
        if account_id is None:
            return []
        account_ids = account_id
    owner = "slice.account_id = $10" if account_ids is not None else "$10::integer IS NULL"
    rows = await connection.fetch(
        f"""
        SELECT book.scheme, account.account, worker.worker, slice.height, slice.minute, slice.work::text AS work,
            slice.accepted_count, slice.stale_count, slice.duplicate_count, slice.low_difficulty_count,
            slice.invalid_count, slice.best_hash_work
        FROM shares.slice
        JOIN shares.account USING (account_id) JOIN shares.worker USING (worker_id) JOIN shares.book USING (book_id)
        WHERE slice.coin_key = (SELECT coin_key FROM shares.coin WHERE coin = $1) AND {owner}
            AND slice.minute BETWEEN $11 AND $12
            AND slice.height >= coalesce((
                SELECT min(height + 0) FROM shares.pool_slice
                WHERE coin_key = (SELECT coin_key FROM shares.coin WHERE coin = $1) AND minute >= $11 AND $11 > 0
            ), 0)
            AND slice.height <= $3 AND (slice.height, slice.minute) >= (greatest($2::bigint, $4), $5)
            AND (slice.height, slice.minute, account.account, worker.worker, book.scheme) > ($4, $5, $6, $7, $8)
        ORDER BY slice.height, slice.minute, account.account, worker.worker, book.scheme LIMIT $9
        """,
        wanted.coin,
        wanted.start_height,
        wanted.end_height or _HEIGHT_MAX,
        *(after or (-1, 0, "", "", "")),
        page_size,
        account_ids,
        wanted.start_minute,
        wanted.end_minute or _MINUTE_MAX,
    )
    return [
        Slice(
            scheme=row["scheme"],
            account=row["account"],
            worker=row["worker"],
            height=row["height"],
            minute=row["minute"],
            work=int(row["work"]),
            counts=Counts.of(row),
            best_hash_work=row["best_hash_work"],
        )
        for row in rows
    ]
