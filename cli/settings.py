"""The configuration, decoded and checked: one file on one machine; a host's file and the tree in etcd on a cluster.

A file with a section `[etcd]` is a host's: it holds only `HOST_SECTIONS`, and everything else lies in etcd, put there
with `lodepool config push`. The environment overrides single values of both.
"""

import asyncio
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Final, Literal
from urllib.parse import parse_qs, urlsplit

import msgspec

from coins import registry
from coins.coin import Coin
from coins.errors import UnknownCoin
from coins.settings import PoolSettings
from gateway.config import GatewaySettings
from miners.config import MinersSettings
from nodes.settings import NodeSettings
from notifier.config import NotifierSettings
from payouts.config import PayoutSettings
from rewards.config import RewardsSettings
from runtime.config import decode_section, load_toml
from runtime.errors import ConfigError, UserError
from runtime.etcd.client import EtcdClient
from runtime.etcd.config_tree import ConfigTree, Schema, Tree
from runtime.etcd.errors import EtcdError
from runtime.etcd.settings import EtcdSettings
from runtime.eventlog.kafka_settings import KafkaSettings
from runtime.postgres.settings import PostgresSettings
from runtime.rpc.settings import RpcSettings
from runtime.telemetry.settings import TelemetrySettings
from shares.config import SharesSettings
from stratum.config import StratumSettings

DEFAULT_PATH = Path("lodepool.toml")
DATA_DIR_VARIABLE: Final = "LODEPOOL_POOL_DATA_DIR"
METRICS_LABEL: Final = "metrics"
"""Label in a cluster's register: "host:port" of a process's /metrics."""
COPY_NAME: Final = "configuration.json"
"""Name of the local copy of what lay in etcd."""


class LogSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The `[log]` section.

    Attributes:
        level: The least level that is written.
        json: JSON lines for machines instead of text for people.
    """

    LIVE: ClassVar[frozenset[str]] = frozenset()

    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    json: bool = False


class EventLogSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The `[eventlog]` section.

    Attributes:
        kind: What carries records between processes: "postgres" needs nothing more, "kafka" is for clusters.
    """

    LIVE: ClassVar[frozenset[str]] = frozenset()

    kind: Literal["postgres", "kafka"] = "postgres"


class HostTree(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a host's own file may hold on a cluster."""

    etcd: EtcdSettings | None = None
    rpc: RpcSettings = RpcSettings()
    telemetry: TelemetrySettings = TelemetrySettings()
    log: LogSettings = LogSettings()


class PoolTree(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is the same for all hosts: the tree in etcd."""

    pool: PoolSettings
    nodes: tuple[NodeSettings, ...]
    postgres: PostgresSettings = PostgresSettings()
    eventlog: EventLogSettings = EventLogSettings()
    kafka: KafkaSettings = KafkaSettings()
    stratum: StratumSettings = StratumSettings()
    shares: SharesSettings = SharesSettings()
    miners: MinersSettings = MinersSettings()
    rewards: RewardsSettings = RewardsSettings()
    payouts: PayoutSettings = PayoutSettings()
    notifier: NotifierSettings = NotifierSettings()
    gateway: GatewaySettings = GatewaySettings()


HOST_SECTIONS: Final = HostTree.__struct_fields__
POOL_SECTIONS: Final = PoolTree.__struct_fields__


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the pool was told.

    Attributes:
        path: The file: the pool's, or on a cluster the host's.
        coin: The coin that `pool.coin` names.
        data_dir: Where the pool keeps its journal, its blocks and the embedded database; absolute.
        etcd: Where the cluster's etcd is; None on one machine.
    """

    path: Path
    coin: Coin
    data_dir: Path
    pool: PoolSettings
    nodes: tuple[NodeSettings, ...]
    postgres: PostgresSettings
    eventlog: EventLogSettings
    kafka: KafkaSettings
    stratum: StratumSettings
    shares: SharesSettings
    miners: MinersSettings
    rewards: RewardsSettings
    payouts: PayoutSettings
    notifier: NotifierSettings
    gateway: GatewaySettings
    etcd: EtcdSettings | None
    rpc: RpcSettings
    telemetry: TelemetrySettings
    log: LogSettings


def load_settings(path: Path, *, environment: Mapping[str, str] | None = None) -> Settings:
    """Read and check the configuration; the environment overrides single values.

    With `[etcd]` in the file the tree is fetched from there, which must not be asked for inside a running event loop.

    Raises:
        ConfigError: The file, a key or a value is not right; names which and what is expected.
        UserError: etcd does not answer.
    """
    tree = load_toml(path)
    host = decode_host(tree, environment=environment)
    if host.etcd is None:
        return decode_file(path, tree, environment=environment)
    return decode_settings(path, host, asyncio.run(_fetch(host.etcd)), environment=environment)


def load_host(path: Path, *, environment: Mapping[str, str] | None = None) -> HostTree:
    """Read the host's sections of a file.

    Raises:
        ConfigError: The file, a key or a value is not right, or it holds sections that lie in etcd.
    """
    return decode_host(load_toml(path), environment=environment)


def decode_host(tree: Tree, *, environment: Mapping[str, str] | None = None) -> HostTree:
    """Decode the host's sections of a file's tree; the others are looked at only where there are to be none.

    Raises:
        ConfigError: A key or a value is not right, or it holds sections that lie in etcd.
    """
    own = {name: value for name, value in tree.items() if name in HOST_SECTIONS}
    host = decode_section(own, "", HostTree, environment=environment)
    if host.etcd is not None:
        for name in tree:
            if name in POOL_SECTIONS:
                raise ConfigError(name, f"the section [{name}] lies in etcd; put it there with `lodepool config push`")
            if name not in HOST_SECTIONS:
                raise ConfigError(name, "unknown section", "one of " + ", ".join(HOST_SECTIONS))
    return host


def decode_file(path: Path, tree: Tree, *, environment: Mapping[str, str] | None = None) -> Settings:
    """Decode the tree of a file that holds everything.

    Raises:
        ConfigError: A key or a value is not right.
    """
    known = (*POOL_SECTIONS, *HOST_SECTIONS)
    for name in tree:
        if name not in known:
            # Says which names there are, and what was meant.
            Schema(dict.fromkeys(known, PoolTree)).check({name: {}})
    host = decode_host(tree, environment=environment)
    own = {name: value for name, value in tree.items() if name in POOL_SECTIONS}
    return decode_settings(path, host, own, environment=environment)


def decode_settings(
    path: Path, host: HostTree, tree: Tree, *, environment: Mapping[str, str] | None = None
) -> Settings:
    """Decode what a host's file and the pool's tree say together.

    Raises:
        ConfigError: A key or a value is not right.
    """
    pool_tree = decode_section(tree, "", PoolTree, environment=environment)
    if not pool_tree.nodes:
        raise ConfigError("nodes", "there is none", "at least one [[nodes]] table with the url of a node")
    try:
        coin = registry.get(pool_tree.pool.coin)
    except UnknownCoin as error:
        raise ConfigError("pool.coin", str(error)) from None
    data_dir = (path.absolute().parent / pool_tree.pool.data_dir).resolve()
    sections = {name: getattr(pool_tree, name) for name in POOL_SECTIONS}
    sections["nodes"] = _with_passwords(pool_tree.nodes, os.environ if environment is None else environment)
    sections |= {name: getattr(host, name) for name in HOST_SECTIONS}
    return Settings(path=path.absolute(), coin=coin, data_dir=data_dir, **sections)


def copy_path(path: Path, *, environment: Mapping[str, str] | None = None) -> Path:
    """Return where a host keeps its copy of the tree: in LODEPOOL_POOL_DATA_DIR, or beside its file without one."""
    variables = os.environ if environment is None else environment
    folder = path.absolute().parent / variables.get(DATA_DIR_VARIABLE, "")
    return folder.resolve() / COPY_NAME


def node_password_variable(name: str) -> str:
    """Return the variable that a node's password may be in: LODEPOOL_NODE_LTC_1_PASSWORD for "ltc-1"."""
    return f"LODEPOOL_NODE_{name.upper().replace('-', '_')}_PASSWORD"


def _with_passwords(nodes: tuple[NodeSettings, ...], variables: Mapping[str, str]) -> tuple[NodeSettings, ...]:
    """Put the environment's passwords in the place of what the tree says of them."""
    return tuple(
        msgspec.structs.replace(node, password=password, password_file="", cookie_file="")
        if node.name and (password := variables.get(node_password_variable(node.name), ""))
        else node
        for node in nodes
    )


def _check_nodes(tree: Tree) -> None:
    if not tree.get("nodes"):
        raise ConfigError("nodes", "there is none", "at least one [[nodes]] table with the url of a node")


def _check_no_node_password(tree: Tree) -> None:
    nodes = tree.get("nodes")
    for index, node in enumerate(nodes if isinstance(nodes, list) else ()):
        if isinstance(node, Mapping) and node.get("password"):
            name = str(node.get("name") or "") or "NAME"
            raise ConfigError(
                f"nodes[{index}].password",
                "everybody who may read etcd would see it",
                f"password_file (a path that each host has), or {node_password_variable(name)} in the environment",
            )


def _check_no_password(tree: Tree) -> None:
    postgres = tree.get("postgres")
    dsn = postgres.get("dsn") if isinstance(postgres, Mapping) else None
    if not isinstance(dsn, str):
        return
    try:
        parts = urlsplit(dsn)
        has_password = bool(parts.password) or "password" in parse_qs(parts.query)
    except ValueError:
        has_password = False
    if has_password:
        raise ConfigError(
            "postgres.dsn",
            "holds a password, which everybody who may read etcd would see",
            "an address without one; give the password in LODEPOOL_POSTGRES_DSN or with ?passfile=FILE",
        )


def _check_no_mail_password(tree: Tree) -> None:
    notifier = tree.get("notifier")
    email = notifier.get("email") if isinstance(notifier, Mapping) else None
    if isinstance(email, Mapping) and email.get("password"):
        raise ConfigError(
            "notifier.email.password",
            "everybody who may read etcd would see it",
            "password_file (a path that each host has), or LODEPOOL_NOTIFIER_EMAIL_PASSWORD in the environment",
        )


TREE_SCHEMA: Final = Schema(
    {"": PoolTree}, checks=(_check_nodes, _check_no_password, _check_no_node_password, _check_no_mail_password)
)
"""What the tree in etcd may contain."""


async def _fetch(etcd_settings: EtcdSettings) -> Tree:
    async with EtcdClient(etcd_settings) as etcd:
        try:
            tree = (await ConfigTree(etcd, TREE_SCHEMA).pull()).tree
        except EtcdError as error:
            raise UserError(f"etcd cannot be asked: {error}.", "see etcd.endpoints") from None
    if not tree:
        raise UserError(
            f"There is no configuration in etcd for the cluster {etcd_settings.cluster}.",
            "put it there with `lodepool config push pool.toml`",
        )
    return tree
