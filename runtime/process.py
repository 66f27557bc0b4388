"""The roots of tasks and of processes, and what a process needs from its machine."""

import asyncio
import contextlib
import hashlib
import logging
import os
import signal
import socket
import sys
import tempfile
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from pathlib import Path

import uvloop as uvloop_module

from runtime.clock import Clock
from runtime.errors import LodepoolError, UserError
from runtime.logs import log_event
from runtime.systemd import Systemd

_log = logging.getLogger("lodepool.process")

READY_FD = "LODEPOOL_READY_FD"
LAST_WORDS_BYTES_MAX = 500
EXIT_ERROR = 1
"""Exit code after an unexpected error."""
STOP_S_MAX = 25.0
"""How long a process may take to clean up after it was told to stop."""
EXIT_USER_ERROR = 2
"""Exit code when the operator must do something."""
_CALM_S = 30.0
_SOCKET_PATH_BYTES_MAX = 107
_SOCKET_NAME_BYTES_MAX = 32


async def keep_running(
    name: str,
    work: Callable[[], Awaitable[None]],
    *,
    clock: Clock,
    backoff_s_min: float = 0.1,
    backoff_s_max: float = 5.0,
) -> None:
    """Run `work` for ever: the root of a task.

    An exception is logged in one line; then `work` starts again after a delay that doubles up to `backoff_s_max`, and
    is back at `backoff_s_min` once `work` has run for `_CALM_S` seconds. A `work` that returns starts again after the
    smallest delay. Cancellation and UserError pass.
    """
    delay_s = backoff_s_min
    while True:
        start_s = clock.monotonic_s()
        try:
            await work()
        except UserError:
            raise
        except Exception as error:
            if is_cancelled():
                raise asyncio.CancelledError from error
            if clock.monotonic_s() - start_s >= _CALM_S:
                delay_s = backoff_s_min
            description = f"{type(error).__name__}: {error}"
            log_event(_log, logging.WARNING, "task failed", task=name, error=description, retry_in_s=delay_s)
            _log.debug("traceback of the failed task", exc_info=error)
            await clock.sleep(delay_s)
            delay_s = min(delay_s * 2, backoff_s_max)
        else:
            delay_s = backoff_s_min
            await clock.sleep(backoff_s_min)


def is_cancelled() -> bool:
    """Tell whether the running task was told to stop.

    For those who catch any exception and go on: clean-up that fails while a task is being cancelled raises its failure
    instead of the cancellation, and going on would lose it.
    """
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def run_async(main: Coroutine[object, object, None], *, uvloop: bool = True) -> int:
    """Run a process's main coroutine and return the exit code.

    SIGTERM and SIGINT cancel `main` once; the process ends when its cleanup is done, and after `STOP_S_MAX` seconds
    without it, with the tasks that hang in the log. A UserError, alone or in an
    exception group, is printed to stderr as a sentence. systemd, where it has started us, hears that we stop, and that
    the event loop turns.

    Returns:
        0 when `main` returned or was cancelled by a signal, 1 after an unexpected error (one of ours is a line in the
        log, any other a traceback), 2 after a UserError.
    """
    with asyncio.Runner(loop_factory=uvloop_module.new_event_loop if uvloop else None) as runner:
        try:
            runner.run(_until_signal(main))
        except UserError as error:
            _print_user_error(error)
            return EXIT_USER_ERROR
        except LodepoolError as error:
            log_event(_log, logging.ERROR, "the process failed", error=str(error))
            notify_failed(str(error))
            return EXIT_ERROR
        except BaseExceptionGroup as group:
            user_error = first_user_error(group)
            if user_error is None:
                _log.error("the process failed", exc_info=group)
                notify_failed(_last_words(group))
                return EXIT_ERROR
            _print_user_error(user_error)
            return EXIT_USER_ERROR
        except Exception as error:
            _log.error("the process failed", exc_info=error)
            notify_failed(_last_words(error))
            return EXIT_ERROR
    return 0


def _last_words(error: BaseException) -> str:
    """Return an error in one line: the first one in a group."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return f"{type(error).__name__}: {error}"


async def _until_signal(main: Coroutine[object, object, None]) -> None:
    loop = asyncio.get_running_loop()
    task = asyncio.ensure_future(main)
    systemd = service_manager()
    watchdog = loop.create_task(systemd.keep_watchdog(), name="watchdog")
    stopped_by: list[signal.Signals] = []

    def stop(number: signal.Signals) -> None:
        if not stopped_by:
            stopped_by.append(number)
            log_event(_log, logging.INFO, "stop requested", signal=number.name)
            systemd.stopping()
            loop.call_later(STOP_S_MAX, _give_up)
            task.cancel()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop, number)
    try:
        await task
    except asyncio.CancelledError:
        if not stopped_by:
            raise
    finally:
        watchdog.cancel()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)


def _give_up() -> None:
    """End a process whose cleanup does not: whoever stops it must not wait for ever."""
    for task in asyncio.all_tasks():
        frames = task.get_stack(limit=1)
        place = f"{frames[-1].f_code.co_filename}:{frames[-1].f_lineno}" if frames else "unknown"
        log_event(
            _log, logging.ERROR, "task did not stop", task=task.get_name(), work=repr(task.get_coro()), place=place
        )
    logging.shutdown()
    os._exit(EXIT_ERROR)


def first_user_error(group: BaseExceptionGroup[BaseException]) -> UserError | None:
    """Return the first UserError inside nested groups, None when there is none."""
    for error in group.exceptions:
        if isinstance(error, UserError):
            return error
        if isinstance(error, BaseExceptionGroup):
            found = first_user_error(error)
            if found is not None:
                return found
    return None


def _print_user_error(error: UserError) -> None:
    sys.stderr.write(f"{error.message}\n" + (f"  hint: {error.hint}\n" if error.hint else ""))


def service_manager() -> Systemd:
    """Return systemd as this process may speak to it: not at all where our own supervisor has started it."""
    return Systemd({} if READY_FD in os.environ else os.environ)


def notify_ready(name: str) -> None:
    """Tell whoever started this process that it serves: our supervisor, or systemd, or nobody.

    The supervisor reads the line "READY <name>" from the descriptor whose number is in LODEPOOL_READY_FD.
    """
    number = os.environ.get(READY_FD)
    if number is None:
        service_manager().ready(f"{name} serves")
        return
    # The supervisor may have stopped listening; being ready is then nobody's business.
    with contextlib.suppress(OSError, ValueError):
        os.write(int(number), f"READY {name}\n".encode())


def notify_failed(words: str) -> None:
    """Tell our supervisor, if there is one, why this process ends: "FAILED <words>", one line."""
    number = os.environ.get(READY_FD)
    if number is not None:
        line = " ".join(f"FAILED {words}".split())
        with contextlib.suppress(OSError, ValueError):
            os.write(int(number), line.encode()[:LAST_WORDS_BYTES_MAX] + b"\n")


def launch_command(
    command: Sequence[str], *, death_signal: int = signal.SIGTERM, uid: int = -1, gid: int = -1
) -> list[str]:
    """Return the argument list that runs `command` so that it gets `death_signal` when this process dies.

    It must be started from the main thread (or one that lives as long as the process): the kernel watches the thread.
    """
    launcher = str(Path(__file__).with_name("launch.py"))
    head = [sys.executable, "-I", "-S", launcher]
    return [*head, str(os.getpid()), str(int(death_signal)), str(uid), str(gid), *command]


def socket_dir(data_dir: Path) -> Path:
    """Return the directory for unix sockets that belongs to `data_dir`, made with mode 0700.

    It is `<data_dir>/run`, or a directory named by a hash in the system's temporary folder when a socket's path would
    be longer than the kernel's 107 bytes. Names of sockets in it are at most 32 bytes.

    Raises:
        UserError: When the directory in the temporary folder belongs to somebody else.
    """
    data_dir = data_dir.absolute()
    path = data_dir / "run"
    if len(os.fsencode(path)) + 1 + _SOCKET_NAME_BYTES_MAX > _SOCKET_PATH_BYTES_MAX:
        digest = hashlib.sha256(os.fsencode(data_dir)).hexdigest()[:12]
        path = Path(tempfile.gettempdir()) / f"lodepool-{os.getuid()}-{digest}"
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    status = path.lstat()
    if path.is_symlink() or status.st_uid != os.getuid():
        raise UserError(
            f"The socket directory {path} belongs to somebody else.", "remove it, or use a shorter data_dir"
        )
    path.chmod(0o700)
    return path


def free_port(host: str = "127.0.0.1") -> int:
    """Return a TCP port that nobody listens on now; another process may take it before the caller does."""
    with socket.socket() as listener:
        listener.bind((host, 0))
        return int(listener.getsockname()[1])
