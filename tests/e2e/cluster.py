"""A whole cluster on loopback, each service a process of its own: what `lodepool run` is for.

Two hosts (a data directory and an address each) with stratum and shipper, two of each service, one gateway; Kafka with
three brokers, etcd with three members, PostgreSQL over TCP, two litecoind; mutual TLS and tokens between the services.
"""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import asyncpg
import tomlkit

from nodes.regtest import LitecoindRegtest
from runtime.postgres.embedded import EmbeddedPostgres
from runtime.process import launch_command
from tests.fakes.etcd_cluster import EtcdCluster
from tests.fakes.kafka_cluster import KafkaCluster, quick_settings
from tests.fakes.ports import steady_port

ROOT = Path(__file__).parents[2]
COIN_ID = "litecoin-regtest"
HOSTS = {"a": "127.0.0.1", "b": "127.0.0.2"}
SERVICES = ("shares", "miners", "rewards", "payouts", "notifier")
DIFFICULTY = 1.6e-5
"""Nearly every hash is a share, and every second one of them a block."""
START_S_MAX = 90.0
STOP_S_MAX = 40.0
_PASSWORD = "loopback"
_PATIENT_KAFKA = {
    "broker.session.timeout.ms": "6000",
    "broker.heartbeat.interval.ms": "1000",
    "controller.quorum.fetch.timeout.ms": "4000",
    "controller.quorum.election.timeout.ms": "1500",
}
"""Twenty processes share the cores: what takes long is not dead."""
_CLI = (sys.executable, "-c", "from cli.main import main; main()")


@dataclass(kw_only=True)
class Program:
    """One process that can be killed and started again.

    Attributes:
        name: Its name, such as "shares-2".
        arguments: Of `lodepool`.
        environment: On top of ours.
        log: What it writes.
        process: None when it does not run.
        exits: Exit codes of those that ended by themselves.
    """

    name: str
    arguments: list[str]
    environment: Mapping[str, str]
    log: Path
    process: subprocess.Popen[bytes] | None = None
    exits: list[int] = field(default_factory=list)

    def start(self) -> None:
        """Start it, without waiting for it."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                launch_command([*_CLI, *self.arguments], death_signal=signal.SIGKILL),
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=ROOT,
                env={**os.environ, **self.environment}, start_new_session=True,
            )  # fmt: skip

    def kill(self) -> None:
        """Kill -9 it."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(STOP_S_MAX)
            self.process = None

    def ask_to_stop(self) -> None:
        """Send SIGTERM."""
        if self.process is not None:
            self.process.terminate()

    def restart_if_ended(self) -> bool:
        """Start it again when it has ended by itself, as systemd would; return whether it had."""
        if self.process is None or self.process.poll() is None:
            return False
        self.exits.append(self.process.returncode)
        self.start()
        return True


class Cluster:
    """Runs everything; an async context manager.

    Args:
        folder: Where everything lies.
        sections: Settings on top of the defaults, by section.
    """

    def __init__(self, folder: Path, *, sections: Mapping[str, Mapping[str, object]] | None = None) -> None:
        self.folder = folder
        self.kafka = KafkaCluster(directory=folder / "kafka", node_count=3, listener_settings=_PATIENT_KAFKA)
        self.etcd = EtcdCluster(3)
        self.litecoind = LitecoindRegtest(folder / "chain")
        self.stratum_port = steady_port()
        self.gateway_port = steady_port()
        self.programs: dict[str, Program] = {}
        self.pool_address = ""
        self.dsn = ""
        self._sections = sections or {}
        self._postgres_port = steady_port()
        self.postgres = EmbeddedPostgres(
            folder / "pg", settings={"listen_addresses": "127.0.0.1", "port": str(self._postgres_port)}
        )
        self._stack = contextlib.AsyncExitStack()

    async def __aenter__(self) -> Self:
        try:
            # One after the other: started together they take each other's time and miss their own deadlines.
            await self._start_kafka()
            await self._stack.enter_async_context(self.etcd)
            await self._start_chain()
            await self._start_postgres()
            await self._configure()
            await self._start_programs()
        except BaseException:
            await self._close()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._close()

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """Where miners connect: one address a host."""
        return [(host, self.stratum_port) for host in HOSTS.values()]

    async def run_cli(self, *arguments: str, host: str = "a", timeout_s: float = 180) -> tuple[int, str, str]:
        """Run `lodepool ARGUMENTS` as the operator of a host; return exit code, stdout and stderr."""
        process = await asyncio.create_subprocess_exec(
            *_CLI, *arguments, "--config", str(self._host_file("cli")),
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, cwd=ROOT,
            env={**os.environ, **self._environment("cli", host)},
        )  # fmt: skip
        async with asyncio.timeout(timeout_s):
            out, err = await process.communicate()
        assert process.returncode is not None
        return process.returncode, out.decode(), err.decode()

    def data_dir(self, host: str) -> Path:
        """Return where a host keeps its journals."""
        return self.folder / f"host-{host}"

    def log_of(self, name: str) -> str:
        """Return the end of a program's log."""
        return self.programs[name].log.read_text(errors="replace")[-3000:]

    async def restart_postgres(self) -> None:
        """Kill -9 PostgreSQL and start it again."""
        pid = self.postgres.postmaster_pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        async with asyncio.timeout(START_S_MAX):
            while not await self.postgres.restart_if_dead():
                await asyncio.sleep(0.05)

    # --- start ---

    async def _start_kafka(self) -> None:
        self._stack.push_async_callback(self.kafka.stop)
        await self.kafka.start()

    async def _start_chain(self) -> None:
        await self._stack.enter_async_context(self.litecoind)
        self.pool_address = await self.litecoind.new_address("pool")

    async def _start_postgres(self) -> None:
        self._stack.push_async_callback(self.postgres.stop)
        socket_dsn = (await self.postgres.start()).replace("port=5432", f"port={self._postgres_port}")
        connection = await asyncpg.connect(socket_dsn)
        try:
            hba = Path(str(await connection.fetchval("SHOW hba_file")))
            rules = "local all all trust\nhost all all 127.0.0.1/32 scram-sha-256\n"
            await asyncio.to_thread(hba.write_text, rules)
            await connection.execute(f"CREATE ROLE lodepool LOGIN PASSWORD '{_PASSWORD}'")
            await connection.execute("ALTER DATABASE lodepool OWNER TO lodepool")
            await connection.execute("SELECT pg_reload_conf()")
        finally:
            await connection.close()
        self.dsn = f"postgresql://lodepool:{_PASSWORD}@127.0.0.1:{self._postgres_port}/lodepool"

    async def _configure(self) -> None:
        """Make certificates, write each host's file, push the cluster's tree."""
        process = await asyncio.create_subprocess_exec(
            *_CLI, "certs", "dev", "--out", str(self._certificates), cwd=ROOT
        )
        assert await process.wait() == 0
        for service in ("stratum", "shipper", *SERVICES, "gateway", "cli"):
            self._host_file(service).write_text(tomlkit.dumps(self._host_tree(service)))
        tree = self.folder / "pool.toml"
        tree.write_text(tomlkit.dumps(self._pool_tree()))
        code, out, err = await self.run_cli("config", "push", str(tree))
        assert code == 0, out + err

    async def _start_programs(self) -> None:
        for host in HOSTS:
            self._add(f"stratum-{host}", "stratum", host=host)
            self._add(f"shipper-{host}", "shipper", host=host)
        for service in SERVICES:
            for number in (1, 2):
                self._add(f"{service}-{number}", service, host="a")
        self._add("gateway-1", "gateway", host="a")
        # The first of each makes the tables; the others follow.
        for program in self.programs.values():
            program.start()
        await self._wait_for_miners_ports()

    async def _wait_for_miners_ports(self) -> None:
        deadline_s = time.monotonic() + START_S_MAX
        for name, (host, port) in zip(HOSTS, self.addresses, strict=True):
            while True:
                try:
                    async with asyncio.timeout(2):
                        _, writer = await asyncio.open_connection(host, port)
                    writer.close()
                    break
                except (OSError, TimeoutError):
                    self.restart_ended()
                    if time.monotonic() > deadline_s:
                        raise AssertionError(
                            f"stratum-{name} does not serve:\n{self.log_of(f'stratum-{name}')}"
                        ) from None
                    await asyncio.sleep(0.2)

    def restart_ended(self) -> list[str]:
        """Start again what has ended by itself; return the names."""
        return [name for name, program in self.programs.items() if program.restart_if_ended()]

    async def _close(self) -> None:
        for program in self.programs.values():
            program.ask_to_stop()
        for program in self.programs.values():
            if program.process is not None:
                try:
                    await asyncio.to_thread(program.process.wait, STOP_S_MAX)
                except subprocess.TimeoutExpired:
                    program.kill()
        await self._stack.aclose()

    # --- configuration ---

    def _add(self, name: str, service: str, *, host: str) -> None:
        self.programs[name] = Program(
            name=name,
            arguments=["run", service, "--config", str(self._host_file(service))],
            environment=self._environment(service, host),
            log=self.folder / f"{name}.log",
        )

    def _environment(self, service: str, host: str) -> dict[str, str]:
        return {
            "LODEPOOL_POOL_DATA_DIR": str(self.data_dir(host)),
            "LODEPOOL_POSTGRES_DSN": self.dsn,
            "LODEPOOL_STRATUM_HOST": HOSTS[host],
        }

    @property
    def _certificates(self) -> Path:
        return self.folder / "certs"

    def _host_file(self, service: str) -> Path:
        return self.folder / f"{service}.toml"

    def _host_tree(self, service: str) -> dict[str, object]:
        certificates = self._certificates
        etcd = self.etcd.settings()
        return {
            "etcd": {
                "endpoints": list(self.etcd.endpoints),
                "cluster": "chaos",
                "attempt_timeout_s": etcd.attempt_timeout_s,
                "request_timeout_s": etcd.request_timeout_s,
                "probe_s": etcd.probe_s,
                "lease_ttl_s": 4,
                "clock_margin_s": 0.5,
            },
            "rpc": {
                "ca_file": str(certificates / "ca.pem"),
                "cert_file": str(certificates / f"{service}.pem"),
                "key_file": str(certificates / f"{service}.key"),
                "token_key_file": str(certificates / f"{service}.token.key"),
                "token_keys_file": str(certificates / "tokens.json"),
                "drain_s": 1,
            },
            "telemetry": {"metrics_port": 0},
            "log": {"level": "INFO"},
        }

    def _pool_tree(self) -> dict[str, object]:
        kafka = quick_settings(self.kafka, prefix="chaos.", partitions=6)
        tree: dict[str, dict[str, object]] = {
            "pool": {"coin": COIN_ID, "address": self.pool_address},
            "eventlog": {"kind": "kafka"},
            "kafka": {
                "bootstrap_servers": list(kafka.bootstrap_servers),
                "prefix": kafka.prefix,
                "publish_timeout_s": kafka.publish_timeout_s,
                "request_timeout_s": kafka.request_timeout_s,
                "session_timeout_s": 3,
                "topic": {
                    "partitions": 6,
                    "replication_factor": 3,
                    "min_insync_replicas": 2,
                    "retention_hours": 24,
                },
            },
            "stratum": {
                "port": self.stratum_port,
                "difficulty_start": DIFFICULTY,
                "difficulty_min": DIFFICULTY,
                "difficulty_max": DIFFICULTY,
                "bad_lines_max": 1000,
            },
            "shares": {"window_wait_s": 20, "instance_dead_s": 8},
            "rewards": {"confirmations_poll_s": 1.0, "pplns_window_percent": 10_000},
            "payouts": {
                "threshold_atomic": 100_000_000,
                "interval_s": 2.0,
                "confirmations": 2,
                "lock_retry_s": 1.0,
                "rebroadcast_s": 10.0,
            },
            "gateway": {"port": self.gateway_port},
        }
        for name, values in self._sections.items():
            tree.setdefault(name, {}).update(values)
        nodes = []
        for node in self.litecoind.node_settings():
            password = self.folder / f"{node.name}.password"
            password.write_text(node.password)
            known = {key: getattr(node, key) for key in ("name", "url", "user", "wallet")}
            nodes.append({**known, "password_file": str(password)})
        return {**tree, "nodes": nodes}
