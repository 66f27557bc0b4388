"""Decide what a submitted share is: pure, and in two halves around the hashing.

`examine` finds everything that can be said without hashing; `decide` takes the verdict of the hash. Between them the
caller hashes, at once where that is quick, in a thread where it is slow.
"""

from collections.abc import Mapping
from typing import Final

import msgspec

from native import (
    BAD_EXTRANONCE2,
    BAD_NONCE,
    BAD_NTIME,
    BAD_VERSION_BITS,
    BLOCK,
    LOW,
    NTIME_OUT_OF_RANGE,
)
from stratum.errors import RejectReason
from stratum.jobs.job import Job
from stratum.protocol.difficulty import WORK_MAX, ShareTarget
from stratum.protocol.messages import OddSubmit, Submit
from stratum.protocol.session import Session, State
from stratum.protocol.user import Submitter

_HASHES: Final = 2**256
_FIELDS_MIN: Final = 5

_REASON_OF_KEY: Final = {
    BAD_EXTRANONCE2: RejectReason.BAD_EXTRANONCE2,
    BAD_NTIME: RejectReason.BAD_NTIME,
    BAD_NONCE: RejectReason.BAD_NONCE,
    BAD_VERSION_BITS: RejectReason.BAD_VERSION_BITS,
    NTIME_OUT_OF_RANGE: RejectReason.NTIME_OUT_OF_RANGE,
}


class Candidate(msgspec.Struct, gc=False):
    """A share that is well-formed, for a known job, by an authorised worker, and not seen before.

    Attributes:
        submitter: The worker to credit.
        job: Its job.
        target: What it is judged by.
        key: Its canonical bytes (S1).
    """

    submitter: Submitter
    job: Job
    target: ShareTarget
    key: bytes


class Rejected(msgspec.Struct, gc=False):
    """A share that does not count.

    Attributes:
        reason: Why.
        submitter: Whose it is; None when nobody's.
        job: Its job; None when unknown.
        target: What it would have been judged by; None when the job is unknown.
    """

    reason: RejectReason
    submitter: Submitter | None = None
    job: Job | None = None
    target: ShareTarget | None = None


def examine(session: Session, submit: Submit | OddSubmit, jobs: Mapping[str, Job]) -> Candidate | Rejected:
    """Check everything about a share but its hash (S1 to S4).

    A share of a stale job is a candidate as well: it may be a block (S8).
    """
    params = submit.params
    submitter = session.submitters.get(params[0]) if params else None
    if submitter is None:
        if session.state in {State.NEW, State.AUTHORIZED}:
            return Rejected(RejectReason.NOT_SUBSCRIBED)
        return Rejected(RejectReason.UNAUTHORIZED)
    if len(params) == _FIELDS_MIN:
        _, job_id, extranonce2, ntime, nonce = params
        version_bits = None
    elif len(params) > _FIELDS_MIN:
        _, job_id, extranonce2, ntime, nonce, version_bits = params[:6]
    else:
        return Rejected(RejectReason.BAD_FIELDS, submitter)
    job = jobs.get(job_id)
    if job is None:
        return Rejected(RejectReason.UNKNOWN_JOB, submitter)
    target = session.target if job.serial >= session.target_serial else session.target_for(job)
    key = job.native.key(session.extranonce1, extranonce2, ntime, nonce, version_bits, session.version_mask)
    if key.__class__ is int:
        return Rejected(_REASON_OF_KEY[key], submitter, job, target)
    if key in job.seen:
        return Rejected(RejectReason.DUPLICATE, submitter, job, target)
    return Candidate(submitter, job, target, key)  # type: ignore[arg-type]  # the int was ruled out


def decide(candidate: Candidate, verdict: int) -> RejectReason | None:
    """Say why a candidate is refused, None when it is accepted; from now on its key is a duplicate.

    Args:
        candidate: What was examined.
        verdict: What `ShareJob.verify` said.
    """
    job = candidate.job
    if job.is_stale:
        return RejectReason.STALE
    if verdict == LOW:
        return RejectReason.LOW_DIFFICULTY
    seen = job.seen
    if candidate.key in seen:
        return RejectReason.DUPLICATE
    seen.add(candidate.key)
    return None


def is_block(verdict: int) -> bool:
    """Return whether a hash meets the network's target."""
    return verdict == BLOCK


def hash_work(pow_hash: bytes) -> int:
    """Return how many hashes it takes to find one as good: 2**256 // (hash + 1), at most 2**63 - 1.

    Args:
        pow_hash: 32 bytes, little-endian.
    """
    return min(_HASHES // (int.from_bytes(pow_hash, "little") + 1), WORK_MAX)
