"""Mutual TLS and tokens over real sockets: who may call, who is refused, and what he is told."""

import asyncio
import base64
import contextlib
import json
import logging
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import grpc
import jwt
import pytest
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from grpc_health.v1 import health_pb2, health_pb2_grpc

from runtime.clock import SystemClock
from runtime.rpc.access import Access
from runtime.rpc.certificates import KeyPair, issue, make_authority, make_token_key
from runtime.rpc.client import RpcClients, call
from runtime.rpc.errors import PermissionDenied, RpcError, Unauthenticated, Unavailable, translate
from runtime.rpc.identity import Identity
from runtime.rpc.server import RpcServer
from runtime.rpc.tokens import jwk_of
from tests.fakes.rpc_world import GET, PUT, SERVICE, Box, Pki, SkewedWallClock, calling, serving
from tests.fakes.waiting import eventually

ACCESS = Access(readers=frozenset({"reader"}), writers=frozenset({"writer"}))


@pytest.fixture
def pki(tmp_path: Path) -> Pki:
    pki = Pki(tmp_path)
    pki.add("box", "reader", "writer", "stranger")
    return pki


@pytest.fixture
def box() -> Box:
    return Box()


@pytest.fixture
async def server(pki: Pki, box: Box) -> AsyncIterator[RpcServer]:
    async with serving(box, pki.identity("box"), access=ACCESS) as server:
        yield server


async def ask(clients: RpcClients, method: str = GET, *, service: str = "box", timeout_s: float = 5.0) -> bytes:
    return await call(clients.channel(service).unary_unary(method), b"x", timeout_s=timeout_s)


async def ask_with(
    port: int, credentials: grpc.ChannelCredentials | None, *, metadata: tuple[tuple[str, str], ...] = (), method=GET
) -> bytes:
    """Call as a stranger's program would: its own channel, its own metadata."""
    target = f"127.0.0.1:{port}"
    options = (("grpc.ssl_target_name_override", "box.lodepool"),)
    channel = (
        grpc.aio.secure_channel(target, credentials, options=options)
        if credentials is not None
        else grpc.aio.insecure_channel(target)
    )
    async with channel:
        try:
            return await channel.unary_unary(method)(b"x", timeout=5, metadata=metadata)
        except grpc.aio.AioRpcError as error:
            raise translate(error) from error


def credentials_of(pki: Pki, pair: KeyPair | None) -> grpc.ChannelCredentials:
    if pair is None:
        return grpc.ssl_channel_credentials(pki.authority.certificate)
    return grpc.ssl_channel_credentials(pki.authority.certificate, pair.private_key, pair.certificate)


def is_one_sentence(text: str) -> bool:
    return 0 < len(text) < 120 and "\n" not in text and "SSL" not in text and "ipv4:" not in text


async def test_services_that_know_each_other_talk(pki: Pki, box: Box, server: RpcServer) -> None:
    async with calling(pki.identity("writer"), server.port) as clients:
        assert await ask(clients) == b"x"
        assert await ask(clients, PUT) == b"x"
        stream = clients.channel("box").unary_stream(f"/{SERVICE}/WatchThing")(b"y", timeout=5)
        assert [each async for each in stream] == [b"y"]
    assert box.call_count == 3


async def test_a_reader_may_not_write_and_a_stranger_may_nothing(pki: Pki, box: Box, server: RpcServer) -> None:
    async with calling(pki.identity("reader"), server.port) as clients:
        assert await ask(clients) == b"x"
        with pytest.raises(PermissionDenied, match=f"reader may not call {PUT}") as caught:
            await ask(clients, PUT)
        assert (caught.value.reason, caught.value.metadata) == ("NOT_ALLOWED", {"caller": "reader"})
    async with calling(pki.identity("stranger"), server.port) as clients:
        with pytest.raises(PermissionDenied, match="stranger may not call"):
            await ask(clients)
    assert box.call_count == 1


async def test_health_answers_anyone_with_a_certificate(pki: Pki, server: RpcServer) -> None:
    pair = issue(pki.authority, "stranger")
    options = (("grpc.ssl_target_name_override", "box.lodepool"),)
    async with grpc.aio.secure_channel(
        f"127.0.0.1:{server.port}", credentials_of(pki, pair), options=options
    ) as channel:
        answer = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=5)
    assert answer.status == health_pb2.HealthCheckResponse.SERVING


def foreign(pki: Pki) -> KeyPair:
    return issue(make_authority(), "writer")


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda _pki: None, id="no certificate"),
        pytest.param(foreign, id="another authority"),
        pytest.param(lambda pki: pki.renew("writer", begin_days=-10, days=5), id="expired"),
        pytest.param(lambda pki: pki.renew("writer", begin_days=10, days=5), id="not yet valid"),
    ],
)
async def test_a_client_without_a_good_certificate_is_refused_and_told_so(
    pki: Pki, box: Box, server: RpcServer, make: Callable[[Pki], KeyPair | None]
) -> None:
    token = pki.identity("writer").token_for("box")
    metadata = (("authorization", f"Bearer {token}"),)
    with pytest.raises(Unavailable, match="certificate it does not accept") as caught:
        await ask_with(server.port, credentials_of(pki, make(pki)), metadata=metadata)
    assert is_one_sentence(caught.value.message), caught.value.message
    assert box.call_count == 0


async def test_a_client_without_tls_is_refused(pki: Pki, box: Box, server: RpcServer) -> None:
    with pytest.raises(Unavailable) as caught:
        await ask_with(server.port, None)
    assert is_one_sentence(caught.value.message), caught.value.message
    assert box.call_count == 0


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda pki: pki.renew("box", authority=make_authority()), "its certificate is not of our authority"),
        (lambda pki: pki.renew("box", begin_days=-10, days=5), "its certificate has expired"),
        (lambda pki: pki.renew("box", begin_days=10, days=5), "its certificate is not valid yet"),
        (lambda pki: pki.renew("box", named="reader"), "its certificate is another service's"),
    ],
)
async def test_a_server_without_a_good_certificate_is_not_called_and_the_error_says_why(
    pki: Pki, make: Callable[[Pki], KeyPair], sentence: str
) -> None:
    pair = make(pki)
    server = grpc.aio.server()
    credentials = grpc.ssl_server_credentials([(pair.private_key, pair.certificate)], pki.authority.certificate, True)
    port = server.add_secure_port("127.0.0.1:0", credentials)
    await server.start()
    async with calling(pki.identity("writer"), port) as clients:
        with pytest.raises(Unavailable) as caught:
            await ask(clients)
    assert caught.value.message == f"no connection to the service: {sentence}"
    await server.stop(0)


async def test_a_server_without_tls_is_not_called(pki: Pki, box: Box) -> None:
    async with serving(box, None) as server, calling(pki.identity("writer"), server.port) as clients:
        with pytest.raises(Unavailable, match="it does not speak TLS"):
            await ask(clients)
    assert box.call_count == 0


def token_key_of(pki: Pki, service: str):
    return load_pem_private_key((pki.folder / f"{service}.token.key").read_bytes(), None)


def kid_of(pki: Pki, service: str) -> str:
    return next(jwk.kid for jwk in pki.keys if jwk.service == service)


def make_token(pki: Pki, *, key=None, kid: str | None = None, **changed: object) -> str:
    now_s = int(SystemClock().now_s())
    claims = {"iss": "writer", "aud": "box", "iat": now_s, "exp": now_s + 60, "jti": "1"} | changed
    claims = {name: value for name, value in claims.items() if value is not None}
    headers = {"kid": kid or kid_of(pki, "writer")}
    return jwt.encode(claims, key or token_key_of(pki, "writer"), algorithm="EdDSA", headers=headers)


def without_algorithm(pki: Pki) -> str:
    def part(value: object) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")

    body = make_token(pki).split(".")[1]
    return f"{part({'alg': 'none', 'kid': kid_of(pki, 'writer')})}.{body}."


def with_secret(pki: Pki) -> str:
    """The public key, which is no secret, used as the secret of an HMAC."""
    public = next(jwk.x for jwk in pki.keys if jwk.service == "writer")
    claims = jwt.decode(make_token(pki), options={"verify_signature": False})
    return jwt.encode(claims, public, algorithm="HS256", headers={"kid": kid_of(pki, "writer")})


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        pytest.param(lambda _pki: None, "NO_TOKEN", id="none"),
        pytest.param(lambda _pki: "nonsense", "MALFORMED_TOKEN", id="nonsense"),
        pytest.param(lambda _pki: "a." * 1500, "MALFORMED_TOKEN", id="too long"),
        pytest.param(lambda pki: pki.identity("reader").token_for("box"), "FOREIGN_TOKEN", id="of another service"),
        pytest.param(lambda pki: pki.identity("writer").token_for("other"), "WRONG_AUDIENCE", id="for another"),
        pytest.param(lambda pki: make_token(pki, aud=["box", "other"]), "MALFORMED_TOKEN", id="for several"),
        pytest.param(
            lambda pki: make_token(pki, key=token_key_of(pki, "reader"), kid=kid_of(pki, "reader")),
            "FOREIGN_KEY",
            id="signed with another service's key",
        ),
        pytest.param(lambda pki: make_token(pki, key=token_key_of(pki, "reader")), "BAD_SIGNATURE", id="signature"),
        pytest.param(lambda pki: make_token(pki, kid="unknown"), "UNKNOWN_KEY", id="unknown kid"),
        pytest.param(without_algorithm, "MALFORMED_TOKEN", id="alg none"),
        pytest.param(with_secret, "MALFORMED_TOKEN", id="alg HS256"),
        pytest.param(lambda pki: make_token(pki, exp=None), "MALFORMED_TOKEN", id="no exp"),
        pytest.param(lambda pki: make_token(pki, jti=None), "MALFORMED_TOKEN", id="no jti"),
        pytest.param(lambda pki: make_token(pki, iat=1000, exp=1060), "TOKEN_EXPIRED", id="expired"),
        pytest.param(lambda pki: make_token(pki, exp=2**40), "MALFORMED_TOKEN", id="for ever"),
    ],
)
async def test_a_call_without_a_good_token_is_refused_and_told_why(
    pki: Pki, box: Box, server: RpcServer, make: Callable[[Pki], str | None], reason: str
) -> None:
    token = make(pki)
    pair = issue(pki.authority, "writer")
    metadata = () if token is None else (("authorization", f"Bearer {token}"),)
    with pytest.raises(Unauthenticated) as caught:
        await ask_with(server.port, credentials_of(pki, pair), metadata=metadata)
    assert caught.value.reason == reason
    assert is_one_sentence(caught.value.message), caught.value.message
    assert box.call_count == 0


async def test_two_tokens_or_another_scheme_are_refused(pki: Pki, server: RpcServer) -> None:
    credentials = credentials_of(pki, issue(pki.authority, "writer"))
    good = ("authorization", f"Bearer {make_token(pki)}")
    assert await ask_with(server.port, credentials, metadata=(good,)) == b"x"
    for metadata in ((good, good), (("authorization", f"Basic {make_token(pki)}"),)):
        with pytest.raises(Unauthenticated, match="malformed"):
            await ask_with(server.port, credentials, metadata=metadata)


async def test_a_refused_call_makes_one_warning_a_minute_without_the_token(
    pki: Pki, server: RpcServer, caplog: pytest.LogCaptureFixture
) -> None:
    token = pki.identity("reader").token_for("box")
    credentials = credentials_of(pki, issue(pki.authority, "writer"))
    for _ in range(3):
        with pytest.raises(Unauthenticated):
            await ask_with(server.port, credentials, metadata=(("authorization", f"Bearer {token}"),))
    with pytest.raises(Unauthenticated):
        await ask_with(server.port, credentials)
    lines = [record.fields for record in caplog.records if record.getMessage() == "call refused"]
    assert [(line["caller"], line["reason"]) for line in lines] == [("writer", "FOREIGN_TOKEN"), ("writer", "NO_TOKEN")]
    assert token not in str(lines)
    assert token not in caplog.text


@pytest.mark.parametrize("skew_s", [-20, 20])
async def test_clocks_that_differ_by_20_s_do_no_harm(pki: Pki, server: RpcServer, skew_s: float) -> None:
    identity = pki.identity("writer", clock=SkewedWallClock(SystemClock(), skew_s))
    async with calling(identity, server.port) as clients:
        assert await ask(clients) == b"x"


@pytest.mark.parametrize(("skew_s", "reason"), [(-90, "TOKEN_EXPIRED"), (90, "TOKEN_FROM_FUTURE")])
async def test_clocks_that_differ_by_90_s_are_named_as_the_reason(
    pki: Pki, server: RpcServer, skew_s: float, reason: str
) -> None:
    identity = pki.identity("writer", clock=SkewedWallClock(SystemClock(), skew_s))
    async with calling(identity, server.port) as clients:
        with pytest.raises(Unauthenticated, match="are the clocks right") as caught:
            await ask(clients)
    assert caught.value.reason == reason


async def test_certificates_token_keys_and_the_authority_are_renewed_under_load_without_a_failed_call(
    pki: Pki, box: Box
) -> None:
    """Certificates, token keys and the authority change one after the other, as an operator would change them."""
    box_identity, writer = pki.identity("box"), pki.identity("writer")
    failures: list[RpcError] = []
    is_over = False

    finished = [0] * 4

    async def load(number: int, clients: RpcClients) -> None:
        while not is_over:
            try:
                await ask(clients, PUT)
            except RpcError as error:
                failures.append(error)
            finished[number] += 1
            await asyncio.sleep(0.002)

    async def calls_under_way_are_over() -> None:
        before = list(finished)
        await eventually(lambda: all(map(int.__gt__, finished, before)), what="the end of calls under way")

    async def taken_over(identity: Identity, generation: int) -> None:
        def has_it() -> bool:
            identity.refresh()
            return identity.generation > generation

        await eventually(has_it, what="the new files")

    async with serving(box, box_identity, access=ACCESS) as server, calling(writer, server.port) as clients:
        tasks = [asyncio.create_task(load(number, clients)) for number in range(len(finished))]
        for identity in (box_identity, writer):
            generation = identity.generation
            pki.renew(identity.service)
            await taken_over(identity, generation)
        # A token key: first everybody knows the new one, then its owner signs with it, then the old one goes.
        old = next(jwk for jwk in pki.keys if jwk.service == "writer")
        generations = box_identity.generation, writer.generation
        pem = make_token_key()
        pki.keys.append(jwk_of("writer", load_pem_private_key(pem, None).public_key()))
        pki.write_keys()
        await taken_over(box_identity, generations[0])
        await taken_over(writer, generations[1])
        generations = box_identity.generation, writer.generation
        pki.write("writer.token.key", pem)
        await taken_over(writer, generations[1])
        # Calls with a token of the old key must be over before it goes.
        await calls_under_way_are_over()
        pki.keys.remove(old)
        pki.write_keys()
        await taken_over(box_identity, generations[0])
        # The authority: first both are believed, then certificates of the new one are made, then the old one goes.
        old_authority, pki.authority = pki.authority, make_authority()
        generations = box_identity.generation, writer.generation
        pki.write("ca.pem", old_authority.certificate + pki.authority.certificate)
        await taken_over(box_identity, generations[0])
        await taken_over(writer, generations[1])
        for identity in (box_identity, writer):
            generation = identity.generation
            pki.renew(identity.service)
            await taken_over(identity, generation)
        generations = box_identity.generation, writer.generation
        pki.write("ca.pem", pki.authority.certificate)
        await taken_over(box_identity, generations[0])
        await taken_over(writer, generations[1])
        count = box.call_count
        await eventually(lambda: box.call_count > count + 100, what="further calls")
        is_over = True
        await asyncio.gather(*tasks)
        assert failures == []
        # A client that believes only in the new authority proves that the server shows its new certificate.
        async with calling(pki.identity("writer"), server.port) as fresh:
            assert await ask(fresh) == b"x"


async def test_a_server_follows_the_token_keys_by_itself(pki: Pki, box: Box) -> None:
    """What the operator adds or deletes counts within seconds, on connections that are open already."""
    async with serving(box, pki.identity("box")) as server:
        pki.add("late")
        late = next(jwk for jwk in pki.keys if jwk.service == "late")
        async with calling(pki.identity("late"), server.port) as clients:

            async def is_let_in() -> bool:
                with contextlib.suppress(Unauthenticated):
                    return await ask(clients) == b"x"
                return False

            async def is_refused() -> bool:
                return not await is_let_in()

            await eventually(is_let_in, what="a new service's key")
            pki.keys.remove(late)
            pki.write_keys()
            await eventually(is_refused, timeout_s=5, what="a deleted key")


async def test_files_that_cannot_be_used_leave_the_old_ones_in_force(
    pki: Pki, box: Box, server: RpcServer, caplog: pytest.LogCaptureFixture
) -> None:
    identity = pki.identity("writer")
    caplog.set_level(logging.WARNING)

    def complaints() -> list[str]:
        identity.refresh()
        found = (r for r in caplog.records if r.getMessage() == "new certificate files refused, the old ones stay")
        return [record.fields["error"] for record in found]

    async with calling(identity, server.port) as clients:
        pki.write("writer.pem", b"half a cert")
        await eventually(lambda: len(complaints()) == 1, what="a warning")
        assert await ask(clients) == b"x"
        pki.renew("writer", named="reader")
        await eventually(lambda: len(complaints()) == 2, what="another warning")
        assert "is the certificate of reader.lodepool" in complaints()[-1]
        assert await ask(clients) == b"x"
        pki.renew("writer")
        await eventually(lambda: identity.refresh() == 2, what="good files")
        assert await ask(clients) == b"x"
