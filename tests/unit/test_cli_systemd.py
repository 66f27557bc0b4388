"""systemd hears when a process serves, that it lives, and that it stops: over real datagram sockets."""

import asyncio
import os
import signal
import socket
import sys
from pathlib import Path

import pytest

from runtime.process import launch_command
from runtime.systemd import Systemd
from tests.fakes.waiting import eventually

_PROGRAM = """
import asyncio, sys
from runtime.process import notify_ready, run_async
async def serve():
    notify_ready("shares")
    await asyncio.Event().wait()
sys.exit(run_async(serve()))
"""


def manager_at(address: str) -> socket.socket:
    manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    manager.bind(address)
    manager.setblocking(False)
    return manager


def received(manager: socket.socket) -> list[str]:
    lines: list[str] = []
    while True:
        try:
            lines += manager.recv(4096).decode().split("\n")
        except BlockingIOError:
            return lines


@pytest.mark.parametrize("is_abstract", [False, True])
def test_a_process_that_serves_says_so_on_the_managers_socket(short_dir: Path, is_abstract: bool) -> None:
    name = f"{short_dir}/notify"
    with manager_at(f"\0{name}" if is_abstract else name) as manager:
        Systemd({"NOTIFY_SOCKET": f"@{name}" if is_abstract else name}).ready("shares\nserves")
        assert received(manager) == ["READY=1", "STATUS=shares serves"]


def test_nobody_listening_and_nobody_named_is_no_failure(short_dir: Path) -> None:
    Systemd({}).ready("serves")
    Systemd({"NOTIFY_SOCKET": f"{short_dir}/nobody"}).stopping()
    Systemd({"NOTIFY_SOCKET": "relative"}).status("x")


async def test_the_watchdog_is_fed_twice_an_interval_and_only_by_the_process_it_was_set_for(short_dir: Path) -> None:
    name = f"{short_dir}/notify"
    environment = {"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "40000"}
    with manager_at(name) as manager:
        feeding = asyncio.create_task(Systemd(environment).keep_watchdog())
        seen: list[str] = []

        def fed() -> bool:
            seen.extend(received(manager))
            return len(seen) >= 3

        await eventually(fed, what="three signs of life")
        feeding.cancel()
        assert set(seen) == {"WATCHDOG=1"}
        await Systemd(environment | {"WATCHDOG_PID": str(os.getpid() + 1)}).keep_watchdog()
        received(manager)
        await Systemd({"NOTIFY_SOCKET": name}).keep_watchdog()
        assert received(manager) == []


async def test_a_process_says_that_it_serves_lives_and_stops_and_ends_with_0(short_dir: Path) -> None:
    name = f"{short_dir}/notify"
    with manager_at(name) as manager:
        process = await asyncio.create_subprocess_exec(
            *launch_command([sys.executable, "-c", _PROGRAM], death_signal=signal.SIGKILL),
            env={**os.environ, "NOTIFY_SOCKET": name, "WATCHDOG_USEC": "100000", "PYTHONPATH": str(Path.cwd())},
        )
        seen: list[str] = []

        def has(line: str) -> bool:
            seen.extend(received(manager))
            return line in seen

        await eventually(lambda: has("READY=1") and has("WATCHDOG=1"), what="a process that serves")
        process.terminate()
        assert await process.wait() == 0
        assert has("STOPPING=1")


async def test_a_child_of_our_own_supervisor_leaves_systemd_to_its_parent(
    short_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"{short_dir}/notify"
    read_fd, write_fd = os.pipe()
    with manager_at(name) as manager:
        process = await asyncio.create_subprocess_exec(
            *launch_command([sys.executable, "-c", _PROGRAM], death_signal=signal.SIGKILL),
            env={
                **os.environ,
                "NOTIFY_SOCKET": name,
                "LODEPOOL_READY_FD": str(write_fd),
                "PYTHONPATH": str(Path.cwd()),
            },
            pass_fds=(write_fd,),
        )
        assert await asyncio.to_thread(os.read, read_fd, 100) == b"READY shares\n"
        process.terminate()
        assert await process.wait() == 0
        assert received(manager) == []
    os.close(read_fd)
    os.close(write_fd)
