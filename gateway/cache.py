"""Answers that are kept for a moment, so that many readers cost as much as one."""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

from runtime.clock import Clock

T = TypeVar("T")


class RecentAnswers(Generic[T]):
    """Keeps each answer for a time; readers who ask while it is being made wait for the same one.

    A failure is handed to those who wait for it and not kept.

    Args:
        clock: The time.
        keep_s: How long an answer is kept from when it was asked for; 0 only joins those who ask at once.
        entries_max: Answers kept; the one asked for longest ago goes first.
    """

    def __init__(self, *, clock: Clock, keep_s: float, entries_max: int) -> None:
        self._clock = clock
        self._keep_s = keep_s
        self._entries_max = entries_max
        self._entries: OrderedDict[Hashable, tuple[float, asyncio.Task[T]]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    async def get(self, key: Hashable, make: Callable[[], Awaitable[T]]) -> T:
        """Return the recent answer, or make one.

        A reader that is cancelled leaves the answer to the others.
        """
        now_s = self._clock.monotonic_s()
        entry = self._entries.get(key)
        if entry is None or not self._is_fresh(entry, now_s):
            entry = (now_s, asyncio.create_task(self._make(key, make)))
            self._entries[key] = entry
            self._entries.move_to_end(key)
            self._forget(now_s)
        return await asyncio.shield(entry[1])

    def _forget(self, now_s: float) -> None:
        """Drop what is too old, which stands first, and what is too much."""
        while self._entries:
            key = next(iter(self._entries))
            if len(self._entries) <= self._entries_max and self._is_fresh(self._entries[key], now_s):
                return
            del self._entries[key]

    def _is_fresh(self, entry: tuple[float, asyncio.Task[T]], now_s: float) -> bool:
        made_s, task = entry
        return not task.done() or now_s - made_s < self._keep_s

    async def _make(self, key: Hashable, make: Callable[[], Awaitable[T]]) -> T:
        try:
            return await make()
        except BaseException:
            entry = self._entries.get(key)
            if entry is not None and entry[1] is asyncio.current_task():
                del self._entries[key]
            raise
