"""A real Apache Kafka on free loopback ports: one or three KRaft nodes that can be killed and started again.

A node is one JVM, broker and controller at once. Each start writes a log of its own; what a failure needs to show is in
the tail of the last one.
"""

import asyncio
import re
import shutil
import signal
import subprocess
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path

import pytest

from runtime.eventlog.kafka_settings import KafkaSettings, TopicSettings
from runtime.process import launch_command
from tests.fakes.ports import steady_ports

ROOT = Path(__file__).parents[2]
FETCH_TIMEOUT_S = 300
START_TIMEOUT_S = 60
STOP_TIMEOUT_S = 15
LISTENER = "CLIENTS"

_STARTED = b"Kafka Server started"
_LAST_CHARACTERS = "AQgw"
"""What 16 bytes in base64 can end in."""
_JAVA_OPTIONS = (
    "-Xms64m", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto", "-Djava.awt.headless=true",
    "-Djava.net.preferIPv4Stack=true",
)  # fmt: skip
_BROKER_SETTINGS = {
    "process.roles": "broker,controller",
    "controller.listener.names": "CONTROLLER",
    "inter.broker.listener.name": "INTERNAL",
    "auto.create.topics.enable": "false",
    "delete.topic.enable": "true",
    "num.network.threads": "2",
    "num.io.threads": "2",
    "background.threads": "2",
    "num.recovery.threads.per.data.dir": "2",
    "offsets.topic.num.partitions": "1",
    "share.coordinator.state.topic.num.partitions": "1",
    "transaction.state.log.num.partitions": "1",
    "group.initial.rebalance.delay.ms": "0",
    "group.min.session.timeout.ms": "1000",
    "broker.heartbeat.interval.ms": "300",
    "broker.session.timeout.ms": "2000",
    "controller.quorum.fetch.timeout.ms": "1500",
    "controller.quorum.election.timeout.ms": "500",
    "controlled.shutdown.enable": "true",
}
_LOG4J = """
status = warn
appender.out.type = Console
appender.out.name = out
appender.out.layout.type = PatternLayout
appender.out.layout.pattern = %d{HH:mm:ss.SSS} %p %c{1}: %m%n
rootLogger.level = warn
rootLogger.appenderRef.out.ref = out
logger.server.name = kafka.server.KafkaRaftServer
logger.server.level = info
logger.server2.name = org.apache.kafka.server
logger.server2.level = warn
logger.kafka.name = kafka.server
logger.kafka.level = info
"""


@cache
def kafka_home() -> Path | str:
    """Return the folder with Kafka's jars, fetched when need be; a sentence when it cannot be had."""
    command = [str(ROOT / "tools" / "fetch_kafka")]
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=FETCH_TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired:
        return f"fetching it took longer than {FETCH_TIMEOUT_S} s"
    if result.returncode != 0:
        return " ".join(result.stderr.split()) or f"tools/fetch_kafka ended with {result.returncode}"
    return Path(result.stdout.strip())


def require_kafka() -> Path:
    """Return the folder with Kafka's jars; skips the test, counted in the summary, where it cannot be had."""
    home = kafka_home()
    if isinstance(home, str):
        pytest.skip(f"missing component: kafka ({home})")
    return home


@dataclass(kw_only=True)
class Node:
    """One JVM.

    Attributes:
        number: Its node id, from 1.
        port: Where clients connect.
        internal_port: Where brokers connect.
        controller_port: Where controllers connect.
        folder: Its settings, data and logs.
        process: The running JVM; None when it was stopped.
        start_count: How often it was started; the last log is `<start_count>.log`.
    """

    number: int
    port: int
    internal_port: int
    controller_port: int
    folder: Path
    process: subprocess.Popen[bytes] | None = None
    start_count: int = 0

    @property
    def log(self) -> Path:
        """The log of the last start."""
        return self.folder / f"{self.start_count}.log"


@dataclass(kw_only=True)
class KafkaCluster:
    """A cluster in a folder of its own.

    Attributes:
        directory: Where everything lies; removed by `stop`.
        node_count: 1 or 3.
        listener_settings: More settings of the clients' listener and the broker, for TLS and SASL.
        protocol: The security protocol of the clients' listener.
        scram: SCRAM-SHA-512 passwords by user name, stored when the cluster is made.
    """

    directory: Path
    node_count: int = 1
    listener_settings: Mapping[str, str] = field(default_factory=dict)
    protocol: str = "PLAINTEXT"
    scram: Mapping[str, str] = field(default_factory=dict)
    nodes: list[Node] = field(default_factory=list)

    @property
    def bootstrap_servers(self) -> tuple[str, ...]:
        """Where clients start: every node."""
        return tuple(f"127.0.0.1:{node.port}" for node in self.nodes)

    async def start(self) -> None:
        """Make the cluster and return once every node serves."""
        ports = steady_ports(3 * self.node_count)
        for number in range(1, self.node_count + 1):
            client, internal, controller = ports[3 * number - 3 : 3 * number]
            folder = self.directory / f"node{number}"
            folder.mkdir(parents=True)
            self.nodes.append(
                Node(number=number, port=client, internal_port=internal, controller_port=controller, folder=folder)
            )
        (self.directory / "log4j2.properties").write_text(_LOG4J)
        for node in self.nodes:
            settings = "".join(f"{name}={value}\n" for name, value in self._settings_of(node))
            (node.folder / "server.properties").write_text(settings)
        await asyncio.to_thread(self._format)
        for node in self.nodes:
            self.launch(node)
        for node in self.nodes:
            await self.wait_until_started(node)

    async def stop(self) -> None:
        """Stop every node and remove the folder."""
        for node in self.nodes:
            self.kill(node)
        await asyncio.to_thread(shutil.rmtree, self.directory, ignore_errors=True)

    def launch(self, node: Node) -> None:
        """Start a node without waiting for it; it ends with this process."""
        assert node.process is None
        node.start_count += 1
        command = [*self._java(), "kafka.Kafka", str(node.folder / "server.properties")]
        with node.log.open("wb") as log:
            node.process = subprocess.Popen(
                launch_command(command, death_signal=signal.SIGKILL),
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip

    async def restart(self, node: Node) -> None:
        """Start a killed node and return once it serves."""
        self.launch(node)
        await self.wait_until_started(node)

    def kill(self, node: Node) -> None:
        """Kill -9 a node; nothing happens when it does not run."""
        process, node.process = node.process, None
        if process is not None:
            process.kill()
            process.wait(STOP_TIMEOUT_S)

    async def wait_until_started(self, node: Node) -> None:
        """Return once the node has said so in its log."""
        try:
            async with asyncio.timeout(START_TIMEOUT_S):
                while _STARTED not in node.log.read_bytes():
                    assert node.process is not None
                    code = node.process.poll()
                    assert code is None, f"Kafka node {node.number} ended with {code}:\n{_tail(node.log)}"
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise AssertionError(f"Kafka node {node.number} did not start:\n{_tail(node.log)}") from None

    def _java(self) -> list[str]:
        home = require_kafka()
        config = f"-Dlog4j2.configurationFile={self.directory / 'log4j2.properties'}"
        java = shutil.which("java")
        assert java is not None
        return [java, *_JAVA_OPTIONS, config, "-cp", f"{home / 'libs'}/*"]

    def _settings_of(self, node: Node) -> Iterator[tuple[str, str]]:
        copies = str(self.node_count)
        listeners = {LISTENER: node.port, "INTERNAL": node.internal_port, "CONTROLLER": node.controller_port}
        addresses = {name: f"{name}://127.0.0.1:{port}" for name, port in listeners.items()}
        voters = ",".join(f"{peer.number}@127.0.0.1:{peer.controller_port}" for peer in self.nodes)
        yield from _BROKER_SETTINGS.items()
        yield "node.id", str(node.number)
        yield "controller.quorum.voters", voters
        yield "listeners", ",".join(addresses.values())
        yield "advertised.listeners", f"{addresses[LISTENER]},{addresses['INTERNAL']}"
        yield (
            "listener.security.protocol.map",
            f"{LISTENER}:{self.protocol},INTERNAL:PLAINTEXT,CONTROLLER:PLAINTEXT",
        )
        yield "log.dirs", str(node.folder / "data")
        yield "offsets.topic.replication.factor", copies
        yield "transaction.state.log.replication.factor", copies
        yield "transaction.state.log.min.isr", "1"
        yield "share.coordinator.state.topic.replication.factor", copies
        yield "share.coordinator.state.topic.min.isr", "1"
        yield from self.listener_settings.items()

    def _format(self) -> None:
        """Format the first node's storage with Kafka's tool and the others' as copies under their own ids."""
        first, *others = self.nodes
        cluster_id = re.sub(r"[=-]", "", uuid.uuid4().hex)[:22]
        options = [
            option
            for name, password in self.scram.items()
            for option in ("--add-scram", f"SCRAM-SHA-512=[name={name},password={password}]")
        ]
        arguments = ["format", "-t", cluster_id, "-c", str(first.folder / "server.properties"), *options]
        command = [*self._java(), "kafka.tools.StorageTool", *arguments]
        result = subprocess.run(command, capture_output=True, text=True, timeout=START_TIMEOUT_S, check=False)
        assert result.returncode == 0, result.stdout + result.stderr
        for node in others:
            shutil.copytree(first.folder / "data", node.folder / "data")
            meta = node.folder / "data" / "meta.properties"
            text = re.sub(r"(?m)^node\.id=.*$", f"node.id={node.number}", meta.read_text())
            meta.write_text(
                re.sub(r"(?m)^(directory\.id=.{21})(.)", partial(_other_directory, number=node.number), text)
            )


def _other_directory(found: re.Match[str], *, number: int) -> str:
    """Return the first node's directory id as another one: two brokers with one id are refused."""
    return f"{found[1]}{_LAST_CHARACTERS[(_LAST_CHARACTERS.index(found[2]) + number - 1) % len(_LAST_CHARACTERS)]}"


def quick_settings(cluster: KafkaCluster, *, prefix: str, partitions: int = 3) -> KafkaSettings:
    """Return settings for a cluster of the tests: outages are noticed, and members missed, within seconds."""
    copies = cluster.node_count
    return KafkaSettings(
        bootstrap_servers=cluster.bootstrap_servers,
        prefix=prefix,
        publish_timeout_s=2 if copies == 1 else 15,
        request_timeout_s=3,
        session_timeout_s=2,
        topic=TopicSettings(
            partitions=partitions, replication_factor=copies, min_insync_replicas=max(1, copies - 1), retention_hours=1
        ),
    )


def _tail(log: Path) -> str:
    return log.read_bytes()[-4000:].decode(errors="replace")
