"""Configuration: strict decoding, named problems, overrides from the environment."""

from pathlib import Path
from typing import Annotated

import msgspec
import pytest

from runtime.config import decode_section, load_toml, parse_duration
from runtime.errors import ConfigError


class Limits(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    line_bytes_max: int = 1024
    ratio: float = 0.5


class Section(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    port: Annotated[int, msgspec.Meta(ge=1, le=65535)]
    host: str = "127.0.0.1"
    is_open: bool = False
    nodes: list[str] = []
    limits: Limits = Limits()
    note: str | None = None
    peers: tuple[Limits, ...] = ()
    by_name: dict[str, Limits] = {}


def decode(tree: dict[str, object], **environment: str) -> Section:
    return decode_section(tree, "server", Section, environment=environment)


def test_a_section_is_decoded_with_its_defaults() -> None:
    section = decode({"server": {"port": 3333, "limits": {"ratio": 0.25}}})
    assert section == Section(port=3333, limits=Limits(ratio=0.25))


def test_an_unknown_key_is_named_with_its_path_and_the_likely_meaning() -> None:
    with pytest.raises(ConfigError) as caught:
        decode({"server": {"prot": 3333}})
    assert caught.value.path == "server.prot"
    assert caught.value.problem == "unknown key"
    assert caught.value.expected.startswith("one of by_name, host, is_open, limits")
    assert caught.value.expected.endswith("did you mean port?")


@pytest.mark.parametrize(
    ("section", "path"),
    [
        ({"limits": {"line_bytes": 5}}, "server.limits.line_bytes"),
        ({"peers": [{"ratio": 1.0}, {"line_bytes": 5}]}, "server.peers[1].line_bytes"),
        ({"by_name": {"big": {"line_bytes": 5}}}, "server.by_name.big.line_bytes"),
    ],
)
def test_an_unknown_key_in_a_nested_table_is_named_with_its_path(section: dict[str, object], path: str) -> None:
    with pytest.raises(ConfigError) as caught:
        decode({"server": {"port": 1, **section}})
    assert caught.value.path == path
    assert "did you mean line_bytes_max?" in caught.value.expected


@pytest.mark.parametrize(
    ("section", "path"),
    [
        ({"port": "3333"}, "server.port"),
        ({"port": 70000}, "server.port"),
        ({"port": 1, "limits": {"ratio": "x"}}, "server.limits.ratio"),
        ({"port": 1, "nodes": ["a", 2]}, "server.nodes[1]"),
        ({}, "server.port"),
    ],
)
def test_a_bad_value_is_named_with_its_path(section: dict[str, object], path: str) -> None:
    with pytest.raises(ConfigError) as caught:
        decode({"server": section})
    assert caught.value.path == path


def test_a_section_that_is_no_table_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"server: is a number \(expected a table\)"):
        decode({"server": 5})


def test_the_environment_overrides_the_file() -> None:
    section = decode(
        {"server": {"port": 1, "host": "a"}},
        LODEPOOL_SERVER_PORT="2",
        LODEPOOL_SERVER_IS_OPEN="yes",
        LODEPOOL_SERVER_NODES='["x", "y"]',
        LODEPOOL_SERVER_LIMITS_LINE_BYTES_MAX="7",
        LODEPOOL_SERVER_NOTE="hello",
    )
    assert section == Section(
        port=2, host="a", is_open=True, nodes=["x", "y"], limits=Limits(line_bytes_max=7), note="hello"
    )


def test_a_bad_value_in_the_environment_is_refused() -> None:
    with pytest.raises(ConfigError) as caught:
        decode({"server": {"port": 1}}, LODEPOOL_SERVER_PORT="many")
    assert caught.value.path == "server.port"


def test_a_syntax_error_in_a_file_names_its_line(tmp_path: Path) -> None:
    path = tmp_path / "lodepool.toml"
    path.write_text("[server]\nport = = 5\n")
    with pytest.raises(ConfigError, match="line 2"):
        load_toml(path)


def test_a_missing_file_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no such file"):
        load_toml(tmp_path / "none.toml")


@pytest.mark.parametrize(
    ("text", "expected_ms"), [("250ms", 250), ("30s", 30_000), ("2h", 7_200_000), ("7d", 604_800_000)]
)
def test_a_duration_is_whole_milliseconds(text: str, expected_ms: int) -> None:
    assert parse_duration(text) == expected_ms


def test_a_text_that_is_no_duration_is_refused() -> None:
    with pytest.raises(ValueError, match="not a duration"):
        parse_duration("5 minutes")
