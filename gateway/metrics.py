"""What the gateway shows about itself."""

import time
from collections.abc import Awaitable, Callable, Iterator

from aiohttp import web
from prometheus_client import Metric

from runtime.telemetry.families import CALLS_S, Histogram, counter, gauge, histogram

REQUESTS = counter("lodepool_gateway_requests_total", "Requests by route and HTTP status", "route", "status")
DURATION = histogram("lodepool_gateway_request_duration_seconds", "How long answering a request took", "route")
ACTIVE = gauge("lodepool_gateway_active_requests", "Requests that are being answered")
SHARED = counter(
    "lodepool_gateway_shared_answers_total",
    "Readers of shared answers: who had one made and who got a kept one",
    "kind",
)

UNKNOWN_ROUTE = "other"
"""The label of requests for what there is not."""
CLIENT_GONE = 499
"""The status, as proxies call it, of a request whose client left before the answer."""


class GatewayMetrics:
    """Counts requests.

    Attributes:
        shared_made: Shared answers made.
        shared_kept: Readers that got one which was there, or was being made for another.
    """

    def __init__(self) -> None:
        self._requests: dict[tuple[str, str], int] = {}
        self._durations: dict[str, Histogram] = {}
        self._active = 0
        self.shared_made = 0
        self.shared_kept = 0

    def families(self) -> Iterator[Metric]:
        """Yield what was counted; a MetricSource."""
        yield REQUESTS.by(self._requests)
        yield DURATION.seen_by(self._durations)
        yield ACTIVE.of(self._active)
        yield SHARED.by({"made": self.shared_made, "kept": self.shared_kept})

    async def answer(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        """Answer a request and count it; the outermost middleware's work."""
        start_s, status = time.perf_counter(), CLIENT_GONE
        self._active += 1
        try:
            response = await handler(request)
            status = response.status
        finally:
            self._active -= 1
            self._note(_route_of(request), status, time.perf_counter() - start_s)
        return response

    def _note(self, route: str, status: int, duration_s: float) -> None:
        key = (route, str(status))
        self._requests[key] = self._requests.get(key, 0) + 1
        durations = self._durations.get(route)
        if durations is None:
            durations = self._durations[route] = Histogram(CALLS_S)
        durations.observe(duration_s)


def _route_of(request: web.Request) -> str:
    """Return the route's pattern, which is one of few, and never what was asked for."""
    resource = request.match_info.route.resource
    return UNKNOWN_ROUTE if resource is None else resource.canonical
