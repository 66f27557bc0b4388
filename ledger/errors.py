"""What the ledger refuses. Each refusal leaves the caller's database transaction without any effect of the call."""

# the names say what happened

from uuid import UUID

from ledger.domain import LedgerAccount


class LedgerError(Exception):
    """Base of the ledger's refusals."""


class TransferConflict(LedgerError):
    """Raised when a transfer id is already taken by a transfer with other content."""

    def __init__(self, transfer_id: UUID, field: str) -> None:
        super().__init__(f"transfer {transfer_id} exists with another {field}")
        self.transfer_id = transfer_id
        self.field = field


class PendingUnknown(LedgerError):
    """Raised when a transfer resolves a pending transfer that does not exist, or that differs in accounts or amount."""

    def __init__(self, transfer_id: UUID, pending_id: UUID | None) -> None:
        super().__init__(f"transfer {transfer_id} resolves {pending_id}, which is not such a pending transfer")
        self.transfer_id = transfer_id
        self.pending_id = pending_id


class PendingResolved(LedgerError):
    """Raised when the pending transfer was already posted or voided by another transfer."""

    def __init__(self, transfer_id: UUID, pending_id: UUID, resolved_by: UUID) -> None:
        super().__init__(f"transfer {transfer_id} resolves {pending_id}, already resolved by {resolved_by}")
        self.transfer_id = transfer_id
        self.pending_id = pending_id
        self.resolved_by = resolved_by


class ReversalInvalid(LedgerError):
    """Raised when a reversal names no transfer it mirrors, or one that is already reversed."""

    def __init__(self, transfer_id: UUID, reverses_id: UUID | None, problem: str) -> None:
        super().__init__(f"transfer {transfer_id} reverses {reverses_id}: {problem}")
        self.transfer_id = transfer_id
        self.reverses_id = reverses_id
        self.problem = problem


class InsufficientBalance(LedgerError):
    """Raised when an account would give more than it has; amounts in atomic units."""

    def __init__(self, account: LedgerAccount, wanted: int, available: int) -> None:
        super().__init__(f"{account} has {available} available, {wanted} wanted")
        self.account = account
        self.wanted = wanted
        self.available = available
