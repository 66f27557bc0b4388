"""kill -9 in the middle of sending: another process takes over, and only what was under way can be told twice."""

import asyncio
import contextlib
import os
import signal
import sys
from asyncio.subprocess import Process
from pathlib import Path

from notifier import queueing, subscriptions
from notifier.domain import ChannelKind, Subscription
from notifier.records import decode
from runtime.postgres.migrations import migrate
from tests.conftest import TestDatabase
from tests.fakes.notice_stream import ALICE, payout
from tests.fakes.waiting import eventually

CHATS = 40
NOW_MS = 1_700_000_000_000


async def start(dsn: str, path: Path, *options: str) -> Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.fakes.notifier_process", dsn, str(path), *options, cwd=Path(__file__).parents[2]
    )


def lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []


async def test_what_a_killed_process_was_sending_is_sent_by_another_with_the_same_key(
    database: TestDatabase, tmp_path: Path
) -> None:
    pool = database.pool
    await migrate(pool, schema="notifier", package="notifier")
    async with pool.acquire() as connection, connection.transaction():
        for number in range(CHATS):
            wanted = Subscription(channel=ChannelKind.TELEGRAM, address=str(number + 1), account=ALICE)
            await subscriptions.create(connection, wanted, request_id=os.urandom(8).hex(), now_ms=NOW_MS)
        payload = payout(1, time_ms=NOW_MS).SerializeToString()
        number = await queueing.take(connection, decode(payload), payload, now_ms=NOW_MS)
        assert number is not None
        await queueing.queue(connection, decode(payload), number, now_ms=NOW_MS, breakers=())

    first, second = tmp_path / "first", tmp_path / "second"
    processes = [await start(database.dsn, first, "hang")]
    try:
        await eventually(lambda: len(lines(first)) == 10, timeout_s=30, what="all its hands full")
        processes[0].send_signal(signal.SIGKILL)
        await processes[0].wait()
        # A minute passes.
        await pool.execute(
            "UPDATE notifier.delivery SET lease_until_ms = lease_until_ms - 61000 WHERE state = 'sending'"
        )
        processes.append(await start(database.dsn, second))

        async def is_sent() -> bool:
            return bool(
                await pool.fetchval("SELECT bool_and(state = 'sent') FROM notifier.delivery")
                and len(lines(second)) == CHATS
            )

        await eventually(is_sent, timeout_s=40, what="everybody told")
    finally:
        for process in processes:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    assert len(set(lines(second))) == CHATS
    # The keys are the same, so a receiver that has seen the first try can leave the second one out.
    assert set(lines(first)) < set(lines(second))
