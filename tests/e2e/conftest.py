"""A whole pool as its operator starts it: `lodepool up` in a process of its own."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import psutil
import pytest

from cli.reading import Services, services
from cli.settings import Settings, load_settings
from nodes.settings import NodeSettings
from runtime.process import free_port

START_TIMEOUT_S = 60
ROOT = Path(__file__).parents[2]


@dataclass(slots=True, kw_only=True)
class RunningPool:
    """A pool under test.

    Attributes:
        settings: Its lodepool.toml, decoded.
        process: `lodepool up`.
        log: What it wrote.
    """

    settings: Settings
    process: asyncio.subprocess.Process
    log: Path

    def pid_of(self, part: str) -> int:
        """Return the process id of "office", "shipper", "worker" or "postgres"."""
        marks = {"office": " office ", "shipper": " shipper ", "worker": " stratum ", "postgres": "/bin/postgres"}
        for child in psutil.Process(self.process.pid).children(recursive=True):
            try:
                line = " ".join(child.cmdline()) + " "
                parent = child.parent()
            except psutil.NoSuchProcess:
                continue
            if marks[part] in line and (
                part != "postgres" or (parent and "/bin/postgres" not in " ".join(parent.cmdline()))
            ):
                return child.pid
        raise AssertionError(f"{part} does not run; log:\n{self.log.read_text()[-3000:]}")

    async def kill(self, part: str) -> None:
        """Kill -9 a part and return once its successor runs."""
        pid = self.pid_of(part)
        os.kill(pid, signal.SIGKILL)

        def is_back() -> bool:
            try:
                return self.pid_of(part) != pid
            except AssertionError:
                return False

        await until(is_back, timeout_s=30, what=f"{part} to be started again")

    async def run_cli(self, *arguments: str) -> tuple[int, str, str]:
        """Run `lodepool ARGUMENTS --config …` and return exit code, stdout, stderr."""
        return await run_cli(*arguments, "--config", str(self.settings.path))

    async def audit(self) -> dict[str, object]:
        """Return the audit's JSON object."""
        _, out, err = await self.run_cli("audit", "--json")
        assert out, err
        return dict(json.loads(out))


async def run_cli(*arguments: str) -> tuple[int, str, str]:
    """Run `lodepool ARGUMENTS` and return exit code, stdout, stderr."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", "from cli.main import main; main()", *arguments,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, cwd=ROOT,
    )  # fmt: skip
    async with asyncio.timeout(120):
        out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


async def until(condition: Callable[[], object], *, timeout_s: float, what: str) -> None:
    """Wait for a condition, bounded."""
    try:
        async with asyncio.timeout(timeout_s):
            while not condition():
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise AssertionError(f"waited {timeout_s} s for {what}") from None


StartPool = Callable[..., AbstractAsyncContextManager[RunningPool]]


@pytest.fixture
def start_pool(tmp_path: Path) -> StartPool:
    """Return a context manager that runs a pool: coin, address, nodes, and lines of further sections by name."""
    return partial(running_pool, tmp_path)


@asynccontextmanager
async def running_pool(
    folder: Path,
    *,
    coin: str,
    address: str,
    nodes: Sequence[NodeSettings],
    sections: dict[str, dict[str, object]] | None = None,
) -> AsyncIterator[RunningPool]:
    """Run a pool with its configuration and its data in a folder."""
    path = folder / "lodepool.toml"
    path.write_text(configuration(coin=coin, address=address, nodes=nodes, sections=sections or {}))
    settings = load_settings(path)
    log = folder / "up.log"
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", "from cli.main import main; main()", "up", "--config", str(path),
            stdout=output, stderr=output, cwd=ROOT,
        )  # fmt: skip
    pool = RunningPool(settings=settings, process=process, log=log)
    try:
        await until(
            lambda: "miners connect to" in log.read_text() or process.returncode is not None,
            timeout_s=START_TIMEOUT_S,
            what=f"the pool to start; see {log}",
        )
        assert process.returncode is None, log.read_text()[-3000:]
        yield pool
    finally:
        if process.returncode is None:
            process.terminate()
            async with asyncio.timeout(60):
                await process.wait()


@asynccontextmanager
async def asking(pool: RunningPool) -> AsyncIterator[Services]:
    """Open channels to the pool's services."""
    async with services(pool.settings) as stubs:
        yield stubs


def configuration(
    *, coin: str, address: str, nodes: Sequence[NodeSettings], sections: dict[str, dict[str, object]]
) -> str:
    """Return a lodepool.toml on free ports, data beside it."""
    merged: dict[str, dict[str, object]] = {
        "pool": {"coin": coin, "address": address, "data_dir": "data"},
        "stratum": {"host": "127.0.0.1", "port": free_port()},
        "gateway": {"port": free_port()},
    }
    for name, values in sections.items():
        merged.setdefault(name, {}).update(values)
    lines = []
    for node in nodes:
        lines.append("[[nodes]]")
        lines += [f"{key} = {json.dumps(getattr(node, key))}" for key in ("name", "url", "user", "password", "wallet")]
    for name, values in merged.items():
        lines.append(f"[{name}]")
        lines += [f"{key} = {json.dumps(value)}" for key, value in values.items()]
    return "\n".join(lines) + "\n"
