"""A node's block template (BIP 22, 23, 145), read and checked.

A template is trusted for what only a node knows, and checked for everything that can be computed: the target, the hash
of every transaction and the commitment to the witnesses. A block that a node would refuse is found here, before
anyone mines it.
"""

from dataclasses import dataclass

from coins.bitcoin.hashing import sha256d
from coins.bitcoin.merkle import witness_commitment
from coins.coin import Coin
from coins.errors import TargetError, TemplateError
from coins.work import target_from_nbits

COMMITMENT_PREFIX = bytes.fromhex("6a24aa21a9ed")
"""How the scriptPubKey of a witness commitment begins; 32 bytes follow."""

_MONEY_MAX = 2**63 - 1
_UINT32_MAX = 2**32 - 1
_MWEB_FLAG = 0x08
_SIGNET_OPEN = "51"
"""The script of a signet whose blocks need no signature: OP_TRUE (BIP 325)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TemplateTransaction:
    """One transaction to put into the block.

    Attributes:
        data: The bytes as they go into the block.
        txid: Hash without witness, header order.
        wtxid: Hash with witness, header order.
        fee_atomic: What it pays; 0 for a HogEx.
        weight: Weight units (BIP 141).
    """

    data: bytes
    txid: bytes
    wtxid: bytes
    fee_atomic: int
    weight: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """What to mine next.

    Attributes:
        coin_id: The coin.
        height: The height the block will have.
        prev_hash: The block before it, header order.
        version: Of the header, 32 bits.
        nbits: The target in compact form.
        target: The network's target, 256 bits.
        curtime: The node's time, Unix seconds.
        mintime: The lowest time the block may have, Unix seconds.
        coinbase_value_atomic: Subsidy and fees; what the coinbase pays.
        transactions: In block order, without the coinbase; a HogEx is the last.
        witness_commitment: The whole scriptPubKey of the commitment, or None before segwit is active.
        mweb: The extension block, or None before MWEB is active.
        longpollid: To ask for the next template with, or None.
        rules: The rules in force, as the node names them.
        fees_atomic: The sum of the transactions' fees.
    """

    coin_id: str
    height: int
    prev_hash: bytes
    version: int
    nbits: int
    target: int
    curtime: int
    mintime: int
    coinbase_value_atomic: int
    transactions: tuple[TemplateTransaction, ...]
    witness_commitment: bytes | None
    mweb: bytes | None
    longpollid: str | None
    rules: tuple[str, ...]
    fees_atomic: int


def parse_template(coin: Coin, answer: dict[str, object]) -> Template:
    """Read the answer of `getblocktemplate`.

    Args:
        coin: The coin the node should serve.
        answer: The decoded JSON object; fields that are not used are passed over.

    Raises:
        TemplateError: If a field is missing or malformed, or contradicts what is computed from the others.
    """
    rules = _rules(answer)
    transactions = _transactions(answer)
    nbits = int.from_bytes(_hex(answer, "bits", length=4), "big")
    curtime = _integer(answer, "curtime", lowest=0, highest=_UINT32_MAX)
    if answer.get("signet_challenge", _SIGNET_OPEN) != _SIGNET_OPEN:
        raise TemplateError("signet_challenge", "asks for signed blocks, which only the signet's owners can make")
    return Template(
        coin_id=coin.coin_id,
        height=_integer(answer, "height", lowest=1, highest=_UINT32_MAX),
        prev_hash=_hex(answer, "previousblockhash", length=32)[::-1],
        version=_integer(answer, "version", lowest=-(2**31), highest=_UINT32_MAX) & _UINT32_MAX,
        nbits=nbits,
        target=_target(answer, nbits),
        curtime=curtime,
        mintime=_integer(answer, "mintime", lowest=0, highest=_UINT32_MAX) if "mintime" in answer else curtime,
        coinbase_value_atomic=_integer(answer, "coinbasevalue", lowest=0, highest=_MONEY_MAX),
        transactions=transactions,
        witness_commitment=_witness_commitment(answer, transactions) if "segwit" in rules else None,
        mweb=_mweb(answer, is_active="mweb" in rules) if coin.has_mweb else None,
        longpollid=_text(answer, "longpollid") if "longpollid" in answer else None,
        rules=rules,
        fees_atomic=sum(transaction.fee_atomic for transaction in transactions),
    )


def _rules(answer: dict[str, object]) -> tuple[str, ...]:
    """Answer the names of the rules in force; a leading "!" only says that a miner must know them."""
    rules = answer.get("rules", [])
    if not isinstance(rules, list) or not all(isinstance(rule, str) for rule in rules):
        raise TemplateError("rules", "is not a list of names")
    return tuple(rule.removeprefix("!") for rule in rules)


def _transactions(answer: dict[str, object]) -> tuple[TemplateTransaction, ...]:
    entries = answer.get("transactions")
    if not isinstance(entries, list):
        raise TemplateError("transactions", "is not a list")
    return tuple(_transaction(entry, f"transactions[{index}]") for index, entry in enumerate(entries))


def _transaction(entry: object, path: str) -> TemplateTransaction:
    if not isinstance(entry, dict):
        raise TemplateError(path, "is not an object")
    data = _hex(entry, "data", path=path)
    txid = _hex(entry, "txid", path=path, length=32)[::-1]
    wtxid = _hex(entry, "hash", path=path, length=32)[::-1]
    if not _has_mweb_flag(data) and sha256d(data) != wtxid:
        raise TemplateError(f"{path}.hash", "is not the hash of its data")
    return TemplateTransaction(
        data=data,
        txid=txid,
        wtxid=wtxid,
        fee_atomic=_integer(entry, "fee", path=path, lowest=0, highest=_MONEY_MAX),
        weight=_integer(entry, "weight", path=path, lowest=1, highest=_UINT32_MAX),
    )


def _has_mweb_flag(data: bytes) -> bool:
    """Whether the data holds an MWEB part, which its hash leaves out."""
    return len(data) > 5 and data[4] == 0 and bool(data[5] & _MWEB_FLAG)


def _target(answer: dict[str, object], nbits: int) -> int:
    try:
        target = target_from_nbits(nbits)
    except TargetError as error:
        raise TemplateError("bits", f"is no target: {error.reason}") from error
    if "target" in answer and int.from_bytes(_hex(answer, "target", length=32), "big") != target:
        raise TemplateError("target", f"is not the target of bits {nbits:08x}")
    return target


def _witness_commitment(answer: dict[str, object], transactions: tuple[TemplateTransaction, ...]) -> bytes:
    script = COMMITMENT_PREFIX + witness_commitment([transaction.wtxid for transaction in transactions])
    if "default_witness_commitment" in answer and _hex(answer, "default_witness_commitment") != script:
        raise TemplateError("default_witness_commitment", f"is not that of the transactions, {script.hex()}")
    return script


def _mweb(answer: dict[str, object], *, is_active: bool) -> bytes | None:
    """Answer the extension block, which must be there once its rule is in force."""
    return _hex(answer, "mweb") if is_active or "mweb" in answer else None


def _name(field: str, path: str) -> str:
    return f"{path}.{field}" if path else field


def _text(answer: dict[str, object], field: str, *, path: str = "") -> str:
    value = answer.get(field)
    if not isinstance(value, str):
        raise TemplateError(_name(field, path), "is missing" if value is None else "is not text")
    return value


def _hex(answer: dict[str, object], field: str, *, path: str = "", length: int | None = None) -> bytes:
    text = _text(answer, field, path=path)
    try:
        value = bytes.fromhex(text)
    except ValueError as error:
        raise TemplateError(_name(field, path), "is not hexadecimal") from error
    if not value or (length is not None and len(value) != length):
        expected = f"expected {length}" if length is not None else "expected some"
        raise TemplateError(_name(field, path), f"has {len(value)} bytes, {expected}")
    return value


def _integer(answer: dict[str, object], field: str, *, lowest: int, highest: int, path: str = "") -> int:
    value = answer.get(field)
    if not isinstance(value, int) or isinstance(value, bool):
        raise TemplateError(_name(field, path), "is missing" if value is None else "is not a whole number")
    if not lowest <= value <= highest:
        raise TemplateError(_name(field, path), f"is {value}, expected {lowest}..{highest}")
    return value
