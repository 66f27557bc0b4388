"""Follow the pool's blocks on the chain and book what the chain says."""

import asyncio
import logging
from typing import Protocol

from coins.coin import Coin
from ledger.errors import LedgerError
from nodes.interface import BlockInfo, ChainInfo, HeaderInfo
from rewards import booking, storage
from rewards.booking import Books
from rewards.config import RewardsSettings
from rewards.domain import (
    STEPS,
    Block,
    Scheme,
    Sight,
    Status,
    Step,
    WindowPlan,
    distribute,
    followed_down_to,
    sight,
    window_plan,
)
from rewards.errors import BlockChanged
from rewards.metrics import Counters
from rewards.windows import Windows
from runtime.clock import Clock, sleep_unless
from runtime.exclusive import Term
from runtime.logs import log_event
from runtime.postgres.fence import Fenced
from runtime.postgres.pool import Connection, Pool, acquired
from runtime.rpc.errors import FailedPrecondition, RpcError
from runtime.telemetry import Telemetry
from runtime.telemetry.parents import parent_of

_log = logging.getLogger("lodepool.rewards")


class ChainReader(Protocol):
    """What the follower asks of a node; a NodeGroup or a single node. Every method may raise NodeError."""

    async def chain_info(self) -> ChainInfo:
        """Return the tip."""
        ...

    async def block_hash_at(self, height: int) -> str | None:
        """Return the active chain's block at a height; None above the tip."""
        ...

    async def header(self, block_hash_hex: str) -> HeaderInfo | None:
        """Return a header; None when unknown."""
        ...

    async def block(self, block_hash_hex: str) -> BlockInfo | None:
        """Return a block's coinbase; None when unknown."""
        ...


class Follower:
    """Moves each block by what the chain answers at its height.

    Args:
        pool: The database.
        chain: The coin's nodes.
        windows: The shares service.
        coin: The coin.
        script: The pool's output script: every block's coinbase must pay it.
        settings: The service's settings.
        clock: Source of time.
        counters: Counted into.
        telemetry: For traces; None makes none.
    """

    def __init__(
        self,
        *,
        pool: Pool,
        chain: ChainReader,
        windows: Windows,
        coin: Coin,
        script: bytes,
        settings: RewardsSettings,
        clock: Clock,
        counters: Counters,
        telemetry: Telemetry | None = None,
    ) -> None:
        self._telemetry = telemetry or Telemetry.off()
        self._pool = pool
        self._chain = chain
        self._windows = windows
        self._coin = coin
        self._script = script
        self._settings = settings
        self._clock = clock
        self._counters = counters
        self._wake = asyncio.Event()
        self._settled_tip = ""

    def wake(self) -> None:
        """Look at once instead of at the next poll: a block was found."""
        self._wake.set()

    async def run(self, term: Term) -> None:
        """Look again and again; ends with the first failure of a node or of the database.

        Returns when the term is over: another process has begun a later one.
        """
        books = await booking.open_books(self._pool, self._coin.coin_id)
        self._settled_tip = ""
        log_event(_log, logging.INFO, "follower started", coin=self._coin.coin_id, token=books.token)
        while term.is_current:
            self._wake.clear()
            try:
                await self.look(books)
            except Fenced as error:
                log_event(_log, logging.WARNING, "follower stood down", coin=self._coin.coin_id, reason=str(error))
                return
            await sleep_unless(self._wake, self._clock, self._settings.confirmations_poll_s)

    async def look(self, books: Books) -> None:
        """Look at all blocks once and book at most one step of each.

        Raises:
            Fenced: When a later term has begun.
        """
        info = await self._chain.chain_info()
        down_to = followed_down_to(
            info.height, maturity_blocks=self._coin.maturity_blocks, orphan_depth=self._settings.orphan_depth
        )
        async with acquired(self._pool) as conn:
            blocks = await storage.followed(conn, self._coin.coin_id, down_to_height=down_to)
        self._counters.looked_s = self._clock.now_s()
        self._counters.blocks_held = sum(bool(block.hold_reason) for block in blocks)
        is_open = any(block.status is Status.CANDIDATE or block.hold_reason for block in blocks)
        if info.tip_hash_hex == self._settled_tip and not is_open:
            return
        confirmations: dict[str, int] = {}
        is_settled = True
        for block in blocks:
            seen, confirmations[block.found.block_hash_hex] = await self._see(block, info)
            step = STEPS[block.status, seen]
            try:
                await self._take(books, block, step, seen)
            except BlockChanged as error:
                log_event(_log, logging.WARNING, "block booked by another process", block=error.block_hash_hex)
            except LedgerError as error:
                # One block that the ledger refuses must not keep the others from being booked.
                await self._hold(books, block, f"the ledger refuses it: {error}")
            is_settled = is_settled and step in {Step.STAY, Step.HOLD} and seen is not Sight.UNSEEN
        await booking.note_confirmations(books, confirmations)
        self._settled_tip = info.tip_hash_hex if is_settled else ""

    async def _see(self, block: Block, info: ChainInfo) -> tuple[Sight, int]:
        found = block.found
        hash_at_height = await self._chain.block_hash_at(found.height)
        confirmations = -1
        if hash_at_height == found.block_hash_hex:
            header = await self._chain.header(found.block_hash_hex)
            confirmations = -1 if header is None else header.confirmations
        seen = sight(
            found,
            hash_at_height=hash_at_height,
            confirmations=confirmations,
            tip_height=info.height,
            maturity_blocks=self._coin.maturity_blocks,
            orphan_depth=self._settings.orphan_depth,
        )
        return seen, block.confirmations if seen is Sight.UNSEEN else confirmations

    async def _take(self, books: Books, block: Block, step: Step, seen: Sight) -> None:
        fields = {"coin": block.found.coin, "block": block.found.block_hash_hex, "height": block.found.height}
        match step:
            case Step.STAY:
                # What kept it from a step is over where the chain asks for none; a candidate still waits to be decided.
                if block.status is not Status.CANDIDATE and seen is not Sight.UNSEEN:
                    await self._hold(books, block, "")
            case Step.CREDIT:
                await self._credit(books, block)
            case Step.MATURE:
                with self._telemetry.span("rewards.mature", block.found.trace_parent) as span:
                    await booking.mature(books, block, trace_parent=parent_of(span))
                self._counters.blocks_matured_total += 1
                log_event(_log, logging.INFO, "block matured", **fields, reward_atomic=block.found.reward_atomic)
            case Step.REVERSE:
                await booking.reverse(books, block)
                self._counters.blocks_orphaned_total += 1
                log_event(_log, logging.WARNING, "block orphaned, credits reversed", **fields)
            case Step.ORPHAN:
                await booking.orphan(books, block)
                self._counters.blocks_orphaned_total += 1
                log_event(_log, logging.WARNING, "block orphaned", **fields)
            case Step.HOLD:
                await self._hold(books, block, "not in the chain any more, but its credits are payable already")

    async def _credit(self, books: Books, block: Block) -> None:
        reason = await self._coinbase_problem(block)
        if reason is None:
            return
        if reason:
            await self._hold(books, block, reason)
            return
        if block.is_credited:
            with self._telemetry.span("rewards.credit", block.found.trace_parent):
                await booking.credit_again(books, block)
        elif not await self._credit_first(books, block):
            return
        await self._hold(books, block, "")
        self._counters.blocks_credited_total += 1
        log_event(
            _log,
            logging.INFO,
            "block credited",
            coin=block.found.coin,
            block=block.found.block_hash_hex,
            height=block.found.height,
            scheme=block.found.scheme.value,
            reward_atomic=block.found.reward_atomic,
            generation=block.generation + 1,
        )

    async def _coinbase_problem(self, block: Block) -> str | None:
        """Return why the coinbase does not pay the pool as reported; empty when it does, None when not known now."""
        info = await self._chain.block(block.found.block_hash_hex)
        if info is None:
            return None
        paid_atomic = sum(amount for script, amount in info.coinbase_outputs if script == self._script)
        if paid_atomic == block.found.reward_atomic:
            return ""
        return f"the coinbase pays the pool {paid_atomic}, reported were {block.found.reward_atomic}"

    async def _credit_first(self, books: Books, block: Block) -> bool:
        found = block.found
        async with acquired(self._pool) as conn:
            previous = await storage.previous_height(conn, found.coin, below_height=found.height, scheme=None)
            is_planned, plan = await self._plan(conn, block)
        if not is_planned:
            return False
        if plan is not None:
            plan = await booking.keep_plan(books, found, plan)
        try:
            work = {} if plan is None else await self._windows.fix(found, plan)
            round_work = await self._windows.round_work(found, previous_height=previous)
        except FailedPrecondition as error:
            self._counters.windows_waited_total += 1
            log_event(_log, logging.DEBUG, "window not complete yet", block=found.block_hash_hex, missing=error.message)
            return False
        except RpcError as error:
            self._counters.windows_waited_total += 1
            log_event(_log, logging.WARNING, "window not answered", block=found.block_hash_hex, error=error.message)
            return False
        distribution = distribute(found, work)
        if distribution.remainder_atomic:
            log_event(
                _log,
                logging.ERROR,
                "block has nobody to credit",
                block=found.block_hash_hex,
                remainder_atomic=distribution.remainder_atomic,
            )
        with self._telemetry.span("rewards.credit", found.trace_parent):
            await booking.credit(books, block, distribution, round_work=round_work)
        return True

    async def _plan(self, conn: Connection, block: Block) -> tuple[bool, WindowPlan | None]:
        """Return whether the window can be asked for, and what to ask first; None where the scheme needs no window."""
        found = block.found
        # A round begins after the block before; while that one is undecided, so is the round.
        if found.scheme is Scheme.PROP and await storage.has_open_candidate(
            conn, found.coin, below_height=found.height, scheme=found.scheme
        ):
            return False, None
        plan = window_plan(
            found,
            previous_height=await storage.previous_height(
                conn, found.coin, below_height=found.height, scheme=found.scheme
            ),
            pplns_window_percent=self._settings.pplns_window_percent,
        )
        return True, plan

    async def _hold(self, books: Books, block: Block, reason: str) -> None:
        if reason == block.hold_reason:
            return
        if await booking.hold(books, block, reason):
            log_event(
                _log,
                logging.ERROR if reason else logging.INFO,
                "block held" if reason else "block released",
                block=block.found.block_hash_hex,
                height=block.found.height,
                reason=reason or block.hold_reason,
            )
