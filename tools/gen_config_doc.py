"""Write docs/CONFIG.md from the settings' own types, defaults and docstrings; --check only compares."""

import inspect
import re
import sys
from pathlib import Path

import msgspec

from cli.settings import SettingsFile
from nodes.settings import NodeSettings

ROOT = Path(__file__).resolve().parent.parent

TARGET = ROOT / "docs" / "CONFIG.md"
HEAD = """\
# Configuration

`lodepool.toml`, written by `lodepool init` and checked at every start: unknown keys and bad values are refused by name.
Any single value can be overridden from the environment: `LODEPOOL_STRATUM_PORT=3334` for `port`.
This page is made from the settings' own types by `tools/gen_config_doc.py`.
"""


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
        return "`[" + ", ".join(f'"{item}"' for item in value) + "]`"
    return f'`"{value}"`' if isinstance(value, str) else f"`{value:g}`" if isinstance(value, float) else f"`{value}`"


def render() -> str:
    """Return the whole page."""
    parts = [HEAD]
    for section in msgspec.structs.fields(SettingsFile):
        is_list = section.name == "nodes"
        struct = NodeSettings if is_list else section.type
        title = "[[nodes]]" if is_list else f"[{section.name}]"
        meanings = attributes(struct)
        parts.append(f"\n## {title}\n\n| key | default | meaning |\n|---|---|---|")
        for field in msgspec.structs.fields(struct):
            meaning = meanings.get(field.name, "").replace("|", "\\|")
            if not meaning:
                sys.exit(f"gen_config_doc: {struct.__name__}.{field.name} has no line under Attributes")
            parts.append(f"| `{field.name}` | {default_text(field)} | {meaning} |")
    return "\n".join(parts) + "\n"


def main() -> None:
    text = render()
    if "--check" in sys.argv:
        if not TARGET.exists() or TARGET.read_text(encoding="utf-8") != text:
            sys.exit("docs/CONFIG.md is not what the settings say; run tools/gen_config_doc.py")
        return
    TARGET.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
