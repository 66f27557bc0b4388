"""`lodepool certs`: the files it makes can be used, are private, and are not overwritten by accident."""

import json
import stat
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner, Result

from cli.certs import ETCD, SERVICES, certs
from runtime.errors import UserError
from runtime.rpc.identity import Identity, load_identity
from runtime.rpc.settings import RpcSettings
from runtime.rpc.tokens import Jwks


def run(*arguments: object) -> Result:
    return CliRunner().invoke(certs, [str(argument) for argument in arguments], catch_exceptions=True)


def made(*arguments: object) -> str:
    result = run(*arguments)
    assert result.exit_code == 0, result.exception
    return result.output


def refused(*arguments: object) -> UserError:
    result = run(*arguments)
    assert isinstance(result.exception, UserError), result.output
    return result.exception


def identity(folder: Path, service: str) -> Identity:
    settings = RpcSettings(
        ca_file=str(folder / "ca.pem"),
        cert_file=str(folder / f"{service}.pem"),
        key_file=str(folder / f"{service}.key"),
        token_key_file=str(folder / f"{service}.token.key"),
        token_keys_file=str(folder / "tokens.json"),
    )
    found = load_identity(settings, service)
    assert found is not None
    return found


def keys_of(folder: Path, service: str) -> list[str]:
    keys = msgspec.json.decode((folder / "tokens.json").read_bytes(), type=Jwks).keys
    return [key.kid for key in keys if key.service == service]


def test_dev_makes_everything_a_cluster_needs(tmp_path: Path) -> None:
    folder = tmp_path / "certs"
    made("dev", "--out", folder)
    identities = {service: identity(folder, service) for service in SERVICES}
    for caller in SERVICES:
        for callee in SERVICES:
            assert identities[callee].verify(identities[caller].token_for(callee)) == caller


def test_private_keys_are_for_their_owner_only(tmp_path: Path) -> None:
    made("dev", "--out", tmp_path)
    made("issue", "shares", "--out", tmp_path, "--force", "--new-token-key")
    keys = list(tmp_path.glob("*.key"))
    assert len(keys) == 1 + 2 * len(SERVICES) + len(ETCD)
    assert {stat.S_IMODE(path.stat().st_mode) for path in keys} == {0o600}
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_step_by_step_makes_the_same(tmp_path: Path) -> None:
    assert "ca.key" in made("ca", "--out", tmp_path)
    made("issue", "shares", "miners", "--out", tmp_path, "--host", "10.0.0.5", "--host", "pool.example", "--days", 20)
    shares, miners = identity(tmp_path, "shares"), identity(tmp_path, "miners")
    assert miners.verify(shares.token_for("miners")) == "shares"
    rows = {row["name"]: row for row in json.loads(made("show", tmp_path, "--json"))}
    assert rows["shares"]["hosts"] == ["shares.lodepool", "10.0.0.5", "pool.example"]
    assert rows["shares"]["days_left"] in {19, 20}
    assert (rows["shares"]["authority"], rows["shares"]["token_keys"]) == ("ca.pem", 1)
    assert "miners" in made("show", tmp_path)


def test_nothing_is_overwritten_without_force(tmp_path: Path) -> None:
    made("dev", "--out", tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    for arguments in (("ca",), ("dev",), ("issue", "shares"), ("issue", "shares", "--new-token-key")):
        assert "is there already" in refused(*arguments, "--out", tmp_path).message
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_renewing_a_certificate_keeps_the_token_key(tmp_path: Path) -> None:
    made("dev", "--out", tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    made("issue", "shares", "--out", tmp_path, "--force")
    changed = {path.name for path in tmp_path.iterdir() if path.read_bytes() != before[path.name]}
    assert changed == {"shares.pem", "shares.key"}
    identity(tmp_path, "shares")


def test_a_new_token_key_leaves_the_old_one_valid(tmp_path: Path) -> None:
    made("dev", "--out", tmp_path)
    old_token = identity(tmp_path, "shares").token_for("miners")
    (old,) = keys_of(tmp_path, "shares")
    made("issue", "shares", "--out", tmp_path, "--force", "--new-token-key")
    assert len(keys_of(tmp_path, "shares")) == 2
    assert old in keys_of(tmp_path, "shares")
    miners = identity(tmp_path, "miners")
    assert miners.verify(old_token) == "shares"
    assert miners.verify(identity(tmp_path, "shares").token_for("miners")) == "shares"


def test_show_names_a_certificate_of_another_authority(tmp_path: Path) -> None:
    made("dev", "--out", tmp_path / "a")
    made("dev", "--out", tmp_path / "b")
    (tmp_path / "a" / "shares.pem").write_bytes((tmp_path / "b" / "shares.pem").read_bytes())
    rows = {row["name"]: row["authority"] for row in json.loads(made("show", tmp_path / "a", "--json"))}
    assert rows["shares"] == "another"
    assert rows["miners"] == "ca.pem"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("issue", "nobody"), 'no service called "nobody"'),
        (("issue", "shares", "--host", "1.2.3.4:5"), "neither a host name nor an IP address"),
        (("issue", "shares", "--host", "https://x"), "neither a host name nor an IP address"),
        (("issue", "shares", "--host", "payouts.lodepool"), "is the name of a service"),
        (("issue", "shares", "--host", "*.Lodepool"), "is the name of a service"),
        (("issue", "shares"), "There is no authority"),
    ],
)
def test_mistakes_are_sentences(tmp_path: Path, arguments: tuple[str, ...], message: str) -> None:
    assert message in refused(*arguments, "--out", tmp_path).message


def test_files_that_were_damaged_are_named(tmp_path: Path) -> None:
    made("dev", "--out", tmp_path)
    before = {(tmp_path / "shares.pem").read_bytes(), (tmp_path / "shares.key").read_bytes()}
    (tmp_path / "tokens.json").write_text("{")
    assert "tokens.json" in refused("issue", "shares", "--out", tmp_path, "--force", "--new-token-key").message
    identity_files = [tmp_path / "shares.pem", tmp_path / "shares.key"]
    assert {path.read_bytes() for path in identity_files} == before
    (tmp_path / "tokens.json").write_text('{"keys": []}')
    (tmp_path / "ca.key").write_text("no key")
    assert "cannot sign" in refused("issue", "shares", "--out", tmp_path, "--force").message
    (tmp_path / "users.pem").write_text("no certificate")
    assert "users.pem" in refused("show", tmp_path).message


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert "cannot be written" in refused("ca", "--out", tmp_path / "file" / "certs").message
