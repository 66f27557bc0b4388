"""The coinbase transaction, in two halves around the extranonce. Sources: BIP 34, BIP 141, Bitcoin Core."""

from collections.abc import Sequence
from dataclasses import dataclass

from coins.bitcoin.merkle import WITNESS_RESERVED_VALUE
from coins.bitcoin.template import COMMITMENT_PREFIX, Template
from coins.bitcoin.wire import compact_size, height_push, script_push
from coins.errors import CoinbaseError

__all__ = ["COMMITMENT_PREFIX", "CoinbaseOutput", "CoinbaseParts", "build_coinbase", "with_witness"]

SCRIPT_BYTES_MAX = 100
"""Longest script a coinbase's input may have."""
EXTRANONCE_BYTES_MAX = 75

_VERSION = (2).to_bytes(4, "little")
_NULL_OUTPOINT = bytes(32) + b"\xff\xff\xff\xff"
_SEQUENCE = b"\xff\xff\xff\xff"
_LOCKTIME = bytes(4)
_MARKER_AND_FLAG = b"\x00\x01"


@dataclass(frozen=True, slots=True, kw_only=True)
class CoinbaseOutput:
    """One payment of the coinbase: a scriptPubKey and its amount, atomic units."""

    script: bytes
    amount_atomic: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CoinbaseParts:
    """A coinbase without witness, cut where the extranonce goes.

    Attributes:
        coinbase1: Everything before the extranonce.
        coinbase2: Everything after it.
        outputs: The payments in order, without the witness commitment.
    """

    coinbase1: bytes
    coinbase2: bytes
    outputs: tuple[CoinbaseOutput, ...]


def build_coinbase(
    template: Template, *, outputs: Sequence[CoinbaseOutput], signature: bytes, extranonce_bytes: int
) -> CoinbaseParts:
    """Build the coinbase of a template.

    Its script is the height (BIP 34), a push of the extranonce and a push of the signature. The payments come first,
    then the witness commitment with nothing on it.

    Args:
        template: What is mined.
        outputs: Who is paid; the amounts add up to the template's coinbase value exactly.
        signature: The pool's mark; may be empty.
        extranonce_bytes: Length of extranonce1 and extranonce2 together, 1..75.

    Raises:
        CoinbaseError: If the outputs are missing or do not add up, or the script would exceed 100 bytes.
    """
    _check_outputs(template, outputs)
    if not 1 <= extranonce_bytes <= EXTRANONCE_BYTES_MAX:
        raise CoinbaseError(f"an extranonce of {extranonce_bytes} bytes, expected 1..{EXTRANONCE_BYTES_MAX}")
    before = height_push(template.height) + bytes([extranonce_bytes])
    room = SCRIPT_BYTES_MAX - len(before) - extranonce_bytes
    if len(signature) + bool(signature) > min(room, EXTRANONCE_BYTES_MAX):
        raise CoinbaseError(f"a signature of {len(signature)} bytes, expected at most {max(room - 1, 0)}")
    after = script_push(signature) if signature else b""
    script_bytes = len(before) + extranonce_bytes + len(after)
    payments = [_output(output.script, output.amount_atomic) for output in outputs]
    if template.witness_commitment is not None:
        payments.append(_output(template.witness_commitment, 0))
    return CoinbaseParts(
        coinbase1=_VERSION + b"\x01" + _NULL_OUTPOINT + compact_size(script_bytes) + before,
        coinbase2=after + _SEQUENCE + compact_size(len(payments)) + b"".join(payments) + _LOCKTIME,
        outputs=tuple(outputs),
    )


def with_witness(coinbase: bytes) -> bytes:
    """Add the witness a block needs that commits to witnesses: marker, flag and 32 zero bytes (BIP 141).

    Args:
        coinbase: The whole coinbase transaction without witness.
    """
    witness = b"\x01" + compact_size(len(WITNESS_RESERVED_VALUE)) + WITNESS_RESERVED_VALUE
    return coinbase[:4] + _MARKER_AND_FLAG + coinbase[4:-4] + witness + coinbase[-4:]


def _check_outputs(template: Template, outputs: Sequence[CoinbaseOutput]) -> None:
    if not outputs:
        raise CoinbaseError("no outputs, expected at least one")
    for output in outputs:
        if output.amount_atomic < 0:
            raise CoinbaseError(f"an output of {output.amount_atomic}, expected at least 0")
    paid_atomic = sum(output.amount_atomic for output in outputs)
    if paid_atomic != template.coinbase_value_atomic:
        raise CoinbaseError(f"outputs of {paid_atomic} in sum, expected {template.coinbase_value_atomic}")


def _output(script: bytes, amount_atomic: int) -> bytes:
    return amount_atomic.to_bytes(8, "little") + compact_size(len(script)) + script
