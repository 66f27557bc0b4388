"""The application: routes, errors, caching."""

from aiohttp import web

from gateway.context import GATEWAY, Gateway


def make_app(gateway: Gateway) -> web.Application:
    """Build the application.

    It is not frozen yet: a page or a WebSocket is added with `app.router` before it is run.
    """
    app = web.Application()
    app[GATEWAY] = gateway
    return app
