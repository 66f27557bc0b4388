"""Calls into aiokafka, whose own tasks can end by a cancellation that must not become ours."""

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any, TypeVar

from aiokafka.errors import KafkaError  # type: ignore[import-untyped]  # aiokafka ships no types

from runtime.logs import log_event

T = TypeVar("T")

_log = logging.getLogger("lodepool.eventlog")


async def call(work: Coroutine[Any, Any, T]) -> T:
    """Return what `work` returns; when it is cancelled from inside, raise KafkaError.

    aiokafka awaits tasks that it has cancelled itself; without this, its consumer or producer would seem to have been
    cancelled by the process, and the loop around it would end for good.
    """
    task = asyncio.create_task(work)
    try:
        await asyncio.wait({task})
    finally:
        if not task.done():
            task.cancel()
    if task.cancelled():
        raise KafkaError("the client was ended from inside")
    return task.result()


async def finish(work: Coroutine[Any, Any, object], *, what: str, timeout_s: float) -> bool:
    """Run something that closes; return whether it came to its end within the time, without an error."""
    task = asyncio.create_task(work)
    await asyncio.wait({task}, timeout=timeout_s)
    if not task.done():
        task.cancel()
        # A second chance to give back what it holds; what does not even end now is left alone.
        await asyncio.wait({task}, timeout=timeout_s)
    error: object = "it took too long" if not task.done() or task.cancelled() else task.exception()
    if error is not None:
        log_event(_log, logging.DEBUG, "connection did not close in order", what=what, error=str(error))
    return error is None
