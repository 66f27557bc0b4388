"""Composition root of the gateway."""

import asyncio
import errno
import logging

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from coins import registry
from coins.settings import PoolSettings
from gateway.app import make_app
from gateway.compat.app import add_compat
from gateway.config import GatewayInfo, GatewaySettings
from gateway.context import Gateway
from gateway.door import Door
from gateway.page import add_page
from gateway.sources import Sources
from runtime.errors import UserError
from runtime.live import Live
from runtime.logs import log_event
from runtime.platform import FrontPlatform, Platform

__all__ = ["SERVICE", "GatewayInfo", "listen", "make_runner", "run"]

SERVICE = "gateway"
IDLE_S_MAX = 75.0
"""How long a connection may be without a whole request's head; proxies close theirs after 60 seconds."""
BACKLOG = 1_024
"""Connections that may wait until they are taken."""
DRAIN_S = 5.0
"""How long running requests may take after a stop was asked for."""

_log = logging.getLogger("lodepool.gateway")


async def run(
    settings: GatewaySettings,
    pool_settings: PoolSettings,
    info: Live[GatewayInfo],
    platform: FrontPlatform | Platform,
) -> None:
    """Serve the API and the page until cancelled.

    Args:
        settings: The `[gateway]` section.
        pool_settings: The `[pool]` section.
        info: The pool's rules, from the other sections.
        platform: What the process runs on.

    Raises:
        UserError: When the port cannot be listened on.
    """
    sources = Sources(platform.clients, coin_id=pool_settings.coin, timeout_s=settings.timeout_s)
    gateway = Gateway(
        settings=settings,
        pool_settings=pool_settings,
        live_info=info,
        coin=registry.get(pool_settings.coin),
        sources=sources,
        clock=platform.clock,
    )
    platform.telemetry.register(gateway.metrics.families)
    app = make_app(gateway)
    if settings.is_compat_enabled:
        add_compat(app)
    add_page(app)
    runner = make_runner(app)
    await runner.setup()
    server: asyncio.Server | None = None
    try:
        server = await listen(runner, settings)
        log_event(_log, logging.INFO, "gateway started", host=settings.host, port=settings.port)
        platform.ready(SERVICE)
        await asyncio.get_running_loop().create_future()
    finally:
        if server is not None:
            server.close()
        await runner.cleanup()


def make_runner(app: web.Application) -> web.AppRunner:
    """Return what serves the application: no access log, and no line in the log for what peers send instead of HTTP.

    A compressed body stays as it came, and nobody takes it: nothing that is sent here is long enough to be compressed.
    """
    logger = logging.getLogger("lodepool.gateway.http")
    logger.addFilter(_is_our_fault)
    return web.AppRunner(
        app,
        access_log=None,
        logger=logger,
        shutdown_timeout=DRAIN_S,
        keepalive_timeout=IDLE_S_MAX,
        auto_decompress=False,
    )


def _is_our_fault(record: logging.LogRecord) -> bool:
    return record.exc_info is None or not isinstance(record.exc_info[1], HttpProcessingError)


async def listen(runner: web.AppRunner, settings: GatewaySettings) -> asyncio.Server:
    """Take connections, as many as there may be.

    Args:
        runner: What `make_runner` made, set up; close the returned server before it is cleaned up.
        settings: The `[gateway]` section.

    Raises:
        UserError: When the port cannot be listened on.
    """
    serve = runner.server
    assert serve is not None  # it is there once the runner is set up
    try:
        door = Door(serve, settings)
        return await asyncio.get_running_loop().create_server(door, settings.host, settings.port, backlog=BACKLOG)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise UserError(
                f"Port {settings.port} on {settings.host}, where the API should listen, is in use.",
                "stop what uses it, or set gateway.port to another one",
            ) from error
        raise UserError(
            f"The API cannot listen on {settings.host} port {settings.port}: {error.strerror or error}.",
            "set gateway.host to an address of this machine and gateway.port to a port above 1023",
        ) from error
