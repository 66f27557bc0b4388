"""Configuration: one contract for the file and for etcd; the tree's own commands; etcd away at the start."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import msgspec
import pytest
import tomlkit

from runtime.clock import SystemClock
from runtime.errors import ConfigError, UserError
from runtime.etcd.client import EtcdClient
from runtime.etcd.config_source import ConfigSource, Configuration, EtcdConfigSource, FileConfigSource, Origin
from runtime.etcd.config_tree import Change, ConfigChanged, ConfigTree, Schema, Tree
from tests.fakes.etcd_cluster import EtcdCluster
from tests.fakes.waiting import eventually

NEWS_S_MAX = 2.0


class Server(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    port: Annotated[int, msgspec.Meta(ge=1, le=65535)] = 80
    ratio: float = 0.5
    names: list[str] = []
    is_open: bool = True


class Shop(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    class Till(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
        limit: int = 5

    till: Till = Till()
    title: str


def even_ports(tree: Tree) -> None:
    server = tree.get("server", {})
    if isinstance(server, dict) and server.get("port", 80) % 2:
        raise ConfigError("server.port", "is odd")


SCHEMA = Schema({"server": Server, "shop": Shop}, checks=[even_ports])
GOOD: Tree = {
    "server": {"port": 8080, "ratio": 1.0, "names": ["a", "б"], "is_open": False},
    "shop": {"title": "t", "till": {"limit": 7}},
}


def with_port(port: object) -> Tree:
    return {**GOOD, "server": {"port": port}}


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """A source under test, and how to change what it reads past all checks."""

    source: Callable[[], ConfigSource]
    write: Callable[[Tree], Awaitable[None]]
    breaks: Callable[[], Awaitable[None]]


@pytest.fixture
async def etcd() -> AsyncIterator[EtcdClient]:
    async with EtcdCluster() as cluster, EtcdClient(cluster.settings()) as client:
        yield client


@pytest.fixture(params=["file", "etcd"])
async def bench(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Bench]:
    if request.param == "file":
        path = tmp_path / "settings.toml"

        async def write_file(tree: Tree) -> None:
            beside = path.with_suffix(".new")
            beside.write_text(tomlkit.dumps(tree))
            beside.replace(path)

        async def break_file() -> None:
            path.write_text("[server\n")

        yield Bench(
            source=lambda: FileConfigSource(path, SCHEMA, clock=SystemClock(), poll_s=0.1),
            write=write_file,
            breaks=break_file,
        )
        return
    async with EtcdCluster() as cluster, EtcdClient(cluster.settings()) as client:

        async def write_etcd(tree: Tree) -> None:
            await ConfigTree(client, Schema({"": dict})).push(tree)

        async def break_etcd() -> None:
            await client.put(ConfigTree(client, SCHEMA).prefix + "server", b"{not json")

        yield Bench(
            source=lambda: EtcdConfigSource(client, SCHEMA, copy_path=tmp_path / "copy.json"),
            write=write_etcd,
            breaks=break_etcd,
        )


@contextlib.asynccontextmanager
async def watching(source: ConfigSource) -> AsyncIterator[list[Configuration]]:
    seen: list[Configuration] = []

    async def follow() -> None:
        async with contextlib.aclosing(source.watch()) as configurations:
            async for configuration in configurations:
                seen.append(configuration)  # noqa: PERF401  # the list is read while it grows

    task = asyncio.create_task(follow())
    yield seen
    assert not task.done(), task
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_what_was_written_is_loaded_with_its_types(bench: Bench) -> None:
    await bench.write(GOOD)
    configuration = await bench.source().load()
    assert configuration.tree == GOOD
    assert repr(configuration.tree["server"]["ratio"]) == "1.0"


@pytest.mark.parametrize(
    ("tree", "path"),
    [
        ({**GOOD, "servre": {}}, "servre"),
        ({**GOOD, "server": {"prot": 1}}, "server.prot"),
        (with_port("80"), "server.port"),
        (with_port(70000), "server.port"),
        (with_port(81), "server.port"),
        ({"server": {}}, "shop.title"),
    ],
)
async def test_a_bad_setting_is_refused_with_its_path_at_the_start(bench: Bench, tree: Tree, path: str) -> None:
    await bench.write(tree)
    with pytest.raises(ConfigError) as caught:
        await bench.source().load()
    assert caught.value.path == path


async def test_a_misspelt_key_is_answered_with_what_was_probably_meant(bench: Bench) -> None:
    await bench.write({**GOOD, "server": {"prot": 1}})
    with pytest.raises(ConfigError, match="did you mean port"):
        await bench.source().load()


async def test_no_configuration_at_all_is_an_error_with_a_hint(bench: Bench) -> None:
    with pytest.raises(UserError):
        await bench.source().load()


async def test_a_change_arrives_within_two_seconds_and_the_same_tree_is_no_news(bench: Bench) -> None:
    await bench.write(GOOD)
    source = bench.source()
    await source.load()
    async with watching(source) as seen:
        await bench.write(with_port(82))
        await eventually(lambda: seen, timeout_s=NEWS_S_MAX, what="news")
        await bench.write(with_port(82))
        await bench.write(GOOD)
        await eventually(lambda: len(seen) > 1, timeout_s=NEWS_S_MAX, what="more news")
        assert [configuration.tree for configuration in seen] == [with_port(82), GOOD]


async def test_a_bad_change_is_reported_and_leaves_the_last_good_one_in_force(bench: Bench) -> None:
    await bench.write(GOOD)
    source = bench.source()
    await source.load()
    async with watching(source) as seen:
        await bench.write(with_port(81))
        await eventually(lambda: source.problem is not None, timeout_s=NEWS_S_MAX, what="the problem")
        assert source.problem is not None
        assert source.problem.path == "server.port"
        await bench.breaks()
        await eventually(lambda: source.problem.path != "server.port", timeout_s=NEWS_S_MAX, what="another problem")
        assert seen == []
        await bench.write(with_port(84))
        await eventually(lambda: seen, timeout_s=NEWS_S_MAX, what="news")
        assert seen[0].tree == with_port(84)
        assert source.problem is None


async def test_push_pull_diff_set_and_unset(etcd: EtcdClient) -> None:
    tree = ConfigTree(etcd, SCHEMA)
    assert (await tree.pull()).tree == {}
    assert Change(path="server.port", old=None, new=8080) in await tree.push(GOOD)
    pulled = await tree.pull()
    assert pulled.tree == GOOD
    assert await tree.push(GOOD) == []
    assert await tree.diff(with_port(80)) == [
        Change(path="server.is_open", old=False, new=None),
        Change(path="server.names", old=["a", "б"], new=None),
        Change(path="server.port", old=8080, new=80),
        Change(path="server.ratio", old=1.0, new=None),
    ]
    assert await tree.set("shop.till.limit", 9) == [Change(path="shop.till.limit", old=7, new=9)]
    assert await tree.unset("shop.till.limit") == [Change(path="shop.till.limit", old=9, new=None)]
    assert (await tree.pull()).tree["shop"] == {"title": "t"}

    for change, path in (
        (tree.set("server.port", 81), "server.port"),
        (tree.set("server.prot", 80), "server.prot"),
        (tree.set("server.port.deep", 80), "server.port.deep"),
        (tree.unset("shop.title"), "shop.title"),
        (tree.unset("shop.nothing"), "shop.nothing"),
        (tree.push(with_port(float("inf"))), "server.port"),
    ):
        with pytest.raises(ConfigError) as caught:
            await change
        assert caught.value.path == path
    with pytest.raises(ConfigChanged):
        await tree.push(GOOD, expected_revision=pulled.revision)
    await tree.push(GOOD, expected_revision=(await tree.pull()).revision)
    assert (await tree.pull()).tree == GOOD


async def test_changes_at_the_same_time_do_not_overwrite_each_other(etcd: EtcdClient) -> None:
    tree = ConfigTree(etcd, SCHEMA)
    await tree.push(GOOD)
    await asyncio.gather(
        tree.set("server.port", 90),
        tree.set("server.ratio", 0.25),
        tree.set("shop.title", "x"),
        tree.unset("server.names"),
    )
    assert (await tree.pull()).tree == {
        "server": {"port": 90, "ratio": 0.25, "is_open": False},
        "shop": {"title": "x", "till": {"limit": 7}},
    }


async def test_a_push_is_seen_whole_or_not_at_all(etcd: EtcdClient) -> None:
    names = [f"s{number}" for number in range(40)]

    class Part(msgspec.Struct, forbid_unknown_fields=True):
        value: int

    def all_equal(tree: Tree) -> None:
        assert len({part["value"] for part in tree.values()}) == 1

    schema = Schema(dict.fromkeys(names, Part), checks=[all_equal])
    tree = ConfigTree(etcd, schema)
    await tree.push({name: {"value": 0} for name in names})
    source = EtcdConfigSource(etcd, schema, copy_path=Path("/nonexistent/copy"))
    await source.load()
    async with watching(source) as seen:
        for value in range(1, 30):
            await tree.push({name: {"value": value} for name in names})
        await eventually(lambda: seen and seen[-1].tree["s0"] == {"value": 29}, what="the last push")
    assert source.problem is None


async def test_the_local_copy_starts_a_process_while_etcd_is_away_and_news_comes_when_it_is_back(
    tmp_path: Path,
) -> None:
    copy_path = tmp_path / "copy.json"
    async with EtcdCluster() as cluster:
        async with EtcdClient(cluster.settings()) as etcd:
            tree = ConfigTree(etcd, SCHEMA)
            await tree.push(GOOD)
            source = EtcdConfigSource(etcd, SCHEMA, copy_path=copy_path)
            assert (await source.load()).origin is Origin.ETCD
            async with watching(source) as seen:
                await tree.set("server.port", 82)
                await eventually(lambda: seen, timeout_s=NEWS_S_MAX, what="news")
                last_good = seen[-1].tree
                await cluster.members[0].kill()
        # A new process, etcd away.
        async with EtcdClient(cluster.settings()) as etcd:
            source = EtcdConfigSource(etcd, SCHEMA, copy_path=copy_path)
            configuration = await source.load()
            assert (configuration.origin, configuration.tree) == (Origin.LOCAL_COPY, last_good)
            with pytest.raises(UserError, match="cannot be reached"):
                await EtcdConfigSource(etcd, SCHEMA, copy_path=tmp_path / "none").load()
            async with watching(source) as seen:
                await cluster.members[0].start()
                await cluster.wait_healthy()
                await ConfigTree(etcd, SCHEMA).set("server.port", 84)
                await eventually(lambda: seen, timeout_s=NEWS_S_MAX, what="news")
                assert seen[0].tree["server"]["port"] == 84


async def test_a_bad_or_lost_tree_at_the_start_gives_way_to_the_local_copy(etcd: EtcdClient, tmp_path: Path) -> None:
    copy_path = tmp_path / "copy.json"
    await ConfigTree(etcd, SCHEMA).push(GOOD)
    await EtcdConfigSource(etcd, SCHEMA, copy_path=copy_path).load()
    for lose in (
        lambda: ConfigTree(etcd, Schema({"": dict})).push(with_port(81)),
        lambda: etcd.delete_prefix(etcd.settings.root),
    ):
        await lose()
        source = EtcdConfigSource(etcd, SCHEMA, copy_path=copy_path)
        configuration = await source.load()
        assert (configuration.origin, configuration.tree) == (Origin.LOCAL_COPY, GOOD)
        assert source.problem is not None
    for broken in (b"", b"{", b'{"format":9}', copy_path.read_bytes().replace(b'"test"', b'"west"')):
        copy_path.write_bytes(broken)
        with pytest.raises(ConfigError, match="no configuration"):
            await EtcdConfigSource(etcd, SCHEMA, copy_path=copy_path).load()
