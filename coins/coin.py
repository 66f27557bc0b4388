"""The record of one network of one coin, and the closed sets it speaks of."""

from dataclasses import dataclass
from enum import StrEnum


class Algorithm(StrEnum):
    """The proof of work of a coin, by the name the hashing kernels use."""

    SHA256D = "sha256d"
    SCRYPT = "scrypt"


class AddressKind(StrEnum):
    """What an address pays to."""

    P2PKH = "p2pkh"
    P2SH = "p2sh"
    P2WPKH = "p2wpkh"
    P2WSH = "p2wsh"
    P2TR = "p2tr"
    WITNESS_UNKNOWN = "witness_unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Coin:
    """One network of one coin.

    Attributes:
        coin_id: The name in configuration, topics and tables: "litecoin", "bitcoin-regtest".
        name: The name people read.
        ticker: The unit of amounts people read.
        network: The network as the node's `getblockchaininfo` names it: "main", "test", "signet" or "regtest".
        family: Which package of `coins` holds its rules.
        algorithm: The proof of work.
        diff1_target: The target of share difficulty 1, 256 bits.
        atomic_per_coin: Atomic units in one coin.
        decimals: Digits after the point; 10 ** decimals == atomic_per_coin.
        maturity_blocks: Blocks on top of a coinbase before it can be spent.
        block_interval_s: The aimed-at time between blocks, seconds.
        subsidy_initial_atomic: What the first block may create.
        halving_interval_blocks: Blocks between halvings of the subsidy.
        p2pkh_version: The base58 version byte of addresses that pay to a key.
        p2sh_versions: Base58 version bytes of addresses that pay to a script; the first is written, all are read.
        bech32_hrp: The prefix of segwit addresses.
        has_taproot: Whether witness version 1 with 32 bytes is Taproot.
        template_rules: The rules to name in `getblocktemplate`.
        has_mweb: Whether blocks carry a MimbleWimble extension block.
        version_mask_default: The version bits miners may roll (BIP 310).
        message_magic: What a message that an address signs begins with; None where addresses sign none.
        explorer_tx_url: A URL with `{txid}`, or None.
        explorer_block_url: A URL with `{hash}`, or None.
        explorer_address_url: A URL with `{address}`, or None.
    """

    coin_id: str
    name: str
    ticker: str
    network: str
    family: str = "bitcoin"
    algorithm: Algorithm
    diff1_target: int
    atomic_per_coin: int = 10**8
    decimals: int = 8
    maturity_blocks: int = 100
    block_interval_s: int
    subsidy_initial_atomic: int
    halving_interval_blocks: int
    p2pkh_version: int
    p2sh_versions: tuple[int, ...]
    bech32_hrp: str
    has_taproot: bool = True
    template_rules: tuple[str, ...]
    has_mweb: bool = False
    version_mask_default: int = 0x1FFFE000
    message_magic: str | None = None
    explorer_tx_url: str | None = None
    explorer_block_url: str | None = None
    explorer_address_url: str | None = None

    def format_amount(self, atomic: int) -> str:
        """Write an amount for people, in whole coins with every digit: 123450000 is "1.23450000 LTC"."""
        whole, rest = divmod(abs(atomic), self.atomic_per_coin)
        sign = "-" if atomic < 0 else ""
        return f"{sign}{whole}.{rest:0{self.decimals}d} {self.ticker}"
