"""The shapes of the answers: names and units of Miningcore's API. What is None is left out, as it is there."""

from datetime import datetime

import msgspec

from gateway.compat.numbers import Number


class Answer(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """Base of all shapes."""


class Coin(Answer, frozen=True, kw_only=True):
    """What is mined."""

    type: str
    name: str
    symbol: str
    family: str
    algorithm: str
    canonical_name: str


class VarDiff(Answer, frozen=True, kw_only=True):
    """Bounds of the share difficulty."""

    min_diff: Number
    max_diff: Number | None = None


class Port(Answer, frozen=True, kw_only=True):
    """Where miners connect."""

    listen_address: str
    name: str
    difficulty: Number
    var_diff: VarDiff
    tls: bool
    tls_auto: bool


class PaymentProcessing(Answer, frozen=True, kw_only=True):
    """How miners are paid; the payment is in coins."""

    enabled: bool
    minimum_payment: Number
    payout_scheme: str


class PoolStats(Answer, frozen=True, kw_only=True):
    """The pool at this moment."""

    connected_miners: int
    pool_hashrate: Number
    shares_per_second: int


class NetworkStats(Answer, frozen=True, kw_only=True):
    """The network, as far as the pool's blocks and its nodes tell."""

    network_type: str
    network_hashrate: Number
    network_difficulty: Number
    block_height: int
    reward_type: str


class MinerPerformance(Answer, frozen=True, kw_only=True):
    """A miner in a list."""

    miner: str
    hashrate: Number
    shares_per_second: Number


class PoolInfo(Answer, frozen=True, kw_only=True):
    """A pool; amounts are in coins, efforts are ratios (1 is what is expected)."""

    id: str
    coin: Coin
    ports: dict[str, Port]
    payment_processing: PaymentProcessing
    pool_fee_percent: Number
    address: str
    address_info_link: str | None = None
    pool_stats: PoolStats
    network_stats: NetworkStats
    top_miners: list[MinerPerformance]
    total_paid: Number
    total_blocks: int
    total_confirmed_blocks: int
    total_pending_blocks: int
    block_reward: Number
    last_pool_block_time: datetime | None = None
    pool_effort: Number


class Pools(Answer, frozen=True, kw_only=True):
    """All pools: the one."""

    pools: list[PoolInfo]


class SinglePool(Answer, frozen=True, kw_only=True):
    """One pool."""

    pool: PoolInfo


class PoolSample(Answer, frozen=True, kw_only=True):
    """The pool over a step of time. `connectedMiners` counts workers: the pool keeps no history of accounts."""

    pool_hashrate: Number
    connected_miners: int
    connected_workers: int
    valid_shares_per_second: int
    network_hashrate: Number
    network_difficulty: Number
    created: datetime


class PoolSamples(Answer, frozen=True, kw_only=True):
    """The pool over time, oldest first."""

    stats: list[PoolSample]


class Block(Answer, frozen=True, kw_only=True):
    """A block the pool found; `confirmationProgress` and `effort` are ratios."""

    pool_id: str
    block_height: int
    network_difficulty: Number
    status: str
    confirmation_progress: Number
    effort: Number | None = None
    transaction_confirmation_data: str
    reward: Number
    info_link: str | None = None
    hash: str
    miner: str
    created: datetime


class Payment(Answer, frozen=True, kw_only=True):
    """A payment; the amount is in coins."""

    coin: str
    address: str
    address_info_link: str | None = None
    amount: Number
    transaction_confirmation_data: str
    transaction_info_link: str | None = None
    created: datetime


class WorkerPerformance(Answer, frozen=True, kw_only=True):
    """A worker in a sample."""

    hashrate: Number
    shares_per_second: Number


class WorkerSample(Answer, frozen=True, kw_only=True):
    """A miner's workers over a step of time, by name."""

    created: datetime
    workers: dict[str, WorkerPerformance]


class MinerStats(Answer, frozen=True, kw_only=True):
    """A miner; amounts are in coins, `pendingShares` is its work since the newest block, in share difficulty.

    `totalPaid` counts what is on its way, so that it and `pendingBalance` lose nothing.
    """

    pending_shares: Number
    pending_balance: Number
    total_paid: Number
    today_paid: Number
    last_payment: datetime | None = None
    last_payment_link: str | None = None
    performance: WorkerSample | None = None
    performance_samples: list[WorkerSample]
    total_confirmed_blocks: int
    total_pending_blocks: int


class BalanceChange(Answer, frozen=True, kw_only=True):
    """What a block or a payment did to a balance; the amount is in coins."""

    pool_id: str
    address: str
    amount: Number
    usage: str
    created: datetime


class DailyEarning(Answer, frozen=True, kw_only=True):
    """What a miner was paid on a day."""

    amount: Number
    date: datetime


class MinerSettings(Answer, frozen=True, kw_only=True):
    """What a miner chose; in coins."""

    payment_threshold: Number


class BlockPage(Answer, frozen=True, kw_only=True):
    """A numbered page of blocks."""

    page_count: int
    item_count: int
    result: list[Block]
    success: bool


class PaymentPage(Answer, frozen=True, kw_only=True):
    """A numbered page of payments."""

    page_count: int
    item_count: int
    result: list[Payment]
    success: bool


class BalanceChangePage(Answer, frozen=True, kw_only=True):
    """A numbered page of balance changes."""

    page_count: int
    item_count: int
    result: list[BalanceChange]
    success: bool


class DailyEarningPage(Answer, frozen=True, kw_only=True):
    """A numbered page of daily earnings."""

    page_count: int
    item_count: int
    result: list[DailyEarning]
    success: bool
