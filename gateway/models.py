"""The shapes of the answers.

Amounts are whole atomic units, and work (expected hashes) is digits in a string, since sums of it exceed what readers'
numbers hold. Times are ISO 8601 in UTC. Nothing is a float. Readers must ignore fields they do not know: more may come,
so that, unlike what comes in, these do not forbid unknown fields.
"""

from datetime import datetime
from enum import StrEnum
from typing import Annotated

import msgspec
from msgspec import Meta

HASHRATE_NUMBER_MAX = 2**53 - 1
"""The greatest hashrate given as a number: above it JavaScript and others round."""

Atomic = Annotated[int, Meta(description="Atomic units of the coin (its smallest unit).")]
Work = Annotated[str, Meta(pattern=r"^[0-9]+$", description="Expected number of hashes, decimal digits.")]
Percent = Annotated[
    str, Meta(pattern=r"^[0-9]+\.[0-9]{2}$", description="Percent with two decimals, rounded down: 104.25.")
]
Hashrate = Annotated[
    int | str, Meta(description="Hashes per second: a whole number, or its digits in a string when above 2^53 - 1.")
]
Time = Annotated[datetime, Meta(tz=True, description="UTC.")]
Address = Annotated[str, Meta(description="The miner's payout address, which is its account.")]
Confirmations = Annotated[int, Meta(description="When last looked; 0 when it is not in the active chain.")]
NextPageToken = Annotated[str | None, Meta(description="Ask for the next page with this; null on the last page.")]
Degraded = Annotated[
    list[str], Meta(description="Services that did not answer; what they know is null. Empty when all did.")
]


class BlockStatus(StrEnum):
    """Where a block is in its life."""

    CANDIDATE = "candidate"
    IMMATURE = "immature"
    MATURE = "mature"
    ORPHANED = "orphaned"


class PayoutStatus(StrEnum):
    """Where a payment is on its way."""

    RESERVED = "reserved"
    SIGNED = "signed"
    BROADCAST = "broadcast"
    CONFIRMED = "confirmed"
    REVIEW = "review"
    VOIDED = "voided"


class Presence(StrEnum):
    """Whether a worker is mining now."""

    ONLINE = "online"
    OFFLINE = "offline"


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """Base of all answers."""


class Hashrates(Answer, frozen=True, kw_only=True):
    """Average hashrates over the last minute, five and fifteen minutes, hour and day."""

    hps_1m: Hashrate
    hps_5m: Hashrate
    hps_15m: Hashrate
    hps_1h: Hashrate
    hps_24h: Hashrate


class ShareCounts(Answer, frozen=True, kw_only=True):
    """Shares by outcome; all but `accepted` were rejected for that reason."""

    accepted: int
    stale: int
    duplicate: int
    low_difficulty: int
    invalid: int


class BlockCounts(Answer, frozen=True, kw_only=True):
    """The pool's blocks by status."""

    candidate: int
    immature: int
    mature: int
    orphaned: int


class Block(Answer, frozen=True, kw_only=True):
    """A block the pool found. Fees of the pool, remainder and works are zero until it is credited."""

    height: int
    block_hash: str
    status: BlockStatus
    confirmations: Confirmations
    maturity_blocks: Annotated[int, Meta(description="Confirmations after which its rewards are payable.")]
    found_time: Time
    finder: Address
    worker: str
    scheme: Annotated[str, Meta(description="The reward scheme it is paid by.")]
    reward_atomic: Annotated[int, Meta(description="The coinbase's value, atomic units, fees included.")]
    fees_atomic: Annotated[int, Meta(description="Transaction fees within the reward, atomic units.")]
    pool_fee_atomic: Annotated[int, Meta(description="The pool's fee out of the reward, atomic units.")]
    remainder_atomic: Annotated[int, Meta(description="What nobody could be credited with, atomic units.")]
    coinbase_txid: str
    network_work: Work
    round_work: Work
    window_work: Work
    effort_percent: Annotated[
        Percent | None, Meta(description="round_work over network_work; null while either is unknown.")
    ]
    hold_reason: Annotated[str, Meta(description="Why it waits for the operator; empty when it does not.")]


class BlockCredit(Answer, frozen=True, kw_only=True):
    """One miner's part of a block."""

    address: Address
    work: Work
    amount_atomic: Atomic


class BlockDetail(Block, frozen=True, kw_only=True):
    """A block with its distribution: credits + pool fee + remainder = reward."""

    credits: list[BlockCredit]


class BlockPage(Answer, frozen=True, kw_only=True):
    """Blocks, newest first."""

    blocks: list[Block]
    counts: Annotated[BlockCounts, Meta(description="Over all pages.")]
    next_page_token: NextPageToken


class MinerBlockPage(Answer, frozen=True, kw_only=True):
    """Blocks that a miner found, newest first."""

    blocks: list[Block]
    next_page_token: NextPageToken


class Explorer(Answer, frozen=True, kw_only=True):
    """Where to look things up on the chain; null where there is no explorer."""

    tx_url: Annotated[str | None, Meta(description="With {txid}.")]
    block_url: Annotated[str | None, Meta(description="With {hash}.")]
    address_url: Annotated[str | None, Meta(description="With {address}.")]


class BestShare(Answer, frozen=True, kw_only=True):
    """The best share ever: the number of hashes it was worth, and who found it."""

    hash_work: Work
    address: Address


class PoolShares(Answer, frozen=True, kw_only=True):
    """What the pool's miners do, from the shares service."""

    hashrates: Hashrates
    counts: Annotated[ShareCounts, Meta(description="Since the pool began.")]
    miner_online_count: Annotated[int, Meta(description="Miners with an accepted share in the last ten minutes.")]
    worker_online_count: Annotated[int, Meta(description="Workers with an accepted share in the last ten minutes.")]
    best_share: Annotated[BestShare | None, Meta(description="Null before the first share.")]
    last_share_time: Annotated[Time | None, Meta(description="Null before the first share.")]


class PoolRound(Answer, frozen=True, kw_only=True):
    """The current round: since the newest block of the pool that is not orphaned."""

    start_height: Annotated[int, Meta(description="Height of that block; 0 in the first round.")]
    round_work: Work
    network_work: Annotated[Work | None, Meta(description="The network's work for one block, as of that block.")]
    effort_percent: Annotated[Percent | None, Meta(description="round_work over network_work; null in the first.")]


class PoolBlocks(Answer, frozen=True, kw_only=True):
    """The pool's blocks, from the rewards service."""

    counts: BlockCounts
    last: Annotated[Block | None, Meta(description="The newest, whatever became of it; null before the first.")]


class Network(Answer, frozen=True, kw_only=True):
    """The network as of the pool's newest block."""

    height: int
    work: Work


class Payer(Answer, frozen=True, kw_only=True):
    """How payouts are going, from the payouts service."""

    is_active: Annotated[bool, Meta(description="A payer is running.")]
    is_held: Annotated[bool, Meta(description="The operator holds payouts.")]
    reason: Annotated[str | None, Meta(description="Why payouts wait; null when they do not.")]
    batches_confirmed: int
    payouts_confirmed: int
    paid_atomic: Atomic
    batches_in_review: Annotated[int, Meta(description="Batches that wait for the operator.")]
    accounts_isolated: Annotated[int, Meta(description="Accounts left out because their address was refused.")]


class Stratum(Answer, frozen=True, kw_only=True):
    """Where and how miners connect."""

    host: Annotated[str | None, Meta(description="Null: the host that serves the page.")]
    port: int
    is_tls: bool
    difficulty_start: Annotated[str, Meta(description="Share difficulty of a new connection, decimal.")]
    difficulty_min: Annotated[str, Meta(description="No share difficulty is lower, decimal.")]
    difficulty_max: Annotated[str | None, Meta(description="None is higher, decimal; null when only the network's.")]
    schemes_allowed: Annotated[list[str], Meta(description="Reward schemes a worker may choose.")]
    password_options: Annotated[list[str], Meta(description="What the password can hold.")]


class Luck(Answer, frozen=True, kw_only=True):
    """How the pool's blocks came, against what its work should bring. Orphaned blocks are left out."""

    blocks_7d: Annotated[int, Meta(description="Blocks of the last seven days, 1000 at most.")]
    effort_percent_mean_7d: Annotated[Percent | None, Meta(description="Mean of their efforts; null when none.")]
    effort_percent_mean_100: Annotated[Percent | None, Meta(description="Mean of the last 100; null when none.")]


class Pool(Answer, frozen=True, kw_only=True):
    """The pool at this moment."""

    name: str
    coin: Annotated[str, Meta(description="The coin's id.")]
    coin_name: str
    ticker: str
    decimals: Annotated[int, Meta(description="Digits after the point: one coin is 10^decimals atomic units.")]
    network: str
    algorithm: str
    block_interval_s: int
    maturity_blocks: int
    difficulty_1_work: Annotated[Work, Meta(description="Work of a share of difficulty 1.")]
    scheme: Annotated[str, Meta(description="The reward scheme of miners who choose none.")]
    fee_ppm: Annotated[int, Meta(description="The pool's fee, millionths of the reward: 10000 is 1 %.")]
    payout_threshold_atomic: Atomic
    stratum_port: int
    stratum: Stratum
    explorer: Explorer
    shares: PoolShares | None
    round: Annotated[PoolRound | None, Meta(description="Needs the shares and the rewards service.")]
    blocks: PoolBlocks | None
    chain: Annotated[Network | None, Meta(description="Null before the pool's first block.")]
    luck: Annotated[Luck | None, Meta(description="Null while rewards is away.")]
    payer: Payer | None
    degraded: Degraded


class MinerSummary(Answer, frozen=True, kw_only=True):
    """A miner in the list."""

    address: Annotated[Address | None, Meta(description="Null for a miner who wants to stay anonymous.")]
    hashrates: Hashrates
    counts: ShareCounts
    total_work: Work
    worker_count: Annotated[int | None, Meta(description="Workers known; null when not known.")]
    worker_online_count: Annotated[int | None, Meta(description="Workers online; null when not known.")]
    last_share_time: Annotated[Time | None, Meta(description="Null when not known.")]


class MinerPage(Answer, frozen=True, kw_only=True):
    """Miners by hashrate over the last hour, greatest first."""

    miners: list[MinerSummary]
    next_page_token: NextPageToken
    degraded: Degraded


class MinerAccount(Answer, frozen=True, kw_only=True):
    """What is known of the account, from the miners service."""

    create_time: Annotated[Time | None, Meta(description="Its first accepted share.")]
    last_share_time: Time | None
    worker_count: int
    worker_online_count: int
    payout_threshold_atomic: Annotated[int, Meta(description="The balance at which it is paid, atomic units.")]
    is_threshold_default: Annotated[bool, Meta(description="The threshold is the pool's, not its own.")]


class MinerShares(Answer, frozen=True, kw_only=True):
    """What the account has mined, from the shares service."""

    hashrates: Hashrates
    counts: ShareCounts
    total_work: Work
    best_hash_work: Work


class MinerBalance(Answer, frozen=True, kw_only=True):
    """What the account has, from the ledger by way of the rewards service."""

    immature_atomic: Annotated[int, Meta(description="From blocks that may still be orphaned, atomic units.")]
    payable_atomic: Annotated[int, Meta(description="Mature and not in a payout yet, atomic units.")]
    reserved_atomic: Annotated[int, Meta(description="In a payout that is not confirmed yet, atomic units.")]
    paid_atomic: Annotated[int, Meta(description="Paid and confirmed, atomic units.")]


class PoolMoment(Answer, frozen=True, kw_only=True):
    """What a follower of the pool is sent."""

    shares: PoolShares | None
    round: PoolRound | None


class Reject(Answer, frozen=True, kw_only=True):
    """When shares of a worker were last rejected."""

    reason: Annotated[
        str, Meta(description="Why most of that minute's were: stale, duplicate, low_difficulty, invalid.")
    ]
    time: Annotated[Time, Meta(description="The minute.")]


class Worker(Answer, frozen=True, kw_only=True):
    """A worker. A field is null when the service that knows it did not answer, or has not seen the worker yet."""

    worker: str
    presence: Presence | None
    scheme: str | None
    user_agent: str | None
    create_time: Time | None
    last_share_time: Time | None
    hashrates: Hashrates | None
    counts: ShareCounts | None
    best_hash_work: Work | None
    last_reject: Annotated[Reject | None, Meta(description="Null when none is remembered.")]


class Estimate(Answer, frozen=True, kw_only=True):
    """What the miner can expect: its part of the network's work, of the newest block's reward, after the pool's fee."""

    atomic_per_day: Annotated[
        int | None, Meta(description="Atomic units, rounded down; null before the pool's first block.")
    ]
    basis: Annotated[str, Meta(description="The hashrate it is made of: 1h, or 24h once it has mined for a day.")]


class Uncertainty(Answer, frozen=True, kw_only=True):
    """Between what the true hashrate of the last hour lies, 19 times out of 20: shares come by chance."""

    hps_1h_low: Annotated[Hashrate | None, Meta(description="Null without a share in the hour.")]
    hps_1h_high: Annotated[Hashrate | None, Meta(description="Null without a share in the hour.")]
    share_count_1h: Annotated[int, Meta(description="Accepted shares of the hour.")]


class Miner(Answer, frozen=True, kw_only=True):
    """A miner at this moment."""

    address: Annotated[str, Meta(description="The address in canonical form.")]
    coin: str
    account: MinerAccount | None
    shares: MinerShares | None
    balance: MinerBalance | None
    estimate: Annotated[Estimate | None, Meta(description="Null while shares or rewards is away.")]
    uncertainty: Annotated[Uncertainty | None, Meta(description="Null while shares is away.")]
    workers: Annotated[list[Worker] | None, Meta(description="By name, at most 5000.")]
    has_more_workers: Annotated[bool, Meta(description="There are workers that are not listed.")]
    degraded: Degraded


class MinerMoment(Answer, frozen=True, kw_only=True):
    """What a follower of a miner is sent."""

    address: Address
    shares: MinerShares | None
    balance: MinerBalance | None
    workers: list[Worker] | None


class Credit(Answer, frozen=True, kw_only=True):
    """What a block brought a miner. It counts unless the block is orphaned."""

    height: int
    block_hash: str
    status: BlockStatus
    found_time: Time
    work: Annotated[Work, Meta(description="The miner's work in the block's window, decimal digits.")]
    amount_atomic: Atomic


class CreditPage(Answer, frozen=True, kw_only=True):
    """A miner's credits, newest first."""

    credits: list[Credit]
    next_page_token: NextPageToken


class Payout(Answer, frozen=True, kw_only=True):
    """A payment to a miner."""

    payout_id: str
    batch_id: Annotated[str | None, Meta(description="The transaction it goes out with; null when it was left out.")]
    address: Address
    amount_atomic: Atomic
    status: Annotated[PayoutStatus | None, Meta(description="Null when it was left out of a batch.")]
    txid: Annotated[str | None, Meta(description="Null before it is signed.")]
    create_time: Time
    confirm_time: Annotated[Time | None, Meta(description="Null before it is confirmed.")]


class PayoutPage(Answer, frozen=True, kw_only=True):
    """Payments, newest first."""

    payouts: list[Payout]
    next_page_token: NextPageToken


class Ledger(Answer, frozen=True, kw_only=True):
    """The ledger's sums: coinbase = immature + payable + reserved + paid + pool_fee + remainder."""

    coin: str
    coinbase_atomic: Annotated[int, Meta(description="All rewards credited and not reversed, atomic units.")]
    immature_atomic: Atomic
    payable_atomic: Atomic
    reserved_atomic: Atomic
    paid_atomic: Atomic
    pool_fee_atomic: Annotated[int, Meta(description="The pool's fee income, atomic units.")]
    remainder_atomic: Annotated[int, Meta(description="What nobody could be credited with, atomic units.")]
    network_fee_atomic: Annotated[
        int, Meta(description="The part of the fee income that payouts have cost the pool, atomic units.")
    ]


class Health(Answer, frozen=True, kw_only=True):
    """The gateway serves; says nothing of the services behind it."""

    status: str


class Problem(Answer, frozen=True, kw_only=True):
    """What went wrong (RFC 9457)."""

    type: Annotated[str, Meta(description="A URN that names the kind of problem.")]
    title: str
    status: Annotated[int, Meta(description="The HTTP status.")]
    detail: Annotated[str, Meta(description="What is wrong here, and what was expected.")]
