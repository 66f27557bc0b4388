"""How many WebSocket connections there may be, of everybody and of one address, and from which pages."""

import contextlib
from collections import Counter
from collections.abc import Iterator
from urllib.parse import urlsplit

from aiohttp import web

from gateway.config import GatewaySettings
from gateway.problems import Kind, ProblemFound


class Places:
    """Counts the WebSocket connections of all paths.

    Args:
        settings: The `[gateway]` section.
    """

    def __init__(self, settings: GatewaySettings) -> None:
        self._settings = settings
        self._counts: Counter[str] = Counter()

    @contextlib.contextmanager
    def taken(self, request: web.Request, address: str) -> Iterator[None]:
        """Take a place for as long as the block runs.

        Args:
            request: The handshake.
            address: Who asks.

        Raises:
            ProblemFound: When it is not let in.
        """
        self._check(request, address)
        self._counts[address] += 1
        try:
            yield
        finally:
            self._counts[address] -= 1
            if not self._counts[address]:
                del self._counts[address]

    def _check(self, request: web.Request, address: str) -> None:
        if not self._is_origin_allowed(request):
            raise ProblemFound(Kind.BAD_ORIGIN, "Pages of this origin may not open the WebSocket; see cors_origins.")
        if self._counts[address] >= self._settings.sockets_per_address_max:
            detail = f"There are {self._counts[address]} connections from this address, expected no more."
            raise ProblemFound(Kind.TOO_MANY, detail)
        if self._counts.total() >= self._settings.sockets_max:
            raise ProblemFound(Kind.SERVICE_UNAVAILABLE, "There are too many WebSocket connections; try again later.")

    def _is_origin_allowed(self, request: web.Request) -> bool:
        """Tell whether a handshake is a program's, of a page of our own host, or of an origin that may read the API."""
        origin = request.headers.get("Origin")
        if origin is None:
            return True
        allowed = self._settings.cors_origins
        return "*" in allowed or origin in allowed or urlsplit(origin).netloc.lower() == request.host.lower()
