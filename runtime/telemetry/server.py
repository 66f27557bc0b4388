"""Answers /metrics and /healthz on the process's own loop.

Plain streams and not aiohttp, which has no limit for a peer that opens a connection and never asks: here each limit
stands below, and a connection is one request.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable
from http import HTTPStatus

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from runtime.errors import UserError
from runtime.logs import log_event

_log = logging.getLogger("lodepool.telemetry")

CONNECTIONS_MAX = 16
HEAD_BYTES_MAX = 8 * 1024
REQUEST_S_MAX = 5.0
"""From the connection to the last byte of the answer."""
_TEXT = "text/plain; charset=utf-8"
_HEAD_END = b"\r\n\r\n"


class MetricsServer:
    """Serves a registry over HTTP.

    Args:
        registry: What /metrics shows.
        process: Named by /healthz.

    Attributes:
        address: "host:port" once it listens, empty before.
    """

    def __init__(self, registry: CollectorRegistry, *, process: str) -> None:
        self._registry = registry
        self._process = process
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self.address = ""

    async def start(self, host: str, port: int) -> None:
        """Listen.

        Raises:
            UserError: When the address cannot be listened on.
        """
        try:
            self._server = await asyncio.start_server(self._serve, host, port, limit=HEAD_BYTES_MAX)
        except OSError as error:
            raise UserError(
                f"Metrics cannot be shown on {host} port {port}: {error.strerror or error}.",
                "set telemetry.metrics_host and metrics_port (0 takes a free port)",
            ) from None
        self.address = f"{host}:{self._server.sockets[0].getsockname()[1]}"
        log_event(_log, logging.INFO, "metrics shown", address=self.address)

    async def stop(self) -> None:
        """Close, with whoever is connected."""
        if self._server is None:
            return
        self._server.close()
        for connection in self._connections:
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None  # start_server makes one for each connection
        self._connections.add(task)
        try:
            if len(self._connections) <= CONNECTIONS_MAX:
                async with asyncio.timeout(REQUEST_S_MAX):
                    head = await reader.readuntil(_HEAD_END)
                    writer.write(self.answer(head))
                    await writer.drain()
                    writer.write_eof()
                    # A peer that has everything closes; closing first could cut off what it has not read yet.
                    await reader.read(1)
        except (TimeoutError, OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # A peer that is slow, gone or talks something else; nobody needs to know.
        finally:
            self._connections.discard(task)
            with contextlib.suppress(OSError):
                writer.transport.abort()

    def answer(self, head: bytes) -> bytes:
        """Return the whole answer to a request's head."""
        line, *fields = head.decode("latin-1").split("\r\n")
        method, path = [*line.split(" "), "", ""][:2]
        accepted = next((value for name, value in _pairs(fields) if name == "accept"), "")
        if method not in {"GET", "HEAD"}:
            return _response(HTTPStatus.METHOD_NOT_ALLOWED, _TEXT, b"only GET\n")
        match path.partition("?")[0]:
            case "/metrics":
                encode, content_type = _encoder(accepted)
                status, body = HTTPStatus.OK, encode(self._registry)
            case "/healthz":
                status, content_type, body = HTTPStatus.OK, _TEXT, f"{self._process} runs\n".encode()
            case _:
                status, content_type, body = HTTPStatus.NOT_FOUND, _TEXT, b"/metrics or /healthz\n"
        return _response(status, content_type, body, is_head=method == "HEAD")


def _encoder(accepted: str) -> tuple[Callable[[CollectorRegistry], bytes], str]:
    """Return the format that a reader wants; the library stumbles over what nobody sane would write."""
    try:
        return choose_encoder(accepted)
    except (TypeError, ValueError, LookupError):
        return choose_encoder("")


def _pairs(fields: list[str]) -> list[tuple[str, str]]:
    return [(name.strip().lower(), value.strip()) for name, _, value in (field.partition(":") for field in fields)]


def _response(status: HTTPStatus, content_type: str, body: bytes, *, is_head: bool = False) -> bytes:
    head = (
        f"HTTP/1.1 {status.value} {status.phrase}\r\n"
        f"Content-Type: {content_type}\r\n"
        f"Content-Length: {len(body)}\r\n"
        "Connection: close\r\n"
        "\r\n"
    )
    return head.encode() + (b"" if is_head else body)
