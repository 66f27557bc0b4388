"""The processes of a cluster as an operator starts them: `lodepool run` with a host's file, the rest in etcd."""

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import tomlkit

from cli.demo.node import COIN_ID, DemoNode
from runtime.eventlog.kafka_settings import KafkaSettings
from runtime.process import free_port, launch_command
from tests.fakes.etcd_cluster import EtcdCluster
from tests.fakes.waiting import eventually

ROOT = Path(__file__).parents[2]
ROLES = ("shares", "miners", "rewards", "payouts", "gateway", "shipper", "stratum")
START_S_MAX = 60.0
_CLI = (sys.executable, "-c", "from cli.main import main; main()")


async def cli(*arguments: str, timeout_s: float = 60, **environment: str) -> tuple[int, str, str]:
    """Run `lodepool ARGUMENTS`; return exit code, stdout and stderr."""
    process = await asyncio.create_subprocess_exec(
        *_CLI, *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, cwd=ROOT,
        env={**os.environ, **environment},
    )  # fmt: skip
    async with asyncio.timeout(timeout_s):
        out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


class ServiceProcesses:
    """One process of each role on one machine, with certificates, each with its own host's file.

    Args:
        folder: Where everything lies; short, for unix sockets.
        etcd: The cluster's etcd.
        node: The coin's node.
        dsn: The database.
        kafka: The event log; None takes PostgreSQL.
        eventlog_kind: Takes PostgreSQL although there is Kafka; empty takes Kafka.
    """

    def __init__(
        self, folder: Path, *, etcd: EtcdCluster, node: DemoNode, dsn: str, kafka: KafkaSettings | None,
        eventlog_kind: str = "",
    ) -> None:  # fmt: skip
        self.folder = folder
        self.stratum_port = free_port()
        self.gateway_port = free_port()
        self._etcd = etcd
        self._node = node
        self._dsn = dsn
        self._kafka = kafka
        self._eventlog_kind = eventlog_kind or "kafka"
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    async def prepare(self) -> None:
        """Make certificates and files, and push the tree."""
        code, _, err = await cli("certs", "dev", "--out", str(self.folder / "certs"))
        assert code == 0, err
        for role in (*ROLES, "cli"):
            self.file(role).write_text(tomlkit.dumps(self._host_tree(role)))
        self.tree_file.write_text(tomlkit.dumps(self._pool_tree()))
        code, _, err = await self.cli("config", "push", str(self.tree_file))
        assert code == 0, err

    @property
    def tree_file(self) -> Path:
        return self.folder / "pool.toml"

    def file(self, role: str) -> Path:
        return self.folder / f"{role.partition('@')[0]}.toml"

    async def cli(self, *arguments: str) -> tuple[int, str, str]:
        """Run a command as the operator."""
        return await cli(*arguments, "--config", str(self.file("cli")), LODEPOOL_POSTGRES_DSN=self._dsn)

    async def config_set(self, path: str, value: str) -> float:
        """Change a setting and return when the command had ended."""
        code, _, err = await self.cli("config", "set", path, value)
        assert code == 0, err
        return time.monotonic()

    def start(self, *roles: str, **environment: str) -> None:
        """Start a process of each role; "shares@2" is a second one of shares."""
        for role in roles:
            command = [*_CLI, "run", role.partition("@")[0], "--config", str(self.file(role))]
            with self.log(role).open("ab") as log:
                self._processes[role] = subprocess.Popen(
                    launch_command(command, death_signal=signal.SIGKILL),
                    stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=ROOT, start_new_session=True,
                    env={
                        **os.environ, "LODEPOOL_POSTGRES_DSN": self._dsn,
                        "LODEPOOL_POOL_DATA_DIR": str(self.folder / "data"), **environment,
                    },
                )  # fmt: skip

    async def wait_serving(self, *roles: str) -> None:
        """Wait until each process has said that it serves: its metrics are there, and the register shows it."""
        for role in roles:
            await eventually(lambda role=role: self._is_serving(role), timeout_s=START_S_MAX, what=f"{role} to serve")
        code, out, err = await self.cli("status", "--processes", "--json")
        assert code == 0, err
        assert {each["service"] for each in json.loads(out)["processes"]} >= {role.partition("@")[0] for role in roles}

    def log(self, role: str) -> Path:
        return self.folder / f"{role}.log"

    def text(self, role: str) -> str:
        return self.log(role).read_text(errors="replace")

    def pid(self, role: str) -> int:
        return self._processes[role].pid

    async def terminate(self, role: str) -> int:
        """Send SIGTERM and return the exit code."""
        process = self._processes.pop(role)
        process.terminate()
        return await asyncio.to_thread(process.wait, 40)

    async def ended(self, role: str) -> int:
        """Wait until a process has ended by itself and return its exit code."""
        return await asyncio.to_thread(self._processes.pop(role).wait, START_S_MAX)

    async def metric(self, role: str, name: str) -> float | None:
        """Scrape one metric without labels; None when it is not there."""
        found = re.findall(r"metrics shown address=(\S+)", self.text(role))
        if not found:
            return None
        text = await asyncio.to_thread(_get, f"http://{found[-1]}/metrics")
        match = re.search(rf"^{name} (\S+)$", text, re.MULTILINE)
        return float(match[1]) if match else None

    def _is_serving(self, role: str) -> bool:
        process = self._processes[role]
        assert process.poll() is None, f"{role} ended with {process.returncode}:\n{self.text(role)[-3000:]}"
        return "process serves" in self.text(role)

    async def stop(self) -> None:
        for process in self._processes.values():
            process.terminate()
        for process in self._processes.values():
            try:
                await asyncio.to_thread(process.wait, 20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _host_tree(self, role: str) -> dict[str, object]:
        certificates = self.folder / "certs"
        etcd = self._etcd.settings()
        names = ("attempt_timeout_s", "request_timeout_s", "probe_s", "lease_ttl_s", "clock_margin_s")
        return {
            "etcd": {
                "endpoints": list(etcd.endpoints), "cluster": etcd.cluster, **{n: getattr(etcd, n) for n in names},
            },
            "rpc": {
                "ca_file": str(certificates / "ca.pem"),
                "cert_file": str(certificates / f"{role}.pem"),
                "key_file": str(certificates / f"{role}.key"),
                "token_key_file": str(certificates / f"{role}.token.key"),
                "token_keys_file": str(certificates / "tokens.json"),
                "drain_s": 5,
            },
            "telemetry": {"metrics_port": 0},
        }  # fmt: skip

    def _pool_tree(self) -> dict[str, object]:
        (node,) = self._node.settings
        tree: dict[str, object] = {
            "pool": {"coin": COIN_ID, "address": self._node.pool_address},
            "nodes": [{"name": node.name, "url": node.url, "wallet": node.wallet}],
            "stratum": {
                "host": "127.0.0.1",
                "port": self.stratum_port,
                # Between the easiest target there is (0.000015) and the test network's (0.00003): a change shows.
                "difficulty_start": 0.000016,
                "difficulty_min": 0.000016,
            },
            "gateway": {"port": self.gateway_port},
        }
        if self._kafka is not None:
            topic = {"partitions": 2, "replication_factor": 1, "min_insync_replicas": 1}
            servers = list(self._kafka.bootstrap_servers)
            kafka = {"bootstrap_servers": servers, "prefix": self._kafka.prefix, "topic": topic}
            tree |= {"eventlog": {"kind": self._eventlog_kind}, "kafka": kafka}
        return tree


@asynccontextmanager
async def running_services(services: ServiceProcesses, roles: Sequence[str] = ROLES) -> AsyncIterator[ServiceProcesses]:
    """Run the roles' processes, ready when the block begins."""
    try:
        services.start(*roles)
        await services.wait_serving(*roles)
        yield services
    finally:
        await services.stop()


def _get(url: str) -> str:
    with urllib.request.urlopen(url, timeout=5) as response:
        return str(response.read().decode())
