"""The audit's look at the disk: what waits is a note, what cannot be is a finding."""

from pathlib import Path
from typing import Any

import pytest

from cli.journal_audit import CHECK, audit_journals
from proto.lodepool.events.v1 import events_pb2
from runtime.postgres.migrations import migrate
from stratum.journal import JournalWriter, journal_dir

COIN = "litecoin-regtest"
INSTANCE = "0-1-0001"


@pytest.fixture
async def books(database: Any) -> Any:
    """Return a database with the shares service's tables."""
    await migrate(database.pool, schema="shares", package="shares")
    return database.pool


def journalled(data_dir: Path, *, share_count: int) -> None:
    """Write the journal of one instance with so many shares."""
    batch = events_pb2.ShareBatch(
        instance=INSTANCE,
        first_seq=1,
        coin=COIN,
        submitters=[events_pb2.Submitter(account="a", worker="w", scheme="pplns")],
        submitter_index=[0] * share_count,
        time_offset_ms=[0] * share_count,
        height=[7] * share_count,
        work=[2] * share_count,
        hash_work=[3] * share_count,
        outcome=[events_pb2.SHARE_OUTCOME_ACCEPTED] * share_count,
    )
    writer = JournalWriter(journal_dir(data_dir) / COIN / INSTANCE, segment_bytes_max=1 << 20)
    writer.append([events_pb2.JournalEntry(batch=batch).SerializeToString()])
    writer.close()


async def book(pool: Any, *, last_seq: int) -> None:
    """Say how far the instance is booked."""
    await pool.execute("INSERT INTO shares.coin (coin) VALUES ($1)", COIN)
    await pool.execute(
        """
        INSERT INTO shares.instance
        SELECT $1, coin_key, $2, 0, 0, 0, 0, false, 0, 0, 0, 0, 0, 0 FROM shares.coin
        """,
        INSTANCE,
        last_seq,
    )


async def test_shares_that_wait_in_the_journal_are_a_note(books: Any, tmp_path: Path) -> None:
    """D4"""
    journalled(tmp_path, share_count=5)
    await book(books, last_seq=3)

    report = await audit_journals(books, tmp_path)

    assert report.is_ok
    assert report.compared == {CHECK: 1}
    assert report.notes == (f"2 shares of instance {INSTANCE} are journalled and not booked yet",)


async def test_shares_that_are_booked_and_were_never_journalled_are_named(books: Any, tmp_path: Path) -> None:
    """D1"""
    journalled(tmp_path, share_count=5)
    await book(books, last_seq=6)

    report = await audit_journals(books, tmp_path)

    assert [str(finding) for finding in report.findings] == [
        f"{CHECK}: instance {INSTANCE}: expected at most 5 shares booked, found 6"
    ]


async def test_no_journal_is_no_finding(books: Any, tmp_path: Path) -> None:
    report = await audit_journals(books, tmp_path)

    assert report == type(report)(compared={CHECK: 0}, findings=())
