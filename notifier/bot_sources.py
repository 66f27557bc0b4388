"""What the bot asks the other services."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Final

from proto.lodepool.miners.v1 import miners_pb2, miners_pb2_grpc
from proto.lodepool.payouts.v1 import payouts_pb2, payouts_pb2_grpc
from proto.lodepool.rewards.v1 import rewards_pb2, rewards_pb2_grpc
from proto.lodepool.shares.v1 import shares_pb2, shares_pb2_grpc
from runtime.rpc.client import RpcClients, call
from runtime.rpc.errors import NotFound

TIMEOUT_S: Final = 3.0
EXPORT_ROWS_MAX: Final = 20_000
_PAGE: Final = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """Average hashrates, hashes per second, over five minutes, an hour and a day."""

    hps_5m: int = 0
    hps_1h: int = 0
    hps_24h: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerView:
    """A worker.

    Attributes:
        name: Its name; "" for the default worker.
        is_online: Whether it is mining.
        rates: Its hashrates.
        last_share_time_ms: Its last accepted share, milliseconds since the Unix epoch; 0 when none.
        accepted: Shares that counted.
        rejected: Shares that did not.
    """

    name: str
    is_online: bool
    rates: Rates
    last_share_time_ms: int
    accepted: int
    rejected: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountView:
    """An account.

    Attributes:
        account: Its address.
        rates: Its hashrates.
        workers: By name.
        accepted: Shares that counted.
        stale: Shares that came too late.
        refused: Shares that did not count for another reason.
    """

    account: str
    rates: Rates
    workers: tuple[WorkerView, ...]
    accepted: int
    stale: int
    refused: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BalanceView:
    """What an account has, atomic units; see lodepool.rewards.v1.Balance."""

    immature_atomic: int
    payable_atomic: int
    reserved_atomic: int
    paid_atomic: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MoneyView:
    """A credit or a payout.

    Attributes:
        kind: "credit" or "payout".
        time_ms: When, milliseconds since the Unix epoch.
        amount_atomic: How much.
        status: Of its block or batch, in lower case: "mature", "broadcast".
        height: The block's; 0 for a payout.
        reference: The block's hash or the transaction's id, hex; "" before there is one.
    """

    kind: str
    time_ms: int
    amount_atomic: int
    status: str
    height: int
    reference: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockView:
    """A block of the pool.

    Attributes:
        height: Its height.
        status: "candidate", "immature", "mature" or "orphaned".
        found_time_ms: When it was found.
        reward_atomic: Value of its coinbase.
        effort_hundredths: Hundredths of a per cent; 0 while it is not known.
        block_hash_hex: As people read it.
    """

    height: int
    status: str
    found_time_ms: int
    reward_atomic: int
    effort_hundredths: int
    block_hash_hex: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolView:
    """The pool as its operators see it.

    Attributes:
        rates: Its hashrates.
        account_count: Accounts that mine.
        worker_count: Workers that mine.
        is_held: Whether the operator holds payouts.
        wait_reason: Why the payer waits; "" when it does not.
        paid_atomic: Paid and confirmed.
        review_count: Batches that wait for the operator.
    """

    rates: Rates
    account_count: int
    worker_count: int
    is_held: bool
    wait_reason: str
    paid_atomic: int
    review_count: int


class Sources:
    """Questions to the other services, about one coin. Every method raises RpcError when there is no answer.

    Args:
        clients: Channels to the services.
        coin_id: The coin that is asked about.
    """

    def __init__(self, clients: RpcClients, *, coin_id: str) -> None:
        self._coin = coin_id
        self._shares = shares_pb2_grpc.ShareServiceStub(clients.channel("shares"))
        self._miners = miners_pb2_grpc.MinerServiceStub(clients.channel("miners"))
        self._rewards = rewards_pb2_grpc.RewardServiceStub(clients.channel("rewards"))
        self._payouts = payouts_pb2_grpc.PayoutServiceStub(clients.channel("payouts"))

    async def account(self, account: str) -> AccountView:
        """Ask for an account; one that has never mined has nothing."""
        try:
            stats = await call(
                self._shares.GetAccountStats,
                shares_pb2.GetAccountStatsRequest(coin=self._coin, account=account),
                timeout_s=TIMEOUT_S,
            )
        except NotFound:
            stats = shares_pb2.AccountStats(account=account)
        counted = {worker.worker: worker for worker in stats.workers}
        listed = await self._listed(account)
        counts = stats.counts
        return AccountView(
            account=account,
            rates=_rates(stats.hashrates),
            workers=tuple(_worker(name, counted.get(name), listed.get(name)) for name in sorted({*counted, *listed})),
            accepted=counts.accepted,
            stale=counts.stale,
            refused=_rejected(counts) - counts.stale,
        )

    async def history(self, account: str) -> Sequence[tuple[int, int]]:
        """Ask for an account's last day: (begin of the step in ms, hashes per second), oldest first."""
        try:
            found = await call(
                self._shares.GetHashrateHistory,
                shares_pb2.GetHashrateHistoryRequest(
                    coin=self._coin, account=account, window=shares_pb2.HISTORY_WINDOW_DAY
                ),
                timeout_s=TIMEOUT_S,
            )
        except NotFound:
            return ()
        return tuple((point.time_ms, int(point.hps or 0)) for point in found.points)

    async def balance(self, account: str) -> BalanceView:
        """Ask for a balance; an account that was never credited has none."""
        try:
            found = await call(
                self._rewards.GetBalance,
                rewards_pb2.GetBalanceRequest(coin=self._coin, account=account),
                timeout_s=TIMEOUT_S,
            )
        except NotFound:
            found = rewards_pb2.Balance()
        return BalanceView(
            immature_atomic=found.immature_atomic,
            payable_atomic=found.payable_atomic,
            reserved_atomic=found.reserved_atomic,
            paid_atomic=found.paid_atomic,
        )

    async def payouts(self, account: str, *, count: int) -> Sequence[MoneyView]:
        """Ask for an account's newest payouts."""
        found = await call(
            self._payouts.ListPayouts,
            payouts_pb2.ListPayoutsRequest(coin=self._coin, account=account, page_size=count),
            timeout_s=TIMEOUT_S,
        )
        return tuple(map(_payout, found.payouts))

    async def blocks(self, *, count: int) -> Sequence[BlockView]:
        """Ask for the pool's newest blocks."""
        found = await call(
            self._rewards.ListBlocks,
            rewards_pb2.ListBlocksRequest(coin=self._coin, page_size=count),
            timeout_s=TIMEOUT_S,
        )
        return tuple(map(_block, found.blocks))

    async def money(self, account: str) -> AsyncIterator[MoneyView]:
        """Ask for all credits, then all payouts, newest first each; each at most 20,000."""
        token, rows = "", 0
        while rows < EXPORT_ROWS_MAX:
            credits_page = await call(
                self._rewards.ListCredits,
                rewards_pb2.ListCreditsRequest(coin=self._coin, account=account, page_size=_PAGE, page_token=token),
                timeout_s=TIMEOUT_S,
            )
            for credit in credits_page.credits:
                yield _credit(credit)
            rows, token = rows + len(credits_page.credits), credits_page.next_page_token
            if not token:
                break
        token, rows = "", 0
        while rows < EXPORT_ROWS_MAX:
            payouts_page = await call(
                self._payouts.ListPayouts,
                payouts_pb2.ListPayoutsRequest(coin=self._coin, account=account, page_size=_PAGE, page_token=token),
                timeout_s=TIMEOUT_S,
            )
            for payout in payouts_page.payouts:
                yield _payout(payout)
            rows, token = rows + len(payouts_page.payouts), payouts_page.next_page_token
            if not token:
                break

    async def pool(self) -> PoolView:
        """Ask how the pool is."""
        stats = await call(
            self._shares.GetPoolStats, shares_pb2.GetPoolStatsRequest(coin=self._coin), timeout_s=TIMEOUT_S
        )
        payer = await call(self._payouts.GetStatus, payouts_pb2.GetStatusRequest(coin=self._coin), timeout_s=TIMEOUT_S)
        return PoolView(
            rates=_rates(stats.hashrates),
            account_count=stats.account_count,
            worker_count=stats.worker_count,
            is_held=payer.is_held,
            wait_reason=payer.reason,
            paid_atomic=payer.paid_atomic,
            review_count=payer.batches_in_review,
        )

    async def hold_payouts(self, *, reason: str, request_id: str) -> None:
        """Let no new payouts be made."""
        request = payouts_pb2.HoldPayoutsRequest(coin=self._coin, reason=reason, request_id=request_id)
        await call(self._payouts.HoldPayouts, request, timeout_s=TIMEOUT_S)

    async def resume_payouts(self, *, request_id: str) -> None:
        """Let payouts be made again."""
        request = payouts_pb2.ResumePayoutsRequest(coin=self._coin, request_id=request_id)
        await call(self._payouts.ResumePayouts, request, timeout_s=TIMEOUT_S)

    async def _listed(self, account: str) -> dict[str, miners_pb2.Worker]:
        try:
            found = await call(
                self._miners.ListWorkers,
                miners_pb2.ListWorkersRequest(coin=self._coin, account=account, page_size=_PAGE),
                timeout_s=TIMEOUT_S,
            )
        except NotFound:
            return {}
        return {worker.worker: worker for worker in found.workers}


def _rates(found: shares_pb2.Hashrates) -> Rates:
    return Rates(hps_5m=int(found.hps_5m or 0), hps_1h=int(found.hps_1h or 0), hps_24h=int(found.hps_24h or 0))


def _rejected(counts: shares_pb2.ShareCounts) -> int:
    return counts.stale + counts.duplicate + counts.low_difficulty + counts.invalid


def _worker(name: str, stats: shares_pb2.WorkerStats | None, listed: miners_pb2.Worker | None) -> WorkerView:
    stats = stats or shares_pb2.WorkerStats()
    last_ms = max(stats.last_share_time_ms, listed.last_share_time_ms if listed else 0)
    return WorkerView(
        name=name,
        is_online=listed is not None and listed.presence == miners_pb2.PRESENCE_ONLINE,
        rates=_rates(stats.hashrates),
        last_share_time_ms=last_ms,
        accepted=stats.counts.accepted,
        rejected=_rejected(stats.counts),
    )


def _payout(payout: payouts_pb2.Payout) -> MoneyView:
    return MoneyView(
        kind="payout",
        time_ms=payout.create_time_ms,
        amount_atomic=payout.amount_atomic,
        status=payouts_pb2.BatchStatus.Name(payout.status).removeprefix("BATCH_STATUS_").lower(),
        height=0,
        reference=payout.txid_hex,
    )


def _credit(credit: rewards_pb2.Credit) -> MoneyView:
    return MoneyView(
        kind="credit",
        time_ms=credit.found_time_ms,
        amount_atomic=credit.amount_atomic,
        status=_block_status(credit.status),
        height=credit.height,
        reference=credit.block_hash_hex,
    )


def _block(block: rewards_pb2.Block) -> BlockView:
    network_work, round_work = int(block.network_work or 0), int(block.round_work or 0)
    return BlockView(
        height=block.height,
        status=_block_status(block.status),
        found_time_ms=block.found_time_ms,
        reward_atomic=block.reward_atomic,
        effort_hundredths=round_work * 10_000 // network_work if network_work else 0,
        block_hash_hex=block.block_hash_hex,
    )


def _block_status(status: rewards_pb2.BlockStatus.ValueType) -> str:
    return rewards_pb2.BlockStatus.Name(status).removeprefix("BLOCK_STATUS_").lower()
