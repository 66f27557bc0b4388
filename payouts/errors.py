"""What can go wrong in payouts."""

from enum import StrEnum
from uuid import UUID


class PayoutError(Exception):
    """Base of the payouts' errors."""


class IllegalTransition(PayoutError):
    """Raised when the table of states has no entry: a defect of the caller."""

    def __init__(self, *, status: str, event: str) -> None:
        super().__init__(f"a batch that is {status} does not {event}")
        self.status = status
        self.event = event


class BatchMoved(PayoutError):
    """Raised when a batch is no longer in the status that a change starts from: somebody else changed it."""

    def __init__(self, batch_id: UUID, *, expected: str) -> None:
        super().__init__(f"batch {batch_id} is no longer {expected}")
        self.batch_id = batch_id
        self.expected = expected


class PayerLockLost(PayoutError):
    """Raised when the connection that holds the payer's lock is gone; the payer stops at once."""

    def __init__(self, coin: str) -> None:
        super().__init__(f"the connection with the payer's lock of {coin} was lost")
        self.coin = coin


class TermOver(PayoutError):
    """Raised when this process may pay no longer: by its own clock another one may have been elected."""

    def __init__(self, coin: str) -> None:
        super().__init__(f"the term as payer of {coin} is over")
        self.coin = coin


class WaitCause(StrEnum):
    """Why a payer makes no new batch."""

    HELD = "held"
    """The operator holds payouts."""
    SWITCHED_OFF = "switched_off"
    """The configuration says so."""
    IN_REVIEW = "in_review"
    """A batch needs a decision."""
    FEE = "fee"
    """The network asks for more than the fee ceiling."""
    FUNDS = "funds"
    """The wallet cannot spend enough."""
    MINERS = "miners"
    """The miners service does not answer."""
    NODE = "node"
    """The node or its wallet fails."""
    MOVED = "moved"
    """Somebody else changed a batch; looked at again in the next round."""
    LEDGER = "ledger"
    """The ledger refuses."""
    UNKNOWN_SEND = "unknown_send"
    """The wallet has paid accounts without a batch that says so."""


class Waiting(PayoutError):
    """Raised when the payer has to wait for something; `reason` is the sentence the operator reads.

    Attributes:
        reason: What it waits for.
        cause: Which kind of thing that is.
        is_alarm: True when money stands still until somebody does something.
    """

    def __init__(self, reason: str, *, cause: WaitCause, is_alarm: bool = False) -> None:
        super().__init__(reason)
        self.cause = cause
        self.reason = reason
        self.is_alarm = is_alarm
