"""Run child processes: start, watch, restart, stop."""

import asyncio
import contextlib
import logging
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from runtime.clock import Clock, SystemClock
from runtime.errors import LodepoolError
from runtime.logs import log_event
from runtime.process import EXIT_USER_ERROR, LAST_WORDS_BYTES_MAX, READY_FD, launch_command

_log = logging.getLogger("lodepool.supervisor")

_BACKOFF_S_MIN = 0.1
_BACKOFF_S_MAX = 10.0
_CALM_S = 30.0
_FAILED_STARTS_MAX = 5
_LINE_BYTES_MAX = 2 * LAST_WORDS_BYTES_MAX


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildProcess:
    """A program to keep running.

    Attributes:
        name: Unique name, in logs and in `Supervisor.pids`.
        command: Program and arguments.
        environment: Variables on top of ours.
        is_ready_awaited: Whether it calls `notify_ready`; otherwise it counts as ready once started.
    """

    name: str
    command: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    is_ready_awaited: bool = True


class ChildFailed(LodepoolError):
    """Raised when a child ended before it was ever ready: with an error for the operator, or several times quickly.

    Attributes:
        name: The child.
        exit_code: Its exit code, of the last time.
        last_words: What it said of the reason; empty when nothing.
    """

    def __init__(self, name: str, exit_code: int, *, count: int = 1, last_words: str = "") -> None:
        times = f" {count} times" if count > 1 else ""
        reason = f": {last_words}" if last_words else ""
        super().__init__(f"{name} ended{times} with exit code {exit_code} before it was ready{reason}")
        self.name = name
        self.exit_code = exit_code
        self.last_words = last_words


@dataclass(slots=True, kw_only=True)
class _Child:
    spec: ChildProcess
    process: asyncio.subprocess.Process | None = None
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    keeper: asyncio.Task[None] | None = None
    restart_count: int = 0
    was_ready: bool = False
    failed_starts: int = 0
    last_words: str = ""
    failure: ChildFailed | None = None


class Supervisor:
    """Keeps child processes running until it is stopped.

    A child that dies starts again after a delay that doubles from 0.1 s to 10 s, and
    is back at 0.1 s after 30 s of calm. One that has never been ready is given up after 5 quick deaths.
    Children pass their stdout and stderr through, are in their own session (a Ctrl-C at the terminal reaches only us),
    and get SIGTERM from the kernel when we are killed. Readiness is the line "READY <name>" on the descriptor in
    LODEPOOL_READY_FD (`runtime.process.notify_ready`).

    Args:
        on_restart: Called with the child's name each time it is started again.
        clock: For tests.
    """

    def __init__(self, *, on_restart: Callable[[str], None] | None = None, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._on_restart = on_restart
        self._children: dict[str, _Child] = {}

    def pids(self) -> dict[str, int]:
        """Return the process ids of the children that run now, by name."""
        return {
            name: child.process.pid
            for name, child in self._children.items()
            if child.process is not None and child.process.returncode is None
        }

    def restart_counts(self) -> dict[str, int]:
        """Return how often each child was started again."""
        return {name: child.restart_count for name, child in self._children.items()}

    async def start(self, spec: ChildProcess, *, timeout_s: float = 30.0) -> None:
        """Start a child and return once it is ready.

        Raises:
            ChildFailed: When it ends with an error for the operator (exit code 2, which it has printed) at its start,
                or 5 times quickly with any other.
            TimeoutError: When it is not ready in time; it is still kept running.
        """
        if spec.name in self._children:
            raise ValueError(f"there is a child {spec.name} already")
        child = self._children[spec.name] = _Child(spec=spec)
        child.keeper = asyncio.create_task(self._keep(child), name=f"keeper of {spec.name}")
        await self.wait_ready(spec.name, timeout_s=timeout_s)

    async def wait_ready(self, name: str, *, timeout_s: float = 30.0) -> None:
        """Return once the child is ready; see `start` for the errors."""
        child = self._children[name]
        async with asyncio.timeout(timeout_s):
            await child.ready.wait()
        if child.failure is not None:
            raise child.failure

    async def stop(self, *, timeout_s: float = 10.0) -> None:
        """End all children at once: SIGTERM, then SIGKILL for those that still run after `timeout_s` seconds."""
        children, self._children = self._children, {}
        for child in children.values():
            if child.keeper is not None:
                child.keeper.cancel()
        await asyncio.gather(*(_stop_child(child, timeout_s) for child in children.values()))

    async def stop_one(self, name: str, *, timeout_s: float = 10.0) -> None:
        """End one child for good."""
        child = self._children.pop(name)
        if child.keeper is not None:
            child.keeper.cancel()
        await _stop_child(child, timeout_s)

    async def _keep(self, child: _Child) -> None:
        delay_s = _BACKOFF_S_MIN
        while True:
            start_s = self._clock.monotonic_s()
            try:
                exit_code = await self._run_once(child)
            except OSError as error:
                log_event(_log, logging.ERROR, "child could not be started", child=child.spec.name, error=str(error))
                exit_code = -1
            child.ready.clear()
            is_quick = self._clock.monotonic_s() - start_s < _CALM_S
            child.failed_starts = child.failed_starts + 1 if is_quick else 0
            is_given_up = exit_code == EXIT_USER_ERROR or child.failed_starts >= _FAILED_STARTS_MAX
            if is_given_up and not child.was_ready:
                child.failure = ChildFailed(
                    child.spec.name, exit_code, count=child.failed_starts, last_words=child.last_words
                )
                child.ready.set()
                return
            if not is_quick:
                delay_s = _BACKOFF_S_MIN
            log_event(
                _log,
                logging.WARNING,
                "child died",
                child=child.spec.name,
                exit_code=exit_code,
                restart_in_s=delay_s,
            )
            await self._clock.sleep(delay_s)
            delay_s = min(delay_s * 2, _BACKOFF_S_MAX)
            child.restart_count += 1
            if self._on_restart is not None:
                self._on_restart(child.spec.name)

    async def _run_once(self, child: _Child) -> int:
        read_fd, write_fd = os.pipe()
        try:
            child.process = await asyncio.create_subprocess_exec(
                *launch_command(child.spec.command),
                stdin=asyncio.subprocess.DEVNULL,
                env={**os.environ, **child.spec.environment, READY_FD: str(write_fd)},
                pass_fds=(write_fd,),
                start_new_session=True,
            )
        except BaseException:
            os.close(read_fd)
            raise
        finally:
            os.close(write_fd)
        log_event(_log, logging.INFO, "child started", child=child.spec.name, pid=child.process.pid)
        watcher = _ReadyLine(read_fd, child)
        try:
            if not child.spec.is_ready_awaited:
                child.was_ready = True
                child.ready.set()
            return await child.process.wait()
        finally:
            watcher.read()
            watcher.close()


class _ReadyLine:
    """Reads a child's descriptor until it has said that it is ready, or why it ends."""

    def __init__(self, read_fd: int, child: _Child) -> None:
        self._read_fd = read_fd
        self._child = child
        self._line = b""
        self._is_open = True
        os.set_blocking(read_fd, False)
        asyncio.get_running_loop().add_reader(read_fd, self.read)

    def read(self) -> None:
        """Take what there is to read now."""
        if not self._is_open:
            return
        with contextlib.suppress(BlockingIOError):
            data = os.read(self._read_fd, _LINE_BYTES_MAX)
            self._line = (self._line + data)[:_LINE_BYTES_MAX]
            if self._line.startswith(b"READY ") and b"\n" in self._line:
                self._child.was_ready = True
                self._child.ready.set()
                log_event(_log, logging.INFO, "child ready", child=self._child.spec.name)
                self.close()
            elif self._line.startswith(b"FAILED ") and b"\n" in self._line:
                self._child.last_words = self._line.partition(b" ")[2].decode(errors="replace").strip()
                self.close()
            elif not data:
                self.close()

    def close(self) -> None:
        """Stop reading."""
        if self._is_open:
            self._is_open = False
            asyncio.get_running_loop().remove_reader(self._read_fd)
            os.close(self._read_fd)


async def _stop_child(child: _Child, timeout_s: float) -> None:
    if child.keeper is not None:
        with contextlib.suppress(asyncio.CancelledError):
            await child.keeper
    process = child.process
    if process is None or process.returncode is not None:
        return
    for number, limit_s in ((signal.SIGTERM, timeout_s), (signal.SIGKILL, 5.0)):
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(number)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(limit_s):
                await process.wait()
                log_event(_log, logging.INFO, "child stopped", child=child.spec.name, exit_code=process.returncode)
                return
        log_event(_log, logging.WARNING, "child did not stop", child=child.spec.name, pid=process.pid)
