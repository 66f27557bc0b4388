"""Use several nodes of one coin as one: failover, the highest tip, blocks to all of them."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from typing import Any, Final, Self, TypeVar

from coins.bitcoin.template import Template
from coins.coin import Coin
from nodes.errors import NodeBusy, NodeError, NodeRpcError, NoHealthyNode
from nodes.follower import Follower, verify_address
from nodes.interface import (
    BitcoinNode,
    BlockInfo,
    ChainInfo,
    HeaderInfo,
    NodeHealth,
    SubmitOutcome,
    SubmitStatus,
    TemplateUpdate,
)
from runtime.clock import Clock
from runtime.logs import log_event

POLL_S: Final = 1.0
REFRESH_S: Final = 30.0
STEP_BACK_S: Final = 10.0
"""After a failover to a node that lags, the higher tip stays in use this long for the other to catch up."""
SUBMIT_ATTEMPTS_MAX: Final = 6
SUBMIT_BACKOFF_S: Final = 0.25
SUBMIT_STRAGGLERS_S: Final = 1.0
SUBMIT_WAIT_S: Final = 30.0

_LATE_REASONS: Final = ("prev-blk-not-found", "bad-prevblk")
_LOGGER: Final = logging.getLogger("lodepool.nodes")

R = TypeVar("R")


class NodeGroup:
    """The nodes of one coin, in the operator's order.

    A node that is down, on another network or in its initial download is not used, and `health` says why. Of the
    others the highest tip wins; among equals the one in use stays, so that jobs do not flap.

    Args:
        nodes: At least one.
        coin: The coin they must serve.
        clock: Source of time.
        poll_s: Seconds between two looks at each node's tip, the safety net under ZMQ and long poll.
        refresh_s: Seconds between two templates on the same tip.
    """

    def __init__(
        self,
        nodes: Sequence[BitcoinNode],
        *,
        coin: Coin,
        clock: Clock,
        poll_s: float = POLL_S,
        refresh_s: float = REFRESH_S,
    ) -> None:
        if not nodes:
            raise ValueError("a group has at least one node")
        self._clock = clock
        self._poll_s = poll_s
        self._refresh_s = refresh_s
        self._followers = tuple(
            Follower(node, coin=coin, clock=clock, on_change=self._on_change, poll_s=poll_s, refresh_s=refresh_s)
            for node in nodes
        )
        self._leader: Follower | None = None
        self._published: TemplateUpdate | None = None
        self._published_s = 0.0
        self._is_running = False
        self._is_told_none = False
        self._subscriptions: set[Subscription] = set()
        self._background: set[asyncio.Task[Any]] = set()

    @property
    def health(self) -> tuple[NodeHealth, ...]:
        """Return each node as last seen, in the operator's order."""
        return tuple(follower.health for follower in self._followers)

    async def run(self) -> None:
        """Follow all nodes until cancelled."""
        self._is_running = True
        try:
            async with asyncio.TaskGroup() as tasks:
                for follower in self._followers:
                    tasks.create_task(follower.run())
        finally:
            self._is_running = False

    async def close(self) -> None:
        """End what is still under way, and close the connections to all nodes."""
        for task in self._background:
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)
        for subscription in tuple(self._subscriptions):
            subscription.close()
        await asyncio.gather(*(follower.node.close() for follower in self._followers))

    def subscribe(self) -> "Subscription":
        """Return the updates from now on, beginning with the template in use.

        A subscriber that is slow gets the newest update only; a new tip among those left out is not forgotten.
        """
        return Subscription(self._subscriptions, first=self._published)

    async def verify_pool_address(self, coin: Coin, address: str) -> None:
        """Compare our script of the pool's address with that of each node (S6).

        A node that cannot be asked now is checked when it comes up, and not used when it differs.

        Raises:
            PoolAddressMismatch: When a node's network or its script differ from ours.
            NoHealthyNode: When no node could be asked.
        """
        failures: list[tuple[str, str]] = []
        for follower in self._followers:
            try:
                await verify_address(follower.node, coin, address)
            except NodeError as error:
                failures.append((follower.node.name, str(error)))
            follower.pool_address = address
        if len(failures) == len(self._followers):
            raise NoHealthyNode(reasons=tuple(failures))

    async def submit_block(self, block: bytes) -> Mapping[str, SubmitOutcome]:
        """Hand a block to all nodes at once, healthy or not, with retries (D2).

        Returns when all have answered, SUBMIT_STRAGGLERS_S after the first that took it, or after SUBMIT_WAIT_S. A
        node that has not answered by then stands as inconclusive; its retries go on in the background.

        Returns:
            Each node's outcome by its name.
        """
        tasks = {
            follower.node.name: self._in_background(self._submit_to(follower, block)) for follower in self._followers
        }
        pending = set(tasks.values())
        deadline_s = self._clock.monotonic_s() + SUBMIT_WAIT_S
        while pending and (left_s := deadline_s - self._clock.monotonic_s()) > 0:
            done, pending = await asyncio.wait(pending, timeout=left_s, return_when=asyncio.FIRST_COMPLETED)
            if any(_has_block(task.result()) for task in done):
                deadline_s = min(deadline_s, self._clock.monotonic_s() + SUBMIT_STRAGGLERS_S)
            if not done:
                break
        no_answer = SubmitOutcome(status=SubmitStatus.INCONCLUSIVE, reason="no answer yet, still trying")
        return {name: task.result() if task.done() else no_answer for name, task in tasks.items()}

    async def chain_info(self) -> ChainInfo:
        """Return the network and tip of the best node."""
        return await self._ask(lambda node: node.chain_info())

    async def header(self, block_hash_hex: str) -> HeaderInfo | None:
        """Return a block's header as the best node knows it."""
        return await self._ask(lambda node: node.header(block_hash_hex))

    async def block(self, block_hash_hex: str) -> BlockInfo | None:
        """Return a block and its coinbase as the best node knows it."""
        return await self._ask(lambda node: node.block(block_hash_hex))

    async def block_hash_at(self, height: int) -> str | None:
        """Return the best node's block at a height; None above its tip."""
        return await self._ask(lambda node: node.block_hash_at(height))

    # --- templates ---

    def _on_change(self) -> None:
        """Choose the node to work on, and publish its template when there is something new in it."""
        up = [follower for follower in self._followers if follower.is_up and follower.template is not None]
        if not up:
            self._tell_none()
            return
        if self._is_told_none:
            self._is_told_none = False
            log_event(_LOGGER, logging.INFO, "nodes can be used again", node=up[0].node.name)
        leader = max(up, key=lambda follower: (follower.template_height, follower is self._leader))
        if leader.template is not None and self._is_worth_publishing(leader, leader.template):
            self._publish(leader, leader.template)

    def _is_worth_publishing(self, leader: Follower, template: Template) -> bool:
        if self._published is None:
            return True
        age_s = self._clock.monotonic_s() - self._published_s
        last = self._published.template
        if template.prev_hash == last.prev_hash:
            return template is not last and age_s >= self._refresh_s - self._poll_s
        is_step_back = leader is not self._leader and template.height < last.height
        return not is_step_back or age_s >= STEP_BACK_S

    def _publish(self, leader: Follower, template: Template) -> None:
        last = self._published
        if leader is not self._leader:
            log_event(_LOGGER, logging.INFO, "node chosen", node=leader.node.name, height=template.height - 1)
        self._leader = leader
        self._published = TemplateUpdate(
            template=template,
            is_new_tip=last is None or last.template.prev_hash != template.prev_hash,
            node_name=leader.node.name,
        )
        self._published_s = self._clock.monotonic_s()
        for subscription in self._subscriptions:
            subscription.put(self._published)

    def _tell_none(self) -> None:
        """Say once that nobody is left; silent while some node has not been asked for the first time."""
        if self._is_told_none or not all(follower.was_asked for follower in self._followers):
            return
        self._is_told_none = True
        log_event(_LOGGER, logging.ERROR, "no node can be used", reason=str(self._no_healthy_node()))

    # --- calls ---

    async def _submit_to(self, follower: Follower, block: bytes) -> SubmitOutcome:
        """Try one node until it answers for good; one that lacks the previous block is asked again."""
        outcome = SubmitOutcome(status=SubmitStatus.INCONCLUSIVE, reason="not tried")
        for attempt in range(SUBMIT_ATTEMPTS_MAX):
            if attempt:
                await self._clock.sleep(SUBMIT_BACKOFF_S * 2 ** (attempt - 1))
            try:
                outcome = await follower.node.submit_block(block)
            except NodeError as error:
                outcome = SubmitOutcome(status=SubmitStatus.INCONCLUSIVE, reason=str(error))
                continue
            if outcome.status is SubmitStatus.REJECTED and outcome.reason in _LATE_REASONS:
                continue
            if _has_block(outcome):
                self._in_background(self._fetch_from(follower))
            return outcome
        log_event(_LOGGER, logging.ERROR, "block submission given up", node=follower.node.name, reason=outcome.reason)
        return outcome

    async def _fetch_from(self, follower: Follower) -> None:
        try:
            await follower.fetch()
        except NodeError as error:
            log_event(_LOGGER, logging.WARNING, "template after own block failed", reason=str(error))

    async def _ask(self, call: Callable[[BitcoinNode], Awaitable[R]]) -> R:
        """Ask the best node, and on a failure the next; before `run`, the operator's order and the breakers decide."""
        if self._is_running:
            usable = [follower for follower in self._followers if follower.is_up]
            usable.sort(key=lambda follower: (-follower.template_height, follower is not self._leader))
        else:
            usable = [follower for follower in self._followers if follower.breaker.may_ask(self._clock.monotonic_s())]
        refusal: NodeRpcError | None = None
        for follower in usable:
            try:
                answer = await call(follower.node)
            except NodeBusy as error:
                follower.failed(error)
                continue
            except NodeRpcError as error:
                # The node is well, it only cannot answer this (pruned, or a question without sense).
                refusal = error
                continue
            except NodeError as error:
                follower.failed(error)
                continue
            follower.breaker.succeeded()
            return answer
        if refusal is not None:
            raise refusal
        raise self._no_healthy_node()

    def _no_healthy_node(self) -> NoHealthyNode:
        return NoHealthyNode(reasons=tuple((entry.name, entry.last_error) for entry in self.health))

    def _in_background(self, work: Coroutine[Any, Any, R]) -> asyncio.Task[R]:
        task = asyncio.get_running_loop().create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)
        return task


class Subscription(AsyncIterator[TemplateUpdate]):
    """One reader of a group's updates; holds the newest only."""

    def __init__(self, members: "set[Subscription]", *, first: TemplateUpdate | None) -> None:
        self._members = members
        self._next = first
        self._is_closed = False
        self._is_ready = asyncio.Event()
        if first is not None:
            self._is_ready.set()
        members.add(self)

    def put(self, update: TemplateUpdate) -> None:
        """Replace what was not read yet, keeping that the tip is new."""
        if self._next is not None and self._next.is_new_tip and not update.is_new_tip:
            update = TemplateUpdate(template=update.template, is_new_tip=True, node_name=update.node_name)
        self._next = update
        self._is_ready.set()

    def close(self) -> None:
        """End the updates."""
        self._is_closed = True
        self._members.discard(self)
        self._is_ready.set()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> TemplateUpdate:
        await self._is_ready.wait()
        update, self._next = self._next, None
        if update is None or self._is_closed:
            raise StopAsyncIteration
        self._is_ready.clear()
        return update


def _has_block(outcome: SubmitOutcome) -> bool:
    return outcome.status in (SubmitStatus.ACCEPTED, SubmitStatus.DUPLICATE)
