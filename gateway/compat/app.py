"""Add the second face to an application."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

import msgspec
from aiohttp import web

from gateway.app import CLIENT, SHARED_ENTRIES_MAX, SHARED_KEEP_S
from gateway.cache import RecentAnswers
from gateway.compat.context import Compat, Refused, make_compat
from gateway.compat.miners import refuse_settings
from gateway.compat.notifications import Notifications
from gateway.compat.openapi import PATH as OPENAPI_PATH
from gateway.compat.openapi import openapi_document
from gateway.compat.query import Query, ValueRefused, read_query
from gateway.compat.routes import ROUTES, Route
from gateway.context import GATEWAY
from gateway.live.socket import LIVE
from gateway.problems import CONTENT_TYPE, Kind, ProblemFound
from runtime.process import keep_running

NOTIFICATIONS_PATH = "/notifications"
HELP_PATH = "/api/help"
HEALTH_PATH = "/api/health-check"
SETTINGS_PATH = "/api/pools/{poolId}/miners/{address}/settings"
OPENAPI_MAX_AGE_S = 300
_JSON = "application/json"
_VALIDATION_TYPE = "https://tools.ietf.org/html/rfc9110#section-15.5.1"

NOTIFICATIONS = web.AppKey("notifications", Notifications)
"""Where an application keeps the WebSocket connections of the second face."""

_Respond = Callable[[web.Request], Awaitable[web.StreamResponse]]


def add_compat(app: web.Application) -> None:
    """Serve the second face on an application that `make_app` made and that is not frozen yet."""
    gateway = app[GATEWAY]
    compat = make_compat(gateway)
    recent: RecentAnswers[bytes] = RecentAnswers(
        clock=gateway.clock, keep_s=SHARED_KEEP_S, entries_max=SHARED_ENTRIES_MAX
    )
    for route in ROUTES:
        app.router.add_get(route.path, _responder(route, compat, recent))
    app.router.add_post(SETTINGS_PATH, _refuser(compat))
    app.router.add_get(OPENAPI_PATH, _fixed(openapi_document(ROUTES, title=gateway.pool_settings.name), _JSON))
    app.router.add_get(HELP_PATH, _fixed(_help(), "text/plain"))
    app.router.add_get(HEALTH_PATH, _fixed("👍".encode(), "text/plain"))
    app[NOTIFICATIONS] = Notifications(compat, app[LIVE].places)
    app.router.add_get(NOTIFICATIONS_PATH, _serve_notifications, allow_head=False)
    app.cleanup_ctx.append(_keep_notifying)
    app.on_shutdown.append(_close_notifications)


def _responder(route: Route, compat: Compat, recent: RecentAnswers[bytes]) -> _Respond:
    page_size_max = compat.gateway.settings.page_size_max

    async def respond(request: web.Request) -> web.StreamResponse:
        try:
            _check_pool(request, compat)
            query = read_query(request.query.items(), page_size_max=page_size_max)
            path = dict(request.match_info)

            async def make() -> bytes:
                return msgspec.json.encode(await route.handler(compat, query, path))

            if route.is_shared:
                body = await recent.get((route.path, query.part(route.parameters), *path.values()), make)
            else:
                body = await make()
        except ValueRefused as refused:
            return _validation_response(refused)
        except Refused as refused:
            return _text_response(refused.status, refused.message)
        except ProblemFound as problem:
            return _text_response(problem.kind.status, problem.detail)
        return _json_response(body, max_age_s=1)

    return respond


def _refuser(compat: Compat) -> _Respond:
    async def respond(request: web.Request) -> web.StreamResponse:
        try:
            _check_pool(request, compat)
            await refuse_settings(compat, Query(), request.match_info)
        except Refused as refused:
            return _text_response(refused.status, refused.message)
        raise AssertionError("settings cannot be changed here")

    return respond


def _check_pool(request: web.Request, compat: Compat) -> None:
    pool_id = request.match_info.get("poolId", compat.pool_id)
    if pool_id != compat.pool_id:
        raise Refused(404, f"Unknown pool {pool_id[:64]}")


def _fixed(body: bytes, content_type: str) -> _Respond:
    async def respond(_request: web.Request) -> web.StreamResponse:
        charset = None if content_type == _JSON else "utf-8"
        response = web.Response(body=body, content_type=content_type, charset=charset)
        response.headers["Cache-Control"] = f"public, max-age={OPENAPI_MAX_AGE_S}"
        return response

    return respond


def _help() -> bytes:
    """Return what there is, a line a path."""
    lines = [f"GET   -> {route.path[1:]}" for route in ROUTES]
    return ("\n".join(lines).replace("{", "<").replace("}", ">") + "\n").encode()


def _json_response(body: bytes, *, max_age_s: int) -> web.Response:
    headers = {"Cache-Control": f"public, max-age={max_age_s}", "X-Content-Type-Options": "nosniff"}
    return web.Response(body=body, content_type=_JSON, charset="utf-8", headers=headers)


def _text_response(status: int, message: str) -> web.Response:
    """Return an error as it is there: a sentence, called JSON."""
    headers = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
    if status == Kind.SERVICE_UNAVAILABLE.status:
        headers["Retry-After"] = "1"
    return web.Response(status=status, body=message.encode(), content_type=_JSON, headers=headers)


def _validation_response(refused: ValueRefused) -> web.Response:
    body = {
        "type": _VALIDATION_TYPE,
        "title": "One or more validation errors occurred.",
        "status": 400,
        "errors": {refused.name: [f"The value '{refused.value}' is not valid."]},
    }
    headers = {"Cache-Control": "no-store"}
    return web.Response(status=400, body=msgspec.json.encode(body), content_type=CONTENT_TYPE, headers=headers)


async def _serve_notifications(request: web.Request) -> web.StreamResponse:
    return await request.app[NOTIFICATIONS].serve(request, request[CLIENT])


async def _close_notifications(app: web.Application) -> None:
    await app[NOTIFICATIONS].close()


async def _keep_notifying(app: web.Application) -> AsyncIterator[None]:
    """Look for what is to be told as long as the application runs."""
    run = app[NOTIFICATIONS].run
    task = asyncio.create_task(keep_running("gateway notifications", run, clock=app[GATEWAY].clock))
    yield
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
