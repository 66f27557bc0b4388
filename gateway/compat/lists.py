"""Numbered pages and counts over the services' lists, which know page tokens only."""

from collections.abc import AsyncIterator, Awaitable, Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from gateway.cache import RecentAnswers
from gateway.compat.query import Query
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
KEPT_MAX = 128
WHOLES_MAX = 32

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
        self._wholes: RecentAnswers[Sequence[Any]] = RecentAnswers(clock=clock, keep_s=KEEP_S, entries_max=WHOLES_MAX)

    async def page(
        self, name: Hashable, items: Callable[[], AsyncIterator[T]], query: Query, *, is_sparse: bool = False
    ) -> Sequence[T]:
        """Return the page that is asked for; an early one is found without walking the whole list.

        Args:
            name: What the items are, as for `whole`.
            items: Walks them.
            query: Which page.
            is_sparse: Few of the items that are walked are given, so that even the first page can be far.
        """
        end = query.offset + query.page_size
        if end <= CHUNK_ITEMS and not is_sparse:
            return await part(items(), offset=query.offset, size=query.page_size)
        return (await self.whole(name, items))[query.offset : end]

    async def whole(self, name: Hashable, items: Callable[[], AsyncIterator[T]]) -> Sequence[T]:
        """Return all items as far as pages reach, walked once in a while however many ask.

        Args:
            name: What the items are: those of the same name are the same.
            items: Walks them.
        """

        async def walk() -> Sequence[T]:
            return [item async for item in items()]

        found: Sequence[T] = await self._wholes.get(name, walk)
        return found

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
