"""The one page of the notifier: the link in mails that ends a subscription.

GET shows a button and changes nothing, since mail scanners follow links; POST ends the subscription, by the button or
by the mail program itself (RFC 8058).
"""

import contextlib
import html
import re
from collections.abc import AsyncIterator
from typing import Final

from aiohttp import web

from notifier import subscriptions
from notifier.config import NotifierSettings
from runtime.errors import UserError
from runtime.postgres.pool import Connection, DatabaseUnavailable, Pool
from runtime.postgres.transactions import transact

BODY_BYTES_MAX: Final = 4096
_TOKEN: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; form-action 'self'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
}
_ASK: Final = '<form method="post"><button>Stop these notices · Больше не присылать</button></form>'
_DONE: Final = "You get no more of these notices. · Эти уведомления больше не придут."


def unsubscribe_app(pool: Pool) -> web.Application:
    """Return the page."""

    async def ask(request: web.Request) -> web.Response:
        _token(request)
        return _page(_ASK)

    async def end(request: web.Request) -> web.Response:
        token = _token(request)

        async def work(connection: Connection) -> bool:
            return await subscriptions.unsubscribe(connection, token)

        try:
            await transact(pool, work)
        except DatabaseUnavailable:
            raise web.HTTPServiceUnavailable(headers={"Retry-After": "30"}) from None
        # A token that is not known has been used: the answer is the same.
        return _page(html.escape(_DONE))

    app = web.Application(client_max_size=BODY_BYTES_MAX)
    app.router.add_get("/unsubscribe/{token}", ask)
    app.router.add_post("/unsubscribe/{token}", end)
    return app


@contextlib.asynccontextmanager
async def serve_unsubscribe(settings: NotifierSettings, pool: Pool) -> AsyncIterator[None]:
    """Serve the page where the settings say, for as long as the block runs; nothing without a port.

    Raises:
        UserError: When it cannot listen there.
    """
    if not settings.listen_port:
        yield
        return
    runner = web.AppRunner(unsubscribe_app(pool), access_log=None)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, settings.listen_host, settings.listen_port).start()
        except OSError as error:
            raise UserError(
                f"{settings.listen_host}:{settings.listen_port} cannot be listened on: {error.strerror}.",
                "see notifier.listen_host and notifier.listen_port",
            ) from None
        yield
    finally:
        await runner.cleanup()


def _token(request: web.Request) -> str:
    token = request.match_info["token"]
    if _TOKEN.fullmatch(token) is None:
        raise web.HTTPNotFound
    return token


def _page(content: str) -> web.Response:
    text = f'<!DOCTYPE html><html lang="en"><meta charset="utf-8"><title>Lodepool</title><body>{content}</body></html>'
    return web.Response(text=text, content_type="text/html", headers=_HEADERS)
