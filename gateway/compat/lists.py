"""Numbered pages and counts over the services' lists, which know page tokens only."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from gateway.cache import RecentAnswers
from gateway.panels import need
from gateway.sources import Sources
from proto.lodepool.payouts.v1 import payouts_pb2
from proto.lodepool.rewards.v1 import rewards_pb2
from runtime.clock import Clock
from runtime.rpc.errors import NotFound

CHUNK_ITEMS = 1_000
CHUNKS_MAX = 20
"""Pages reach back this many chunks; what is older is not found by its page number."""
KEEP_S = 5.0
KEPT_MAX = 256

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Chunk:
    """A part of a list.

    Attributes:
        items: Newest first.
        next_token: Where the list goes on; empty at its end.
    """

    items: Sequence[Any]
    next_token: str


class Lists:
    """Walks the lists in chunks that are kept for a moment.

    Args:
        sources: The services.
        clock: The time.
    """

    def __init__(self, sources: Sources, *, clock: Clock) -> None:
        self._sources = sources
        self._kept: RecentAnswers[Chunk] = RecentAnswers(clock=clock, keep_s=KEEP_S, entries_max=KEPT_MAX)

    def blocks(self, account: str = "") -> AsyncIterator[rewards_pb2.Block]:
        """Walk the blocks, newest first; an empty account asks for everybody's."""

        async def ask(token: str) -> Chunk:
            answer = await self._sources.blocks(
                rewards_pb2.BLOCK_STATUS_UNSPECIFIED, account=account, page_size=CHUNK_ITEMS, page_token=token
            )
            return Chunk(answer.blocks, answer.next_page_token)

        return self._walk("rewards", ("blocks", account), ask)

    def payouts(self, account: str = "") -> AsyncIterator[payouts_pb2.Payout]:
        """Walk the payments, newest first; an empty account asks for everybody's."""

        async def ask(token: str) -> Chunk:
            answer = await self._sources.payouts(account, page_size=CHUNK_ITEMS, page_token=token)
            return Chunk(answer.payouts, answer.next_page_token)

        return self._walk("payouts", ("payouts", account), ask)

    def credits(self, account: str) -> AsyncIterator[rewards_pb2.Credit]:
        """Walk an account's credits, newest first."""

        async def ask(token: str) -> Chunk:
            answer = await self._sources.credits(account, page_size=CHUNK_ITEMS, page_token=token)
            return Chunk(answer.credits, answer.next_page_token)

        return self._walk("rewards", ("credits", account), ask)

    async def _walk(
        self, service: str, name: tuple[str, str], ask: Callable[[str], Awaitable[Chunk]]
    ) -> AsyncIterator[Any]:
        token = ""
        for _ in range(CHUNKS_MAX):
            here = token

            async def make(here: str = here) -> Chunk:
                try:
                    return await ask(here)
                except NotFound:
                    return Chunk((), "")

            chunk = await need(service, self._kept.get((*name, here), make))
            for item in chunk.items:
                yield item
            token = chunk.next_token
            if not token:
                return


async def part(items: AsyncIterator[T], *, offset: int, size: int) -> list[T]:
    """Return so many items after so many others; looks no further than needed."""
    found: list[T] = []
    index = 0
    async for item in items:
        if index >= offset + size:
            break
        if index >= offset:
            found.append(item)
        index += 1
    return found


async def count(items: AsyncIterator[object]) -> int:
    """Return how many items there are, as far as pages reach."""
    return sum([1 async for _ in items])
