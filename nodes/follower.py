"""Follow one node: is it of use, what is its tip, what is the work on it."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from coins.bitcoin.address import decode
from coins.bitcoin.template import Template
from coins.coin import Coin
from nodes.breaker import Breaker, BreakerState
from nodes.errors import NodeError, NodeUnreachable, PoolAddressMismatch
from nodes.interface import BitcoinNode, ChainInfo, NodeHealth
from runtime.clock import Clock
from runtime.logs import log_event

POLL_TIMEOUT_S: Final = 5.0
ZMQ_WAIT_S: Final = 60.0
LONGPOLL_GAP_S: Final = 0.5
"""A long poll that answers at once without a new tip is not repeated sooner than this."""

_LOGGER: Final = logging.getLogger("lodepool.nodes")
_NOT_ASKED: Final = "not asked yet"

R = TypeVar("R")


class Follower:
    """Keep the newest template of one node, by ZMQ or long poll, with polling as the safety net.

    Args:
        node: The node.
        coin: The coin it must serve; a node on another network is not used.
        clock: Source of time.
        on_change: Called without arguments after anything was learned; must not block.
        poll_s: Seconds between two looks at the tip.
        refresh_s: Age in seconds at which a template is fetched again on the same tip.
    """

    def __init__(
        self,
        node: BitcoinNode,
        *,
        coin: Coin,
        clock: Clock,
        on_change: Callable[[], None],
        poll_s: float,
        refresh_s: float,
    ) -> None:
        self.node = node
        self.breaker = Breaker()
        self.template: Template | None = None
        self.pool_address = ""
        self._coin = coin
        self._clock = clock
        self._on_change = on_change
        self._poll_s = poll_s
        self._refresh_s = refresh_s
        self._height = -1
        self._problem = _NOT_ASKED
        self._last_error = ""
        self._latency_ms = 0.0
        self._fetched_s = 0.0
        self._offer_count = 0
        self._address_verified = ""
        self._usable = asyncio.Event()

    @property
    def is_up(self) -> bool:
        """Return whether the node's template can be worked on."""
        return self._usable.is_set()

    @property
    def was_asked(self) -> bool:
        """Return whether the node has been asked at all."""
        return self._problem != _NOT_ASKED

    @property
    def template_height(self) -> int:
        """Return the height of the block that the template is for; −1 without a template."""
        return -1 if self.template is None else self.template.height

    @property
    def health(self) -> NodeHealth:
        """Return the node as last seen."""
        return NodeHealth(
            name=self.node.name,
            is_up=self.is_up,
            height=self._height,
            last_error=self._problem or self._last_error,
            latency_ms=self._latency_ms,
        )

    async def run(self) -> None:
        """Follow until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._keep_polling())
            tasks.create_task(self._keep_listening())

    async def look(self) -> None:
        """Ask the node for its tip, and for a template when ours is not of that tip or old."""
        try:
            async with asyncio.timeout(POLL_TIMEOUT_S):
                chain = await self._timed(self.node.chain_info())
            self._height = chain.height
            problem = await self._unsuitable(chain)
            if not problem and self._is_outdated(chain):
                await self.fetch()
        except TimeoutError:
            self.failed(
                NodeUnreachable(node=self.node.name, url="its address", reason=f"no answer within {POLL_TIMEOUT_S:g} s")
            )
            return
        except NodeError as error:
            self.failed(error)
            return
        self.breaker.succeeded()
        self._set_problem(problem)

    async def fetch(self) -> None:
        """Fetch a template now.

        An answer that was overtaken by one of another tip is dropped: it may be older than what we have.
        """
        offers_before = self._offer_count
        template = await self._timed(self.node.block_template())
        is_overtaken = self._offer_count != offers_before
        if is_overtaken and self.template is not None and self.template.prev_hash != template.prev_hash:
            return
        self._offer(template)

    def failed(self, error: NodeError) -> None:
        """Count a failure; the node is not used while the breaker is open."""
        self._last_error = str(error)
        self.breaker.failed(self._clock.monotonic_s())
        if not self.is_up or self.breaker.state is not BreakerState.CLOSED:
            self._set_problem(self._last_error)

    def _offer(self, template: Template) -> None:
        self.template = template
        self._offer_count += 1
        self._fetched_s = self._clock.monotonic_s()
        self._height = template.height - 1
        if self.is_up:
            self._on_change()

    async def _keep_polling(self) -> None:
        while True:
            if self.breaker.may_ask(self._clock.monotonic_s()):
                await self.look()
            await self._clock.sleep(self.breaker.wait_s(self._clock.monotonic_s()) or self._poll_s)

    async def _keep_listening(self) -> None:
        """Hear of a new tip at once; the short path is: the long poll answers, the template is handed on."""
        while True:
            await self._usable.wait()
            try:
                if await self.node.has_zmq():
                    await self._listen_to_zmq()
                else:
                    await self._listen_to_longpoll()
            except NodeError as error:
                self._last_error = str(error)
                if self.breaker.may_ask(self._clock.monotonic_s()):
                    await self.look()
                await self._clock.sleep(self._poll_s)

    async def _listen_to_zmq(self) -> None:
        while self.is_up:
            if await self.node.wait_for_zmq_block(timeout_s=ZMQ_WAIT_S):
                await self.fetch()

    async def _listen_to_longpoll(self) -> None:
        while self.is_up and self.template is not None:
            if self.template.longpollid is None:
                await self._clock.sleep(self._poll_s)
                continue
            asked_s, prev_hash = self._clock.monotonic_s(), self.template.prev_hash
            self._offer(await self.node.block_template(longpollid=self.template.longpollid))
            gap_s = LONGPOLL_GAP_S - (self._clock.monotonic_s() - asked_s)
            if self.template.prev_hash == prev_hash and gap_s > 0:
                await self._clock.sleep(gap_s)

    def _is_outdated(self, chain: ChainInfo) -> bool:
        if self.template is None or self.template.prev_hash[::-1].hex() != chain.tip_hash_hex:
            return True
        return self._clock.monotonic_s() - self._fetched_s >= self._refresh_s

    async def _unsuitable(self, chain: ChainInfo) -> str:
        """Return why the node must not be used though it answers; empty when it may."""
        if chain.chain != self._coin.network:
            return f"node {self.node.name} is on network {chain.chain!r}, expected {self._coin.network!r}"
        if chain.is_initial_download:
            return f"node {self.node.name} is still in its initial download (height {chain.height})"
        if self.pool_address != self._address_verified:
            try:
                await verify_address(self.node, self._coin, self.pool_address)
            except PoolAddressMismatch as error:
                return str(error)
            self._address_verified = self.pool_address
        return ""

    def _set_problem(self, problem: str) -> None:
        was_up, self._problem = self.is_up, problem
        if problem:
            self._usable.clear()
        elif self.template is not None:
            self._usable.set()
        if was_up and not self.is_up:
            log_event(_LOGGER, logging.WARNING, "node went down", node=self.node.name, reason=problem)
        if self.is_up and not was_up:
            log_event(_LOGGER, logging.INFO, "node came up", node=self.node.name, height=self._height)
        self._on_change()

    async def _timed(self, call: Awaitable[R]) -> R:
        started_s = self._clock.monotonic_s()
        answer = await call
        self._latency_ms = (self._clock.monotonic_s() - started_s) * 1000
        return answer


async def verify_address(node: BitcoinNode, coin: Coin, address: str) -> None:
    """Compare our script of an address with the node's.

    Raises:
        PoolAddressMismatch: When the node's network or its script differ from ours.
        NodeError: When the node cannot be asked.
    """
    chain = await node.chain_info()
    if chain.chain != coin.network:
        raise PoolAddressMismatch(
            node=node.name,
            address=address,
            expected=f"a node on network {coin.network!r}",
            got=f"one on {chain.chain!r}",
        )
    ours = decode(coin, address)
    theirs = await node.address_info(address)
    if not theirs.is_valid:
        raise PoolAddressMismatch(
            node=node.name, address=address, expected=f"a valid {coin.coin_id} address", got="one the node refuses"
        )
    if theirs.script != ours.script:
        raise PoolAddressMismatch(
            node=node.name, address=address, expected=f"script {ours.script.hex()}", got=theirs.script.hex()
        )
