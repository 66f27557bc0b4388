"""Real child processes: started, restarted, stopped, and never left behind."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from runtime.supervisor import ChildFailed, ChildProcess, Supervisor

LIMIT_S = 20.0
SERVE = "import signal, sys; from runtime.process import notify_ready; notify_ready('child'); signal.pause()"
IGNORE_SIGTERM = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); " + SERVE
ENVIRONMENT = {"PYTHONPATH": str(Path.cwd())}


def child(name: str, program: str, *, is_ready_awaited: bool = True) -> ChildProcess:
    command = [sys.executable, "-c", program]
    return ChildProcess(name=name, command=command, environment=ENVIRONMENT, is_ready_awaited=is_ready_awaited)


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


async def until_dead(pid: int) -> None:
    async with asyncio.timeout(LIMIT_S):
        while is_alive(pid):
            await asyncio.sleep(0.01)


@pytest.fixture
async def supervisor() -> AsyncIterator[Supervisor]:
    supervisor = Supervisor()
    yield supervisor
    await supervisor.stop(timeout_s=2)


async def test_a_child_is_ready_when_it_says_so(supervisor: Supervisor) -> None:
    await supervisor.start(child("one", SERVE))
    assert is_alive(supervisor.pids()["one"])


async def test_a_killed_child_is_started_again_and_ready_again() -> None:
    restarted: list[str] = []
    supervisor = Supervisor(on_restart=restarted.append)
    try:
        await supervisor.start(child("one", SERVE))
        first_pid = supervisor.pids()["one"]
        os.kill(first_pid, signal.SIGKILL)
        await until_dead(first_pid)
        async with asyncio.timeout(LIMIT_S):
            while supervisor.pids().get("one", first_pid) == first_pid:
                await asyncio.sleep(0.01)
        await supervisor.wait_ready("one")
        assert restarted == ["one"]
        assert supervisor.restart_counts() == {"one": 1}
    finally:
        await supervisor.stop()


async def test_a_child_that_dies_at_once_is_started_with_growing_delays(
    supervisor: Supervisor, caplog: pytest.LogCaptureFixture
) -> None:
    await supervisor.start(child("hasty", "raise SystemExit(1)", is_ready_awaited=False))
    async with asyncio.timeout(LIMIT_S):
        while supervisor.restart_counts()["hasty"] < 3:
            await asyncio.sleep(0.01)
    delays = [record.fields["restart_in_s"] for record in caplog.records if record.message == "child died"]
    assert delays[:3] == [0.1, 0.2, 0.4]


async def test_a_child_that_ends_with_an_error_for_the_operator_is_not_tried_again(supervisor: Supervisor) -> None:
    with pytest.raises(ChildFailed) as caught:
        await supervisor.start(child("wrong", "raise SystemExit(2)"))
    assert (caught.value.name, caught.value.exit_code) == ("wrong", 2)
    assert supervisor.pids() == {}


async def test_a_child_that_fails_each_time_before_it_is_ready_is_given_up_with_its_last_words(
    supervisor: Supervisor,
) -> None:
    program = (
        "import sys\n"
        "from runtime.process import run_async\n"
        "async def main():\n    raise RuntimeError('the disk\\nis gone')\n"
        "sys.exit(run_async(main()))"
    )
    with pytest.raises(
        ChildFailed, match=r"hasty ended 5 times with exit code 1 .*RuntimeError: the disk is gone"
    ) as caught:
        await supervisor.start(child("hasty", program), timeout_s=60)
    assert caught.value.exit_code == 1
    assert supervisor.restart_counts() == {"hasty": 4}
    assert supervisor.pids() == {}


async def test_stop_ends_every_child_also_one_that_ignores_sigterm(supervisor: Supervisor) -> None:
    await asyncio.gather(supervisor.start(child("kind", SERVE)), supervisor.start(child("stubborn", IGNORE_SIGTERM)))
    pids = supervisor.pids()
    assert set(pids) == {"kind", "stubborn"}
    await supervisor.stop(timeout_s=0.3)
    assert not any(is_alive(pid) for pid in pids.values())


async def test_one_child_can_be_stopped_for_good(supervisor: Supervisor) -> None:
    await asyncio.gather(supervisor.start(child("one", SERVE)), supervisor.start(child("two", SERVE)))
    pid = supervisor.pids()["one"]
    await supervisor.stop_one("one")
    assert not is_alive(pid)
    assert set(supervisor.pids()) == {"two"}


@pytest.mark.parametrize("uvloop", [True, False])
async def test_killing_the_supervisor_ends_its_children(uvloop: bool) -> None:
    program = (
        "import asyncio, sys\n"
        "from runtime.process import run_async\n"
        "from runtime.supervisor import ChildProcess, Supervisor\n"
        "async def main():\n"
        "    supervisor = Supervisor()\n"
        f"    await supervisor.start(ChildProcess(name='one', command=[sys.executable, '-c', {SERVE!r}]))\n"
        "    print(supervisor.pids()['one'], flush=True)\n"
        "    await asyncio.Event().wait()\n"
        f"sys.exit(run_async(main(), uvloop={uvloop}))\n"
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, stdout=asyncio.subprocess.PIPE, env={**os.environ, **ENVIRONMENT}
    )
    assert process.stdout is not None
    pid = int(await process.stdout.readline())
    assert is_alive(pid)
    process.kill()
    await process.wait()
    await until_dead(pid)


async def run_main(body: str) -> tuple[asyncio.subprocess.Process, asyncio.StreamReader]:
    program = f"import asyncio, sys\nfrom runtime.process import run_async\n{body}\nsys.exit(run_async(main()))\n"
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        program,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, **ENVIRONMENT},
    )
    assert process.stdout is not None
    return process, process.stdout


async def test_sigterm_cancels_main_and_waits_for_its_cleanup() -> None:
    process, stdout = await run_main(
        "async def main():\n"
        "    try:\n"
        "        print('up', flush=True)\n"
        "        await asyncio.Event().wait()\n"
        "    finally:\n"
        "        await asyncio.sleep(0.05)\n"
        "        print('clean', flush=True)\n"
    )
    assert await stdout.readline() == b"up\n"
    process.send_signal(signal.SIGTERM)
    assert await stdout.readline() == b"clean\n"
    assert await process.wait() == 0


async def test_a_user_error_inside_a_task_group_is_a_sentence_on_stderr_and_exit_code_2() -> None:
    process, _ = await run_main(
        "from runtime.errors import UserError\n"
        "async def fail():\n"
        "    raise UserError('The port is taken.', 'choose another')\n"
        "async def main():\n"
        "    async with asyncio.TaskGroup() as group:\n"
        "        group.create_task(fail())\n"
    )
    _, stderr = await process.communicate()
    assert stderr.decode() == "The port is taken.\n  hint: choose another\n"
    assert process.returncode == 2
