"""How far the demo's pool is: one snapshot of everything a spectator wants to see."""

from collections.abc import Sequence
from dataclasses import dataclass

from cli.reading import Services, blocks_and_round
from proto.lodepool.payouts.v1 import payouts_pb2
from proto.lodepool.rewards.v1 import rewards_pb2
from proto.lodepool.shares.v1 import shares_pb2
from runtime.rpc.client import call

BLOCKS_SHOWN = 6
PAYOUTS_SHOWN = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """A snapshot of the pool's services.

    Attributes:
        pool: Hashrates and counts.
        blocks: The newest blocks, and counts by status.
        balances: By account, in the order asked.
        payouts: The newest payments.
        payer: What the payer has done.
        ledger: Sums over the ledger.
    """

    pool: shares_pb2.PoolStats
    blocks: rewards_pb2.ListBlocksResponse
    balances: dict[str, rewards_pb2.Balance]
    payouts: payouts_pb2.ListPayoutsResponse
    payer: payouts_pb2.PayerStatus
    ledger: rewards_pb2.LedgerTotals

    @property
    def blocks_found(self) -> int:
        """Return how many blocks the pool found, whatever became of them."""
        counts = self.blocks.counts
        return counts.candidate + counts.immature + counts.mature + counts.orphaned

    @property
    def blocks_confirmed(self) -> int:
        """Return how many of them are in the active chain."""
        return self.blocks.counts.immature + self.blocks.counts.mature


async def ask(services: Services, *, coin_id: str, accounts: Sequence[str]) -> Progress:
    """Take a snapshot.

    Raises:
        RpcError: A service does not answer.
    """
    blocks, pool = await blocks_and_round(services, coin_id=coin_id, blocks_shown=BLOCKS_SHOWN)
    balances = {
        account: await call(services.rewards.GetBalance, rewards_pb2.GetBalanceRequest(coin=coin_id, account=account))
        for account in accounts
    }
    return Progress(
        pool=pool,
        blocks=blocks,
        balances=balances,
        payouts=await call(
            services.payouts.ListPayouts, payouts_pb2.ListPayoutsRequest(coin=coin_id, page_size=PAYOUTS_SHOWN)
        ),
        payer=await call(services.payouts.GetStatus, payouts_pb2.GetStatusRequest(coin=coin_id)),
        ledger=await call(services.rewards.GetLedgerTotals, rewards_pb2.GetLedgerTotalsRequest(coin=coin_id)),
    )
