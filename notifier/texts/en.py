"""English."""

from typing import Final

from notifier.notices import TroubleKind
from notifier.texts.language import Language, Plural


def plural(count: int) -> Plural:
    """Return the plural form of a number: 1 hour, 2 hours."""
    return Plural.ONE if count == 1 else Plural.MANY


LANGUAGE: Final = Language(
    plural=plural,
    units={
        "day": {Plural.ONE: "day", Plural.MANY: "days"},
        "hour": {Plural.ONE: "hour", Plural.MANY: "hours"},
        "minute": {Plural.ONE: "minute", Plural.MANY: "minutes"},
        "second": {Plural.ONE: "second", Plural.MANY: "seconds"},
        "notice": {Plural.ONE: "notice", Plural.MANY: "notices"},
    },
    titles={
        "worker_offline": "{worker} is offline",
        "worker_online": "{worker} mines again",
        "hashrate_low": "The hashrate of {worker} is low",
        "account_hashrate_low": "The hashrate is low",
        "rejects_high": "Many shares of {worker} are refused",
        "block_found": "Block {height} was found",
        "block_confirmed": "Block {height} has matured",
        "block_orphaned": "Block {height} is lost",
        "credit": "{amount} for block {height}",
        "payout_sent": "{amount} was sent",
        "payout_confirmed": "{amount} has arrived",
        "payout_given_up": "A payment of {amount} was given up",
        "payout_in_review": "A payment of {amount} waits for the operator",
        "trouble": "{trouble}",
        "test": "A test",
    },
    bodies={
        "worker_offline": "The last share came at {last}; usually one comes every {interval}.\nAccount {account}",
        "worker_online": "It was silent for {duration}.\nAccount {account}",
        "hashrate_low": "{hashrate} over the last hour, {percent} of the usual {usual}.\nAccount {account}",
        "account_hashrate_low": "{hashrate} over the last hour, {percent} of the usual {usual}.\nAccount {account}",
        "rejects_high": "{percent} of the last hour's shares do not count, most of them because {reason}.\n"
        "Account {account}",
        "block_found": "{coin}, {time}. Reward {amount}, once it has matured.\n{hash}",
        "block_confirmed": "{coin}, {time}. The reward of {amount} is payable now.{effort}\n{hash}",
        "block_orphaned": "{coin}, {time}. The chain went on without it; its credits were taken back.\n{hash}",
        "credit": "{coin}, {time}. Payable once the block has matured.\nAccount {account}\nBlock {hash}",
        "payout_sent": "{coin}, {time}. To {account}\nTransaction {txid}",
        "payout_confirmed": "{coin}, {time}. The network has confirmed the payment to {account}\nTransaction {txid}",
        "payout_given_up": "{coin}, {time}. The amount is a balance again and will be paid later.\nAccount {account}",
        "payout_in_review": "{coin}, {time}. Nothing is lost; the operator looks at it.\nAccount {account}",
        "trouble": "{coin}, {time}. {subject}\n{detail}",
        "test": "Notices arrive here. {time}",
    },
    troubles={
        TroubleKind.NODE_DOWN: "A node cannot be used any more",
        TroubleKind.NODE_UP: "A node can be used again",
        TroubleKind.NO_TEMPLATE: "There is no node left: miners work on what they have",
        TroubleKind.PAYOUTS_WAIT: "Payouts wait",
        TroubleKind.BATCH_IN_REVIEW: "A batch of payouts waits for you",
        TroubleKind.BLOCK_HELD: "A block waits for you",
        TroubleKind.STREAM_GAP: "Shares are missing in the stream",
        TroubleKind.POISON_RECORD: "A record could not be booked and was set aside",
        TroubleKind.SHARES_REFUSED: "Shares are refused: they cannot be stored",
        TroubleKind.AUDIT_DIFFERENCE: "The audit has found a difference",
    },
    reasons={
        "stale": "they came too late for their job",
        "duplicate": "they were sent twice",
        "low-difficulty": "they do not reach the difficulty",
        "invalid": "they are wrong",
    },
    words={
        "default_worker": "The default worker",
        "digest": "{count} {unit}",
        "more": "… and {count} more {unit}",
        "effort": " Effort {percent}.",
        "unsubscribe": "No more of these",
        "why": "You get this because you subscribed to notices of the mining pool.",
    },
)
