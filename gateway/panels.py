"""Answers put together from several services, of which some may be away."""

import logging
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Generic, TypeVar

from gateway.problems import from_service
from runtime.logs import log_event
from runtime.rpc.errors import InvalidArgument, NotFound, RpcError, Unavailable

_log = logging.getLogger("lodepool.gateway")

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel(Generic[T_co]):
    """What one service had to say.

    Attributes:
        service: Which service.
        value: Its answer; None when it has none.
        is_absent: It answered that the thing does not exist.
        is_down: It did not answer, or failed.
    """

    service: str
    value: T_co | None = None
    is_absent: bool = False
    is_down: bool = False


async def ask(service: str, question: Awaitable[T]) -> Panel[T]:
    """Ask a service that the answer can do without.

    Raises:
        ProblemFound: When the service refused the question: that is the reader's fault.
    """
    try:
        return Panel(service=service, value=await question)
    except NotFound:
        return Panel(service=service, is_absent=True)
    except InvalidArgument as error:
        raise from_service(error, service=service) from error
    except Unavailable:
        return Panel(service=service, is_down=True)
    except RpcError as error:
        log_event(_log, logging.ERROR, "service failed", source=service, error=error.message)
        return Panel(service=service, is_down=True)


async def need(service: str, question: Awaitable[T]) -> T:
    """Ask a service that the answer cannot do without.

    Raises:
        ProblemFound: When it refused the question, did not answer or failed.
        NotFound: When it answered that the thing does not exist.
    """
    try:
        return await question
    except NotFound:
        raise
    except RpcError as error:
        raise from_service(error, service=service) from error


def degraded(*panels: Panel[object]) -> list[str]:
    """Return the services that did not answer, each once."""
    return list(dict.fromkeys(panel.service for panel in panels if panel.is_down))
