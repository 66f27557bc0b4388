"""Read settings: a TOML tree, overridden by the environment, decoded into typed structs."""

import difflib
import os
import re
import tomllib
import types
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TypeVar

import msgspec

from runtime.errors import ConfigError

T = TypeVar("T")

_DURATION_UNITS_MS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_MISSPELT = "unknown key"


def load_toml(path: Path) -> dict[str, object]:
    """Read a TOML file into a tree of dicts.

    Raises:
        ConfigError: When the file is missing, cannot be read, is not UTF-8 or has a syntax error (with its line).
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(str(path), "there is no such file", "the path of a TOML file") from None
    except UnicodeDecodeError:
        raise ConfigError(str(path), "is not UTF-8 text", "a TOML file") from None
    except OSError as error:
        raise ConfigError(str(path), error.strerror or "cannot be read", "a readable TOML file") from None
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(str(path), f"is not valid TOML: {error}") from None


def decode_section(
    tree: Mapping[str, object],
    key: str,
    section_type: type[T],
    *,
    env_prefix: str = "LODEPOOL",
    environment: Mapping[str, str] | None = None,
) -> T:
    """Decode the section at a dotted `key` of the tree into a struct type, strictly.

    A missing section counts as empty. Scalars can be overridden by the environment: section `a.b`, field `port` is
    `<env_prefix>_A_B_PORT`; nested structs add their field's name.

    Args:
        tree: The whole configuration.
        key: Dotted path of the section; "" is the tree itself.
        section_type: A msgspec Struct type (preferably `forbid_unknown_fields`, unknown keys are refused anyway).
        env_prefix: First part of the variables' names.
        environment: The variables; None means those of the process.

    Raises:
        ConfigError: For an unknown key or a bad value, with the setting's full path.
    """
    section = _section(tree, key)
    variables = os.environ if environment is None else environment
    prefix = "_".join([env_prefix, *key.upper().replace("-", "_").split(".")]).rstrip("_")
    merged = _override(section, section_type, prefix, variables)
    _refuse_unknown(merged, section_type, key)
    try:
        return msgspec.convert(merged, section_type, strict=True)
    except msgspec.ValidationError as error:
        path, problem = _readable(str(error), key)
        raise ConfigError(path, problem) from None


def parse_duration(text: str) -> int:
    """Return the milliseconds of a text such as "250ms", "30s", "5m", "12h" or "7d".

    Raises:
        ValueError: When the text is none of these.
    """
    match = re.fullmatch(r"(\d+)(ms|s|m|h|d)", text.strip())
    if match is None:
        raise ValueError(f'"{text}" is not a duration such as "250ms", "30s", "5m", "12h" or "7d"')
    return int(match[1]) * _DURATION_UNITS_MS[match[2]]


def _section(tree: Mapping[str, object], key: str) -> dict[str, object]:
    node: object = tree
    walked: list[str] = []
    for part in key.split(".") if key else []:
        walked.append(part)
        node = typing.cast("Mapping[str, object]", node).get(part, {})
        if not isinstance(node, Mapping):
            raise ConfigError(".".join(walked), f"is {_kind(node)}", "a table")
    return dict(typing.cast("Mapping[str, object]", node))


def _override(
    section: Mapping[str, object], struct: object, prefix: str, variables: Mapping[str, str]
) -> dict[str, object]:
    merged = dict(section)
    if not _is_struct(struct):
        return merged
    for field in msgspec.structs.fields(typing.cast("type[msgspec.Struct]", struct)):
        name = f"{prefix}_{field.encode_name.upper().replace('-', '_')}"
        nested = _struct_of(field.type)
        if nested is not None:
            present = merged.get(field.encode_name)
            if present is None or isinstance(present, Mapping):
                inner = _override(present or {}, nested, name, variables)
                if inner or present is not None:
                    merged[field.encode_name] = inner
        elif name in variables:
            merged[field.encode_name] = _from_text(variables[name], field.type, name)
    return merged


def _from_text(text: str, field_type: object, name: str) -> object:
    kinds = set(typing.get_args(field_type)) if _is_union(field_type) else {field_type}
    kinds = {_bare(kind) for kind in kinds}
    if text == "" and type(None) in kinds:
        return None
    if bool in kinds and text.lower() in {"true", "false", "1", "0", "yes", "no", "on", "off"}:
        return text.lower() in {"true", "1", "yes", "on"}
    if int in kinds and re.fullmatch(r"[+-]?\d+", text):
        return int(text)
    if float in kinds and re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", text, re.IGNORECASE):
        return float(text)
    if kinds & {list, tuple, dict, set, frozenset}:
        try:
            return msgspec.json.decode(text)
        except msgspec.DecodeError:
            raise ConfigError(name, "is not valid JSON", "a JSON list or object") from None
    return text


def _bare(kind: object) -> object:
    while typing.get_origin(kind) is typing.Annotated:
        kind = typing.get_args(kind)[0]
    return typing.get_origin(kind) or kind


def _is_union(kind: object) -> bool:
    return typing.get_origin(kind) in {typing.Union, types.UnionType}


def _is_struct(kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)


def _struct_of(kind: object) -> type[msgspec.Struct] | None:
    candidates = typing.get_args(kind) if _is_union(kind) else (kind,)
    for candidate in candidates:
        bare = _bare(candidate)
        if _is_struct(bare):
            return typing.cast("type[msgspec.Struct]", bare)
    return None


def _refuse_unknown(section: Mapping[str, object], struct: object, path: str) -> None:
    if not _is_struct(struct):
        return
    fields = {f.encode_name: f for f in msgspec.structs.fields(typing.cast("type[msgspec.Struct]", struct))}
    config = typing.cast("type[msgspec.Struct]", struct).__struct_config__
    for name, value in section.items():
        full = f"{path}.{name}" if path else name
        if name not in fields:
            if name == config.tag_field:
                continue
            raise ConfigError(full, _MISSPELT, _one_of(name, sorted(fields)))
        for place, item, nested in _nested(fields[name].type, value, full):
            _refuse_unknown(item, nested, place)


def _nested(kind: object, value: object, path: str) -> Iterator[tuple[str, Mapping[str, object], type[msgspec.Struct]]]:
    """Yield the tables inside a value that are decoded into structs: itself, a list's items, a dict's values."""
    struct = _struct_of(kind)
    if struct is not None:
        if isinstance(value, Mapping):
            yield path, value, struct
        return
    item_structs = [_struct_of(argument) for argument in typing.get_args(kind)]
    item_struct = next((found for found in item_structs if found is not None), None)
    if item_struct is None:
        return
    if isinstance(value, list):
        items = [(f"{path}[{index}]", item) for index, item in enumerate(value)]
    elif isinstance(value, Mapping):
        items = [(f"{path}.{name}", item) for name, item in value.items()]
    else:
        return
    for place, item in items:
        if isinstance(item, Mapping):
            yield place, item, item_struct


def _one_of(name: str, known: list[str]) -> str:
    if not known:
        return "no keys at all"
    listing = "one of " + ", ".join(known)
    close = difflib.get_close_matches(name, known, n=1)
    return f"{listing}; did you mean {close[0]}?" if close else listing


def _readable(message: str, key: str) -> tuple[str, str]:
    """Turn msgspec's "Expected `int`, got `str` - at `$.port`" into a path and a problem."""
    text, _, where = message.partition(" - at ")
    tail = where.strip("`").removeprefix("$").removeprefix(".")
    path = ".".join(part for part in (key, tail) if part) or "configuration"
    path = path.replace(".[", "[")
    missing = re.search(r"missing required field `([^`]+)`", text)
    if missing:
        return f"{path}.{missing[1]}", "is missing"
    unknown = re.search(r"contains unknown field `([^`]+)`", text)
    if unknown:
        return f"{path}.{unknown[1]}", _MISSPELT
    return path, text.replace("`", "")[:1].lower() + text.replace("`", "")[1:]


def _kind(value: object) -> str:
    return {bool: "a boolean", int: "a number", float: "a number", str: "a text", list: "a list"}.get(
        type(value), "not a table"
    )
