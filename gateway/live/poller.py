"""Look at the services once for all clients, and say what has changed."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from gateway import models, translation
from gateway.context import Gateway
from gateway.live.changes import BlockChanges, PayoutChanges
from gateway.live.frames import message
from gateway.live.hub import BLOCKS, MINER_PREFIX, PAYOUTS, POOL
from gateway.problems import Kind, ProblemFound
from gateway.routes.miners import get_miner
from gateway.routes.pool import shares_and_round
from proto.lodepool.rewards.v1 import rewards_pb2
from runtime.rpc.errors import RpcError

POLL_S: Final = 1.0
NEWEST_POLL_S: Final = 0.1
"""Between two of them the newest blocks alone are looked at so often: everybody waits for a new one."""
NEWEST_COUNT: Final = 4
"""Newest blocks by height: several can be found at one."""
STATS_EVERY: Final = 2
"""Looks between two of the pool's statistics."""
LOOK_BACK = 100
"""Newest blocks and payments that are looked at each time."""
MINERS_PER_POLL: Final = 25
"""Miners looked at each time, in turn: with more of them followed, each is looked at less often."""
KNOWN_PER_POLL: Final = 20
"""Of these, so many are kept for miners that were looked at before, as long as there are any."""
MINER_INTERVAL_S: Final = 3.0
"""A miner is not looked at more often."""
UNKNOWN_INTERVAL_S: Final = 60.0
"""Likewise an address that nobody has mined to, of which there is no end."""
MINERS_AT_ONCE = 5

Publish = Callable[[str, bytes], None]


class Poller:
    """Looks at what somebody follows.

    Args:
        gateway: The surroundings.
        wanted: Returns whether somebody wants a topic.
        miners: Returns the addresses somebody follows.
        publish: Called with a topic and a message for those who follow it.

    Attributes:
        last: Topic → the newest "stats" of it, for who joins later.
    """

    def __init__(
        self,
        gateway: Gateway,
        *,
        wanted: Callable[[str], bool],
        miners: Callable[[], list[str]],
        publish: Publish,
    ) -> None:
        self._gateway = gateway
        self._wanted = wanted
        self._miners = miners
        self._publish = publish
        self._blocks = BlockChanges()
        self._payouts = PayoutChanges()
        self._looked_s: dict[str, float] = {}
        self._told: dict[str, bytes] = {}
        self._look_count = 0
        self.last: dict[str, bytes] = {}

    async def look(self) -> None:
        """Look once at everything that somebody follows; a service that is away is left for the next time."""
        looks = [self._look_at_blocks(), self._look_at_payouts(), self._look_at_miners()]
        if self._look_count % STATS_EVERY == 0:
            looks.append(self._look_at_pool())
        self._look_count += 1
        await asyncio.gather(*looks)

    async def rest(self) -> None:
        """Wait until it is time to look again, and meanwhile tell a new block at once."""
        clock = self._gateway.clock
        end_s = clock.monotonic_s() + POLL_S
        while (left_s := end_s - clock.monotonic_s()) > 0:
            await clock.sleep(min(NEWEST_POLL_S, left_s))
            if self._wanted(BLOCKS) and await self._is_block_new():
                await self._look_at_blocks()

    async def _is_block_new(self) -> bool:
        if self._blocks.known is None:
            return False
        try:
            answer = await self._gateway.sources.blocks(
                rewards_pb2.BLOCK_STATUS_UNSPECIFIED, page_size=NEWEST_COUNT, page_token=""
            )
        except RpcError:
            return False
        return any(block.block_hash_hex not in self._blocks.known for block in answer.blocks)

    async def _look_at_blocks(self) -> None:
        if not self._wanted(BLOCKS):
            self._blocks = BlockChanges()
            return
        try:
            answer = await self._gateway.sources.blocks(
                rewards_pb2.BLOCK_STATUS_UNSPECIFIED, page_size=LOOK_BACK, page_token=""
            )
        except RpcError:
            return
        for event, block in self._blocks.look([translation.block(block) for block in answer.blocks]):
            self._tell(BLOCKS, event, block)

    async def _look_at_payouts(self) -> None:
        if not self._wanted(PAYOUTS):
            self._payouts = PayoutChanges()
            return
        try:
            answer = await self._gateway.sources.payouts("", page_size=LOOK_BACK, page_token="")
        except RpcError:
            return
        for event, payout in self._payouts.look([translation.payout(payout) for payout in answer.payouts]):
            self._tell(PAYOUTS, event, payout)

    async def _look_at_pool(self) -> None:
        if not self._wanted(POOL):
            self._forget(POOL)
            return
        try:
            shares, pool_round = await shares_and_round(self._gateway)
        except ProblemFound:
            return
        self._tell_stats(POOL, models.PoolMoment(shares=shares, round=pool_round))

    async def _look_at_miners(self) -> None:
        followed = set(self._miners())
        for address in self._looked_s.keys() - followed:
            del self._looked_s[address]
            self._forget(MINER_PREFIX + address)
        now_s = self._gateway.clock.monotonic_s()
        due = [name for name in followed if now_s - self._looked_s.get(name, -MINER_INTERVAL_S) >= MINER_INTERVAL_S]
        due.sort(key=lambda name: (self._looked_s.get(name, 0.0), name))
        turns = _turns(due, is_known=lambda name: MINER_PREFIX + name in self._told)
        for start in range(0, len(turns), MINERS_AT_ONCE):
            some = turns[start : start + MINERS_AT_ONCE]
            await asyncio.gather(*(self._look_at_miner(address, now_s) for address in some))

    async def _look_at_miner(self, address: str, now_s: float) -> None:
        self._looked_s[address] = now_s
        try:
            miner = await get_miner(self._gateway, {"address": address})
        except ProblemFound as problem:
            if problem.kind is Kind.UNKNOWN_MINER:
                self._looked_s[address] = now_s + UNKNOWN_INTERVAL_S - MINER_INTERVAL_S
            return
        moment = models.MinerMoment(
            address=miner.address, shares=miner.shares, balance=miner.balance, workers=miner.workers
        )
        self._tell_stats(MINER_PREFIX + address, moment)

    def _tell_stats(self, topic: str, data: models.PoolMoment | models.MinerMoment) -> None:
        """Tell statistics unless they are what was told last."""
        encoded = msgspec.json.encode(data)
        if self._told.get(topic) != encoded:
            self._told[topic] = encoded
            self.last[topic] = self._tell(topic, "stats", data)

    def _tell(self, topic: str, event: str, data: msgspec.Struct) -> bytes:
        time = translation.time_of(self._gateway.clock.now_ms())
        payload = message(event=event, data=data, time=time, topic=topic)
        self._publish(topic, payload)
        return payload

    def _forget(self, topic: str) -> None:
        self._told.pop(topic, None)
        self.last.pop(topic, None)


def _turns(due: Sequence[str], *, is_known: Callable[[str], bool]) -> list[str]:
    """Return who is looked at now: those that were told before and those that may be anything leave each other room."""
    known = [name for name in due if is_known(name)]
    others = [name for name in due if not is_known(name)]
    first = known[:KNOWN_PER_POLL] + others[: MINERS_PER_POLL - KNOWN_PER_POLL]
    rest = known[KNOWN_PER_POLL:] + others[MINERS_PER_POLL - KNOWN_PER_POLL :]
    return first + rest[: MINERS_PER_POLL - len(first)]
