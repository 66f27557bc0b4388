"""`lodepool config`: read and change the configuration, in a file on one machine or in etcd on a cluster."""

import asyncio
import contextlib
import os
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, cast

import click
import msgspec
import tomlkit
from tomlkit.exceptions import TOMLKitError

from cli.options import config_option, json_option, print_json, print_rows
from cli.settings import COPY_NAME, HOST_SECTIONS, TREE_SCHEMA, HostTree, PoolTree, decode_file, decode_host, load_host
from runtime.clock import SystemClock
from runtime.config import load_toml
from runtime.errors import ConfigError, UserError
from runtime.etcd.client import EtcdClient
from runtime.etcd.config_source import ConfigSource, Configuration, EtcdConfigSource, FileConfigSource
from runtime.etcd.config_tree import (
    Change,
    ConfigTree,
    Schema,
    Tree,
    diff_trees,
    get_value,
    parse_value,
    with_value,
    without_value,
)
from runtime.etcd.errors import EtcdError
from runtime.logs import configure_logging

T = TypeVar("T")

file_argument = click.argument("file", type=click.Path(path_type=Path))


@click.group()
def config() -> None:
    """Read and change the configuration.

    On one machine it is lodepool.toml; with [etcd] in the host's file it is the cluster's tree in etcd. Running
    processes follow each change that is right; what needs a restart is said.
    """


@config.command(epilog="Example: lodepool config get rewards.fee_ppm")
@click.argument("path", required=False)
@config_option
@json_option
def get(path: str | None, config: Path, *, as_json: bool) -> None:
    """Print a setting, with its default where it is not set, or everything that is set."""
    tree, revision = _stored(config)
    value = tree if path is None else _value(tree, path)
    if as_json:
        print_json({"path": path or "", "value": value, "revision": revision})
    elif isinstance(value, dict):
        click.echo(tomlkit.dumps(value).rstrip())
    else:
        click.echo(msgspec.json.encode(value).decode())


@config.command(
    "set", context_settings={"ignore_unknown_options": True}, epilog="Example: lodepool config set rewards.fee_ppm 8000"
)
@click.argument("path")
@click.argument("value")
@config_option
@json_option
def set_value(path: str, value: str, config: Path, *, as_json: bool) -> None:
    """Change one setting; it is written only when the whole configuration is right with it.

    VALUE is as in TOML: 8000, 0.5, true, '["203.0.113.7"]'; anything else is a text.
    """
    parsed = parse_value(value)
    if load_host(config).etcd is None:
        changes = _edit(config, lambda tree: with_value(tree, path, parsed), lambda file: _put(file, path, parsed))
    else:
        changes = _on_tree(config, lambda tree: tree.set(path, parsed))
    _print_changes(changes, as_json=as_json, none="That is its value already.")


@config.command(epilog="Example: lodepool config unset stratum.difficulty_max")
@click.argument("path")
@config_option
@json_option
def unset(path: str, config: Path, *, as_json: bool) -> None:
    """Remove one setting, so that its default is in force."""
    if load_host(config).etcd is None:
        changes = _edit(config, lambda tree: without_value(tree, path), lambda file: _remove(file, path))
    else:
        changes = _on_tree(config, lambda tree: tree.unset(path))
    _print_changes(changes, as_json=as_json, none="It was not set.")


@config.command(epilog="Example: lodepool config push pool.toml --config /etc/lodepool/host.toml")
@file_argument
@config_option
@json_option
def push(file: Path, config: Path, *, as_json: bool) -> None:
    """Replace the cluster's tree in etcd by FILE's, in one step; nothing is written when FILE is not right."""
    tree = _pool_tree(file)
    _print_changes(_on_tree(config, lambda stored: stored.push(tree)), as_json=as_json, none="Nothing differs.")


@config.command(epilog="Example: lodepool config pull --out pool.toml")
@click.option("--out", type=click.Path(path_type=Path), help="Write to this file instead of the terminal.")
@config_option
@json_option
def pull(out: Path | None, config: Path, *, as_json: bool) -> None:
    """Print the cluster's tree as a file that can be edited and pushed."""
    pulled = _on_tree(config, lambda stored: stored.pull())
    text = tomlkit.dumps(pulled.tree)
    if out is not None:
        _write(out, text)
    if as_json:
        print_json({"revision": pulled.revision, "tree": pulled.tree, "path": str(out or "")})
    else:
        click.echo(f"{out} is written (revision {pulled.revision})." if out else text.rstrip())


@config.command(epilog="Example: lodepool config diff pool.toml")
@file_argument
@config_option
@json_option
def diff(file: Path, config: Path, *, as_json: bool) -> None:
    """Show what would change if FILE were in force: what is now, and what it would be."""
    tree, _ = _stored(config)
    wanted = load_toml(file)
    _print_changes(diff_trees(tree, wanted), as_json=as_json, none="Nothing differs.")


@config.command(epilog="Example: lodepool config validate pool.toml")
@file_argument
@json_option
def validate(file: Path, *, as_json: bool) -> None:
    """Check FILE: a pool's, a cluster's tree, or with [etcd] a host's. Exit code 2 and the reason when it is wrong."""
    tree = load_toml(file)
    if "etcd" in tree:
        kind = "host"
        decode_host(tree, environment={})
    else:
        kind = "pool"
        decode_file(file, tree, environment={})
    if as_json:
        print_json({"path": str(file), "kind": kind, "is_right": True})
    else:
        click.echo(f"{file} is right as a {kind}'s file.")


@config.command(epilog="Example: lodepool config watch --json")
@config_option
@json_option
def watch(config: Path, *, as_json: bool) -> None:
    """Print each change of the configuration as it comes, until interrupted."""
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_watch(config, as_json=as_json))


def live_paths() -> frozenset[str]:
    """Return "section.field" of every setting that a running process takes over."""
    found: set[str] = set()
    for section in msgspec.structs.fields(PoolTree):
        live: frozenset[str] = getattr(section.type, "LIVE", frozenset())
        found |= {f"{section.name}.{name}" for name in live}
    return frozenset(found)


def is_live(path: str) -> bool:
    """Return whether running processes take a setting over without a restart."""
    return ".".join(path.split(".")[:2]) in live_paths()


# --- where it lies ---


def _stored(config: Path) -> tuple[Tree, int]:
    """Return what is set, and its revision in etcd; 0 for a file."""
    if load_host(config).etcd is None:
        return load_toml(config), 0
    pulled = _on_tree(config, lambda tree: tree.pull())
    return pulled.tree, pulled.revision


def _on_tree(config: Path, work: Callable[[ConfigTree], Awaitable[T]]) -> T:
    async def ask() -> T:
        async with _tree(config) as tree:
            return await work(tree)

    return asyncio.run(ask())


@contextlib.asynccontextmanager
async def _tree(config: Path) -> AsyncIterator[ConfigTree]:
    settings = load_host(config).etcd
    if settings is None:
        raise UserError(
            f"{config} is the configuration of one machine: there is no etcd to push to or pull from.",
            "it needs the section [etcd] in the host's file; on one machine edit the file, or use `config set`",
        )
    async with EtcdClient(settings) as etcd:
        try:
            yield ConfigTree(etcd, TREE_SCHEMA)
        except EtcdError as error:
            raise UserError(f"etcd cannot be asked: {error}.", "see etcd.endpoints") from None


def _pool_tree(file: Path) -> Tree:
    tree = load_toml(file)
    for name in tree:
        if name in HOST_SECTIONS:
            raise ConfigError(name, f"the section [{name}] is each host's own; leave it out of the cluster's tree")
    return tree


def _value(tree: Tree, path: str) -> object:
    """Return a setting, or its default."""
    with contextlib.suppress(ConfigError):
        return get_value(tree, path)
    kind: object = {**_fields(PoolTree), **_fields(HostTree)}
    for part in path.split("."):
        if not isinstance(kind, dict) or part not in kind:
            raise ConfigError(path, "there is no such setting")
        kind = kind[part]
    if kind is msgspec.NODEFAULT:
        raise ConfigError(path, "is not set")
    return kind


def _fields(struct: type[msgspec.Struct]) -> dict[str, object]:
    """Return field → default; NODEFAULT where there is none, fields of structs as such a dict again."""
    found: dict[str, object] = {}
    for field in msgspec.structs.fields(struct):
        default = field.default if field.default_factory is msgspec.NODEFAULT else field.default_factory()
        if isinstance(default, msgspec.Struct):
            found[field.encode_name] = {**_fields(type(default)), **msgspec.to_builtins(default)}
        elif isinstance(field.type, type) and issubclass(field.type, msgspec.Struct):
            found[field.encode_name] = _fields(field.type)
        else:
            found[field.encode_name] = default if default is msgspec.NODEFAULT else msgspec.to_builtins(default)
    return found


# --- one machine's file ---


def _edit(config: Path, change: Callable[[Tree], Tree], edit: Callable[[tomlkit.TOMLDocument], None]) -> list[Change]:
    """Change the file, comments and order kept; only when it is right afterwards."""
    old = load_toml(config)
    new = change(old)
    decode_file(config, new, environment={})
    try:
        document = tomlkit.parse(config.read_text(encoding="utf-8"))
        edit(document)
    except TOMLKitError as error:
        raise ConfigError(str(config), f"cannot be edited: {error}") from None
    text = tomlkit.dumps(document)
    if tomlkit.parse(text).unwrap() != new:
        raise ConfigError(str(config), "cannot be edited without changing something else", "an edit by hand")
    _write(config, text)
    return diff_trees(old, new)


def _put(document: tomlkit.TOMLDocument, path: str, value: object) -> None:
    *tables, name = path.split(".")
    node = cast("MutableMapping[str, Any]", document)
    for table in tables:
        if table not in node:
            node[table] = tomlkit.table()
        node = node[table]
    node[name] = value


def _remove(document: tomlkit.TOMLDocument, path: str) -> None:
    *tables, name = path.split(".")
    chain = [cast("MutableMapping[str, Any]", document)]
    for table in tables:
        chain.append(chain[-1][table])
    del chain[-1][name]
    for parent, table, child in reversed(list(zip(chain, tables, chain[1:], strict=False))):
        if child:
            break
        del parent[table]


def _write(path: Path, text: str) -> None:
    """Put a file in its place whole, with the rights it had; a new one is the owner's alone."""
    target = path.resolve()
    mode = target.stat().st_mode & 0o777 if target.exists() else 0o600
    beside = target.with_name(f".{target.name}.{os.getpid()}.new")
    try:
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            os.fchmod(file.fileno(), mode)
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(target)
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror}.") from None


# --- what people see ---


async def _watch(config: Path, *, as_json: bool) -> None:
    async with contextlib.AsyncExitStack() as stack:
        host = load_host(config)
        configure_logging("config", json=False, level="WARNING")
        source: ConfigSource
        if host.etcd is None:
            source = FileConfigSource(config, _FileSchema(config), clock=SystemClock())
        else:
            etcd = await stack.enter_async_context(EtcdClient(host.etcd))
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="lodepool-"))
            source = EtcdConfigSource(etcd, TREE_SCHEMA, copy_path=Path(folder) / COPY_NAME)
        before: Configuration | None = None
        async for configuration in source.watch():
            if before is not None:
                changes = diff_trees(before.tree, configuration.tree)
                if not as_json:
                    click.echo(f"revision {configuration.revision}")
                _print_changes(changes, as_json=as_json, none="")
            before = configuration


class _FileSchema(Schema):
    """Accepts what `lodepool up` would start with."""

    def __init__(self, path: Path) -> None:
        super().__init__({})
        self._path = path

    def check(self, tree: Tree) -> None:
        """Refuse a tree that is not right."""
        decode_file(self._path, tree)


def _print_changes(changes: Sequence[Change], *, as_json: bool, none: str) -> None:
    if as_json:
        print_json(
            {
                "changes": [
                    {"path": each.path, "old": each.old, "new": each.new, "needs_restart": not is_live(each.path)}
                    for each in changes
                ]
            }
        )
        return
    rows = [
        (each.path, _shown(each.old), _shown(each.new), "at once" if is_live(each.path) else "after a restart")
        for each in changes
    ]
    print_rows("Changes", ("setting", "before", "now", "in force"), rows, empty=none)


def _shown(value: object) -> str:
    return "–" if value is None else msgspec.json.encode(value).decode()
