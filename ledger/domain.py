"""Say what the ledger's accounts and transfers are, and which transfer may move what.

A transfer takes `amount_atomic` from its debit account and gives it to its credit account. Every account counts what
went out (debits) and what came in (credits), each posted and pending; nothing else is stored about it:

    posted    = credits_posted − debits_posted
    available = posted − debits_pending          (what may still be given away)

Example: an address with 500,000 payable reserves 300,000 for a payout: posted stays 500,000, available falls to
200,000. When the payout is posted, posted falls to 200,000 and its `paid` bucket rises to 300,000.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from uuid import UUID

OWNER_COINBASE = "chain:coinbase"
OWNER_POOL_FEE = "pool:fee"
OWNER_REMAINDER = "pool:remainder"
OWNER_NETWORK_FEE = "pool:network_fee"
_POOL_OWNERS = frozenset({OWNER_POOL_FEE, OWNER_REMAINDER, OWNER_NETWORK_FEE})
_RESERVED_PREFIXES = ("chain:", "pool:")

AMOUNT_ATOMIC_MAX = 2**63 - 1


class Bucket(StrEnum):
    """Where an owner's money stands."""

    EXTERNAL = "external"
    IMMATURE = "immature"
    PAYABLE = "payable"
    PAID = "paid"


class Phase(StrEnum):
    """What a transfer does: move at once, reserve, or resolve a reservation."""

    POSTED = "posted"
    PENDING = "pending"
    POST = "post"
    VOID = "void"


class Code(StrEnum):
    """Why money moves."""

    BLOCK_CREDIT = "block_credit"
    POOL_FEE = "pool_fee"
    REMAINDER = "remainder"
    MATURITY = "maturity"
    REVERSAL = "reversal"
    PAYOUT = "payout"
    NETWORK_FEE = "network_fee"


class InvalidTransfer(ValueError):
    """Raised when a transfer breaks a rule that needs no look at the books: a defect of the caller."""

    def __init__(self, transfer_id: UUID, problem: str) -> None:
        super().__init__(f"transfer {transfer_id}: {problem}")
        self.transfer_id = transfer_id
        self.problem = problem


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class LedgerAccount:
    """One account of the ledger; `owner` is a miner's address or one of the OWNER constants."""

    coin: str
    owner: str
    bucket: Bucket

    def __str__(self) -> str:
        return f"{self.coin} {self.owner} {self.bucket}"

    @property
    def is_miner(self) -> bool:
        """Tell whether the owner is a miner, not the pool or the chain."""
        return not self.owner.startswith(_RESERVED_PREFIXES)

    @property
    def may_overdraw(self) -> bool:
        """Tell whether it may give more than it has.

        The coinbase is where money comes from; the pool's fee pays network fees, which may run ahead of its income.
        """
        return (self.owner, self.bucket) in {(OWNER_COINBASE, Bucket.EXTERNAL), (OWNER_POOL_FEE, Bucket.PAYABLE)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Transfer:
    """One movement of money.

    Attributes:
        transfer_id: Made by the caller and stored before the first try; applying it twice has one effect.
        debit: Gives.
        credit: Receives.
        amount_atomic: Greater than zero.
        phase: POSTED moves at once; PENDING reserves; POST and VOID resolve the PENDING named by pending_id and carry
            its accounts and amount.
        code: Why.
        reference: What it belongs to: a block hash, a payout batch.
        pending_id: The transfer that a POST or VOID resolves; None otherwise.
        reverses_id: The transfer that a REVERSAL mirrors; None otherwise.
        trace_parent: Traceparent of what caused it; no part of what it moves.
    """

    transfer_id: UUID
    debit: LedgerAccount
    credit: LedgerAccount
    amount_atomic: int
    phase: Phase
    code: Code
    reference: str
    pending_id: UUID | None = None
    reverses_id: UUID | None = None
    trace_parent: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Counters:
    """What an account counts, or by how much a transfer changes it; atomic units."""

    debits_posted: int = 0
    credits_posted: int = 0
    debits_pending: int = 0
    credits_pending: int = 0

    def __add__(self, other: "Counters") -> "Counters":
        return Counters(
            debits_posted=self.debits_posted + other.debits_posted,
            credits_posted=self.credits_posted + other.credits_posted,
            debits_pending=self.debits_pending + other.debits_pending,
            credits_pending=self.credits_pending + other.credits_pending,
        )

    @property
    def posted_atomic(self) -> int:
        """Return what the account holds, reservations included."""
        return self.credits_posted - self.debits_posted

    @property
    def available_atomic(self) -> int:
        """Return what the account may still give away."""
        return self.posted_atomic - self.debits_pending


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnerBalance:
    """What a miner has; atomic units. `payable_atomic` is without what is reserved."""

    immature_atomic: int = 0
    payable_atomic: int = 0
    reserved_atomic: int = 0
    paid_atomic: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerTotals:
    """Sums over one coin's ledger; atomic units.

    `pool_fee_atomic` is the fee income; `network_fee_atomic` is the part of it that payouts have cost, so the pool
    keeps pool_fee − network_fee. Always: coinbase = immature + payable + reserved + paid + pool_fee + remainder.
    """

    coinbase_atomic: int = 0
    immature_atomic: int = 0
    payable_atomic: int = 0
    reserved_atomic: int = 0
    paid_atomic: int = 0
    pool_fee_atomic: int = 0
    remainder_atomic: int = 0
    network_fee_atomic: int = 0

    @property
    def owned_atomic(self) -> int:
        """Return what the owners have together; equal to coinbase_atomic when the books agree."""
        return (
            self.immature_atomic
            + self.payable_atomic
            + self.reserved_atomic
            + self.paid_atomic
            + self.pool_fee_atomic
            + self.remainder_atomic
        )


def coinbase(coin: str) -> LedgerAccount:
    """Return the account all money comes from."""
    return LedgerAccount(coin=coin, owner=OWNER_COINBASE, bucket=Bucket.EXTERNAL)


def immature(coin: str, owner: str) -> LedgerAccount:
    """Return an owner's account for what may still be orphaned."""
    return LedgerAccount(coin=coin, owner=owner, bucket=Bucket.IMMATURE)


def payable(coin: str, owner: str) -> LedgerAccount:
    """Return an owner's account for what can be paid out."""
    return LedgerAccount(coin=coin, owner=owner, bucket=Bucket.PAYABLE)


def paid(coin: str, owner: str) -> LedgerAccount:
    """Return an owner's account for what was paid out."""
    return LedgerAccount(coin=coin, owner=owner, bucket=Bucket.PAID)


def reserve(*, transfer_id: UUID, coin: str, owner: str, amount_atomic: int, reference: str) -> Transfer:
    """Return the transfer that reserves part of a miner's payable balance for a payout."""
    return Transfer(
        transfer_id=transfer_id,
        debit=payable(coin, owner),
        credit=paid(coin, owner),
        amount_atomic=amount_atomic,
        phase=Phase.PENDING,
        code=Code.PAYOUT,
        reference=reference,
    )


def resolve(pending: Transfer, *, transfer_id: UUID, phase: Phase) -> Transfer:
    """Return the transfer that posts (POST: paid) or voids (VOID: back to payable) a reservation."""
    return Transfer(
        transfer_id=transfer_id,
        debit=pending.debit,
        credit=pending.credit,
        amount_atomic=pending.amount_atomic,
        phase=phase,
        code=pending.code,
        reference=pending.reference,
        pending_id=pending.transfer_id,
    )


def network_fee(*, transfer_id: UUID, coin: str, amount_atomic: int, reference: str) -> Transfer:
    """Return the transfer that takes a payout's network fee out of the pool's fee."""
    return Transfer(
        transfer_id=transfer_id,
        debit=payable(coin, OWNER_POOL_FEE),
        credit=paid(coin, OWNER_NETWORK_FEE),
        amount_atomic=amount_atomic,
        phase=Phase.POSTED,
        code=Code.NETWORK_FEE,
        reference=reference,
    )


def reverse(original: Transfer, *, transfer_id: UUID) -> Transfer:
    """Return the transfer that takes a block's credit back to the coinbase."""
    return Transfer(
        transfer_id=transfer_id,
        debit=original.credit,
        credit=original.debit,
        amount_atomic=original.amount_atomic,
        phase=Phase.POSTED,
        code=Code.REVERSAL,
        reference=original.reference,
        reverses_id=original.transfer_id,
    )


def mature(
    *, transfer_id: UUID, coin: str, owner: str, amount_atomic: int, reference: str, trace_parent: str = ""
) -> Transfer:
    """Return the transfer that makes an immature credit payable."""
    return Transfer(
        transfer_id=transfer_id,
        debit=immature(coin, owner),
        credit=payable(coin, owner),
        amount_atomic=amount_atomic,
        phase=Phase.POSTED,
        code=Code.MATURITY,
        reference=reference,
        trace_parent=trace_parent,
    )


def check(transfer: Transfer) -> None:
    """Check everything about a transfer that needs no look at the books.

    Raises:
        InvalidTransfer: When a rule is broken.
    """
    problem = _problem(transfer)
    if problem:
        raise InvalidTransfer(transfer.transfer_id, problem)


def _problem(transfer: Transfer) -> str:
    if not 0 < transfer.amount_atomic <= AMOUNT_ATOMIC_MAX:
        return f"the amount {transfer.amount_atomic} is not in 1..{AMOUNT_ATOMIC_MAX}"
    if transfer.debit.coin != transfer.credit.coin:
        return "a transfer stays within one coin"
    if transfer.debit == transfer.credit:
        return "debit and credit are the same account"
    if not transfer.reference:
        return "the reference is empty"
    if not (_is_account(transfer.debit) and _is_account(transfer.credit)):
        return "no such account"
    if (transfer.phase in {Phase.POST, Phase.VOID}) != (transfer.pending_id is not None):
        return "POST and VOID, and only they, name a pending transfer"
    if (transfer.code is Code.REVERSAL) != (transfer.reverses_id is not None):
        return "a REVERSAL, and only it, names the transfer it reverses"
    if (transfer.code is Code.PAYOUT) == (transfer.phase is Phase.POSTED):
        return "a PAYOUT is reserved and then posted or voided; everything else is posted at once"
    if not _moves_as_its_code_says(transfer):
        return f"{transfer.code} does not move money from {transfer.debit} to {transfer.credit}"
    return ""


def _is_account(account: LedgerAccount) -> bool:
    if not account.coin or not account.owner:
        return False
    if not account.is_miner and account.owner not in _POOL_OWNERS | {OWNER_COINBASE}:
        return False
    return (account.owner == OWNER_COINBASE) == (account.bucket is Bucket.EXTERNAL)


def _moves_as_its_code_says(transfer: Transfer) -> bool:
    debit, credit = transfer.debit, transfer.credit
    is_from_coinbase = debit.bucket is Bucket.EXTERNAL and credit.bucket is Bucket.IMMATURE
    match transfer.code:
        case Code.BLOCK_CREDIT:
            return is_from_coinbase and credit.is_miner
        case Code.POOL_FEE:
            return is_from_coinbase and credit.owner == OWNER_POOL_FEE
        case Code.REMAINDER:
            return is_from_coinbase and credit.owner == OWNER_REMAINDER
        case Code.MATURITY:
            return _buckets(transfer) == (Bucket.IMMATURE, Bucket.PAYABLE) and debit.owner == credit.owner
        case Code.REVERSAL:
            return _buckets(transfer) == (Bucket.IMMATURE, Bucket.EXTERNAL)
        case Code.PAYOUT:
            return (
                _buckets(transfer) == (Bucket.PAYABLE, Bucket.PAID) and debit.owner == credit.owner and debit.is_miner
            )
        case Code.NETWORK_FEE:
            return (
                _buckets(transfer) == (Bucket.PAYABLE, Bucket.PAID)
                and debit.owner == OWNER_POOL_FEE
                and credit.owner == OWNER_NETWORK_FEE
            )


def _buckets(transfer: Transfer) -> tuple[Bucket, Bucket]:
    return transfer.debit.bucket, transfer.credit.bucket


def resolves(transfer: Transfer, pending: Transfer) -> bool:
    """Tell whether a POST or VOID fits the transfer it names: a reservation of the same accounts and amount."""
    return (
        pending.phase is Phase.PENDING
        and pending.transfer_id == transfer.pending_id
        and (pending.debit, pending.credit, pending.amount_atomic, pending.code)
        == (transfer.debit, transfer.credit, transfer.amount_atomic, transfer.code)
    )


def mirrors(reversal: Transfer, original: Transfer) -> bool:
    """Tell whether a REVERSAL fits the transfer it names: the same amount, the other way."""
    return (
        original.phase is Phase.POSTED
        and original.transfer_id == reversal.reverses_id
        and (original.debit, original.credit, original.amount_atomic)
        == (reversal.credit, reversal.debit, reversal.amount_atomic)
    )


def effects(transfer: Transfer) -> tuple[tuple[LedgerAccount, Counters], tuple[LedgerAccount, Counters]]:
    """Return how a transfer changes the counters of its debit and of its credit account."""
    amount = transfer.amount_atomic
    posted = amount if transfer.phase in {Phase.POSTED, Phase.POST} else 0
    pending = {Phase.POSTED: 0, Phase.PENDING: amount, Phase.POST: -amount, Phase.VOID: -amount}[transfer.phase]
    return (
        (transfer.debit, Counters(debits_posted=posted, debits_pending=pending)),
        (transfer.credit, Counters(credits_posted=posted, credits_pending=pending)),
    )


def changes(transfers: Iterable[Transfer]) -> dict[LedgerAccount, Counters]:
    """Return how transfers change accounts altogether; they are judged as a whole, their order does not matter."""
    total: dict[LedgerAccount, Counters] = {}
    for transfer in transfers:
        for account, delta in effects(transfer):
            total[account] = total.get(account, Counters()) + delta
    return total


def overdrawn(account: LedgerAccount, *, before: Counters, change: Counters) -> bool:
    """Tell whether a change would take more from an account than it may give."""
    return not account.may_overdraw and (before + change).available_atomic < 0
