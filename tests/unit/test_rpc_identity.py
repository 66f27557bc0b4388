"""What an identity refuses to start with, what it warns of, and who may call what."""

import logging
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from runtime.clock import ManualClock, SystemClock
from runtime.config import decode_section
from runtime.errors import ConfigError
from runtime.rpc.access import Access
from runtime.rpc.certificates import issue, make_authority, read_certificates
from runtime.rpc.guard import Guard
from runtime.rpc.identity import RELOAD_S, load_identity
from runtime.rpc.settings import RpcSettings
from runtime.rpc.tokens import Jwk, Refusal, TokenRefused, TokenVerifier
from tests.fakes.rpc_world import Pki

DAY_S = 86_400


@pytest.fixture
def pki(tmp_path: Path) -> Pki:
    pki = Pki(tmp_path)
    pki.add("box", "other")
    return pki


def test_without_files_there_is_no_identity() -> None:
    assert load_identity(RpcSettings(), "box") is None


def test_good_files_make_an_identity(pki: Pki) -> None:
    identity = pki.identity("box")
    assert identity.service == "box"
    other = pki.identity("other")
    assert other.verify(identity.token_for("other")) == "box"
    assert identity.token_for("other") == identity.token_for("other")
    assert identity.token_for("third") != identity.token_for("other")


def chain_through_an_intermediate(pki: Pki) -> None:
    pair = issue(pki.authority, "box")
    pki.write("box.pem", pair.certificate + pki.authority.certificate)
    pki.write("box.key", pair.private_key)


def test_a_certificate_may_bring_its_chain(pki: Pki) -> None:
    chain_through_an_intermediate(pki)
    assert pki.identity("box").service == "box"


@pytest.mark.parametrize(
    ("spoil", "path", "problem"),
    [
        (lambda pki: (pki.folder / "ca.pem").unlink(), "rpc.ca_file", "No such file"),
        (lambda pki: (pki.folder / "box.key").unlink(), "rpc.key_file", "No such file"),
        (lambda pki: pki.write("ca.pem", b"hello"), "rpc.ca_file", "holds no certificate"),
        (lambda pki: pki.write("box.pem", b""), "rpc.cert_file", "holds no certificate"),
        (lambda pki: pki.write("box.key", b"hello"), "rpc.key_file", "holds no private key"),
        (lambda pki: pki.write("box.token.key", b"hello"), "rpc.token_key_file", "holds no private key"),
        (lambda pki: pki.renew("box", begin_days=-9, days=5), "rpc.cert_file", "has expired on"),
        (lambda pki: pki.renew("box", begin_days=9), "rpc.cert_file", "is not valid before"),
        (lambda pki: pki.renew("box", named="other"), "rpc.cert_file", "is the certificate of other.lodepool"),
        (lambda pki: pki.renew("box", authority=make_authority()), "rpc.cert_file", "is not of the authority"),
        (lambda pki: pki.write("ca.pem", make_authority().certificate), "rpc.cert_file", "is not of the authority"),
        (lambda pki: pki.write("box.key", issue(pki.authority, "box").private_key), "rpc.key_file", "is not the key"),
        (
            lambda pki: pki.write("box.token.key", (pki.folder / "box.key").read_bytes()),
            "rpc.token_key_file",
            "another kind of key",
        ),
        (
            lambda pki: pki.write("box.token.key", (pki.folder / "other.token.key").read_bytes()),
            "rpc.token_key_file",
            "is not in",
        ),
        (lambda pki: pki.write("tokens.json", b"{"), "rpc.token_keys_file", "tokens.json"),
        (lambda pki: pki.write("tokens.json", b'{"keys": [], "more": 1}'), "rpc.token_keys_file", "more"),
        (lambda pki: pki.write("tokens.json", b'{"keys": []}'), "rpc.token_key_file", "is not in"),
    ],
)
def test_files_that_cannot_be_used_are_named(pki: Pki, spoil: Callable[[Pki], object], path: str, problem: str) -> None:
    spoil(pki)
    with pytest.raises(ConfigError) as caught:
        pki.identity("box")
    assert caught.value.path == path
    assert problem in caught.value.problem
    assert str(pki.folder) in caught.value.problem


def test_a_key_that_cannot_be_read_is_named(pki: Pki) -> None:
    (pki.folder / "box.key").unlink()
    (pki.folder / "box.key").mkdir()
    with pytest.raises(ConfigError, match="Is a directory"):
        pki.identity("box")


def test_expiry_is_announced_once_a_day_and_becomes_an_error(pki: Pki, caplog: pytest.LogCaptureFixture) -> None:
    pki.renew("box", days=40)
    clock = ManualClock(SystemClock().now_s())
    identity = pki.identity("box", clock=clock)

    def levels_after(days: float) -> list[int]:
        caplog.clear()
        clock.advance(days * DAY_S)
        identity.refresh()
        return [record.levelno for record in caplog.records if record.getMessage() == "certificate expires soon"]

    assert levels_after(9.9) == []
    assert levels_after(0.2) == [logging.WARNING]
    assert levels_after(0.5) == []
    assert levels_after(0.6) == [logging.WARNING]
    assert levels_after(26) == [logging.ERROR]
    assert levels_after(0.5) == []
    assert levels_after(5) == [logging.ERROR]
    pki.renew("box", days=400)
    assert levels_after(0.1) == []
    assert identity.generation == 2


def test_files_are_looked_at_once_a_second_at_most(pki: Pki) -> None:
    clock = ManualClock(SystemClock().now_s())
    identity = pki.identity("box", clock=clock)
    pki.renew("box")
    assert identity.refresh() == 1
    clock.advance(RELOAD_S)
    assert identity.refresh() == 2
    clock.advance(RELOAD_S)
    assert identity.refresh() == 2


def test_a_certificate_never_outlives_its_authority() -> None:
    authority = make_authority(days=10)
    (leaf,) = read_certificates(issue(authority, "box", days=365).certificate)
    (root,) = read_certificates(authority.certificate)
    assert leaf.not_valid_after_utc == root.not_valid_after_utc


def test_a_token_is_made_anew_long_before_it_expires(pki: Pki) -> None:
    clock = ManualClock(SystemClock().now_s())
    identity, other = pki.identity("box", clock=clock), pki.identity("other", clock=clock)
    first = identity.token_for("other")
    clock.advance(29)
    assert identity.token_for("other") == first
    clock.advance(2)
    second = identity.token_for("other")
    assert second != first
    assert other.verify(first) == "box"
    clock.advance(60)
    with pytest.raises(TokenRefused) as caught:
        other.verify(first)
    assert caught.value.refusal is Refusal.TOKEN_EXPIRED
    assert other.verify(second) == "box"


@pytest.mark.parametrize("changed", [{"kty": "EC"}, {"crv": "X25519"}, {"alg": "none"}, {"x": "AAAA"}, {"x": "ü"}])
def test_other_kinds_of_token_keys_are_refused(pki: Pki, changed: dict[str, str]) -> None:
    jwk = msgspec.structs.replace(pki.keys[0], **changed)
    with pytest.raises(ValueError, match="not an Ed25519 key"):
        TokenVerifier("box", [jwk], now_s=lambda: 0.0)


def test_a_key_id_that_stands_there_twice_is_refused(pki: Pki) -> None:
    twice: list[Jwk] = [pki.keys[0], msgspec.structs.replace(pki.keys[1], kid=pki.keys[0].kid)]
    with pytest.raises(ValueError, match="twice"):
        TokenVerifier("box", twice, now_s=lambda: 0.0)


def test_without_certificates_only_loopback_may_be_used() -> None:
    for key in ("listen_host", "advertise_host"):
        with pytest.raises(ConfigError, match="only loopback"):
            decode_section({"rpc": {key: "10.0.0.5"}}, "rpc", RpcSettings, environment={})
    with pytest.raises(ConfigError, match="only loopback"):
        decode_section({"rpc": {"listen_host": "0.0.0.0"}}, "rpc", RpcSettings, environment={})
    for host in ("127.0.0.1", "::1", "localhost", "127.3.4.5"):
        assert not decode_section({"rpc": {"listen_host": host}}, "rpc", RpcSettings, environment={}).is_secure


def test_certificate_files_are_set_together(pki: Pki) -> None:
    with pytest.raises(ConfigError, match="key_file, token_key_file must be set"):
        tree = {"rpc": {"ca_file": "a", "cert_file": "b", "token_keys_file": "c"}}
        decode_section(tree, "rpc", RpcSettings, environment={})
    tree = {"rpc": {"listen_host": "10.0.0.5", **dict.fromkeys(("ca_file", "cert_file", "key_file"), "f")}}
    environment = {"LODEPOOL_RPC_TOKEN_KEY_FILE": "x", "LODEPOOL_RPC_TOKEN_KEYS_FILE": "y"}
    assert decode_section(tree, "rpc", RpcSettings, environment=environment).is_secure


@pytest.mark.parametrize(
    ("caller", "method", "is_allowed"),
    [
        ("reader", "GetThing", True),
        ("reader", "ListThings", True),
        ("reader", "WatchThing", True),
        ("reader", "CheckThing", True),
        ("reader", "BatchGetThings", True),
        ("reader", "UpdateThing", False),
        ("reader", "FixThing", False),
        ("writer", "UpdateThing", True),
        ("writer", "GetThing", True),
        ("stranger", "GetThing", False),
        ("", "GetThing", False),
    ],
)
def test_readers_read_and_writers_do_everything(caller: str, method: str, is_allowed: bool) -> None:
    access = Access(readers=frozenset({"reader"}), writers=frozenset({"writer"}))
    assert access.allows(caller, method) is is_allowed


class _Context:
    """A call from the service "writer" without a token."""

    def auth_context(self) -> dict[str, list[bytes]]:
        return {"x509_subject_alternative_name": [b"writer.lodepool"]}

    def invocation_metadata(self) -> tuple[tuple[str, str], ...]:
        return ()


def test_a_refusal_is_logged_again_after_a_minute(pki: Pki, caplog: pytest.LogCaptureFixture) -> None:
    clock = ManualClock()
    guard = Guard(pki.identity("box"), None, clock=clock)
    for delay_s, count in ((0, 1), (30, 1), (31, 2), (59, 2)):
        clock.advance(delay_s)
        with pytest.raises(Exception, match="carries no token"):
            guard.check("/test.v1.Box/GetThing", _Context())
        assert len(caplog.records) == count
    guard.check("/grpc.health.v1.Health/Check", _Context())
