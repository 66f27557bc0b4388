"""Errors as `application/problem+json` (RFC 9457)."""

import logging
from collections.abc import Awaitable, Callable
from enum import Enum

import msgspec
from aiohttp import web

from gateway.models import Problem
from runtime.logs import log_event
from runtime.rpc.errors import InvalidArgument, RpcError, Unavailable

_log = logging.getLogger("lodepool.gateway")

CONTENT_TYPE = "application/problem+json"
TYPE_PREFIX = "urn:lodepool:problem:"


class Kind(Enum):
    """Every kind of problem: its name in the URN, its title and its HTTP status."""

    BAD_PARAMETER = ("bad-parameter", "A parameter is wrong", 400)
    BAD_ADDRESS = ("bad-address", "Not an address of this coin", 400)
    UNKNOWN_COIN = ("unknown-coin", "No such coin here", 404)
    UNKNOWN_MINER = ("unknown-miner", "No such miner here", 404)
    UNKNOWN_BLOCK = ("unknown-block", "No such block here", 404)
    UNKNOWN_PATH = ("unknown-path", "No such path", 404)
    BAD_ORIGIN = ("bad-origin", "Not from this page", 403)
    BAD_PROOF = ("bad-proof", "The proof does not hold", 403)
    CONFLICT = ("conflict", "The settings have changed", 409)
    TOO_MANY = ("too-many-requests", "Too many requests", 429)
    BAD_METHOD = ("bad-method", "Not a method of this path", 405)
    BAD_REQUEST = ("bad-request", "The request was refused", 400)
    INTERNAL = ("internal", "The API failed", 500)
    SERVICE_FAILED = ("service-failed", "A service behind the API failed", 502)
    SERVICE_UNAVAILABLE = ("service-unavailable", "A service behind the API is away", 503)

    def __init__(self, urn_name: str, title: str, status: int) -> None:
        self.urn_name = urn_name
        self.title = title
        self.status = status


class ProblemFound(Exception):
    """Raised when a request has no answer but a problem.

    Attributes:
        kind: What kind.
        detail: What is wrong here, and what was expected; one sentence, for the reader.
        retry_after_s: When to try again; None says nothing.
    """

    def __init__(self, kind: Kind, detail: str, *, retry_after_s: int | None = None) -> None:
        super().__init__(kind, detail)
        self.kind = kind
        self.detail = detail
        self.retry_after_s = retry_after_s


def problem_of(kind: Kind, detail: str, *, status: int | None = None) -> Problem:
    """Return the body of a problem."""
    return Problem(type=TYPE_PREFIX + kind.urn_name, title=kind.title, status=status or kind.status, detail=detail)


def problem_response(
    kind: Kind, detail: str, *, status: int | None = None, retry_after_s: int | None = None
) -> web.Response:
    """Return the response for a problem; it is never cached."""
    problem = problem_of(kind, detail, status=status)
    headers = {"Cache-Control": "no-store"}
    if retry_after_s is not None or problem.status == Kind.SERVICE_UNAVAILABLE.status:
        headers["Retry-After"] = str(retry_after_s or 1)
    body = msgspec.json.encode(problem)
    return web.Response(status=problem.status, body=body, content_type=CONTENT_TYPE, headers=headers)


def from_service(error: RpcError, *, service: str) -> ProblemFound:
    """Return the problem that a service's error makes for an answer that cannot do without that service."""
    match error:
        case InvalidArgument():
            return ProblemFound(Kind.BAD_PARAMETER, f"{error.field or 'A parameter'} {error.problem}.")
        case Unavailable():
            return ProblemFound(
                Kind.SERVICE_UNAVAILABLE, f"The {service} service does not answer; try again in a moment."
            )
        case _:
            log_event(_log, logging.ERROR, "service failed", source=service, error=error.message)
            return ProblemFound(Kind.SERVICE_FAILED, f"The {service} service could not answer; its log says why.")


@web.middleware
async def problems_middleware(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Turn whatever a handler raises into a problem; nothing of ours leaks."""
    try:
        return await handler(request)
    except ProblemFound as problem:
        return problem_response(problem.kind, problem.detail, retry_after_s=problem.retry_after_s)
    except web.HTTPMethodNotAllowed as error:
        allowed = ", ".join(sorted(error.allowed_methods))
        response = problem_response(Kind.BAD_METHOD, f"{request.method} is not answered here, expected {allowed}.")
        response.headers["Allow"] = allowed
        return response
    except web.HTTPNotFound:
        detail = f"There is nothing at {request.path[:200]}; /api/v1/openapi.json lists what there is."
        return problem_response(Kind.UNKNOWN_PATH, detail)
    except web.HTTPException as error:
        if error.status < 400:
            raise
        return problem_response(Kind.BAD_REQUEST, f"{error.reason}.", status=error.status)
    except RpcError as error:
        found = from_service(error, service="asked")
        return problem_response(found.kind, found.detail)
    except Exception as error:
        log_event(_log, logging.ERROR, "request failed", path=request.path, error=type(error).__name__)
        _log.error("traceback of the failed request", exc_info=error)
        return problem_response(Kind.INTERNAL, "The API could not answer; its log says why.")
