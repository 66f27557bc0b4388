"""A ledger, a payer and a chain to try them on: the simulated node or a real litecoind."""

import asyncio
import random
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any, Protocol
from uuid import UUID, uuid4

from coins import registry
from coins.bitcoin.address import decode
from ledger import domain as ledger
from ledger import storage as ledger_storage
from ledger.domain import OWNER_POOL_FEE, Code, Phase, Transfer
from nodes.bitcoin import BitcoinRpc
from nodes.interface import BitcoinWallet
from nodes.regtest import LitecoindRegtest
from nodes.simulated import SimulatedNode
from payouts import storage
from payouts.adoption import Adopter
from payouts.audit import audit
from payouts.config import PayoutSettings
from payouts.domain import Arrow, Batch, BatchStatus
from payouts.errors import PayerLockLost
from payouts.payer import Payer
from payouts.review import Reviewer
from payouts.sender import Checkpoint, no_checkpoint
from runtime.clock import ManualClock
from runtime.exclusive import Alone
from runtime.live import Live
from runtime.postgres.pool import Pool

COIN = registry.get("litecoin-regtest")
SETTINGS = PayoutSettings(confirmations=2, interval_s=1, lock_retry_s=0.01, fee_atomic_max=1_000_000)
ROUNDS_MAX = 30
LOCK_TRIES_MAX = 500


class InstantClock(ManualClock):
    """A clock whose sleepers wake at once, having slept."""

    async def sleep(self, delay_s: float) -> None:
        self.advance(max(delay_s, 0))
        await asyncio.sleep(0)


class SimulatedCrash(BaseException):
    """The process is gone. Not an Exception, so that nothing cleans up after it."""


class Bench(Protocol):
    """A chain with a wallet that pays and a wallet that is paid."""

    wallet: BitcoinWallet

    async def mine(self, count: int = 1) -> None: ...

    async def new_address(self, kind: str = "bech32") -> str: ...

    async def received_atomic(self, address: str) -> int: ...


class SimulatedBench:
    """The simulated node: `pool` pays, `miner` is paid."""

    def __init__(self, *, seed: str = "payouts", coinbases: int = 10) -> None:
        self.clock = InstantClock()
        self.node = SimulatedNode(COIN, seed=seed, clock=self.clock)
        self.wallet: BitcoinWallet = self.node
        self.miner = self.node.open_wallet("miner")
        self.node.mine_blocks(coinbases, self.node.wallet.new_address())
        self.node.mine_blocks(COIN.maturity_blocks)

    async def mine(self, count: int = 1) -> None:
        self.node.mine_blocks(count)

    async def new_address(self, kind: str = "bech32") -> str:
        return self.miner.new_address(kind)

    async def received_atomic(self, address: str) -> int:
        return self.miner.received_atomic(decode(COIN, address).script, confirmations_min=1)


class LitecoindBench:
    """A real litecoind in regtest mode with the wallets `pool` and `miner`."""

    def __init__(self, regtest: LitecoindRegtest) -> None:
        self.regtest = regtest
        self.rpc = BitcoinRpc(regtest.node_settings()[0], COIN)
        self.wallet: BitcoinWallet = self.rpc

    async def fund(self, coinbases: int = 20) -> None:
        await self.regtest.generate(coinbases, await self.regtest.new_address("pool"))
        await self.regtest.generate(COIN.maturity_blocks)

    async def mine(self, count: int = 1) -> None:
        await self.regtest.generate(count)

    async def new_address(self, kind: str = "bech32") -> str:
        return await self.regtest.new_address("miner", kind)

    async def received_atomic(self, address: str) -> int:
        answer = await self.regtest.call("getreceivedbyaddress", address, 1, wallet="miner")
        return int(Decimal(str(answer)) * COIN.atomic_per_coin)


@dataclass(slots=True)
class FakeThresholds:
    """The accounts' own thresholds; `failure` is raised instead."""

    own: dict[str, int] = field(default_factory=dict)
    failure: Exception | None = None
    asked: list[str] = field(default_factory=list)

    async def thresholds(self, coin_id: str, accounts: Sequence[str]) -> Mapping[str, int]:
        if self.failure is not None:
            raise self.failure
        self.asked.extend(accounts)
        return {account: self.own.get(account, 0) for account in accounts}


class World:
    """A database with both schemas, and a bench."""

    def __init__(self, pool: Pool, bench: Bench, *, settings: PayoutSettings = SETTINGS) -> None:
        self.pool = pool
        self.bench = bench
        self.settings = settings
        self.clock = getattr(bench, "clock", None) or InstantClock()
        self.thresholds = FakeThresholds()
        self.expected: dict[str, int] = {}
        self.dsn = ""

    @classmethod
    async def make(cls, pool: Pool, bench: Bench, *, settings: PayoutSettings = SETTINGS) -> "World":
        await ledger_storage.migrate_ledger(pool)
        await storage.migrate_payouts(pool)
        world = cls(pool, bench, settings=settings)
        await world.credit(OWNER_POOL_FEE, 5_000_000)
        return world

    # --- money ---

    async def credit(self, owner: str, amount_atomic: int) -> None:
        """Give an owner a payable balance, as a mature block does."""
        reference = uuid4().hex
        transfers = [
            Transfer(
                transfer_id=uuid4(),
                debit=ledger.coinbase(COIN.coin_id),
                credit=ledger.immature(COIN.coin_id, owner),
                amount_atomic=amount_atomic,
                phase=Phase.POSTED,
                code=Code.POOL_FEE if owner == OWNER_POOL_FEE else Code.BLOCK_CREDIT,
                reference=reference,
            ),
            ledger.mature(
                transfer_id=uuid4(), coin=COIN.coin_id, owner=owner, amount_atomic=amount_atomic, reference=reference
            ),
        ]
        async with self.pool.acquire() as conn, conn.transaction():
            await ledger_storage.apply(conn, transfers)

    async def miner(self, amount_atomic: int, *, kind: str = "bech32", is_due: bool = True) -> str:
        """Make an account with a balance; remember what it is to receive."""
        address = await self.bench.new_address(kind)
        await self.credit(address, amount_atomic)
        self.expected[address] = amount_atomic if is_due else 0
        return address

    async def balance(self, owner: str) -> ledger.OwnerBalance:
        async with self.pool.acquire() as conn:
            return await ledger_storage.owner_balance(conn, COIN.coin_id, owner)

    async def totals(self) -> ledger.LedgerTotals:
        async with self.pool.acquire() as conn:
            return await ledger_storage.totals(conn, COIN.coin_id)

    # --- paying ---

    def payer(
        self,
        *,
        checkpoint: Checkpoint = no_checkpoint,
        wallet: BitcoinWallet | None = None,
        settings: PayoutSettings | None = None,
    ) -> Payer:
        return Payer(
            coin=COIN,
            live=Live(settings or self.settings),
            pool=self.pool,
            wallet=wallet or self.bench.wallet,
            thresholds=self.thresholds,
            clock=self.clock,
            checkpoint=checkpoint,
        )

    def reviewer(self, *, checkpoint: Checkpoint = no_checkpoint, wallet: BitcoinWallet | None = None) -> Reviewer:
        return Reviewer(
            coin=COIN,
            settings=self.settings,
            pool=self.pool,
            wallet=wallet or self.bench.wallet,
            clock=self.clock,
            checkpoint=checkpoint,
        )

    def adopter(self) -> Adopter:
        return Adopter(coin=COIN, settings=self.settings, pool=self.pool, wallet=self.bench.wallet, clock=self.clock)

    async def round(self, payer: Payer | None = None) -> str:
        """Let a payer take the lock, do one round and go; return why it waits."""
        payer = payer or self.payer()
        async with self._held(payer):
            return await payer.run_round()

    @asynccontextmanager
    async def _held(self, payer: Payer) -> AsyncIterator[None]:
        """Hold the lock, waiting until that of a crashed payer is freed."""
        for _ in range(LOCK_TRIES_MAX):
            async with payer.hold(Alone()) as is_held:
                if is_held:
                    yield
                    return
            await asyncio.sleep(0.01)
        raise AssertionError("the lock of a crashed payer was not freed")

    async def pay(self, *, rounds: int | None = None) -> None:
        """Let rounds and blocks follow one another until nothing is under way."""
        for _ in range(rounds or ROUNDS_MAX):
            await self.round()
            if not [batch for batch in await self.batches() if batch.status in UNFINISHED]:
                return
            await self.bench.mine()
        raise AssertionError(f"not finished: {await self.batches()}")

    async def crash_at(self, arrow: Arrow, *, skip: int = 0) -> bool:
        """Let one payer live, with a block after each round, until it crashes at an arrow; False when it never came."""
        crasher = Crasher({arrow}, skip=skip)
        payer = self.payer(checkpoint=crasher.checkpoint)
        crasher.payer = payer
        for _ in range(6):
            try:
                await self.round(payer)
            except (SimulatedCrash, PayerLockLost):
                if not crasher.has_crashed:
                    raise
                return True
            await self.bench.mine()
        return False

    async def crash_after(self, effects: int) -> bool:
        """Let one payer live, with a block after each round, until its effects are used up; False when they suffice."""
        countdown = Countdown(effects)
        payer = self.payer(wallet=countdown.watch_wallet(self.bench.wallet))
        try:
            for _ in range(4):
                async with self._held(payer):
                    assert payer._lock is not None
                    payer._lock = replace(payer._lock, connection=countdown.watch_connection(payer._lock.connection))
                    await payer.run_round()
                await self.bench.mine()
        except (SimulatedCrash, PayerLockLost):
            if not countdown.has_crashed:
                raise
            return True
        return False

    async def batches(self) -> list[Batch]:
        """Return all batches, oldest first."""
        async with self.pool.acquire() as conn:
            rows = await storage.list_batches(conn, COIN.coin_id, status=None, before_number=None, limit=1000)
        return [batch for _, batch in reversed(rows)]

    async def batch(self) -> Batch:
        """Return the only batch."""
        (batch,) = await self.batches()
        return batch

    async def isolated(self) -> dict[str, str]:
        async with self.pool.acquire() as conn:
            return {entry.account: entry.reason for entry in await storage.list_isolated(conn, COIN.coin_id)}

    async def items(self, batch_id: UUID) -> dict[str, int]:
        async with self.pool.acquire() as conn:
            return {item.account: item.amount_atomic for item in await storage.items_of(conn, batch_id)}

    # --- judging ---

    async def assert_everybody_paid_once(self, note: str = "") -> None:
        """Compare chain, ledger and batches, for every account, to the unit."""
        for account, amount in self.expected.items():
            assert await self.bench.received_atomic(account) == amount, f"{note}: {account} on the chain"
            balance = await self.balance(account)
            assert balance.paid_atomic == amount, f"{note}: {account} in the ledger"
            assert balance.reserved_atomic == 0, f"{note}: {account} reserved"
        totals = await self.totals()
        assert totals.reserved_atomic == 0, note
        assert totals.paid_atomic == sum(self.expected.values()), note
        await self.assert_books_agree(note)

    async def assert_books_agree(self, note: str = "") -> None:
        report = await audit(self.pool, coin_id=COIN.coin_id, wallet=self.bench.wallet)
        assert report.is_ok, f"{note}: {[str(finding) for finding in report.findings]}"
        assert not report.notes, note
        totals = await self.totals()
        assert totals.coinbase_atomic == totals.owned_atomic, note


UNFINISHED = frozenset({BatchStatus.RESERVED, BatchStatus.SIGNED, BatchStatus.BROADCAST})


class Crasher:
    """Ends a payer at chosen arrows: cuts its database connection as the end of a process does, and raises.

    Args:
        arrows: Where.
        skip: How often the arrows pass first.
        chance: Crash only where this says so.
    """

    def __init__(
        self, arrows: set[Arrow] | frozenset[Arrow], *, skip: int = 0, chance: Callable[[], bool] = lambda: True
    ) -> None:
        self.arrows = arrows
        self.skip = skip
        self.chance = chance
        self.payer: Payer | None = None
        self.has_crashed = False
        self.passed: list[Arrow] = []

    async def checkpoint(self, arrow: Arrow) -> None:
        self.passed.append(arrow)
        if arrow not in self.arrows or not self.chance():
            return
        if self.skip:
            self.skip -= 1
            return
        self.has_crashed = True
        if self.payer is not None and self.payer._lock is not None:
            self.payer._lock.connection.terminate()
        raise SimulatedCrash(arrow)


class Countdown:
    """Ends a payer right before its n-th statement to the database or call of the wallet, whichever it is.

    Args:
        effects: How many pass; the next one never happens.
    """

    def __init__(self, effects: int) -> None:
        self.left = effects
        self.has_crashed = False
        self.connection: Any = None

    def watch_connection(self, connection: Any) -> Any:
        self.connection = connection
        return _Counted(connection, self, frozenset({"execute", "fetch", "fetchrow", "fetchval"}))

    def watch_wallet(self, wallet: Any) -> Any:
        names = {
            "balance_atomic",
            "fee_rate_sat_per_kvb",
            "address_info",
            "build",
            "broadcast",
            "transaction",
            "sends",
            "release",
        }
        return _Counted(wallet, self, frozenset(names))

    def count(self) -> None:
        if self.left == 0:
            self.has_crashed = True
            self.connection.terminate()
            raise SimulatedCrash
        self.left -= 1


class _Counted:
    def __init__(self, inner: Any, countdown: Countdown, counted: frozenset[str]) -> None:
        self._inner = inner
        self._countdown = countdown
        self._counted = counted

    def __getattr__(self, name: str) -> Any:
        if name in self._counted:
            self._countdown.count()
        return getattr(self._inner, name)


def seeded(seed: int) -> random.Random:
    """Return a source of chance, and print its seed so that a failure can be replayed."""
    sys.stdout.write(f"seed {seed}\n")
    return random.Random(seed)
