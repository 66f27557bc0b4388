"""Protobuf into the shapes of the answers. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from html import escape

from coins.coin import Coin
from gateway.compat import models
from gateway.compat.numbers import Number, money, network_difficulty, ratio, whole
from gateway.compat.performance import Step
from gateway.compat.query import BlockState
from gateway.translation import time_of
from proto.lodepool.payouts.v1 import payouts_pb2
from proto.lodepool.rewards.v1 import rewards_pb2
from proto.lodepool.shares.v1 import shares_pb2

ANONYMOUS = "anonymous"
"""Stands in lists of miners for the address of one who wants no name there."""

_NETWORKS = {"main": "Main", "test": "TestNet", "regtest": "RegTest"}
_STATES = {
    rewards_pb2.BLOCK_STATUS_CANDIDATE: BlockState.PENDING,
    rewards_pb2.BLOCK_STATUS_IMMATURE: BlockState.PENDING,
    rewards_pb2.BLOCK_STATUS_MATURE: BlockState.CONFIRMED,
    rewards_pb2.BLOCK_STATUS_ORPHANED: BlockState.ORPHANED,
}
_SENT = frozenset({payouts_pb2.BATCH_STATUS_BROADCAST, payouts_pb2.BATCH_STATUS_CONFIRMED})


def number_of(digits: str) -> int:
    """Return what digits say; nothing is 0."""
    return int(digits or "0")


def network_name(network: str) -> str:
    """Return a network's name as it is called there."""
    return _NETWORKS.get(network, network.capitalize())


def state_of(block: rewards_pb2.Block) -> BlockState:
    """Return where a block is; what is not known yet is pending."""
    return _STATES.get(block.status, BlockState.PENDING)


def block(message: rewards_pb2.Block, coin: Coin, *, pool_id: str) -> models.Block:
    """Return a block; an orphaned one brought nothing."""
    state = state_of(message)
    round_work, network_work = number_of(message.round_work), number_of(message.network_work)
    return models.Block(
        pool_id=pool_id,
        block_height=message.height,
        network_difficulty=network_difficulty(network_work),
        status=state.value,
        confirmation_progress=_progress(message, state),
        effort=ratio(round_work, network_work) if round_work and network_work else None,
        transaction_confirmation_data=message.coinbase_txid_hex,
        reward=money(0 if state is BlockState.ORPHANED else message.reward_atomic, decimals=coin.decimals),
        info_link=block_link(coin, message.block_hash_hex),
        hash=message.block_hash_hex,
        miner=message.account,
        created=time_of(message.found_time_ms),
    )


def _progress(message: rewards_pb2.Block, state: BlockState) -> Number:
    match state:
        case BlockState.CONFIRMED:
            return whole(1)
        case BlockState.ORPHANED:
            return whole(0)
        case BlockState.PENDING:
            return ratio(min(message.confirmations, message.maturity_blocks), message.maturity_blocks)


def is_sent(message: payouts_pb2.Payout) -> bool:
    """Tell whether a payment is on its way or arrived; there it is a payment only then."""
    return message.status in _SENT


def payment(message: payouts_pb2.Payout, coin: Coin) -> models.Payment:
    """Return a payment that was sent."""
    return models.Payment(
        coin=coin.ticker,
        address=message.account,
        address_info_link=address_link(coin, message.account),
        amount=money(message.amount_atomic, decimals=coin.decimals),
        transaction_confirmation_data=message.txid_hex,
        transaction_info_link=tx_link(coin, message.txid_hex),
        created=time_of(message.create_time_ms),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What changed a balance.

    Attributes:
        time_ms: When, milliseconds since the Unix epoch.
        amount_atomic: By how much.
        usage: Why.
    """

    time_ms: int
    amount_atomic: int
    usage: str

    def told(self, coin: Coin, *, pool_id: str, address: str) -> models.BalanceChange:
        """Return it as it is told of an account."""
        return models.BalanceChange(
            pool_id=pool_id,
            address=address,
            amount=money(self.amount_atomic, decimals=coin.decimals),
            usage=self.usage,
            created=time_of(self.time_ms),
        )


def balance_changes(rewarded: Iterable[rewards_pb2.Credit], payouts: Iterable[payouts_pb2.Payout]) -> list[Change]:
    """Return what mature blocks brought an account and payments took, newest first.

    Args:
        rewarded: The account's credits of mature blocks.
        payouts: Those sent to the account.
    """
    changes = [
        Change(
            time_ms=credit.found_time_ms,
            amount_atomic=credit.amount_atomic,
            usage=f"Reward for block {credit.height}",
        )
        for credit in rewarded
    ]
    changes += [
        Change(
            time_ms=payout.create_time_ms,
            amount_atomic=-payout.amount_atomic,
            usage="Balance reset after payment",
        )
        for payout in payouts
    ]
    changes.sort(key=lambda change: change.time_ms, reverse=True)
    return changes


def daily_earnings(payouts: Iterable[payouts_pb2.Payout], coin: Coin) -> list[models.DailyEarning]:
    """Return what was paid on each day in UTC, newest day first."""
    sums: dict[datetime, int] = {}
    for payout in payouts:
        day = midnight(time_of(payout.create_time_ms))
        sums[day] = sums.get(day, 0) + payout.amount_atomic
    return [
        models.DailyEarning(amount=money(sums[day], decimals=coin.decimals), date=day)
        for day in sorted(sums, reverse=True)
    ]


def midnight(time: datetime) -> datetime:
    """Return the begin of the day."""
    return time.replace(hour=0, minute=0, second=0, microsecond=0)


def steps_of(history: shares_pb2.HashrateHistory) -> list[Step]:
    """Return a history's steps."""
    return [
        Step(
            time_ms=point.time_ms,
            length_s=history.interval_s,
            hps=number_of(point.hps),
            accepted=point.accepted,
            worker_count=point.worker_count,
        )
        for point in history.points
    ]


def pool_samples(
    steps: Iterable[Step], blocks: Sequence[rewards_pb2.Block], *, block_interval_s: int
) -> models.PoolSamples:
    """Return the pool over time, with the network as the pool's newest block up to each time tells it.

    Args:
        steps: The pool's.
        blocks: The pool's newest blocks, newest first.
        block_interval_s: The aimed-at time between the network's blocks.
    """
    samples = []
    for step in steps:
        end_ms = step.time_ms + step.length_s * 1_000
        before = next((block for block in blocks if block.found_time_ms < end_ms), blocks[-1] if blocks else None)
        network_work = 0 if before is None else number_of(before.network_work)
        samples.append(
            models.PoolSample(
                pool_hashrate=whole(step.hps),
                connected_miners=step.worker_count,
                connected_workers=step.worker_count,
                valid_shares_per_second=step.accepted // step.length_s,
                network_hashrate=whole(network_work // block_interval_s),
                network_difficulty=network_difficulty(network_work),
                created=time_of(step.time_ms),
            )
        )
    return models.PoolSamples(stats=samples)


def worker_name(name: str) -> str:
    """Return a worker's name with markup escaped.

    Anybody can mine to any address under any name, and front ends of this kind put names into their pages as they come.
    """
    return escape(name)


def worker_samples(samples: Iterable[tuple[int, Mapping[str, Step]]]) -> list[models.WorkerSample]:
    """Return a miner's workers over time."""
    return [
        models.WorkerSample(
            created=time_of(time_ms),
            workers={
                worker_name(name): models.WorkerPerformance(
                    hashrate=whole(step.hps), shares_per_second=ratio(step.accepted, step.length_s)
                )
                for name, step in workers.items()
            },
        )
        for time_ms, workers in samples
    ]


def performance(stats: shares_pb2.AccountStats, *, now_ms: int, age_ms_max: int) -> models.WorkerSample | None:
    """Return the workers that mined lately; None when there are none.

    How many shares each sent is not counted by time: a worker is given its part, by hashrate, of the account's shares
    of the last hour.

    Args:
        stats: The account with its workers.
        now_ms: The time.
        age_ms_max: A worker whose last accepted share is older is left out.
    """
    recent = [worker for worker in stats.workers if worker.last_share_time_ms > now_ms - age_ms_max]
    account_hps = number_of(stats.hashrates.hps_1h)
    if not recent:
        return None
    return models.WorkerSample(
        created=time_of(now_ms),
        workers={
            worker_name(worker.worker): models.WorkerPerformance(
                hashrate=whole(worker.hashrates.hps_15m),
                shares_per_second=ratio(
                    stats.accepted_count_1h * number_of(worker.hashrates.hps_1h), 3_600 * account_hps
                ),
            )
            for worker in recent
        },
    )


def tx_link(coin: Coin, txid_hex: str) -> str | None:
    """Return where a transaction can be looked at."""
    url = coin.explorer_tx_url
    return None if url is None or not txid_hex else url.replace("{txid}", txid_hex)


def block_link(coin: Coin, block_hash_hex: str) -> str | None:
    """Return where a block can be looked at."""
    return None if coin.explorer_block_url is None else coin.explorer_block_url.replace("{hash}", block_hash_hex)


def address_link(coin: Coin, address: str) -> str | None:
    """Return where an address can be looked at."""
    return None if coin.explorer_address_url is None else coin.explorer_address_url.replace("{address}", address)
