"""Write docs/CONFIG.md from the settings' own types, defaults and docstrings; --check only compares."""

import inspect
import json
import re
import sys
import typing
from collections.abc import Mapping
from pathlib import Path

import msgspec

from cli.settings import HOST_SECTIONS, HostTree, PoolTree

ROOT = Path(__file__).resolve().parent.parent

TARGET = ROOT / "docs" / "CONFIG.md"
HEAD = """\
# Configuration

`lodepool.toml`, written by `lodepool init` and checked at every start: unknown keys and bad values are refused by name.
Any single value can be overridden from the environment: `LODEPOOL_STRATUM_PORT=3334` for `port`.
This page is made from the settings' own types by `tools/gen_config_doc.py`.

On one machine everything stands in this file. On a cluster each host has a file with {host} only, and everything else
lies in etcd: `lodepool config push pool.toml` puts it there, `lodepool config set rewards.fee_ppm 8000` changes one
setting. A file with `[etcd]` is a host's. Passwords stay out of etcd: the database's comes from `LODEPOOL_POSTGRES_DSN`
or a passfile, a node's from `LODEPOOL_NODE_<NAME>_PASSWORD` or a `password_file`. A host keeps a copy of the tree,
`configuration.json`, for when etcd is away at a start: in the directory that `LODEPOOL_POOL_DATA_DIR` names, or beside
its file without one. `pool.data_dir` is relative to the host's file.

Settings marked "live" are taken over by running processes within two seconds, without dropping a connection; the
others after a restart, and each process that reads them says so in its log. A configuration that is not right never
takes effect: `config set` and `config push` refuse it, and one that comes about otherwise is reported while the last
good one stays in force.
"""

POINTERS = {
    "notifier": "Who is told what stands not here: see [NOTIFIER.md](NOTIFIER.md).",
    "notifier.telegram": "What the bot says and does: see [BOT.md](BOT.md).",
}
"""A line under the title of a table whose settings another page explains."""


def attributes(struct: type) -> dict[str, str]:
    """Return the meaning of each field, from the class docstring's "Attributes"."""
    text = inspect.getdoc(struct) or ""
    _, _, block = text.partition("Attributes:\n")
    block = re.split(r"\n\n(?=\S)", block)[0]
    found: dict[str, str] = {}
    name = ""
    for line in block.splitlines():
        match = re.match(r"    (\w+): (.*)", line)
        if match:
            name = match[1]
            found[name] = match[2]
        elif name and line.strip():
            found[name] += " " + line.strip()
    return found


def default_text(field: msgspec.structs.FieldInfo) -> str:
    """Return a field's default as TOML would write it."""
    if field.required:
        return "required"
    value = field.default
    if value is msgspec.NODEFAULT:
        value = field.default_factory()
    if value is None:
        return "not set"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, tuple):
        return f"`{json.dumps(value)}`"
    return f'`"{value}"`' if isinstance(value, str) else f"`{value:g}`" if isinstance(value, float) else f"`{value}`"


def struct_of(field: msgspec.structs.FieldInfo) -> type[msgspec.Struct] | None:
    """Return the struct behind a field: its type, that of what a list or mapping holds, or that of an optional one."""
    kinds = (field.type, *typing.get_args(field.type))
    return next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, msgspec.Struct)), None)


def title_of(path: str, field: msgspec.structs.FieldInfo) -> str:
    """Return the head of a field's table as TOML has it: [a.b], [[a.b]] of a list, [a.b.NAME] of a mapping."""
    kind = typing.get_origin(field.type)
    return f"[[{path}]]" if kind is tuple else f"[{path}.NAME]" if kind in {dict, Mapping} else f"[{path}]"


def table(path: str, own: msgspec.structs.FieldInfo, told: dict[type, str]) -> list[str]:
    """Return the lines of a table of settings, and those of the tables inside it.

    Args:
        path: Dotted path of the table.
        own: The field that holds it.
        told: Title of the table that has told of a struct already; added to.
    """
    struct = struct_of(own)
    assert struct is not None, f"{path} is no table"
    title = title_of(path, own)
    lines = [f"\n## {title}", ""]
    if struct in told:
        return [*lines, f"The keys of {told[struct]}."]
    told[struct] = title
    if path in POINTERS:
        lines += [POINTERS[path], ""]
    lines += ["| key | default | meaning |", "|---|---|---|"]
    live = getattr(struct, "LIVE", frozenset())
    meanings = attributes(struct)
    inner: list[str] = []
    for field in msgspec.structs.fields(struct):
        meaning = meanings.get(field.name, "").replace("|", "\\|")
        if not meaning:
            sys.exit(f"gen_config_doc: {struct.__name__}.{field.name} has no line under Attributes")
        mark = " *live*" if field.name in live else ""
        if struct_of(field) is None:
            default = default_text(field)
        else:
            nested = f"{path}.{field.name}"
            default = f"{title_of(nested, field)} below"
            inner += table(nested, field, told)
        lines.append(f"| `{field.name}`{mark} | {default} | {meaning} |")
    return lines + inner


def render() -> str:
    """Return the whole page."""
    lines = [HEAD.replace("{host}", ", ".join(f"`[{name}]`" for name in HOST_SECTIONS))]
    told: dict[type, str] = {}
    for section in (*msgspec.structs.fields(PoolTree), *msgspec.structs.fields(HostTree)):
        lines += table(section.name, section, told)
    return "\n".join(lines) + "\n"


def main() -> None:
    text = render()
    if "--check" in sys.argv:
        if not TARGET.exists() or TARGET.read_text(encoding="utf-8") != text:
            sys.exit("docs/CONFIG.md is not what the settings say; run tools/gen_config_doc.py")
        return
    TARGET.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
