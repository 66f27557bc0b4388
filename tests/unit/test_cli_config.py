"""`lodepool config` on one machine's file, and what a host's file may hold."""

import asyncio
import json
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
from click.testing import CliRunner

from cli.config import config, is_live
from cli.following import Following, LiveSections
from cli.main import root
from cli.settings import TREE_SCHEMA, copy_path, decode_file, load_settings
from runtime.config import load_toml
from runtime.errors import ConfigError
from runtime.etcd.config_source import Configuration, Origin
from runtime.etcd.config_tree import Tree
from runtime.systemd import Systemd

FILE = """\
# the pool of the village
[pool]
coin = "litecoin-regtest"
address = "rltc1qr8qgn7jd3c8uhcmwtfl27ftdx28luam95azl74"

[[nodes]]
url = "http://127.0.0.1:19332"
password = "hidden"

[rewards]
fee_ppm = 10000  # one percent
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "lodepool.toml"
    path.write_text(FILE)
    path.chmod(0o640)
    return path


def run(*arguments: str) -> str:
    result = CliRunner().invoke(root, list(arguments), standalone_mode=False)
    if result.exception is not None:
        raise result.exception
    return result.output


def test_a_setting_is_changed_in_its_place_with_comments_and_rights_kept(path: Path) -> None:
    out = json.loads(run("config", "set", "rewards.fee_ppm", "9000", "--config", str(path), "--json"))
    assert out == {"changes": [{"path": "rewards.fee_ppm", "old": 10000, "new": 9000, "needs_restart": False}]}
    assert path.read_text() == FILE.replace("10000", "9000")
    assert path.stat().st_mode & 0o777 == 0o640
    assert [each.name for each in path.parent.iterdir()] == [path.name]


def test_what_needs_a_restart_is_said(path: Path) -> None:
    out = json.loads(run("config", "set", "stratum.port", "4444", "--config", str(path), "--json"))
    assert out["changes"][0]["needs_restart"] is True
    assert is_live("stratum.bans")
    assert not is_live("pool.address")


@pytest.mark.parametrize(
    ("setting", "value"),
    [("rewards.fee_ppm", "-1"), ("rewards.fee", "3"), ("payouts.dust_atomic", "2000000"), ("pool.coin", "gold")],
)
def test_a_wrong_value_is_refused_and_the_file_left_alone(path: Path, setting: str, value: str) -> None:
    with pytest.raises(ConfigError) as refused:
        run("config", "set", setting, value, "--config", str(path))
    assert refused.value.path.split(".")[0] == setting.split(".", maxsplit=1)[0]
    assert path.read_text() == FILE


def test_unset_brings_the_default_back_and_takes_an_empty_table_with_it(path: Path) -> None:
    run("config", "unset", "rewards.fee_ppm", "--config", str(path))
    assert "[rewards]" not in path.read_text()
    assert run("config", "get", "rewards.fee_ppm", "--config", str(path)) == "10000\n"


def test_a_setting_that_is_not_set_shows_its_default_and_an_unknown_one_is_refused(path: Path) -> None:
    assert run("config", "get", "kafka.topic.partitions", "--config", str(path)) == "8\n"
    with pytest.raises(ConfigError, match="no such setting"):
        run("config", "get", "kafka.nothing", "--config", str(path))


def test_pull_and_push_say_that_they_need_etcd(path: Path) -> None:
    for command in (("pull",), ("push", str(path))):
        with pytest.raises(Exception, match=r"etcd|each host's"):
            run("config", *command, "--config", str(path))


def test_every_config_command_has_an_example() -> None:
    for command in config.commands.values():
        assert str(command.epilog).startswith("Example: lodepool config")


def test_a_hosts_file_holds_only_the_hosts_sections(path: Path) -> None:
    path.write_text(FILE + "\n[etcd]\n")
    with pytest.raises(ConfigError, match="lies in etcd"):
        load_settings(path, environment={})


def test_a_password_in_the_dsn_is_refused_for_the_tree_but_not_for_one_machine(path: Path) -> None:
    for dsn in ("postgresql://u:secret@h/d", "postgresql:///d?host=h&password=secret"):
        tree = load_toml(path) | {"postgres": {"dsn": dsn}}
        decode_file(path, tree, environment={})
        with pytest.raises(ConfigError, match="LODEPOOL_POSTGRES_DSN") as refused:
            TREE_SCHEMA.check(tree)
        assert "secret" not in str(refused.value)
    path.write_text(FILE.replace("password =", "password_file ="))
    TREE_SCHEMA.check(load_toml(path) | {"postgres": {"dsn": "postgresql://u@h/d?passfile=/etc/pass"}})


def test_a_nodes_password_is_refused_for_the_tree_and_comes_from_a_file_or_the_environment(path: Path) -> None:
    """§5: secrets come from the environment or files, never from the tree."""
    path.write_text(FILE.replace("[[nodes]]", '[[nodes]]\nname = "ltc-1"'))
    tree = load_toml(path)
    assert decode_file(path, tree, environment={}).nodes[0].password == "hidden"
    with pytest.raises(ConfigError, match=r"password_file .* LODEPOOL_NODE_LTC_1_PASSWORD") as refused:
        TREE_SCHEMA.check(tree)
    assert "nodes[0].password" in str(refused.value)
    assert "hidden" not in str(refused.value)
    path.write_text(path.read_text().replace("password =", "password_file ="))
    tree = load_toml(path)
    TREE_SCHEMA.check(tree)
    (node,) = decode_file(path, tree, environment={"LODEPOOL_NODE_LTC_1_PASSWORD": "given"}).nodes
    assert (node.password, node.password_file) == ("given", "")
    with pytest.raises(ConfigError, match="choose one"):
        decode_file(path, tree | {"nodes": [{"password": "a", "password_file": "b"}]}, environment={})


def test_the_copy_lies_in_the_data_directory_of_the_host_or_beside_its_file(tmp_path: Path) -> None:
    file = tmp_path / "host.toml"
    assert copy_path(file, environment={}) == tmp_path / "configuration.json"
    there = copy_path(file, environment={"LODEPOOL_POOL_DATA_DIR": "/var/lib/lodepool"})
    assert there == Path("/var/lib/lodepool/configuration.json")


class Source:
    """Gives out the trees it was given."""

    problem = None

    def __init__(self, *trees: Tree) -> None:
        self._trees = trees

    async def load(self) -> Configuration:
        raise NotImplementedError

    async def watch(self) -> AsyncGenerator[Configuration, None]:
        for revision, tree in enumerate(self._trees, start=2):
            yield Configuration(tree=tree, origin=Origin.ETCD, revision=revision)


def test_a_change_reaches_the_sections_and_what_waits_for_a_restart_is_named_once(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def decode(tree: Tree) -> object:
        return decode_file(path, tree, environment={})

    base = load_toml(path)
    settings = decode_file(path, base, environment={})
    live = LiveSections.of(settings)
    changed = base | {"rewards": {"fee_ppm": 1}, "stratum": {"port": 5, "ban_s": 9.0}, "gateway": {"port": 9}}
    wrong = changed | {"payouts": {"threshold_atomic": 5}}
    following = Following(
        Source(changed, wrong, changed | {"rewards": {"fee_ppm": 2}}), decode=decode, role="stratum",
        settings=settings, live=live, revision=1, manager=Systemd({}),
    )  # fmt: skip
    asyncio.run(following.run())
    assert (live.rewards.value.fee_ppm, live.info.value.fee_ppm) == (2, 2)
    assert (live.stratum.value.ban_s, live.stratum.value.port) == (9.0, settings.stratum.port)
    warnings = [record for record in caplog.records if record.levelname == "WARNING"]
    assert [record.fields["settings"] for record in warnings] == ["stratum.port"]
    errors = [record for record in caplog.records if record.levelname == "ERROR"]
    assert [record.fields["path"] for record in errors] == ["payouts"]
    shown = {family.name: family.samples[0].value for family in following.families()}
    assert shown["lodepool_config_revision"] == 4
    assert shown["lodepool_config_refused"] == 0
    assert shown["lodepool_config_restart_fields"] == 1
