"""Decide what is paid, and what becomes of a batch; pure.

A batch is left by one event at a time, and only as `TRANSITIONS` says:

    reserved ──SIGN──▶ signed ──TAKE──▶ broadcast ──SETTLE──▶ confirmed
       │ │               │                │  ▲
       │ └─SPLIT─▶ voided│REFUSE     DROP │  │ SEE
       └──REFUSE──▶ review ◀──────────────┘  │
                      │  └───────────────────┘
                      └──VOID (operator)──▶ voided

Nothing was ever asked of a node with a batch that is reserved; everything after SIGN works with the stored bytes alone.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final
from uuid import UUID, uuid5

from ledger import domain as ledger
from ledger.domain import Phase, Transfer
from payouts.errors import IllegalTransition


class BatchStatus(StrEnum):
    """Where a batch is."""

    RESERVED = "reserved"
    SIGNED = "signed"
    BROADCAST = "broadcast"
    CONFIRMED = "confirmed"
    REVIEW = "review"
    VOIDED = "voided"


class BatchEvent(StrEnum):
    """What happens to a batch."""

    SIGN = "sign"
    SPLIT = "split"
    TAKE = "take"
    REFUSE = "refuse"
    DROP = "drop"
    SEE = "see"
    SETTLE = "settle"
    VOID = "void"


TRANSITIONS: Final[Mapping[tuple[BatchStatus, BatchEvent], BatchStatus]] = MappingProxyType(
    {
        (BatchStatus.RESERVED, BatchEvent.SIGN): BatchStatus.SIGNED,
        (BatchStatus.RESERVED, BatchEvent.SPLIT): BatchStatus.VOIDED,
        (BatchStatus.RESERVED, BatchEvent.REFUSE): BatchStatus.REVIEW,
        (BatchStatus.SIGNED, BatchEvent.TAKE): BatchStatus.BROADCAST,
        (BatchStatus.SIGNED, BatchEvent.REFUSE): BatchStatus.REVIEW,
        (BatchStatus.BROADCAST, BatchEvent.DROP): BatchStatus.REVIEW,
        (BatchStatus.BROADCAST, BatchEvent.SETTLE): BatchStatus.CONFIRMED,
        (BatchStatus.REVIEW, BatchEvent.SEE): BatchStatus.BROADCAST,
        (BatchStatus.REVIEW, BatchEvent.VOID): BatchStatus.VOIDED,
    }
)
OPEN: Final = frozenset({BatchStatus.RESERVED, BatchStatus.SIGNED, BatchStatus.BROADCAST, BatchStatus.REVIEW})
"""Statuses whose items are reserved in the ledger."""


class Arrow(StrEnum):
    """Each place between two effects, in the order in which a batch meets them.

    Names in -ING lie inside a database transaction, before its commit.
    """

    CHOSEN = "chosen"
    RESERVING = "reserving"
    RESERVED = "reserved"
    BUILDING = "building"
    BUILT = "built"
    STORING = "storing"
    STORED = "stored"
    SENDING = "sending"
    SENT = "sent"
    MARKING = "marking"
    MARKED = "marked"
    SEEN = "seen"
    SETTLING = "settling"
    SETTLED = "settled"
    REVIEWING = "reviewing"
    REVIEWED = "reviewed"
    VOIDING = "voiding"
    VOIDED = "voided"


PAYING_ARROWS: Final = tuple(
    arrow
    for arrow in Arrow
    if arrow
    not in {
        Arrow.REVIEWING,
        Arrow.REVIEWED,
        Arrow.VOIDING,
        Arrow.VOIDED,
    }
)
"""The arrows of a batch that goes well."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One payment; `payout_id` is also the id of its reservation in the ledger."""

    payout_id: UUID
    account: str
    amount_atomic: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FeePolicy:
    """What a batch may cost; kept with the batch. Rates are satoshi per 1,000 virtual bytes."""

    rate_min_sat_per_kvb: int
    rate_max_sat_per_kvb: int
    fee_atomic_max: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Payments in one transaction.

    Attributes:
        batch_id: Identifies it; the ledger transfers carry it as their reference.
        coin: Coin id.
        status: Where it is.
        amount_atomic: Sum of its items.
        payout_count: Number of its items.
        fee_policy: What it may cost.
        raw: The signed transaction; None before it is signed.
        txid_hex: Its id; empty before it is signed.
        fee_atomic: Network fee; 0 before it is signed.
        weight: Weight of the transaction; 0 before it is signed.
        confirmations: When last looked.
        reason: Why it waits; empty when it does not.
        create_time_ms: When it was reserved.
        update_time_ms: When its status last changed.
        send_time_ms: When its bytes were last handed to a node; 0 before.
        confirm_time_ms: When it was settled; 0 before.
        trace_parent: Traceparent of its trace; empty without one.
    """

    batch_id: UUID
    coin: str
    status: BatchStatus
    amount_atomic: int
    payout_count: int
    fee_policy: FeePolicy
    raw: bytes | None
    txid_hex: str
    fee_atomic: int
    weight: int
    confirmations: int
    reason: str
    create_time_ms: int
    update_time_ms: int
    send_time_ms: int
    confirm_time_ms: int
    trace_parent: str = ""


def after(status: BatchStatus, event: BatchEvent) -> BatchStatus:
    """Return the status that an event leads to.

    Raises:
        IllegalTransition: When the table has no such entry.
    """
    try:
        return TRANSITIONS[status, event]
    except KeyError:
        raise IllegalTransition(status=status, event=event) from None


# --- what is paid ---


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """A balance that has reached its threshold."""

    account: str
    amount_atomic: int


def due_accounts(
    payable: Iterable[tuple[str, int]],
    *,
    thresholds: Mapping[str, int],
    threshold_default_atomic: int,
    dust_atomic: int,
) -> list[Due]:
    """Return who is to be paid, the largest balance first, equals by account; each gets the whole balance.

    Args:
        payable: (account, available_atomic).
        thresholds: Each account's own; 0 or missing means the default.
        threshold_default_atomic: The pool's.
        dust_atomic: Less than this stays as balance, whatever the threshold.
    """
    due = [
        Due(account=account, amount_atomic=amount)
        for account, amount in payable
        if amount >= max(thresholds.get(account, 0) or threshold_default_atomic, dust_atomic)
    ]
    return sorted(due, key=lambda entry: (-entry.amount_atomic, entry.account))


OUTPUT_OVERHEAD_BYTES: Final = 9
"""Amount (8) and script length (1)."""
_WEIGHT_PER_BYTE = 4
TRANSACTION_WEIGHT_BASE: Final = 4 * (10 + 148 + 43) + 2
"""Version, counts and lock time; one input of the largest usual kind; one output of change; segwit marker and flag."""


def output_weight(script: bytes) -> int:
    """Return the weight that one output adds: 4 × (9 + script length); 124 for a P2WPKH script of 22 bytes."""
    return _WEIGHT_PER_BYTE * (OUTPUT_OVERHEAD_BYTES + len(script))


def outputs_limit_after_split(payout_count: int) -> int:
    """Return how many outputs to try after a transaction of `payout_count` was too heavy: half, at least one."""
    return max(1, payout_count // 2)


def outputs_limit_after_success(limit: int, *, outputs_max: int) -> int:
    """Return the limit after a transaction was light enough: twice as many; 0 (no own limit) from `outputs_max` on."""
    return 0 if limit * 2 >= outputs_max else limit * 2


# --- what it costs ---


def fee_rate_within(estimate: int | None, *, fallback: int, policy: FeePolicy) -> int | None:
    """Return the fee rate to pay, or None when the node's estimate is above what the operator allows.

    Too low an estimate is raised to the minimum, which harms nobody; too high a one is not lowered, because the
    transaction would not confirm.
    """
    rate = fallback if estimate is None else estimate
    return None if rate > policy.rate_max_sat_per_kvb else max(rate, policy.rate_min_sat_per_kvb)


def fee_problem(*, fee_atomic: int, weight: int, policy: FeePolicy) -> str:
    """Return what is wrong with a fee, empty when it is right (P9).

    The rate is fee × 1000 / virtual size, the virtual size being weight / 4 rounded up. A wallet guesses the size of
    signatures when it sets the fee, so a tenth below the minimum is let pass: at 1,000 sat/kvB and 565 weight units
    (142 virtual bytes) 128 satoshi are enough, 127 are not.
    """
    virtual_bytes = -(-weight // 4)
    if fee_atomic > policy.fee_atomic_max:
        return f"the fee of {fee_atomic} is above the ceiling of {policy.fee_atomic_max}"
    if fee_atomic * 10_000 < policy.rate_min_sat_per_kvb * virtual_bytes * 9:
        return (
            f"the fee of {fee_atomic} for {virtual_bytes} virtual bytes is absurdly low, below the minimum rate of "
            f"{policy.rate_min_sat_per_kvb} sat/kvB"
        )
    return ""


# --- what was seen ---


@dataclass(frozen=True, slots=True, kw_only=True)
class Sighting:
    """What the wallet says of a transaction; `confirmations` is negative when the chain spent its inputs otherwise."""

    confirmations: int
    is_in_mempool: bool


class Finding(StrEnum):
    """What a sighting means for a batch that was sent."""

    WAIT = "wait"
    RESEND = "resend"
    SETTLE = "settle"
    CONFLICT = "conflict"


def judge(sighting: Sighting | None, *, confirmations: int) -> Finding:
    """Say what a sighting means (P10).

    Args:
        sighting: None when the wallet does not know the transaction.
        confirmations: How many are enough.

    Returns:
        RESEND when the transaction is in no place where it could confirm from: the stored bytes are handed to the node
        again, and its answer decides.
    """
    if sighting is None:
        return Finding.RESEND
    if sighting.confirmations < 0:
        return Finding.CONFLICT
    if sighting.confirmations >= max(confirmations, 1):
        return Finding.SETTLE
    if sighting.confirmations > 0 or sighting.is_in_mempool:
        return Finding.WAIT
    return Finding.RESEND


# --- what it moves in the ledger ---


def reservations(batch_id: UUID, coin: str, items: Sequence[Item]) -> list[Transfer]:
    """Return the transfers that reserve a batch's items."""
    return [
        ledger.reserve(
            transfer_id=item.payout_id,
            coin=coin,
            owner=item.account,
            amount_atomic=item.amount_atomic,
            reference=str(batch_id),
        )
        for item in items
    ]


def resolutions(batch_id: UUID, coin: str, items: Sequence[Item], *, phase: Phase) -> list[Transfer]:
    """Return the transfers that post or void a batch's reservations; their ids follow from the reservations' ids."""
    return [
        ledger.resolve(pending, transfer_id=resolution_id(pending.transfer_id, phase), phase=phase)
        for pending in reservations(batch_id, coin, items)
    ]


def resolution_id(payout_id: UUID, phase: Phase) -> UUID:
    """Return the id of the transfer that posts or voids a payment."""
    return uuid5(payout_id, phase.value)


def fee_transfer_id(batch_id: UUID) -> UUID:
    """Return the id of the transfer that books a batch's network fee."""
    return uuid5(batch_id, "network_fee")


def settlement(batch: Batch, items: Sequence[Item]) -> list[Transfer]:
    """Return the transfers of a confirmed batch: each item posted, and the network fee out of the pool's fee."""
    return [
        *resolutions(batch.batch_id, batch.coin, items, phase=Phase.POST),
        ledger.network_fee(
            transfer_id=fee_transfer_id(batch.batch_id),
            coin=batch.coin,
            amount_atomic=batch.fee_atomic,
            reference=str(batch.batch_id),
        ),
    ]
