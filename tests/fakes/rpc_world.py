"""Services with certificates and token keys in a folder, and an echo service to call."""

import asyncio
import contextlib
import datetime as dt
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import grpc
import msgspec
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from runtime.clock import Clock
from runtime.rpc.access import Access
from runtime.rpc.certificates import KeyPair, issue, make_authority, make_token_key
from runtime.rpc.client import RpcClients, StaticDirectory
from runtime.rpc.identity import Identity, load_identity
from runtime.rpc.server import RpcServer
from runtime.rpc.settings import RpcSettings
from runtime.rpc.tokens import Jwk, Jwks, jwk_of

SERVICE = "test.v1.Box"
GET = f"/{SERVICE}/GetThing"
PUT = f"/{SERVICE}/PutThing"


class SkewedWallClock:
    """The machine's clock, some seconds off."""

    def __init__(self, real: Clock, skew_s: float) -> None:
        self._real = real
        self.skew_s = skew_s

    def now_s(self) -> float:
        return self._real.now_s() + self.skew_s

    def now_ms(self) -> int:
        return round(self.now_s() * 1000)

    def monotonic_s(self) -> float:
        return self._real.monotonic_s()

    async def sleep(self, delay_s: float) -> None:
        await self._real.sleep(delay_s)


class Box:
    """Counts the calls that reach it; "wait" never returns, other requests come back."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.call_count = 0

    async def serve(self, request: bytes, context) -> bytes:
        self.call_count += 1
        if self.error is not None:
            raise self.error
        if request == b"wait":
            await asyncio.Event().wait()
        return request

    async def stream(self, request: bytes, context) -> AsyncIterator[bytes]:
        self.call_count += 1
        yield request
        if request == b"wait":
            await asyncio.Event().wait()


def add_box(servicer: Box, server: grpc.aio.Server) -> None:
    handlers = {
        "GetThing": grpc.unary_unary_rpc_method_handler(servicer.serve),
        "PutThing": grpc.unary_unary_rpc_method_handler(servicer.serve),
        "WatchThing": grpc.unary_stream_rpc_method_handler(servicer.stream),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))


class Pki:
    """A folder as `lodepool certs` makes it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.authority = make_authority()
        self.keys: list[Jwk] = []
        self.write("ca.pem", self.authority.certificate)

    def write(self, name: str, data: bytes) -> None:
        partial = self.folder / f".{name}"
        partial.write_bytes(data)
        partial.replace(self.folder / name)

    def write_keys(self) -> None:
        self.write("tokens.json", msgspec.json.encode(Jwks(keys=tuple(self.keys))))

    def add(self, *services: str) -> None:
        for service in services:
            self.renew(service)
            self.new_token_key(service)

    def renew(
        self,
        service: str,
        *,
        authority: KeyPair | None = None,
        days: int = 365,
        begin_days: int = 0,
        named: str | None = None,
    ) -> KeyPair:
        """Write a service's certificate; `begin_days` from now, `named` for another service."""
        begin = dt.datetime.now(dt.UTC) + dt.timedelta(days=begin_days)
        pair = issue(authority or self.authority, named or service, days=days, now=begin)
        self.write(f"{service}.key", pair.private_key)
        self.write(f"{service}.pem", pair.certificate)
        return pair

    def new_token_key(self, service: str) -> Jwk:
        pem = make_token_key()
        jwk = jwk_of(service, load_pem_private_key(pem, None).public_key())
        self.keys.append(jwk)
        self.write_keys()
        self.write(f"{service}.token.key", pem)
        return jwk

    def settings(self, service: str) -> RpcSettings:
        return RpcSettings(
            ca_file=str(self.folder / "ca.pem"),
            cert_file=str(self.folder / f"{service}.pem"),
            key_file=str(self.folder / f"{service}.key"),
            token_key_file=str(self.folder / f"{service}.token.key"),
            token_keys_file=str(self.folder / "tokens.json"),
        )

    def identity(self, service: str, *, clock: Clock | None = None) -> Identity:
        identity = load_identity(self.settings(service), service, clock=clock)
        assert identity is not None
        return identity


@contextlib.asynccontextmanager
async def serving(box: Box, identity: Identity | None, *, access: Access | None = None) -> AsyncIterator[RpcServer]:
    server = RpcServer("127.0.0.1:0", services=[(add_box, box, SERVICE)], access=access, identity=identity)
    await server.start()
    try:
        yield server
    finally:
        await server.stop(0)


@contextlib.asynccontextmanager
async def calling(
    identity: Identity | None, port: int, services: Sequence[str] = ("box",)
) -> AsyncIterator[RpcClients]:
    clients = RpcClients(StaticDirectory(dict.fromkeys(services, f"127.0.0.1:{port}")), identity)
    try:
        yield clients
    finally:
        await clients.close()
