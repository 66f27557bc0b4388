"""The search: one job and one extranonce1 give headers; headers give shares."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import native
from coins.bitcoin.merkle import merkle_root_from_branch
from coins.coin import Algorithm
from coins.work import target_from_difficulty

DIFF1_TARGETS = {Algorithm.SHA256D: 0xFFFF << 208, Algorithm.SCRYPT: 0xFFFF << 224}


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """One `mining.notify`, decoded.

    Attributes:
        job_id: The pool's name for the job.
        prev_hash: 32 bytes, header order.
        coinbase1: Coinbase before the extranonces.
        coinbase2: Coinbase after them.
        merkle_branch: Hashes of 32 bytes, internal order.
        version: Block version.
        nbits: Compact network target.
        ntime: Block time, seconds.
        is_clean: Whether older jobs are void.
    """

    job_id: str
    prev_hash: bytes
    coinbase1: bytes
    coinbase2: bytes
    merkle_branch: tuple[bytes, ...]
    version: int
    nbits: int
    ntime: int
    is_clean: bool


def work_from_notify(params: Sequence[object]) -> Work:
    """Decode the parameters of `mining.notify`.

    Raises:
        ValueError: A field is missing or is not what the protocol says.
    """
    match params:
        case [
            str(job_id),
            str(prev_hash),
            str(coinbase1),
            str(coinbase2),
            [*branch],
            str(version),
            str(nbits),
            str(ntime),
            bool(is_clean),
        ]:
            words = bytes.fromhex(prev_hash)
            return Work(
                job_id=job_id,
                prev_hash=b"".join(words[i : i + 4][::-1] for i in range(0, 32, 4)),
                coinbase1=bytes.fromhex(coinbase1),
                coinbase2=bytes.fromhex(coinbase2),
                merkle_branch=tuple(bytes.fromhex(str(node)) for node in branch),
                version=int(version, 16),
                nbits=int(nbits, 16),
                ntime=int(ntime, 16),
                is_clean=is_clean,
            )
        case _:
            raise ValueError(f"mining.notify has unexpected parameters: {params!r:.200}")


def header_for(work: Work, *, extranonce1: bytes, extranonce2: bytes) -> bytes:
    """Return the 80-byte header of a job for one extranonce2, with nonce zero."""
    coinbase = work.coinbase1 + extranonce1 + extranonce2 + work.coinbase2
    root = merkle_root_from_branch(native.sha256d(coinbase), work.merkle_branch)
    return b"".join(
        (
            work.version.to_bytes(4, "little"),
            work.prev_hash,
            root,
            work.ntime.to_bytes(4, "little"),
            work.nbits.to_bytes(4, "little"),
            bytes(4),
        )
    )


def share_target(difficulty: object, algorithm: Algorithm) -> int:
    """Return the target of a difficulty as it came over the wire.

    Raises:
        ValueError: It is not a positive number.
    """
    if isinstance(difficulty, bool) or not isinstance(difficulty, int | float) or not difficulty > 0:
        raise ValueError(f"difficulty must be a positive number, got {difficulty!r}")
    return target_from_difficulty(Fraction(str(difficulty)), DIFF1_TARGETS[algorithm])
