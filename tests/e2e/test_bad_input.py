"""What the operator gets wrong gets one clear sentence: no traceback, exit code 2, nothing half-started."""

import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from nodes.settings import NodeSettings
from runtime.process import free_port
from tests.e2e.conftest import ROOT, configuration, run_cli

pytestmark = pytest.mark.e2e

REGTEST = "litecoin-regtest"
# The payload of Bitcoin's well-known null address, as a regtest P2PKH.
ADDRESS = "mfWxJ45yp2SFn7UciZyNpvDKrzbhyfKrY8"
MAINNET_ADDRESS = "LKDxGDJq5fF4FohAB8zJH24mDDNHDNtqsE"


@pytest.fixture(scope="module")
def node() -> Iterator[NodeSettings]:
    """Run a simulated Litecoin regtest node that asks for a password."""
    port = free_port()
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "nodes.simulated_server", "--coin", REGTEST, "--port", str(port)),
            *("--user", "pool", "--password", "right"),
        ],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
    )
    try:
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=0.1).close()
                break
            except OSError:
                assert process.poll() is None
        yield NodeSettings(name="simulated", url=f"http://127.0.0.1:{port}", user="pool", password="right")
    finally:
        process.kill()
        process.wait()


async def up(path: Path, text: str) -> str:
    """Run `lodepool up` on a configuration that cannot work, and return what it said."""
    path.write_text(text)
    code, out, err = await run_cli("up", "--config", str(path))
    assert code == 2, (code, out, err)
    assert "Traceback" not in err
    return err


def plain(node: NodeSettings, **changed: str) -> str:
    values = {"coin": REGTEST, "address": ADDRESS, **changed}
    return configuration(coin=values["coin"], address=values["address"], nodes=[node], sections={})


async def test_an_unknown_key_is_named_with_the_one_that_was_meant(tmp_path: Path, node: NodeSettings) -> None:
    text = configuration(coin=REGTEST, address=ADDRESS, nodes=[node], sections={"stratum": {"prot": 1}})
    said = await up(tmp_path / "lodepool.toml", text)
    assert "stratum.prot" in said
    assert "did you mean port" in said


async def test_a_value_of_the_wrong_kind_is_named(tmp_path: Path, node: NodeSettings) -> None:
    text = configuration(coin=REGTEST, address=ADDRESS, nodes=[node], sections={"stratum": {"port": "many"}})
    assert "stratum.port" in await up(tmp_path / "lodepool.toml", text)


async def test_a_missing_file_is_named(tmp_path: Path) -> None:
    code, _, err = await run_cli("up", "--config", str(tmp_path / "nowhere.toml"))
    assert code == 2
    assert "nowhere.toml" in err


async def test_an_address_of_another_network_is_refused_before_anything_starts(
    tmp_path: Path, node: NodeSettings
) -> None:
    """S6."""
    said = await up(tmp_path / "lodepool.toml", plain(node, address=MAINNET_ADDRESS))
    assert MAINNET_ADDRESS in said


async def test_a_node_on_another_network_is_refused(tmp_path: Path, node: NodeSettings) -> None:
    """S6: the pool's address is right for the configured coin, the node serves another."""
    said = await up(tmp_path / "lodepool.toml", plain(node, coin="litecoin", address=MAINNET_ADDRESS))
    assert "regtest" in said


async def test_wrong_credentials_are_named(tmp_path: Path, node: NodeSettings) -> None:
    wrong = NodeSettings(name="n1", url=node.url, user="pool", password="wrong-secret")
    said = await up(tmp_path / "lodepool.toml", plain(wrong))
    assert "n1" in said
    assert "password" in said.lower() or "credentials" in said.lower()
    assert "wrong-secret" not in said


async def test_a_node_that_is_not_there_is_named(tmp_path: Path) -> None:
    nowhere = NodeSettings(name="n1", url=f"http://127.0.0.1:{free_port()}")
    assert "n1" in await up(tmp_path / "lodepool.toml", plain(nowhere))


async def test_an_occupied_port_is_named(tmp_path: Path, node: NodeSettings) -> None:
    with socket.socket() as squatter:
        squatter.bind(("127.0.0.1", 0))
        squatter.listen()
        port = squatter.getsockname()[1]
        text = configuration(coin=REGTEST, address=ADDRESS, nodes=[node], sections={"stratum": {"port": port}})
        assert str(port) in await up(tmp_path / "lodepool.toml", text)


async def test_an_occupied_gateway_port_is_named(tmp_path: Path, node: NodeSettings) -> None:
    with socket.socket() as squatter:
        squatter.bind(("127.0.0.1", 0))
        squatter.listen()
        port = squatter.getsockname()[1]
        text = configuration(coin=REGTEST, address=ADDRESS, nodes=[node], sections={"gateway": {"port": port}})
        assert str(port) in await up(tmp_path / "lodepool.toml", text)


async def test_postgresql_that_is_not_there_is_named(tmp_path: Path, node: NodeSettings) -> None:
    port = free_port()
    dsn = f"postgresql://pool:secret-word@127.0.0.1:{port}/lodepool"
    text = configuration(coin=REGTEST, address=ADDRESS, nodes=[node], sections={"postgres": {"dsn": dsn, "wait_s": 1}})
    said = await up(tmp_path / "lodepool.toml", text)
    assert str(port) in said
    assert "secret-word" not in said


async def test_init_writes_a_file_that_up_accepts_and_refuses_to_overwrite_it(
    tmp_path: Path, node: NodeSettings
) -> None:
    path = tmp_path / "lodepool.toml"
    arguments = ["init", "--coin", REGTEST, "--address", ADDRESS, "--node-url", node.url, "--node-user", node.user]
    arguments += ["--node-password", node.password, "--wallet", "pool", "--output", str(path)]
    code, _, err = await run_cli(*arguments)
    assert code == 0, err
    assert path.stat().st_mode & 0o077 == 0
    code, _, err = await run_cli(*arguments)
    assert code == 2
    assert "exists already" in err
    code, out, err = await run_cli("migrate", "--config", str(path), "--json")
    assert code == 0, err
    assert '"ledger"' in out


async def test_init_refuses_what_the_node_contradicts_and_writes_nothing(tmp_path: Path, node: NodeSettings) -> None:
    path = tmp_path / "lodepool.toml"
    code, _, err = await run_cli(
        *("init", "--coin", "litecoin", "--address", MAINNET_ADDRESS, "--node-url", node.url),
        *("--node-user", node.user, "--node-password", node.password, "--output", str(path)),
    )
    assert code == 2
    assert "regtest" in err
    assert not path.exists()


async def test_questions_to_a_pool_that_does_not_run_say_so(tmp_path: Path, node: NodeSettings) -> None:
    path = tmp_path / "lodepool.toml"
    path.write_text(plain(node))
    code, _, err = await run_cli("status", "--config", str(path))
    assert code == 2
    assert "lodepool up" in err


async def test_mining_at_a_nonsense_url_says_what_is_expected() -> None:
    code, _, err = await run_cli("mine", "http://nowhere", "--user", "x")
    assert code == 2
    assert "stratum+tcp://HOST:PORT" in err


async def test_a_process_that_fails_each_time_ends_the_pool_with_its_last_words(
    tmp_path: Path, node: NodeSettings
) -> None:
    """An error that nobody expected: exit code 1, so that a service manager tries again."""
    path = tmp_path / "lodepool.toml"
    path.write_text(plain(node))
    (tmp_path / "data" / "journal" / "shipper.lock").mkdir(parents=True)
    code, _, err = await run_cli("up", "--config", str(path))
    assert code == 1, err
    assert "shipper ended 5 times with exit code 1 before it was ready: IsADirectoryError" in err.splitlines()[-1]
