"""Say what a found block is, how it moves from candidate to mature or orphaned, and what each scheme pays by."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from rewards.distribution import Distribution, distribute_by_work, distribute_to_finder
from rewards.errors import BlockInvalid


class Scheme(StrEnum):
    """How a block is paid. PPS and FPPS, which pay per share and not per block, come as another table."""

    PPLNS = "pplns"
    PROP = "prop"
    SOLO = "solo"


class Status(StrEnum):
    """Where a block is in its life."""

    CANDIDATE = "candidate"
    IMMATURE = "immature"
    MATURE = "mature"
    ORPHANED = "orphaned"


class Sight(StrEnum):
    """What the chain answers about a block, at its height (R5: never the wallet)."""

    UNSEEN = "unseen"
    """The chain does not reach the height yet, or changed while it was asked: nothing is known."""
    IN_CHAIN = "in_chain"
    """It stands at its height."""
    CONFIRMED = "confirmed"
    """It stands there and has the confirmations its coin asks for."""
    REPLACED = "replaced"
    """Another block stands there."""
    BURIED = "buried"
    """Another block stands there, under at least orphan_depth more."""


class Step(StrEnum):
    """What is booked."""

    STAY = "stay"
    CREDIT = "credit"
    MATURE = "mature"
    ORPHAN = "orphan"
    REVERSE = "reverse"
    HOLD = "hold"


STEPS: Final[Mapping[tuple[Status, Sight], Step]] = MappingProxyType(
    {
        (Status.CANDIDATE, Sight.UNSEEN): Step.STAY,
        (Status.CANDIDATE, Sight.IN_CHAIN): Step.CREDIT,
        (Status.CANDIDATE, Sight.CONFIRMED): Step.CREDIT,
        (Status.CANDIDATE, Sight.REPLACED): Step.STAY,
        (Status.CANDIDATE, Sight.BURIED): Step.ORPHAN,
        (Status.IMMATURE, Sight.UNSEEN): Step.STAY,
        (Status.IMMATURE, Sight.IN_CHAIN): Step.STAY,
        (Status.IMMATURE, Sight.CONFIRMED): Step.MATURE,
        (Status.IMMATURE, Sight.REPLACED): Step.REVERSE,
        (Status.IMMATURE, Sight.BURIED): Step.REVERSE,
        (Status.ORPHANED, Sight.UNSEEN): Step.STAY,
        (Status.ORPHANED, Sight.IN_CHAIN): Step.CREDIT,
        (Status.ORPHANED, Sight.CONFIRMED): Step.CREDIT,
        (Status.ORPHANED, Sight.REPLACED): Step.STAY,
        (Status.ORPHANED, Sight.BURIED): Step.STAY,
        (Status.MATURE, Sight.UNSEEN): Step.STAY,
        (Status.MATURE, Sight.IN_CHAIN): Step.STAY,
        (Status.MATURE, Sight.CONFIRMED): Step.STAY,
        # Its money may be paid out already: a person decides.
        (Status.MATURE, Sight.REPLACED): Step.HOLD,
        (Status.MATURE, Sight.BURIED): Step.HOLD,
    }
)

BECOMES: Final[Mapping[Step, Status]] = MappingProxyType(
    {
        Step.CREDIT: Status.IMMATURE,
        Step.MATURE: Status.MATURE,
        Step.ORPHAN: Status.ORPHANED,
        Step.REVERSE: Status.ORPHANED,
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundBlock:
    """A block as its finder reported it; times in milliseconds since the Unix epoch, amounts in atomic units."""

    coin: str
    block_hash_hex: str
    height: int
    found_time_ms: int
    account: str
    worker: str
    scheme: Scheme
    reward_atomic: int
    fees_atomic: int
    network_work: int
    coinbase_txid_hex: str
    instance: str
    fee_ppm: int
    trace_parent: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A found block and where it is.

    Attributes:
        found: What the finder reported.
        status: Where it is in its life.
        generation: How many times it was credited; each time makes its own transfers.
        confirmations: When last looked; −1 when not in the chain.
        is_credited: Whether its window is fixed and its credits are written. They stay when it is orphaned.
        pool_fee_atomic: Zero until credited.
        remainder_atomic: Zero until credited.
        window_work: Work of the window; zero until credited and for solo.
        round_work: The pool's work since its block before; zero until credited.
        hold_reason: Why it waits for the operator; empty when it does not.
    """

    found: FoundBlock
    status: Status
    generation: int
    confirmations: int
    is_credited: bool
    pool_fee_atomic: int
    remainder_atomic: int
    window_work: int
    round_work: int
    hold_reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowPlan:
    """The window a block is paid by, as the shares service is asked for it.

    Attributes:
        start_height: PROP: oldest height of the round. PPLNS: zero.
        end_height: The block's height.
        window_work: PPLNS: the work it should hold. None: no bound.
    """

    start_height: int
    end_height: int
    window_work: int | None


def check_found(found: FoundBlock) -> None:
    """Check a reported block.

    Raises:
        BlockInvalid: When it cannot be booked.
    """
    is_hash = len(found.block_hash_hex) == 64 and set(found.block_hash_hex) <= set("0123456789abcdef")
    problems = (
        ("coin", not found.coin, "is empty"),
        ("block_hash_hex", not is_hash, "is not 64 hex digits"),
        ("height", found.height <= 0, "is not above zero"),
        ("account", not found.account or found.account.startswith(("chain:", "pool:")), "is not a miner's address"),
        ("coinbase_value_atomic", found.reward_atomic <= 0, "is not above zero"),
        ("fees_atomic", not 0 <= found.fees_atomic <= found.reward_atomic, "is not within the coinbase value"),
        ("network_target", found.network_work <= 0, "has no work"),
    )
    for field, is_wrong, problem in problems:
        if is_wrong:
            raise BlockInvalid(field, problem)


def parse_scheme(text: str) -> Scheme:
    """Return the scheme of that name.

    Raises:
        BlockInvalid: When there is none.
    """
    try:
        return Scheme(text)
    except ValueError:
        raise BlockInvalid("scheme", f"{text!r} is none of {', '.join(Scheme)}") from None


def sight(
    found: FoundBlock,
    *,
    hash_at_height: str | None,
    confirmations: int,
    tip_height: int,
    maturity_blocks: int,
    orphan_depth: int,
) -> Sight:
    """Return what the chain's answers mean for a block.

    Args:
        found: The block.
        hash_at_height: The active chain's block at its height; None above the tip.
        confirmations: The node's count when that is our block; −1 when its header is not in the active chain.
        tip_height: Height of the tip.
        maturity_blocks: Confirmations the coin asks for.
        orphan_depth: Blocks above another block at the height after which it is taken as final.
    """
    if hash_at_height is None:
        return Sight.UNSEEN
    if hash_at_height != found.block_hash_hex:
        return Sight.BURIED if tip_height - found.height >= orphan_depth else Sight.REPLACED
    if confirmations < 1:
        return Sight.UNSEEN
    return Sight.CONFIRMED if confirmations >= maturity_blocks else Sight.IN_CHAIN


def followed_down_to(tip_height: int, *, maturity_blocks: int, orphan_depth: int) -> int:
    """Return the lowest height at which mature and orphaned blocks are still looked at.

    A reorganisation deeper than the maturity and once more is no longer looked for; the audit still compares all.
    """
    return tip_height - 2 * maturity_blocks - orphan_depth


def window_plan(found: FoundBlock, *, previous_height: int, pplns_window_percent: int) -> WindowPlan | None:
    """Return the window a block is paid by; None when its scheme needs none.

    Args:
        found: The block.
        previous_height: Height of the newest block below of the same scheme that is not orphaned; 0 when there is none.
        pplns_window_percent: Work of a PPLNS window, percent of the network's work for this block.

    Example: PPLNS at 200 % and a network work of 1,000,000 asks for a window of 2,000,000.
    """
    match found.scheme:
        case Scheme.SOLO:
            return None
        case Scheme.PROP:
            return WindowPlan(start_height=previous_height + 1, end_height=found.height, window_work=None)
        case Scheme.PPLNS:
            return WindowPlan(
                start_height=0,
                end_height=found.height,
                window_work=max(1, found.network_work * pplns_window_percent // 100),
            )


def distribute(found: FoundBlock, work: Mapping[str, int]) -> Distribution:
    """Return who gets a block's reward; `work` is the window's, and is not looked at for a solo block."""
    if found.scheme is Scheme.SOLO:
        return distribute_to_finder(found.reward_atomic, found.account, fee_ppm=found.fee_ppm)
    return distribute_by_work(found.reward_atomic, work, fee_ppm=found.fee_ppm)
