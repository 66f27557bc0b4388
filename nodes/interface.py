"""Say what a node and a wallet of the Bitcoin family can do for the pool.

Hashes that end in `_hex` are the reversed hex people read; amounts are in atomic units; times in seconds since 1970.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Protocol, Self

from coins.bitcoin.template import Template

_KNOWN_WORDS: Final = ("txn-already-known", "txn-already-in-mempool", "already in block chain", "already in utxo set")
_CONFLICT_WORDS: Final = (
    "missingorspent",
    "missing inputs",
    "missing-inputs",
    "txn-mempool-conflict",
    "spends-conflicting-tx",
    "rejecting replacement",
)


class SubmitStatus(StrEnum):
    """What became of a submitted block."""

    ACCEPTED = "accepted"
    DUPLICATE = "duplicate"
    INCONCLUSIVE = "inconclusive"
    REJECTED = "rejected"


class BroadcastStatus(StrEnum):
    """What became of a transaction handed to a node."""

    ACCEPTED = "accepted"
    ALREADY_KNOWN = "already_known"
    CONFLICT = "conflict"
    REJECTED = "rejected"


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainInfo:
    """The node's view of the chain; `chain` is main, test, signet or regtest."""

    chain: str
    height: int
    tip_hash_hex: str
    is_initial_download: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmitOutcome:
    """A node's answer to a block; `reason` is the node's own word, empty when accepted."""

    status: SubmitStatus
    reason: str = ""

    @classmethod
    def from_answer(cls, reason: str) -> Self:
        """Sort the answer of `submitblock`; empty means accepted. Source: BIP 22."""
        match reason:
            case "":
                return cls(status=SubmitStatus.ACCEPTED)
            case "duplicate":
                return cls(status=SubmitStatus.DUPLICATE, reason=reason)
            case "inconclusive" | "duplicate-inconclusive":
                return cls(status=SubmitStatus.INCONCLUSIVE, reason=reason)
            case _:
                return cls(status=SubmitStatus.REJECTED, reason=reason)


@dataclass(frozen=True, slots=True, kw_only=True)
class AddressInfo:
    """What the node says of an address; `script` is empty when invalid, `is_mine` None without a wallet."""

    is_valid: bool
    script: bytes
    is_mine: bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class HeaderInfo:
    """A block's header as the node knows it; `confirmations` is −1 when it is not in the active chain."""

    block_hash_hex: str
    height: int
    confirmations: int
    time_s: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockInfo:
    """A block and its coinbase; `coinbase_outputs` are (script, amount_atomic) in order."""

    block_hash_hex: str
    height: int
    confirmations: int
    coinbase_txid_hex: str
    coinbase_outputs: tuple[tuple[bytes, int], ...]
    network_target: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedTransaction:
    """A transaction that is ready to be sent and was not sent; `outputs` are those asked for, without the change."""

    raw: bytes
    txid_hex: str
    fee_atomic: int
    weight: int
    outputs: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class BroadcastOutcome:
    """A node's answer to a transaction; `reason` is the node's own word, empty when accepted."""

    status: BroadcastStatus
    reason: str = ""

    @classmethod
    def from_refusal(cls, reason: str, *, is_known: bool) -> Self:
        """Sort the refusal of `sendrawtransaction`.

        Args:
            reason: The node's words.
            is_known: Whether the mempool or the chain hold this very transaction: then an input that is spent was
                spent by it.
        """
        words = reason.lower()
        if any(word in words for word in _KNOWN_WORDS):
            return cls(status=BroadcastStatus.ALREADY_KNOWN, reason=reason)
        if any(word in words for word in _CONFLICT_WORDS):
            status = BroadcastStatus.ALREADY_KNOWN if is_known else BroadcastStatus.CONFLICT
            return cls(status=status, reason=reason)
        return cls(status=BroadcastStatus.REJECTED, reason=reason)


@dataclass(frozen=True, slots=True, kw_only=True)
class WalletTransaction:
    """A transaction of the wallet; `confirmations` is 0 outside of blocks, negative when in conflict with the chain."""

    txid_hex: str
    confirmations: int
    block_hash_hex: str | None
    fee_atomic: int
    is_in_mempool: bool
    raw: bytes


SENDS_DEPTH_BLOCKS: Final = 100
"""The cursor of `sends` lies this deep, so that no reorganisation that happens leads around a send."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WalletSends:
    """What a wallet has sent.

    Attributes:
        txids_hex: Transactions that spend from the wallet, newest first, each once.
        cursor: Given as `since` the next time; what lies at least SENDS_DEPTH_BLOCKS deep is then left out.
    """

    txids_hex: tuple[str, ...]
    cursor: str


class BitcoinNode(Protocol):
    """One node. Every method raises NodeError when the node cannot be asked or its answer makes no sense."""

    @property
    def name(self) -> str:
        """Return what logs and health call the node."""
        ...

    async def chain_info(self) -> ChainInfo:
        """Return the node's network and tip."""
        ...

    async def block_template(self, *, longpollid: str | None = None, timeout_s: float | None = None) -> Template:
        """Return work on the node's tip.

        Args:
            longpollid: That of an earlier template: answer when it is out of date (long poll). None: answer at once.
            timeout_s: Limit of the call; None means the node's usual limit, or LONGPOLL_TIMEOUT_S for a long poll.
        """
        ...

    async def submit_block(self, block: bytes) -> SubmitOutcome:
        """Hand a serialised block to the node."""
        ...

    async def address_info(self, address: str) -> AddressInfo:
        """Return what the node makes of an address."""
        ...

    async def block_hash_at(self, height: int) -> str | None:
        """Return the active chain's block at a height; None above the tip."""
        ...

    async def header(self, block_hash_hex: str) -> HeaderInfo | None:
        """Return a block's header; None when the node has never seen it."""
        ...

    async def block(self, block_hash_hex: str) -> BlockInfo | None:
        """Return a block and its coinbase; None when the node has never seen it."""
        ...

    async def has_zmq(self) -> bool:
        """Return whether the node publishes new block hashes over ZMQ."""
        ...

    async def wait_for_zmq_block(self, *, timeout_s: float) -> bool:
        """Wait for the next block hash over ZMQ; False when none came in time. Only where `has_zmq()`."""
        ...

    async def close(self) -> None:
        """Close the connections to the node."""
        ...


class BitcoinWallet(Protocol):
    """A node's wallet. Every method raises NodeError when it cannot be asked."""

    async def balance_atomic(self) -> int:
        """Return what can be spent now: confirmed or own change, mature, not locked."""
        ...

    async def fee_rate_sat_per_kvb(self, *, target_blocks: int) -> int | None:
        """Return the node's estimate of a fee rate to confirm within some blocks; None when it has none."""
        ...

    async def address_info(self, address: str) -> AddressInfo:
        """Return what the wallet makes of an address."""
        ...

    async def build(self, outputs: Sequence[tuple[str, int]], *, fee_rate_sat_per_kvb: int) -> SignedTransaction:
        """Create, fund and sign a transaction, and lock its inputs. It is not broadcast.

        Args:
            outputs: (address, amount_atomic), each address once; they receive exactly this, the fee comes on top.
            fee_rate_sat_per_kvb: Fee per 1,000 virtual bytes.

        Raises:
            InsufficientFunds: When the wallet cannot pay it.
        """
        ...

    async def broadcast(self, raw: bytes) -> BroadcastOutcome:
        """Send a signed transaction; safe to repeat with the same bytes."""
        ...

    async def transaction(self, txid_hex: str) -> WalletTransaction | None:
        """Return a transaction of the wallet; None when the wallet does not know it."""
        ...

    async def sends(self, *, since: str) -> WalletSends:
        """Return what the wallet has sent, whoever told it to, unconfirmed and conflicting transactions included.

        Args:
            since: The cursor of an earlier answer; empty for everything. One that the node does not know any more
                (another chain, a block that was reorganised away) means everything.
        """
        ...

    async def release(self, raw: bytes) -> None:
        """Unlock the inputs of a transaction that will not be sent."""
        ...

    async def release_all(self) -> None:
        """Unlock every input of the wallet: those of builds that were never stored, and those locked by hand."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class TemplateUpdate:
    """A template to work on; `is_new_tip` is False for a mere refresh on the same previous block."""

    template: Template
    is_new_tip: bool
    node_name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeHealth:
    """One node of a group as last seen; `last_error` is empty when nothing is wrong."""

    name: str
    is_up: bool
    height: int
    last_error: str
    latency_ms: float
