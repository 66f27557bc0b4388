"""Clock, logs, page tokens and the roots of tasks."""

import asyncio
import io
import json
import logging
from pathlib import Path

import pytest

from runtime.clock import ManualClock
from runtime.errors import UserError
from runtime.logs import configure_logging, log_event
from runtime.postgres.pool import where
from runtime.process import keep_running, socket_dir
from runtime.rpc.errors import InvalidArgument
from runtime.rpc.pages import clamp_page_size, decode_page_token, encode_page_token, token_after


async def settle() -> None:
    """Let every task run until it waits."""
    for _ in range(20):
        await asyncio.sleep(0)


async def test_a_manual_clock_wakes_sleepers_in_the_order_of_their_times() -> None:
    clock = ManualClock(now_s=1000.0)
    woken: list[int] = []

    async def sleeper(delay_s: int) -> None:
        await clock.sleep(delay_s)
        woken.append(delay_s)

    tasks = [asyncio.create_task(sleeper(delay_s)) for delay_s in (5, 1, 3)]
    await settle()
    clock.advance(3)
    await settle()
    assert woken == [1, 3]
    assert clock.sleeper_count == 1
    clock.advance(2)
    await asyncio.gather(*tasks)
    assert clock.now_ms() == 1_005_000


async def test_a_failing_task_is_started_again_with_growing_delays_and_one_line_each(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock = ManualClock()
    starts: list[float] = []

    async def work() -> None:
        starts.append(clock.monotonic_s())
        raise OSError("no luck")

    task = asyncio.create_task(keep_running("worker", work, clock=clock, backoff_s_min=1, backoff_s_max=4))
    await settle()
    for delay_s in (1, 2, 4, 4):
        clock.advance(delay_s)
        await settle()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert starts == [0, 1, 3, 7, 11]
    lines = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert len(lines) == 5
    assert lines[0].fields == {"task": "worker", "error": "OSError: no luck", "retry_in_s": 1}


async def test_a_user_error_ends_a_task() -> None:
    async def work() -> None:
        raise UserError("The address is wrong.")

    with pytest.raises(UserError):
        await keep_running("worker", work, clock=ManualClock())


@pytest.fixture
def restored_logging():
    root = logging.getLogger()
    before = list(root.handlers), root.level
    yield
    root.handlers[:], _ = before
    root.setLevel(before[1])


@pytest.mark.usefixtures("restored_logging")
def test_a_json_line_has_the_fixed_fields_and_the_events_own() -> None:
    stream = io.StringIO()
    configure_logging("sorter", json=True, level="INFO", stream=stream)
    logger = logging.getLogger("lodepool.test")
    log_event(logger, logging.INFO, "batch applied", record_count=3, digest=b"\x01\xff", level="mine")
    log_event(logger, logging.DEBUG, "not shown")
    (line,) = stream.getvalue().splitlines()
    entry = json.loads(line)
    assert entry.pop("time").endswith("Z")
    assert entry == {
        "level": "INFO",
        "service": "sorter",
        "event": "batch applied",
        "logger": "lodepool.test",
        "record_count": 3,
        "digest": "01ff",
        "level_": "mine",
    }


@pytest.mark.usefixtures("restored_logging")
def test_a_line_for_people_stays_one_line() -> None:
    stream = io.StringIO()
    configure_logging("sorter", json=False, level="INFO", stream=stream)
    log_event(logging.getLogger("lodepool.test"), logging.WARNING, "peer dropped", reason="a\nb")
    (line,) = stream.getvalue().splitlines()
    assert line.endswith("WARNING sorter: peer dropped reason=a\\nb")


def test_only_a_full_page_has_a_token_and_it_is_that_of_its_last_row() -> None:
    assert token_after([], page_size=0, position=str) == ""
    assert token_after(["a", "b"], page_size=3, position=str) == ""
    assert decode_page_token(token_after(["a", "b"], page_size=2, position=str.upper), str) == "B"


def test_a_page_token_gives_its_position_back() -> None:
    assert decode_page_token(encode_page_token([5, "name"]), tuple[int, str]) == (5, "name")
    assert decode_page_token("", tuple[int, str]) is None


@pytest.mark.parametrize("token", ["*", "AAAA", encode_page_token(["x", 5]), "ä"])
def test_a_foreign_page_token_is_an_invalid_argument(token: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        decode_page_token(token, tuple[int, str])
    assert caught.value.field == "page_token"


@pytest.mark.parametrize("position", [2**63, 2**64 - 1])
def test_a_page_token_holds_no_number_that_a_database_cannot(position: int) -> None:
    """P2: anybody can write a token."""
    for token, kind in ((position, int), ((position, "name"), tuple[int, str])):
        with pytest.raises(InvalidArgument) as caught:
            decode_page_token(encode_page_token(token), kind)
        assert caught.value.field == "page_token"


def test_a_page_token_holds_no_text_that_a_database_cannot() -> None:
    """P2."""
    for token, kind in (("a\x00", str), ((1, "\x00"), tuple[int, str])):
        with pytest.raises(InvalidArgument):
            decode_page_token(encode_page_token(token), kind)


def test_a_page_size_is_clamped() -> None:
    assert clamp_page_size(0) == 100
    assert clamp_page_size(5) == 5
    assert clamp_page_size(10**6) == 1000
    with pytest.raises(InvalidArgument):
        clamp_page_size(-1)


def test_the_place_of_a_database_is_told_without_its_password() -> None:
    assert where("postgresql://me:secret@db.example:6432/pool") == "host db.example, port 6432, database pool"
    assert where("postgresql://me@/pool?host=/run/x&port=5433") == "host /run/x, port 5433, database pool"


def test_sockets_of_a_deep_directory_lie_in_a_short_private_one(tmp_path: Path) -> None:
    deep = tmp_path.joinpath(*["a-rather-long-directory-name"] * 5)
    path = socket_dir(deep)
    assert len(str(path / ("x" * 32))) <= 107
    assert path.stat().st_mode & 0o777 == 0o700
    assert socket_dir(deep) == path
    path.rmdir()


def test_sockets_of_a_short_directory_lie_inside_it(short_dir: Path) -> None:
    assert socket_dir(short_dir) == short_dir / "run"


async def test_a_task_that_fails_while_it_is_cancelled_ends_all_the_same() -> None:
    """A task group whose child fails in the moment of the cancellation must not start its work anew."""
    clock = ManualClock()
    starts = 0
    is_inside = asyncio.Event()

    async def fail_at_the_end() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            raise OSError("the connection is gone as well")

    async def work() -> None:
        nonlocal starts
        starts += 1
        async with asyncio.TaskGroup() as group:
            group.create_task(fail_at_the_end())
            await asyncio.sleep(0)
            is_inside.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(keep_running("test", work, clock=clock))
    await is_inside.wait()
    task.cancel()
    async with asyncio.timeout(5):
        await asyncio.wait((task,))
    assert task.cancelled()
    assert starts == 1
