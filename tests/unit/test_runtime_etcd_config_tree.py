"""The configuration tree as plain values: paths, differences, texts, what it cannot hold."""

import datetime as dt

import msgspec
import pytest

from runtime.errors import ConfigError
from runtime.etcd.client import Entry, Snapshot
from runtime.etcd.config_tree import (
    Change,
    Schema,
    decode_snapshot,
    diff_trees,
    encode_tree,
    flatten,
    get_value,
    parse_value,
    with_value,
    without_value,
)

TREE = {"a": {"b": 1, "c": {"d": [1, 2]}}, "e": "x", "empty": {}}


def snapshot_of(values: dict[str, bytes]) -> Snapshot:
    return Snapshot(
        revision=7,
        entries={
            key: Entry(key=key, value=value, create_revision=1, mod_revision=1, lease_id=0)
            for key, value in values.items()
        },
    )


def test_a_tree_comes_back_from_its_keys() -> None:
    tree = {**TREE, "odd name/with.dots": {"ü": 1.0}}
    keys = encode_tree(tree, "/root/")
    assert "/root/odd%20name%2Fwith.dots" in keys
    assert decode_snapshot(snapshot_of(keys), "/root/").tree == tree


def test_a_value_that_is_not_json_is_refused_or_left_out() -> None:
    snapshot = snapshot_of({"/root/a": b"{", "/root/b": b"1"})
    with pytest.raises(ConfigError, match="a: is not JSON"):
        decode_snapshot(snapshot, "/root/")
    assert decode_snapshot(snapshot, "/root/", lenient=True).tree == {"b": 1}


def test_settings_are_listed_with_their_paths() -> None:
    assert list(flatten(TREE)) == [("a.b", 1), ("a.c.d", [1, 2]), ("e", "x"), ("empty", {})]


def test_a_difference_of_type_is_a_difference() -> None:
    old, new = {"a": 1, "b": True, "c": 1, "d": 1}, {"a": 1.0, "b": 1, "c": 1, "e": 2}
    assert diff_trees(old, new) == [
        Change(path="a", old=1, new=1.0),
        Change(path="b", old=True, new=1),
        Change(path="d", old=1, new=None),
        Change(path="e", old=None, new=2),
    ]


def test_values_are_read_set_and_removed_by_path_without_touching_the_old_tree() -> None:
    before = msgspec.json.encode(TREE)
    assert get_value(TREE, "a.c.d") == [1, 2]
    assert with_value(TREE, "a.c.d", 3)["a"] == {"b": 1, "c": {"d": 3}}
    assert with_value(TREE, "n.e.w", 3)["n"] == {"e": {"w": 3}}
    assert without_value(TREE, "a.c.d")["a"] == {"b": 1}
    assert "e" not in without_value(TREE, "e")
    assert msgspec.json.encode(TREE) == before


@pytest.mark.parametrize("path", ["", ".", "a.", ".a", "a..b", "e.x", "a.b.c"])
def test_a_path_that_leads_nowhere_is_refused_whole(path: str) -> None:
    with pytest.raises(ConfigError) as caught:
        with_value(TREE, path, 1)
    assert caught.value.path == path
    with pytest.raises(ConfigError):
        without_value(TREE, path)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3", 3),
        ("0.5", 0.5),
        ("true", True),
        ('"3"', "3"),
        ("[1, 2]", [1, 2]),
        ("plain", "plain"),
        ("1\nb = 2", "1\nb = 2"),
    ],
)
def test_a_text_is_read_as_toml_or_taken_as_it_stands(text: str, value: object) -> None:
    assert parse_value(text) == value


@pytest.mark.parametrize(
    "value", [2**63, -(2**63) - 1, float("nan"), float("inf"), None, dt.date(2024, 1, 1), [None], {"x": [2**64]}]
)
def test_what_the_tree_cannot_hold_is_refused(value: object) -> None:
    with pytest.raises(ConfigError, match=r"^a\.b"):
        encode_tree({"a": {"b": value}}, "/")


def test_an_unknown_section_is_answered_with_what_was_probably_meant() -> None:
    schema = Schema({"server.http": dict, "store": dict})
    schema.check({"server": {"http": {}}})
    with pytest.raises(ConfigError, match="did you mean server"):
        schema.check({"sevrer": {}})
