"""The part of the audit that looks at this machine's disk: journals and blocks that wait."""

import asyncio
import contextlib
from pathlib import Path

from runtime.audit import Finding, Report
from runtime.postgres.pool import Pool, acquired
from stratum import blocks
from stratum.journal import InstanceSummary, instance_dirs, summarise

CHECK = "journal reaches as far as the books"


async def audit_journals(pool: Pool, data_dir: Path, *, is_one_of_several: bool = False) -> Report:
    """Compare the journals on disk with what is booked of their instances; on a cluster those of this host.

    What is journalled and not booked yet waits, and is a note; what is booked and was never journalled is a finding.
    The books are read first, so that shares that arrive meanwhile only make the journal longer.
    """
    async with acquired(pool) as connection:
        rows = await connection.fetch("SELECT instance, last_seq FROM shares.instance")
    booked = {row["instance"]: int(row["last_seq"]) for row in rows}
    summaries = await asyncio.to_thread(_summaries, data_dir)
    compared = [summary for summary in summaries if summary.last_seq]
    findings = [
        Finding(
            check=CHECK,
            subject=f"instance {summary.instance}",
            expected=f"at most {summary.last_seq} shares booked",
            actual=str(booked[summary.instance]),
        )
        for summary in compared
        if booked.get(summary.instance, 0) > summary.last_seq
    ]
    return Report(
        compared={CHECK: len(compared)},
        findings=tuple(findings),
        notes=(*_scope(data_dir, is_one_of_several=is_one_of_several), *_waiting(compared, booked), *_blocks(data_dir)),
    )


def _summaries(data_dir: Path) -> list[InstanceSummary]:
    """Summarise every journal; one that the shipper removes meanwhile is booked to its end."""
    summaries = []
    for folder in instance_dirs(data_dir):
        with contextlib.suppress(FileNotFoundError):
            summaries.append(summarise(folder))
    return summaries


def _scope(data_dir: Path, *, is_one_of_several: bool) -> list[str]:
    if not is_one_of_several:
        return []
    return [
        f"journals were looked at on this host only, in {data_dir}; run it on each host with stratum for the others"
    ]


def _waiting(summaries: list[InstanceSummary], booked: dict[str, int]) -> list[str]:
    notes = []
    for summary in summaries:
        count = summary.last_seq - booked.get(summary.instance, 0)
        if count > 0:
            notes.append(f"{count} shares of instance {summary.instance} are journalled and not booked yet")
        notes += [f"journal of instance {summary.instance}: {damage}" for damage in summary.damages]
    return notes


def _blocks(data_dir: Path) -> list[str]:
    return [
        f"block {stored.path.name} is on disk and no node has answered for it yet"
        for stored in blocks.list_blocks(data_dir)
        if not stored.is_done
    ]
