"""Build one job: coinbase, notify line, compiled verifier."""

from dataclasses import dataclass

import msgspec

from coins.bitcoin.block import assemble_block
from coins.bitcoin.coinbase import CoinbaseOutput, build_coinbase
from coins.bitcoin.merkle import merkle_branch
from coins.bitcoin.template import Template
from coins.coin import Coin
from native import ShareJob

SERIAL_BYTES = 4
"""Every job's coinbase ends its signature with the job's serial: two jobs never have the same search space."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRules:
    """What all jobs of a process have in common.

    Attributes:
        coin: The coin.
        payout_script: The pool's scriptPubKey; every coinbase pays to it.
        signature: The pool's mark in the coinbase.
        extranonce1_bytes: Search space given by the pool.
        extranonce2_bytes: Search space left to the miner.
        ntime_ahead_s: How far a share's time may be ahead of the template's.
    """

    coin: Coin
    payout_script: bytes
    signature: bytes
    extranonce1_bytes: int
    extranonce2_bytes: int
    ntime_ahead_s: int


class Job:
    """Work for all miners.

    Attributes:
        serial: Counts the jobs of the process from 1.
        job_id: The serial in hex, as it goes over the wire.
        template: What it was made from.
        height: Of the block it would make.
        network_target: 256 bits.
        native: Verifies shares.
        notify_line: The message, with clean_jobs false.
        notify_clean_line: The message, with clean_jobs true.
        seen: Keys of the shares accepted so far (S1).
        is_stale: Whether a newer tip has come.
    """

    __slots__ = (
        "branch",
        "height",
        "is_stale",
        "job_id",
        "native",
        "network_target",
        "notify_clean_line",
        "notify_line",
        "seen",
        "serial",
        "template",
    )

    def __init__(
        self, *, serial: int, template: Template, rules: JobRules, branch: tuple[bytes, ...] | None = None
    ) -> None:
        if branch is None:
            branch = merkle_branch([transaction.txid for transaction in template.transactions])
        extranonce_bytes = rules.extranonce1_bytes + rules.extranonce2_bytes
        parts = build_coinbase(
            template,
            outputs=[CoinbaseOutput(script=rules.payout_script, amount_atomic=template.coinbase_value_atomic)],
            signature=rules.signature + (serial % 2 ** (8 * SERIAL_BYTES)).to_bytes(SERIAL_BYTES, "big"),
            extranonce_bytes=extranonce_bytes,
        )
        self.serial = serial
        self.job_id = f"{serial:x}"
        self.template = template
        self.height = template.height
        self.network_target = template.target
        self.branch = branch
        self.seen: set[bytes] = set()
        self.is_stale = False
        self.native = ShareJob(
            algorithm=rules.coin.algorithm.value,
            coinbase1=parts.coinbase1,
            coinbase2=parts.coinbase2,
            merkle_branch=branch,
            version=template.version,
            prev_hash=template.prev_hash,
            nbits=template.nbits,
            network_target=template.target,
            extranonce1_bytes=rules.extranonce1_bytes,
            extranonce2_bytes=rules.extranonce2_bytes,
            ntime_min=template.mintime,
            ntime_max=template.curtime + rules.ntime_ahead_s,
        )
        params: list[object] = [
            self.job_id,
            wire_prev_hash(template.prev_hash),
            parts.coinbase1.hex(),
            parts.coinbase2.hex(),
            [node.hex() for node in branch],
            f"{template.version:08x}",
            f"{template.nbits:08x}",
            f"{template.curtime:08x}",
        ]
        self.notify_line = _notify(params, is_clean=False)
        self.notify_clean_line = _notify(params, is_clean=True)

    def block(self, key: bytes) -> bytes:
        """Return the complete block that a share makes, serialised."""
        return assemble_block(self.template, header=self.native.header(key), coinbase=self.native.coinbase(key))


def wire_prev_hash(prev_hash: bytes) -> str:
    """Return a block hash as `mining.notify` has it: 8 words of 4 bytes, each reversed against header order."""
    return b"".join(prev_hash[start : start + 4][::-1] for start in range(0, len(prev_hash), 4)).hex()


def _notify(params: list[object], *, is_clean: bool) -> bytes:
    return b'{"id":null,"method":"mining.notify","params":%b}\n' % msgspec.json.encode([*params, is_clean])
