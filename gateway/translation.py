"""Protobuf into models; protobuf goes no further."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from msgspec.structs import asdict

from gateway import models
from gateway.expectation import effort_hundredths, expected_atomic_per_day, hashrate_interval, mean_percent
from proto.lodepool.miners.v1 import miners_pb2
from proto.lodepool.payouts.v1 import payouts_pb2
from proto.lodepool.rewards.v1 import rewards_pb2
from proto.lodepool.shares.v1 import shares_pb2

WEEK_MS = 7 * 86_400_000
LUCK_BLOCKS = 100
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_PRESENCES = {
    miners_pb2.PRESENCE_ONLINE: models.Presence.ONLINE,
    miners_pb2.PRESENCE_OFFLINE: models.Presence.OFFLINE,
}


def time_of(time_ms: int) -> datetime:
    """Return the UTC time of milliseconds since the Unix epoch."""
    return _EPOCH + timedelta(milliseconds=time_ms)


def time_or_none(time_ms: int) -> datetime | None:
    """Return the UTC time, None for 0 (never)."""
    return time_of(time_ms) if time_ms else None


def work_of(digits: str) -> str:
    """Return work as digits; what a service left empty is 0."""
    return str(int(digits or "0"))


def hashrate_of(digits: str) -> int | str:
    """Return a hashrate as a number, or as digits when readers would round the number."""
    hashrate_hps = int(digits or "0")
    return hashrate_hps if hashrate_hps <= models.HASHRATE_NUMBER_MAX else str(hashrate_hps)


def effort_percent(round_work: str, network_work: str) -> str | None:
    """Return round_work / network_work in percent with two decimals, rounded down; None without a network_work.

    Example: 5 of 3 is 166.66.
    """
    network = int(network_work or "0")
    if not network:
        return None
    whole, hundredths = divmod(int(round_work or "0") * 10_000 // network, 100)
    return f"{whole}.{hundredths:02d}"


def hashrates(rates: shares_pb2.Hashrates) -> models.Hashrates:
    """Return average hashrates."""
    return models.Hashrates(
        hps_1m=hashrate_of(rates.hps_1m),
        hps_5m=hashrate_of(rates.hps_5m),
        hps_15m=hashrate_of(rates.hps_15m),
        hps_1h=hashrate_of(rates.hps_1h),
        hps_24h=hashrate_of(rates.hps_24h),
    )


def share_counts(counts: shares_pb2.ShareCounts) -> models.ShareCounts:
    """Return shares by outcome."""
    return models.ShareCounts(
        accepted=counts.accepted,
        stale=counts.stale,
        duplicate=counts.duplicate,
        low_difficulty=counts.low_difficulty,
        invalid=counts.invalid,
    )


def pool_shares(stats: shares_pb2.PoolStats) -> models.PoolShares:
    """Return what the pool's miners do."""
    best = None
    if stats.best_account:
        best = models.BestShare(hash_work=str(stats.best_hash_work), address=stats.best_account)
    return models.PoolShares(
        hashrates=hashrates(stats.hashrates),
        counts=share_counts(stats.counts),
        miner_online_count=stats.account_count,
        worker_online_count=stats.worker_count,
        best_share=best,
        last_share_time=time_or_none(stats.last_share_time_ms),
    )


def luck(blocks: Iterable[rewards_pb2.Block], *, now_ms: int) -> models.Luck:
    """Return how the blocks came, of the newest first."""
    kept = [message for message in blocks if message.status != rewards_pb2.BLOCK_STATUS_ORPHANED]
    week = [message for message in kept if message.found_time_ms > now_ms - WEEK_MS]
    return models.Luck(
        blocks_7d=len(week),
        effort_percent_mean_7d=mean_percent(map(_effort, week)),
        effort_percent_mean_100=mean_percent(map(_effort, kept[:LUCK_BLOCKS])),
    )


def _effort(message: rewards_pb2.Block) -> int | None:
    return effort_hundredths(int(message.round_work or "0"), int(message.network_work or "0"))


def block_counts(counts: rewards_pb2.BlockCounts) -> models.BlockCounts:
    """Return blocks by status."""
    return models.BlockCounts(
        candidate=counts.candidate, immature=counts.immature, mature=counts.mature, orphaned=counts.orphaned
    )


def block_status(status: rewards_pb2.BlockStatus.ValueType) -> models.BlockStatus:
    """Return where a block is."""
    return models.BlockStatus(rewards_pb2.BlockStatus.Name(status).removeprefix("BLOCK_STATUS_").lower())


def block_status_to_proto(status: models.BlockStatus | None) -> rewards_pb2.BlockStatus.ValueType:
    """Return the filter for a status; None asks for all."""
    if status is None:
        return rewards_pb2.BLOCK_STATUS_UNSPECIFIED
    return rewards_pb2.BlockStatus.Value(f"BLOCK_STATUS_{status.name}")


def block(message: rewards_pb2.Block) -> models.Block:
    """Return a block without its distribution."""
    # Before the block is credited its round's work is not known, which is not an effort of 0.
    is_credited = bool(int(message.round_work or "0"))
    return models.Block(
        height=message.height,
        block_hash=message.block_hash_hex,
        status=block_status(message.status),
        confirmations=message.confirmations,
        maturity_blocks=message.maturity_blocks,
        found_time=time_of(message.found_time_ms),
        finder=message.account,
        worker=message.worker,
        scheme=message.scheme,
        reward_atomic=message.reward_atomic,
        fees_atomic=message.fees_atomic,
        pool_fee_atomic=message.pool_fee_atomic,
        remainder_atomic=message.remainder_atomic,
        coinbase_txid=message.coinbase_txid_hex,
        network_work=work_of(message.network_work),
        round_work=work_of(message.round_work),
        window_work=work_of(message.window_work),
        effort_percent=effort_percent(message.round_work, message.network_work) if is_credited else None,
        hold_reason=message.hold_reason,
    )


def block_detail(message: rewards_pb2.Block) -> models.BlockDetail:
    """Return a block with its distribution."""
    parts = [
        models.BlockCredit(address=credit.account, work=work_of(credit.work), amount_atomic=credit.amount_atomic)
        for credit in message.credits
    ]
    return models.BlockDetail(**asdict(block(message)), credits=parts)


def payer(status: payouts_pb2.PayerStatus) -> models.Payer:
    """Return how payouts are going."""
    return models.Payer(
        is_active=status.is_active,
        is_held=status.is_held,
        reason=status.reason or None,
        batches_confirmed=status.batches_confirmed,
        payouts_confirmed=status.payouts_confirmed,
        paid_atomic=status.paid_atomic,
        batches_in_review=status.batches_in_review,
        accounts_isolated=len(status.isolated),
    )


def miner_summary(
    stats: shares_pb2.AccountStats, account: miners_pb2.Account | None, *, is_named: bool
) -> models.MinerSummary:
    """Return a miner in the list.

    Args:
        stats: What the shares service knows.
        account: None when the miners service does not know it or is away.
        is_named: False leaves the address out, as an anonymous miner's is.
    """
    is_anonymous = account is not None and account.is_anonymous
    return models.MinerSummary(
        address=stats.account if is_named and not is_anonymous else None,
        hashrates=hashrates(stats.hashrates),
        counts=share_counts(stats.counts),
        total_work=work_of(stats.total_work),
        worker_count=None if account is None else account.worker_count,
        worker_online_count=None if account is None else account.worker_online_count,
        last_share_time=None if account is None else time_or_none(account.last_share_time_ms),
    )


def miner_account(account: miners_pb2.Account, *, threshold_default_atomic: int) -> models.MinerAccount:
    """Return what is known of an account, with the threshold that holds for it."""
    return models.MinerAccount(
        create_time=time_or_none(account.create_time_ms),
        last_share_time=time_or_none(account.last_share_time_ms),
        worker_count=account.worker_count,
        worker_online_count=account.worker_online_count,
        payout_threshold_atomic=account.payout_threshold_atomic or threshold_default_atomic,
        is_threshold_default=not account.payout_threshold_atomic,
    )


def miner_shares(stats: shares_pb2.AccountStats) -> models.MinerShares:
    """Return what an account has mined."""
    return models.MinerShares(
        hashrates=hashrates(stats.hashrates),
        counts=share_counts(stats.counts),
        total_work=work_of(stats.total_work),
        best_hash_work=str(stats.best_hash_work),
    )


def miner_balance(balance: rewards_pb2.Balance) -> models.MinerBalance:
    """Return what an account has."""
    return models.MinerBalance(
        immature_atomic=balance.immature_atomic,
        payable_atomic=balance.payable_atomic,
        reserved_atomic=balance.reserved_atomic,
        paid_atomic=balance.paid_atomic,
    )


def worker(name: str, *, known: miners_pb2.Worker | None, stats: shares_pb2.WorkerStats | None) -> models.Worker:
    """Return a worker from what either service knows of it."""
    last_share_time_ms = max(
        0 if known is None else known.last_share_time_ms, 0 if stats is None else stats.last_share_time_ms
    )
    return models.Worker(
        worker=name,
        presence=None if known is None else _PRESENCES.get(known.presence),
        scheme=None if known is None else known.scheme or None,
        user_agent=None if known is None else known.user_agent or None,
        create_time=None if known is None else time_or_none(known.create_time_ms),
        last_share_time=time_or_none(last_share_time_ms),
        hashrates=None if stats is None else hashrates(stats.hashrates),
        counts=None if stats is None else share_counts(stats.counts),
        best_hash_work=None if stats is None else str(stats.best_hash_work),
        last_reject=None if stats is None else _last_reject(stats),
    )


def _last_reject(stats: shares_pb2.WorkerStats) -> models.Reject | None:
    if not stats.last_reject_time_ms:
        return None
    return models.Reject(reason=stats.last_reject_reason, time=time_of(stats.last_reject_time_ms))


def uncertainty(stats: shares_pb2.AccountStats) -> models.Uncertainty:
    """Return how sure a miner's hashrate of the last hour is."""
    interval = hashrate_interval(int(stats.hashrates.hps_1h or "0"), stats.accepted_count_1h)
    low, high = (None, None) if interval is None else interval
    return models.Uncertainty(
        hps_1h_low=None if low is None else hashrate_of(str(low)),
        hps_1h_high=None if high is None else hashrate_of(str(high)),
        share_count_1h=stats.accepted_count_1h,
    )


def estimate(
    stats: shares_pb2.AccountStats, newest: rewards_pb2.Block | None, *, is_day_old: bool, fee_ppm: int
) -> models.Estimate:
    """Return what a miner can expect by the pool's newest block; there is nothing to go by before the first."""
    rates = stats.hashrates
    network_work = 0 if newest is None else int(newest.network_work or "0")
    return models.Estimate(
        atomic_per_day=None
        if newest is None or not network_work
        else expected_atomic_per_day(
            hps=int((rates.hps_24h if is_day_old else rates.hps_1h) or "0"),
            network_work=network_work,
            reward_atomic=newest.reward_atomic,
            fee_ppm=fee_ppm,
        ),
        basis="24h" if is_day_old else "1h",
    )


def credit(message: rewards_pb2.Credit) -> models.Credit:
    """Return what a block brought a miner."""
    return models.Credit(
        height=message.height,
        block_hash=message.block_hash_hex,
        status=block_status(message.status),
        found_time=time_of(message.found_time_ms),
        work=work_of(message.work),
        amount_atomic=message.amount_atomic,
    )


def payout_status(status: payouts_pb2.BatchStatus.ValueType) -> models.PayoutStatus | None:
    """Return where a payment is; None when it was left out of a batch."""
    if status == payouts_pb2.BATCH_STATUS_UNSPECIFIED:
        return None
    return models.PayoutStatus(payouts_pb2.BatchStatus.Name(status).removeprefix("BATCH_STATUS_").lower())


def payout(message: payouts_pb2.Payout) -> models.Payout:
    """Return a payment."""
    return models.Payout(
        payout_id=message.payout_id,
        batch_id=message.batch_id or None,
        address=message.account,
        amount_atomic=message.amount_atomic,
        status=payout_status(message.status),
        txid=message.txid_hex or None,
        create_time=time_of(message.create_time_ms),
        confirm_time=time_or_none(message.confirm_time_ms),
    )


def ledger(totals: rewards_pb2.LedgerTotals, *, coin_id: str) -> models.Ledger:
    """Return the ledger's sums."""
    return models.Ledger(
        coin=coin_id,
        coinbase_atomic=totals.coinbase_atomic,
        immature_atomic=totals.immature_atomic,
        payable_atomic=totals.payable_atomic,
        reserved_atomic=totals.reserved_atomic,
        paid_atomic=totals.paid_atomic,
        pool_fee_atomic=totals.pool_fee_atomic,
        remainder_atomic=totals.remainder_atomic,
        network_fee_atomic=totals.network_fee_atomic,
    )
