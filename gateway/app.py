"""The application: the table of routes over HTTP, with parameters, caching, ETags, CORS and problems."""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Sequence
from math import ceil

import msgspec
from aiohttp import ETag, web
from aiohttp.typedefs import Middleware

from gateway.cache import RecentAnswers
from gateway.context import GATEWAY, Gateway
from gateway.exports.serve import PATH as EXPORTS_PATH
from gateway.exports.serve import Exports, describe
from gateway.limits import ADDRESSES_MAX, TokenBuckets, client_address, networks_of
from gateway.live.socket import LIVE, LiveSockets, keep_looking
from gateway.live.socket import PATH as LIVE_PATH
from gateway.openapi import PATH as OPENAPI_PATH
from gateway.openapi import openapi_document
from gateway.problems import Kind, ProblemFound, problems_middleware
from gateway.routes import all_changes, all_routes
from gateway.routing import COIN, Change, Parameter, Route

SHARED_KEEP_S = 1.0
SHARED_ENTRIES_MAX = 256
OPENAPI_MAX_AGE_S = 300
PREFLIGHT_MAX_AGE_S = 3_600
BODY_BYTES_MAX = 4_096
BODY_S_MAX = 10.0
"""How long a body may take."""
CHANGES_PER_S, CHANGES_BURST = 0.5, 10
"""Changes that an address may ask for: looking at a signature takes some milliseconds."""
ALL_CHANGES_PER_S, ALL_CHANGES_BURST = 20.0, 40
"""Those that all addresses may ask for."""
_API_PREFIX = "/api/"
_LIMITED = (_API_PREFIX, "/notifications")
"""Paths whose answers cost something; the page's files are in memory."""
_EVERYBODY = "*"

CLIENT = web.RequestKey("client", str)
"""Where a request keeps the address it comes from."""

_Respond = Callable[[web.Request], Awaitable[web.StreamResponse]]


def make_app(gateway: Gateway) -> web.Application:
    """Build the application.

    It is not frozen yet: a page or a WebSocket is added through `app.router` before it is run, and finds the gateway
    in `request.app[GATEWAY]`. ETags and parameters are the API's own business and do not touch such routes; an
    exception out of them becomes a problem too.
    """
    app = web.Application(
        middlewares=[_counting_middleware, problems_middleware, _limiter(gateway), _preflight_middleware],
        client_max_size=BODY_BYTES_MAX,
    )
    app[GATEWAY] = gateway
    app.on_response_prepare.append(_name_server)
    app.on_response_prepare.append(_allow_origin)
    recent: RecentAnswers[bytes] = RecentAnswers(
        clock=gateway.clock, keep_s=SHARED_KEEP_S, entries_max=SHARED_ENTRIES_MAX
    )
    routes = all_routes()
    for route in routes:
        app.router.add_get(route.path, _responder(route, recent))
    changes = all_changes()
    for change in changes:
        app.router.add_put(change.path, _changer(change))
    exports = Exports()

    async def serve_export(request: web.Request) -> web.StreamResponse:
        return await exports.serve(request, request[CLIENT])

    app.router.add_get(EXPORTS_PATH, serve_export)
    document = openapi_document(routes, changes, title=gateway.pool_settings.name, others=describe())
    app.router.add_get(OPENAPI_PATH, _document_responder(document))
    app[LIVE] = LiveSockets(gateway)
    app.router.add_get(LIVE_PATH, _serve_live, allow_head=False)
    app.cleanup_ctx.append(keep_looking)
    app.on_shutdown.append(_close_live)
    return app


async def _serve_live(request: web.Request) -> web.StreamResponse:
    return await request.app[LIVE].serve(request, request[CLIENT])


async def _close_live(app: web.Application) -> None:
    await app[LIVE].close()


def _responder(route: Route, recent: RecentAnswers[bytes]) -> _Respond:
    async def respond(request: web.Request) -> web.StreamResponse:
        gateway = request.app[GATEWAY]
        values = _values(route.parameters, request, coin_id=gateway.coin.coin_id)

        is_made = False

        async def make() -> bytes:
            return msgspec.json.encode(await route.handler(gateway, values))

        async def make_shared() -> bytes:
            nonlocal is_made
            is_made = True
            gateway.metrics.shared_made += 1
            return await make()

        if route.is_shared:
            body = await recent.get((route.path, *sorted(values.items())), make_shared)
            gateway.metrics.shared_kept += not is_made
        else:
            body = await make()
        return _json_response(request, body, max_age_s=route.max_age_s)

    return respond


def _changer(change: Change) -> _Respond:
    async def respond(request: web.Request) -> web.StreamResponse:
        gateway = request.app[GATEWAY]
        values = _values(change.parameters, request, coin_id=gateway.coin.coin_id)
        try:
            async with asyncio.timeout(BODY_S_MAX):
                sent = await request.read()
            body = msgspec.json.decode(sent, type=change.body)
        except TimeoutError:
            raise ProblemFound(Kind.BAD_REQUEST, "The body did not come in time.") from None
        except (msgspec.DecodeError, UnicodeError) as error:
            raise ProblemFound(Kind.BAD_REQUEST, f"The body is not what was expected: {error}.") from None
        answer = msgspec.json.encode(await change.handler(gateway, values, body))
        return _json_response(request, answer, max_age_s=None)

    return respond


def _document_responder(document: bytes) -> _Respond:
    async def respond(request: web.Request) -> web.StreamResponse:
        return _json_response(request, document, max_age_s=OPENAPI_MAX_AGE_S)

    return respond


def _values(parameters: Sequence[Parameter], request: web.Request, *, coin_id: str) -> dict[str, str]:
    """Return the parameters by name.

    Raises:
        ProblemFound: When a parameter is not one of the route's, comes twice, or names another coin.
    """
    known = [parameter.name for parameter in parameters if not parameter.is_in_path]
    values: dict[str, str] = {}
    for name, value in request.query.items():
        if name not in known:
            expected = f"expected {', '.join(known)}" if known else "expected none"
            raise ProblemFound(Kind.BAD_PARAMETER, f"The parameter {name[:40]!r} is not known here, {expected}.")
        if name in values:
            raise ProblemFound(Kind.BAD_PARAMETER, f"The parameter {name} comes twice, expected it once.")
        values[name] = value
    coin = values.pop(COIN.name, coin_id)
    if coin != coin_id:
        raise ProblemFound(Kind.UNKNOWN_COIN, f"{coin[:40]!r} is not mined here, expected {coin_id}.")
    return values | request.match_info


def _json_response(request: web.Request, body: bytes, *, max_age_s: int | None) -> web.Response:
    """Return the answer, or 304 when the reader has it already."""
    etag = ETag(value=hashlib.blake2b(body, digest_size=12).hexdigest())
    known = request.if_none_match or ()
    if any(entry.value in (etag.value, _EVERYBODY) for entry in known):
        response = web.Response(status=304)
    else:
        response = web.Response(body=body, content_type="application/json")
    response.etag = etag
    response.headers["Cache-Control"] = "no-store" if max_age_s is None else f"public, max-age={max_age_s}"
    response.headers["X-Content-Type-Options"] = "nosniff"
    return response


def _limiter(gateway: Gateway) -> Middleware:
    """Return what refuses clients that ask too often, and tells the others' addresses to whoever comes after it."""
    trusted = networks_of(gateway.settings.trusted_proxies)
    buckets = TokenBuckets(
        rate_per_s=gateway.settings.requests_per_second,
        burst=gateway.settings.requests_burst,
        addresses_max=ADDRESSES_MAX,
    )
    changes = TokenBuckets(rate_per_s=CHANGES_PER_S, burst=CHANGES_BURST, addresses_max=ADDRESSES_MAX)
    every_change = TokenBuckets(rate_per_s=ALL_CHANGES_PER_S, burst=ALL_CHANGES_BURST, addresses_max=1)

    @web.middleware
    async def limit(request: web.Request, handler: _Respond) -> web.StreamResponse:
        address = client_address(request.remote or "", request.headers.getall("X-Forwarded-For", ()), trusted)
        request[CLIENT] = address
        if request.path.startswith(_LIMITED):
            wait_s = buckets.take(address, gateway.clock.monotonic_s())
            if wait_s:
                limit_per_s = gateway.settings.requests_per_second
                detail = f"There are more than {limit_per_s} requests a second from this address."
                raise ProblemFound(Kind.TOO_MANY, detail, retry_after_s=ceil(wait_s))
        if request.method == "PUT":
            now_s = gateway.clock.monotonic_s()
            wait_s = changes.take(address, now_s) or every_change.take(_EVERYBODY, now_s)
            if wait_s:
                detail = "Signatures are looked at slowly; try again in a moment."
                raise ProblemFound(Kind.TOO_MANY, detail, retry_after_s=ceil(wait_s))
        return await handler(request)

    return limit


@web.middleware
async def _counting_middleware(request: web.Request, handler: _Respond) -> web.StreamResponse:
    return await request.app[GATEWAY].metrics.answer(request, handler)


@web.middleware
async def _preflight_middleware(request: web.Request, handler: _Respond) -> web.StreamResponse:
    """Answer a browser that asks whether a page of an allowed origin may read the API."""
    is_preflight = request.method == "OPTIONS" and "Access-Control-Request-Method" in request.headers
    if is_preflight and request.path.startswith(_API_PREFIX) and _allowed_origin(request) is not None:
        headers = {
            "Access-Control-Allow-Methods": "GET, HEAD, PUT",
            "Access-Control-Allow-Headers": "If-None-Match, Content-Type",
            "Access-Control-Max-Age": str(PREFLIGHT_MAX_AGE_S),
        }
        return web.Response(status=204, headers=headers)
    return await handler(request)


async def _name_server(_request: web.Request, response: web.StreamResponse) -> None:
    """Keep the versions of what serves to ourselves."""
    response.headers["Server"] = "lodepool"


async def _allow_origin(request: web.Request, response: web.StreamResponse) -> None:
    """Name the origin whose page may read the answer, problems included."""
    if not request.path.startswith(_API_PREFIX) or not request.app[GATEWAY].settings.cors_origins:
        return
    response.headers["Vary"] = "Origin"
    origin = _allowed_origin(request)
    if origin is not None:
        response.headers["Access-Control-Allow-Origin"] = origin
        response.headers["Access-Control-Expose-Headers"] = "ETag"


def _allowed_origin(request: web.Request) -> str | None:
    origins = request.app[GATEWAY].settings.cors_origins
    if _EVERYBODY in origins:
        return _EVERYBODY
    origin = request.headers.get("Origin")
    return origin if origin in origins else None
