"""The configuration tree in etcd: one key a top-level section, typed values, checked before they are written.

`<root>config/<section>` holds the section's value as JSON: a table, a list of tables, or the plain value of a setting
that stands outside all tables. One key a section, and not one a setting, because a section is decoded as a whole:
each write of it is then one that was checked, and a push of the whole tree is a single transaction (etcd allows 128
operations in one). Two operators who change different settings of one section do not overwrite each other either: a
write has the condition that what it was computed from is still there.
"""

import difflib
import math
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias, cast
from urllib.parse import quote, unquote

import msgspec

from runtime.config import decode_section
from runtime.errors import ConfigError, UserError
from runtime.etcd.client import Delete, EtcdClient, Operation, Put, Snapshot, nothing_written_since, unchanged
from runtime.etcd.errors import EtcdUnavailable

Tree: TypeAlias = dict[str, object]
"""What tomllib returns: tables, lists, texts, numbers and booleans; no dates and no None."""

_SECTIONS_MAX = 120
_ATTEMPTS = 5
_INT_MAX = 2**63 - 1


class ConfigChanged(UserError):
    """Raised when somebody else has changed the configuration meanwhile; nothing was written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A setting that differs between two trees.

    Attributes:
        path: Its dotted path.
        old: Value in the first tree; None when it is not there.
        new: Value in the second tree; None when it is not there.
    """

    path: str
    old: object
    new: object


@dataclass(frozen=True, slots=True, kw_only=True)
class Pulled:
    """The tree as it lay in etcd.

    Attributes:
        tree: The settings.
        revision: Revision of the cluster at which they were read.
    """

    tree: Tree
    revision: int


class Schema:
    """What a tree may contain.

    Args:
        sections: Dotted key → struct type, as for `runtime.config.decode_section`; "" is the type of the whole tree.
        checks: Rules across sections; each raises ConfigError.
    """

    def __init__(self, sections: Mapping[str, type], *, checks: Sequence[Callable[[Tree], None]] = ()) -> None:
        self._sections = dict(sections)
        self._checks = tuple(checks)

    def check(self, tree: Tree) -> None:
        """Refuse a tree that is not right; the environment of this process plays no part.

        Raises:
            ConfigError: With the path of the first bad setting.
        """
        check_values(tree)
        if "" not in self._sections:
            known = sorted({key.split(".")[0] for key in self._sections})
            for name in tree:
                if name not in known:
                    raise ConfigError(name, "unknown section", _one_of(name, known))
        for key, section_type in self._sections.items():
            decode_section(tree, key, section_type, environment={})
        for check in self._checks:
            check(tree)


class ConfigTree:
    """The tree of one cluster.

    Args:
        etcd: The client.
        schema: What is accepted.
    """

    def __init__(self, etcd: EtcdClient, schema: Schema) -> None:
        self._etcd = etcd
        self._schema = schema
        self.prefix = config_prefix(etcd.settings.root)

    async def pull(self) -> Pulled:
        """Read the tree; it is returned unchecked, so that a bad one can be looked at and mended.

        Raises:
            ConfigError: When a value is not JSON.
        """
        return decode_snapshot(await self._etcd.read_prefix(self.prefix), self.prefix)

    async def diff(self, tree: Tree) -> list[Change]:
        """Return what `push` of the tree would change."""
        return diff_trees((await self.pull()).tree, tree)

    async def push(self, tree: Tree, *, expected_revision: int | None = None) -> list[Change]:
        """Replace the whole tree in one transaction and return what has changed.

        Args:
            tree: The new tree.
            expected_revision: Revision of the `Pulled` it was made from; None overwrites whatever is there.

        Raises:
            ConfigError: When the tree is not right; nothing is written.
            ConfigChanged: When something was changed since that revision.
            EtcdUnavailable: When etcd does not answer; pushing again is safe.
        """
        self._schema.check(tree)
        return await self._update(lambda _old: tree, expected_revision=expected_revision)

    async def set(self, path: str, value: object) -> list[Change]:
        """Change one setting by its dotted path; the whole tree is checked with it.

        Raises:
            ConfigError: When the path or the value is not right; nothing is written.
        """
        return await self._update(lambda old: with_value(old, path, value), expected_revision=None)

    async def unset(self, path: str) -> list[Change]:
        """Remove one setting, so that its default is in force.

        Raises:
            ConfigError: When it is not set, or is needed.
        """
        return await self._update(lambda old: without_value(old, path), expected_revision=None)

    async def _update(self, change: Callable[[Tree], Tree], *, expected_revision: int | None) -> list[Change]:
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                snapshot = await self._etcd.read_prefix(self.prefix)
                done = await self._try_update(snapshot, change, expected_revision)
            except EtcdUnavailable:
                if attempt == _ATTEMPTS:
                    raise
                continue
            if done is not None:
                return done
        raise ConfigChanged("The configuration is being changed by somebody else all the time.", "try again")

    async def _try_update(
        self, snapshot: Snapshot, change: Callable[[Tree], Tree], expected_revision: int | None
    ) -> list[Change] | None:
        old = decode_snapshot(snapshot, self.prefix, lenient=True).tree
        if expected_revision is not None and any(
            entry.mod_revision > expected_revision for entry in snapshot.entries.values()
        ):
            raise ConfigChanged("The configuration was changed by somebody else.", "pull again and repeat the change")
        new = change(old)
        self._schema.check(new)
        wanted = encode_tree(new, self.prefix)
        operations: list[Operation] = [
            Put(key=key, value=value)
            for key, value in wanted.items()
            if key not in snapshot.entries or snapshot.entries[key].value != value
        ]
        operations += [Delete(key=key) for key in snapshot.entries if key not in wanted]
        if not operations:
            return []
        if len(operations) > _SECTIONS_MAX:
            raise ConfigError("configuration", f"{len(operations)} sections would change", f"at most {_SECTIONS_MAX}")
        conditions = [nothing_written_since(self.prefix, snapshot.revision)]
        conditions += [unchanged(key, entry.mod_revision) for key, entry in snapshot.entries.items()]
        outcome = await self._etcd.transact(conditions, operations)
        return diff_trees(old, new) if outcome.succeeded else None


def config_prefix(root: str) -> str:
    """Return where the configuration lies."""
    return f"{root}config/"


def encode_tree(tree: Tree, prefix: str) -> dict[str, bytes]:
    """Return key → value of each section."""
    check_values(tree)
    return {
        f"{prefix}{quote(name, safe='')}": msgspec.json.encode(value, order="deterministic")
        for name, value in tree.items()
    }


def decode_snapshot(snapshot: Snapshot, prefix: str, *, lenient: bool = False) -> Pulled:
    """Return the tree that lies under the prefix.

    Args:
        snapshot: What was read.
        prefix: Of the configuration.
        lenient: Leave out what cannot be read, so that it can be overwritten.

    Raises:
        ConfigError: When a key is not a section's, or a value is not JSON.
    """
    tree: Tree = {}
    for key, entry in snapshot.entries.items():
        name = unquote(key.removeprefix(prefix))
        try:
            value = msgspec.json.decode(entry.value)
        except msgspec.DecodeError:
            if lenient:
                continue
            raise ConfigError(name, "is not JSON", f"the value of a section under {key}") from None
        tree[name] = value
    return Pulled(tree=tree, revision=snapshot.revision)


def check_values(tree: Tree) -> None:
    """Refuse what the tree cannot hold.

    Raises:
        ConfigError: For dates, None, numbers beyond 64 bits, infinities.
    """
    for path, value in flatten(tree):
        _check_value(path, value)


def flatten(tree: Mapping[str, object], path: str = "") -> Iterator[tuple[str, object]]:
    """Yield path and value of each setting; a list and an empty table count as one value."""
    for name, value in tree.items():
        here = f"{path}.{name}" if path else name
        if isinstance(value, Mapping) and value:
            yield from flatten(value, here)
        else:
            yield here, value


def diff_trees(old: Tree, new: Tree) -> list[Change]:
    """Return the settings that differ, ordered by path."""
    before, after = dict(flatten(old)), dict(flatten(new))
    return [
        Change(path=path, old=before.get(path), new=after.get(path))
        for path in sorted(before.keys() | after.keys())
        if path not in before or path not in after or not _is_same(before[path], after[path])
    ]


def get_value(tree: Tree, path: str) -> object:
    """Return the value at a dotted path.

    Raises:
        ConfigError: When nothing is there.
    """
    node: object = tree
    for part in path.split("."):
        if not isinstance(node, Mapping) or part not in node:
            raise ConfigError(path, "is not set")
        node = node[part]
    return node


def with_value(tree: Tree, path: str, value: object) -> Tree:
    """Return a tree with another value at a dotted path; tables on the way are made.

    Raises:
        ConfigError: When the path leads through something that is not a table.
    """
    parts = path.split(".")
    if not all(parts):
        raise ConfigError(path, "is not the path of a setting", "names with dots between them")
    return _with_value(tree, parts, value, path)


def without_value(tree: Tree, path: str) -> Tree:
    """Return a tree without the value at a dotted path, and without tables that are empty then.

    Raises:
        ConfigError: When nothing is there.
    """
    get_value(tree, path)
    return _without_value(tree, path.split("."))


def parse_value(text: str) -> object:
    """Return the value of a text as TOML has it (3, 0.5, true, "a", [1, 2]); anything else is a text as it stands."""
    try:
        parsed = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        return text
    return parsed["value"] if parsed.keys() == {"value"} else text


def _with_value(tree: Tree, parts: list[str], value: object, path: str) -> Tree:
    head, *rest = parts
    if not rest:
        return {**tree, head: value}
    inner = tree.get(head, {})
    if not isinstance(inner, Mapping):
        raise ConfigError(path, f"{head} is not a table", "the path of a setting in a table")
    return {**tree, head: _with_value(dict(inner), rest, value, path)}


def _without_value(tree: Tree, parts: list[str]) -> Tree:
    head, *rest = parts
    inner = _without_value(cast("Tree", tree[head]), rest) if rest else None
    return {**tree, head: inner} if inner else {name: value for name, value in tree.items() if name != head}


def _check_value(path: str, value: object) -> None:
    match value:
        case bool() | str():
            return
        case int():
            if not -_INT_MAX - 1 <= value <= _INT_MAX:
                raise ConfigError(path, "is too large a number", "at most 64 bits")
        case float():
            if not math.isfinite(value):
                raise ConfigError(path, "is not a finite number")
        case list():
            for index, item in enumerate(value):
                _check_value(f"{path}[{index}]", item)
        case Mapping():
            for name, item in value.items():
                _check_value(f"{path}.{name}", item)
        case _:
            raise ConfigError(path, f"is a {type(value).__name__}", "a text, number, boolean, list or table")


def _is_same(old: object, new: object) -> bool:
    return msgspec.json.encode(old, order="deterministic") == msgspec.json.encode(new, order="deterministic")


def _one_of(name: str, known: list[str]) -> str:
    listing = "one of " + ", ".join(known)
    close = difflib.get_close_matches(name, known, n=1)
    return f"{listing}; did you mean {close[0]}?" if close else listing
