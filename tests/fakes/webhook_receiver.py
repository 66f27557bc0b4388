"""A receiver of webhooks that verifies signatures by itself, answers as it is told, and keeps what it got."""

import base64
import contextlib
import hashlib
import hmac
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


async def accept(_request: web.Request) -> web.StreamResponse:
    return web.Response(status=204)


@dataclass
class WebhookReceiver:
    """What a person's server would be.

    Attributes:
        secret: What it verifies with, "whsec_" and base64.
        answer: Called for each request.
        port: Where it listens on 127.0.0.1.
        got: (headers, decoded body) of each request with a good signature.
        bad_count: Requests with a bad one.
    """

    secret: str
    answer: Answer = accept
    port: int = 0
    got: list[tuple[dict[str, str], dict[str, Any]]] = field(default_factory=list)
    bad_count: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook"

    async def handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        if not self.verifies(dict(request.headers), body):
            self.bad_count += 1
            return web.Response(status=401)
        self.got.append(({name.lower(): value for name, value in request.headers.items()}, json.loads(body)))
        return await self.answer(request)

    def verifies(self, headers: dict[str, str], body: bytes) -> bool:
        """Verify as https://www.standardwebhooks.com says; written apart from the sender."""
        found = {name.lower(): value for name, value in headers.items()}
        content = f"{found['webhook-id']}.{found['webhook-timestamp']}.".encode() + body
        key = base64.b64decode(self.secret.split("_", 1)[1])
        wanted = "v1," + base64.b64encode(hmac.new(key, content, hashlib.sha256).digest()).decode()
        return any(hmac.compare_digest(wanted, each) for each in found["webhook-signature"].split(" "))

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator["WebhookReceiver"]:
        app = web.Application()
        app.router.add_route("*", "/{tail:.*}", self.handle)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.port = runner.addresses[0][1]
        try:
            yield self
        finally:
            await runner.cleanup()
