"""What this process has counted since it started."""

from dataclasses import dataclass


@dataclass(slots=True, kw_only=True)
class PayoutMetrics:
    """Counters of one payer; each only grows.

    Attributes:
        rounds: Rounds begun.
        batches_reserved: Batches made.
        batches_sent: Times that stored bytes were handed to a node, repeats included.
        batches_confirmed: Batches settled.
        batches_reviewed: Batches that went to review.
        batches_voided: Batches given up, by the operator or because they were split.
        payouts_confirmed: Payments settled.
        paid_atomic: Atomic units settled.
        accounts_isolated: Accounts found that cannot be paid.
        waits: Rounds that ended because something was missing.
        locks_lost: Times the lock's connection was lost.
    """

    rounds: int = 0
    batches_reserved: int = 0
    batches_sent: int = 0
    batches_confirmed: int = 0
    batches_reviewed: int = 0
    batches_voided: int = 0
    payouts_confirmed: int = 0
    paid_atomic: int = 0
    accounts_isolated: int = 0
    waits: int = 0
    locks_lost: int = 0
