"""Serve the tables as they come from the services."""

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime, time, timedelta

from aiohttp import web

from gateway.context import GATEWAY, Gateway
from gateway.exports.formats import CONTENT_TYPES, Format, writer_of
from gateway.exports.tables import COLUMNS, Span, Table, pages
from gateway.panels import ask
from gateway.problems import Kind, ProblemFound, from_service
from gateway.routes.miners import address_of, unknown_miner
from runtime.logs import log_event
from runtime.rpc.errors import NotFound, RpcError

_TABLES = "|".join(Table)
_FORMATS = "|".join(Format)
PATH = f"/api/v1/miners/{{address}}/exports/{{table:{_TABLES}}}.{{format:{_FORMATS}}}"
DAYS_DEFAULT = 30
AT_ONCE_MAX = 4
"""Exports that are made at once; the others wait their turn."""
WAITING_MAX = 20
PER_ADDRESS_MAX = 2
"""Exports that one address may have, those that wait included."""
EXPORT_S_MAX = 900.0
"""An export that takes longer is left, however its reader reads."""
RETRY_S = 10
WRITE_TIMEOUT_S = 60.0
"""A reader that takes nothing for so long is left."""
_YEARS = range(2009, 9999)

_log = logging.getLogger("lodepool.gateway")


class Exports:
    """Serves exports, a few at a time."""

    def __init__(self) -> None:
        self._turns = asyncio.Semaphore(AT_ONCE_MAX)
        self._counts: Counter[str] = Counter()

    async def serve(self, request: web.Request, client: str) -> web.StreamResponse:
        """Answer a request for a table.

        Args:
            request: The request.
            client: The address it comes from.

        Raises:
            ProblemFound: When it cannot be begun. What fails later ends the connection before the table does.
        """
        gateway = request.app[GATEWAY]
        address = address_of(gateway, request.match_info)
        span = span_of(request.query, now_ms=gateway.clock.now_ms())
        account = await ask("miners", gateway.sources.account(address))
        if account.is_absent:
            raise unknown_miner(address)
        if self._counts[client] >= PER_ADDRESS_MAX:
            detail = f"There are {PER_ADDRESS_MAX} exports being made for this address, expected no more."
            raise ProblemFound(Kind.TOO_MANY, detail, retry_after_s=RETRY_S)
        if self._counts.total() >= WAITING_MAX:
            raise ProblemFound(Kind.SERVICE_UNAVAILABLE, "Too many exports are being made; try again in a moment.")
        self._counts[client] += 1
        try:
            async with self._turns:
                return await self._stream(request, gateway, address, span)
        finally:
            self._counts[client] -= 1
            if not self._counts[client]:
                del self._counts[client]

    async def _stream(self, request: web.Request, gateway: Gateway, address: str, span: Span) -> web.StreamResponse:
        table, form = Table(request.match_info["table"]), Format(request.match_info["format"])
        writer = writer_of(form, COLUMNS[table])
        found = pages(gateway.sources, table, address, span)
        async with contextlib.aclosing(found):
            try:
                first = await anext(found)
            except NotFound:
                raise unknown_miner(address) from None
            except RpcError as error:
                raise from_service(error, service="asked") from error
            response = web.StreamResponse(headers=_headers(table, form, address))
            await response.prepare(request)
            if request.method == "HEAD":
                return response
            try:
                async with asyncio.timeout(EXPORT_S_MAX):
                    await _write(response, writer.rows(first))
                    async for page in found:
                        await _write(response, writer.rows(page))
                    await _write(response, writer.end())
            except ConnectionError:
                log_event(_log, logging.DEBUG, "export left by its reader", table=table.value)
            except (RpcError, TimeoutError) as error:
                log_event(_log, logging.WARNING, "export broken off", table=table.value, error=type(error).__name__)
                if request.transport is not None:
                    request.transport.abort()
        return response


async def _write(response: web.StreamResponse, data: bytes) -> None:
    if data:
        async with asyncio.timeout(WRITE_TIMEOUT_S):
            await response.write(data)


def _headers(table: Table, form: Format, address: str) -> Mapping[str, str]:
    return {
        "Content-Type": CONTENT_TYPES[form],
        "Content-Disposition": f'attachment; filename="{address}-{table}.{form}"',
        "Cache-Control": "no-store",
        "X-Content-Type-Options": "nosniff",
    }


def span_of(query: Mapping[str, str], *, now_ms: int) -> Span:
    """Return the time that is asked for: from and to, dates (to includes its day) or times, 30 days up to now at first.

    Raises:
        ProblemFound: When one is neither, or there is another parameter.
    """
    for name in query:
        if name not in ("from", "to"):
            raise ProblemFound(Kind.BAD_PARAMETER, f"The parameter {name[:40]!r} is not known here, expected from, to.")
    end_ms = _time_ms("to", query["to"], is_end=True) if "to" in query else now_ms + 1
    start_ms = _time_ms("from", query["from"], is_end=False) if "from" in query else end_ms - DAYS_DEFAULT * 86_400_000
    if start_ms >= end_ms:
        raise ProblemFound(Kind.BAD_PARAMETER, "from is not before to.")
    return Span(start_ms=max(0, start_ms), end_ms=end_ms)


def _time_ms(name: str, text: str, *, is_end: bool) -> int:
    problem = ProblemFound(
        Kind.BAD_PARAMETER, f"{name} is {text[:40]!r}, expected a date as 2025-03-01 or a time as 2025-03-01T12:00:00Z."
    )
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise problem from None
    if moment.year not in _YEARS:
        raise problem
    is_date = moment.time() == time() and moment.tzinfo is None and len(text) <= len("2025-03-01")
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    if is_date and is_end:
        moment += timedelta(days=1)
    return round(moment.timestamp() * 1000)


def describe() -> dict[str, dict[str, object]]:
    """Return what the OpenAPI document says of the exports."""
    string = {"type": "string"}
    parameters = [
        {"name": "address", "in": "path", "required": True, "schema": string},
        {"name": "from", "in": "query", "required": False, "schema": string, "description": "A date or a time."},
        {"name": "to", "in": "query", "required": False, "schema": string, "description": "A date or a time."},
    ]
    paths: dict[str, dict[str, object]] = {}
    for table in Table:
        for form in Format:
            content: dict[str, object] = {CONTENT_TYPES[form].partition(";")[0]: {"schema": {}}}
            answers: dict[str, object] = {"200": {"description": "The table.", "content": content}}
            problem = {"$ref": "#/components/schemas/Problem"}
            for status in (400, 404, 429, 500, 502, 503):
                described = {"application/problem+json": {"schema": problem}}
                answers[str(status)] = {"description": "A problem.", "content": described}
            paths[f"/api/v1/miners/{{address}}/exports/{table}.{form}"] = {
                "get": {
                    "operationId": f"export{table.title()}{form.title()}",
                    "summary": f"A miner's {table} as {form.upper()}, streamed.",
                    "parameters": parameters,
                    "responses": answers,
                }
            }
    return paths
