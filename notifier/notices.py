"""What people can be told. Pure."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final, TypeAlias


class Kind(StrEnum):
    """What a subscription chooses between."""

    WORKER_OFFLINE = "worker_offline"
    WORKER_ONLINE = "worker_online"
    HASHRATE_LOW = "hashrate_low"
    REJECTS_HIGH = "rejects_high"
    BLOCK_FOUND = "block_found"
    BLOCK_CONFIRMED = "block_confirmed"
    BLOCK_ORPHANED = "block_orphaned"
    CREDIT = "credit"
    PAYOUT_SENT = "payout_sent"
    PAYOUT_CONFIRMED = "payout_confirmed"
    PAYOUT_DELAYED = "payout_delayed"
    TROUBLE = "trouble"
    TEST = "test"


class TroubleKind(StrEnum):
    """What troubles the pool."""

    NODE_DOWN = "node_down"
    NODE_UP = "node_up"
    NO_TEMPLATE = "no_template"
    PAYOUTS_WAIT = "payouts_wait"
    BATCH_IN_REVIEW = "batch_in_review"
    BLOCK_HELD = "block_held"
    STREAM_GAP = "stream_gap"
    POISON_RECORD = "poison_record"
    SHARES_REFUSED = "shares_refused"
    AUDIT_DIFFERENCE = "audit_difference"


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerOffline:
    """A worker is silent for longer than chance explains.

    Attributes:
        worker: Its name below the account; "" for the default worker.
        last_share_time_ms: Its last accepted share, milliseconds since the Unix epoch.
        expected_interval_ms: From share to share before, on average.
    """

    worker: str
    last_share_time_ms: int
    expected_interval_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerOnline:
    """A worker that had stopped mines again.

    Attributes:
        worker: Its name below the account; "" for the default worker.
        offline_ms: How long it was silent.
    """

    worker: str
    offline_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class HashrateLow:
    """A hashrate is lower than it used to be.

    Attributes:
        worker: Whose it is; None for the whole account's.
        hps: Over the last hour, hashes a second.
        usual_hps: Over the day before.
    """

    worker: str | None
    hps: int
    usual_hps: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RejectsHigh:
    """Many of a worker's shares do not count.

    Attributes:
        worker: Its name below the account; "" for the default worker.
        reason: The reason of most of them.
        percent_hundredths: Refused shares, hundredths of a per cent.
    """

    worker: str
    reason: str
    percent_hundredths: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A block of the pool.

    Attributes:
        kind: What became of it.
        height: Its height.
        block_hash_hex: As people read it.
        reward_atomic: Value of the coinbase outputs.
        finder: The finder's account.
        worker: The finder's worker.
        effort_hundredths: Of the round, hundredths of a per cent; 0 while it is not known.
    """

    kind: Kind
    height: int
    block_hash_hex: str
    reward_atomic: int
    finder: str
    worker: str
    effort_hundredths: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Credit:
    """An account's part of a block.

    Attributes:
        block_hash_hex: As people read it.
        height: The block's.
        amount_atomic: The part.
    """

    block_hash_hex: str
    height: int
    amount_atomic: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Payout:
    """A payment to an account.

    Attributes:
        kind: What became of it.
        is_in_review: With PAYOUT_DELAYED: it waits for the operator; otherwise it was given up and is a balance again.
        payout_id: Identifies it.
        amount_atomic: What is paid.
        txid_hex: Its transaction; "" before one is signed.
    """

    kind: Kind
    is_in_review: bool = False
    payout_id: str
    amount_atomic: int
    txid_hex: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """Something that an operator has to know.

    Attributes:
        trouble: What it is.
        subject: What it concerns.
        detail: The reason as the program knows it, in English.
    """

    trouble: TroubleKind
    subject: str
    detail: str


@dataclass(frozen=True, slots=True)
class Test:
    """Somebody wants to see that notices arrive."""

    __test__ = False


Event: TypeAlias = WorkerOffline | WorkerOnline | HashrateLow | RejectsHigh | Block | Credit | Payout | Trouble | Test


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """Something that somebody may want to be told.

    Attributes:
        notice_id: Names the event; the same event always has the same id.
        coin: Coin id.
        time_ms: When it happened, milliseconds since the Unix epoch.
        account: Whom it concerns; "" for the whole pool.
        event: What happened.
    """

    notice_id: str
    coin: str
    time_ms: int
    account: str
    event: Event

    @property
    def kind(self) -> Kind:
        """Return what subscriptions choose it by."""
        match self.event:
            case Block(kind=kind) | Payout(kind=kind):
                return kind
            case event:
                return _KINDS[type(event)]

    @property
    def worker(self) -> str | None:
        """Return the worker it is about; None when it is about no single one."""
        match self.event:
            case WorkerOffline(worker=worker) | WorkerOnline(worker=worker) | RejectsHigh(worker=worker):
                return worker
            case HashrateLow(worker=worker):
                return worker
            case _:
                return None

    @property
    def subject(self) -> str:
        """Return the condition that it tells a change of, for the cool-down; "" for what is told each time."""
        match self.event:
            case WorkerOffline() | WorkerOnline():
                return f"presence/{self.coin}/{self.account}/{self.worker}"
            case HashrateLow(worker=worker):
                return f"hashrate/{self.coin}/{self.account}" + ("" if worker is None else f"/{worker}")
            case RejectsHigh(worker=worker):
                return f"rejects/{self.coin}/{self.account}/{worker}"
            case Trouble(trouble=trouble, subject=subject):
                group = "node" if trouble in _NODES else trouble.value
                return f"trouble/{group}/{self.coin}/{subject}"
            case _:
                return ""

    @property
    def level(self) -> str:
        """Return the state that the condition is in now: two notices of one subject and level say the same."""
        match self.event:
            case Trouble(trouble=trouble):
                return trouble.value
            case _:
                return self.kind.value


_KINDS: Final = {
    WorkerOffline: Kind.WORKER_OFFLINE,
    WorkerOnline: Kind.WORKER_ONLINE,
    HashrateLow: Kind.HASHRATE_LOW,
    RejectsHigh: Kind.REJECTS_HIGH,
    Credit: Kind.CREDIT,
    Trouble: Kind.TROUBLE,
    Test: Kind.TEST,
}
_NODES: Final = frozenset({TroubleKind.NODE_DOWN, TroubleKind.NODE_UP})

OPPOSITES: Final = frozenset(
    {
        (Kind.WORKER_OFFLINE.value, Kind.WORKER_ONLINE.value),
        (Kind.WORKER_ONLINE.value, Kind.WORKER_OFFLINE.value),
        (TroubleKind.NODE_DOWN.value, TroubleKind.NODE_UP.value),
        (TroubleKind.NODE_UP.value, TroubleKind.NODE_DOWN.value),
    }
)
"""Levels (before, after) of one subject of which the second takes the first back."""
