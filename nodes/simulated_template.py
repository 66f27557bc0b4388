"""Make templates and blocks of a simulated chain."""

from collections.abc import Sequence
from typing import Final

from coins.bitcoin.block import assemble_block
from coins.bitcoin.coinbase import COMMITMENT_PREFIX, CoinbaseOutput, build_coinbase
from coins.bitcoin.hashing import sha256d
from coins.bitcoin.merkle import merkle_branch, merkle_root_from_branch, witness_commitment
from coins.bitcoin.subsidy import subsidy_atomic
from coins.bitcoin.template import parse_template
from nodes.simulated_chain import SimulatedChain, StoredBlock, Waiting

BLOCK_VERSION: Final = 0x20000000
EXTRANONCE_BYTES: Final = 8


def template_answer(
    chain: SimulatedChain, parent: StoredBlock, waiting: Sequence[Waiting], *, now_s: float
) -> dict[str, object]:
    """Return what `getblocktemplate` answers for a block on `parent` with the transactions `waiting`."""
    positions = {entry.transaction.txid: index for index, entry in enumerate(waiting, start=1)}
    median_s = chain.median_time_s(parent)
    commitment = witness_commitment([entry.transaction.wtxid for entry in waiting])
    fees = sum(entry.fee_atomic for entry in waiting)
    return {
        "capabilities": ["proposal"],
        "version": BLOCK_VERSION,
        "rules": ["csv", "!segwit", "taproot"],
        "vbavailable": {},
        "vbrequired": 0,
        "previousblockhash": parent.block_hash[::-1].hex(),
        "transactions": [_template_transaction(entry, positions) for entry in waiting],
        "coinbaseaux": {},
        "coinbasevalue": subsidy_atomic(chain.coin, parent.height + 1) + fees,
        "longpollid": f"{parent.block_hash[::-1].hex()}{chain.mempool_count}",
        "target": f"{chain.target:064x}",
        "mintime": median_s + 1,
        "mutable": ["time", "transactions", "prevblock"],
        "noncerange": "00000000ffffffff",
        "sigoplimit": 80_000,
        "sizelimit": 4_000_000,
        "weightlimit": 4_000_000,
        "curtime": max(int(now_s), median_s + 1),
        "bits": f"{chain.nbits:08x}",
        "height": parent.height + 1,
        "default_witness_commitment": (COMMITMENT_PREFIX + commitment).hex(),
    }


def make_block(
    chain: SimulatedChain,
    parent: StoredBlock,
    waiting: Sequence[Waiting],
    *,
    script: bytes,
    extranonce: bytes,
    now_s: float,
) -> tuple[bytes, int]:
    """Return a whole block without proof of work, and its time in Unix seconds.

    Args:
        chain: The chain.
        parent: The block it stands on.
        waiting: Its transactions, parents before children.
        script: Who gets the coinbase.
        extranonce: EXTRANONCE_BYTES that make it differ from other blocks.
        now_s: The node's time, Unix seconds.
    """
    template = parse_template(chain.coin, template_answer(chain, parent, waiting, now_s=now_s))
    outputs = [CoinbaseOutput(script=script, amount_atomic=template.coinbase_value_atomic)]
    parts = build_coinbase(template, outputs=outputs, signature=b"/simulated/", extranonce_bytes=len(extranonce))
    coinbase = parts.coinbase1 + extranonce + parts.coinbase2
    branch = merkle_branch([transaction.txid for transaction in template.transactions])
    header = (
        template.version.to_bytes(4, "little")
        + template.prev_hash
        + merkle_root_from_branch(sha256d(coinbase), branch)
        + template.curtime.to_bytes(4, "little")
        + template.nbits.to_bytes(4, "little")
        + bytes(4)
    )
    return assemble_block(template, header=header, coinbase=coinbase), template.curtime


def _template_transaction(waiting: Waiting, positions: dict[bytes, int]) -> dict[str, object]:
    transaction = waiting.transaction
    depends = {positions[entry.txid] for entry in transaction.inputs if entry.txid in positions}
    return {
        "data": waiting.raw.hex(),
        "txid": transaction.txid[::-1].hex(),
        "hash": transaction.wtxid[::-1].hex(),
        "depends": sorted(depends),
        "fee": waiting.fee_atomic,
        "sigops": 4,
        "weight": transaction.weight,
    }
