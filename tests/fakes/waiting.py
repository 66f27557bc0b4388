"""Wait for a condition, bounded."""

import asyncio
from collections.abc import Awaitable, Callable


async def eventually(condition: Callable[[], object], *, timeout_s: float = 10.0, what: str = "the condition") -> None:
    """Return once the condition holds; an AssertionError says what never came true."""
    try:
        async with asyncio.timeout(timeout_s):
            while True:
                result = condition()
                if isinstance(result, Awaitable):
                    result = await result
                if result:
                    return
                await asyncio.sleep(0.01)
    except TimeoutError as error:
        raise AssertionError(f"{what} did not come true within {timeout_s:g} s") from error
