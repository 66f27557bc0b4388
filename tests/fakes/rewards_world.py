"""Rewards on a simulated chain, with a shares service that answers recorded windows over gRPC."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from uuid import uuid4

import grpc

from coins import registry
from coins.bitcoin.address import decode
from coins.work import work_from_target
from ledger import audit as ledger_audit
from ledger import storage as ledger
from ledger.domain import LedgerTotals, OwnerBalance
from nodes.simulated import SimulatedNode
from proto.lodepool.events.v1 import events_pb2
from proto.lodepool.shares.v1 import shares_pb2, shares_pb2_grpc
from rewards import audit as rewards_audit
from rewards import storage
from rewards.booking import Books, open_books
from rewards.config import RewardsSettings
from rewards.consumer import parse_found
from rewards.domain import Block
from rewards.follower import Follower
from rewards.metrics import Counters
from rewards.windows import SharesWindows
from runtime.audit import Report, merge
from runtime.clock import SystemClock
from runtime.platform import Platform
from runtime.postgres.migrations import migrate
from runtime.postgres.pool import acquired
from runtime.postgres.transactions import transact

COIN = registry.get("litecoin-regtest")
FINDER = "rltc1finder"


@dataclass(kw_only=True)
class RecordedShares(shares_pb2_grpc.ShareServiceServicer):
    """Answers FixWindow with what was recorded, and keeps what it was asked; a request id has one answer."""

    work: dict[str, int] = field(default_factory=dict)
    work_by_height: dict[int, int] = field(default_factory=dict)
    missing: str = ""
    asked: list[shares_pb2.FixWindowRequest] = field(default_factory=list)
    answered: dict[str, shares_pb2.Window] = field(default_factory=dict)

    async def FixWindow(self, request, context):
        self.asked.append(request)
        if self.missing:
            await context.abort(grpc.StatusCode.FAILED_PRECONDITION, self.missing)
        accounts = [shares_pb2.AccountWork(account=name, work=str(work)) for name, work in self.work.items()]
        window = shares_pb2.Window(accounts=accounts, total_work=str(sum(self.work.values())))
        return self.answered.setdefault(request.request_id, window)

    async def GetPoolStats(self, request, context):
        work = sum(work for height, work in self.work_by_height.items() if height > request.round_start_height)
        return shares_pb2.PoolStats(round_work=str(work))


@dataclass(kw_only=True)
class RewardsWorld:
    """A pool that finds blocks on a simulated chain."""

    platform: Platform
    node: SimulatedNode
    shares: RecordedShares
    address: str
    server: grpc.aio.Server
    settings: RewardsSettings
    counters: Counters = field(default_factory=Counters)

    def follower(self) -> Follower:
        """Return a follower, as a process that has just started has."""
        return Follower(
            pool=self.platform.pool,
            chain=self.node,
            windows=SharesWindows(self.platform.clients),
            coin=COIN,
            script=decode(COIN, self.address).script,
            settings=self.settings,
            clock=self.platform.clock,
            counters=self.counters,
        )

    async def books(self) -> Books:
        """Begin a term."""
        return await open_books(self.platform.pool, COIN.coin_id)

    async def look(self, *, times: int = 1) -> None:
        """Look at the chain, each time as a new process."""
        for _ in range(times):
            await self.follower().look(await self.books())

    async def message(self, block_hash_hex: str, /, **changes: object) -> events_pb2.BlockFound:
        """Return the finder's report of a block of the chain."""
        info = await self.node.block(block_hash_hex)
        assert info is not None
        fields: dict[str, object] = {
            "instance": "stratum-1",
            "coin": COIN.coin_id,
            "block_hash_hex": block_hash_hex,
            "height": info.height,
            "time_ms": 1_700_000_000_000 + info.height,
            "account": FINDER,
            "worker": "rig1",
            "scheme": "pplns",
            "coinbase_value_atomic": sum(amount for _, amount in info.coinbase_outputs),
            "fees_atomic": 0,
            "network_target": info.network_target.to_bytes(32, "big"),
            "coinbase_txid_hex": info.coinbase_txid_hex,
        }
        return events_pb2.BlockFound(**(fields | changes))

    async def report(self, block_hash_hex: str, /, **changes: object) -> None:
        """Book a finder's report of a block of the chain."""
        message = await self.message(block_hash_hex, **changes)
        found = parse_found(message.SerializeToString(), fee_ppm=self.settings.fee_ppm)
        await transact(self.platform.pool, lambda conn: storage.insert_found(conn, found))

    async def find_block(self, **changes: object) -> str:
        """Let the pool find the next block, and report it."""
        block_hash_hex = self.node.mine_block(self.address)
        await self.report(block_hash_hex, **changes)
        return block_hash_hex

    async def block(self, block_hash_hex: str) -> Block:
        """Return a block's row."""
        async with acquired(self.platform.pool) as conn:
            block = await storage.get_block(conn, COIN.coin_id, block_hash_hex)
        assert block is not None
        return block

    async def credits(self, block_hash_hex: str) -> Mapping[str, int]:
        """Return a block's credits by account."""
        async with acquired(self.platform.pool) as conn:
            parts = await storage.credits_of(conn, COIN.coin_id, block_hash_hex)
        return {part.account: part.amount_atomic for part in parts}

    async def balance(self, owner: str) -> OwnerBalance:
        """Return what an owner has."""
        async with acquired(self.platform.pool) as conn:
            return await ledger.owner_balance(conn, COIN.coin_id, owner)

    async def totals(self) -> LedgerTotals:
        """Return the ledger's sums."""
        async with acquired(self.platform.pool) as conn:
            return await ledger.totals(conn, COIN.coin_id)

    async def audit(self) -> Report:
        """Audit ledger and rewards, with the chain."""
        return merge(
            [
                await rewards_audit.audit(self.platform.pool, coin_id=COIN.coin_id, nodes=self.node),
                await ledger_audit.audit(self.platform.pool, coin_id=COIN.coin_id),
            ]
        )

    async def close(self) -> None:
        """Stop the shares service."""
        await self.server.stop(0)


async def open_rewards_world(platform: Platform) -> RewardsWorld:
    """Migrate, start the shares service and a chain of a few blocks."""
    await ledger.migrate_ledger(platform.pool)
    await migrate(platform.pool, schema="rewards", package="rewards")
    node = SimulatedNode(COIN, seed=str(uuid4()), clock=SystemClock())
    node.mine_blocks(3)
    shares = RecordedShares(work={"alice": 4, "bob": 2, "carol": 1})
    server = grpc.aio.server()
    shares_pb2_grpc.add_ShareServiceServicer_to_server(shares, server)
    server.add_insecure_port(platform.directory.target("shares"))
    await server.start()
    return RewardsWorld(
        platform=platform,
        node=node,
        shares=shares,
        address=node.wallet.new_address(),
        server=server,
        settings=RewardsSettings(confirmations_poll_s=0.05),
    )


def network_work(node: SimulatedNode) -> int:
    """Return the work of a block of the node's chain."""
    return work_from_target(node.chain.target)
