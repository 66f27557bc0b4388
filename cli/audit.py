"""`lodepool audit`: prove the books."""

import asyncio
import sys
from pathlib import Path

import click
from rich.console import Console
from rich.markup import escape

import ledger.audit
import miners.audit
import payouts.audit
import rewards.audit
import shares.audit
from cli.database import database
from cli.eventlogs import open_eventlog
from cli.journal_audit import audit_journals
from cli.nodes import open_nodes
from cli.options import config_option, json_option, print_json
from cli.settings import Settings, load_settings
from runtime.audit import Report, merge
from runtime.clock import SystemClock
from runtime.postgres.pool import Pool, close_pool, open_pool
from runtime.telemetry import Telemetry

EXIT_DIFFERENCE = 1


@click.command(epilog="Example: lodepool audit --json")
@config_option
@json_option
@click.option("--offline", is_flag=True, help="Do not ask the nodes; compare the books with one another only.")
def audit(config: Path, *, as_json: bool, offline: bool) -> None:
    """Prove the books, from the journal to the chain.

    Journal = slices; coinbase in = credits + fees + remainder; balances = sum of transfers; payouts = chain. Every
    difference is named; the exit code is 1 when there is one. On a cluster it reads the cluster's books and event log
    from any host, and the journals of this host only.
    """
    report = asyncio.run(_audit(load_settings(config), is_offline=offline))
    if as_json:
        print_json(summary(report))
    else:
        print_report(report)
    sys.exit(0 if report.is_ok else EXIT_DIFFERENCE)


def summary(report: Report) -> dict[str, object]:
    """Return a report as one JSON object."""
    return {
        "audit_ok": report.is_ok,
        "compared": report.compared,
        "findings": [
            {"check": f.check, "subject": f.subject, "expected": f.expected, "actual": f.actual}
            for f in report.findings
        ],
        "notes": report.notes,
    }


def print_report(report: Report) -> None:
    """Print what was compared and every difference."""
    console = Console(highlight=False)
    for check, count in report.compared.items():
        console.print(f"[green]✓[/green] {check} [dim]({count} compared)[/dim]", soft_wrap=True)
    for finding in report.findings:
        console.print(f"[red]✗[/red] {escape(str(finding))}", soft_wrap=True)
    for note in report.notes:
        console.print(f"[dim]– {escape(note)}[/dim]", soft_wrap=True)
    console.print("[bold green]The books agree.[/]" if report.is_ok else "[bold red]The books do not agree.[/]")


async def audit_books(settings: Settings, *, dsn: str) -> Report:
    """Audit a pool whose database is at `dsn`, with its nodes."""
    pool = await open_pool(dsn, settings.postgres)
    try:
        return await _audit_all(settings, pool, is_offline=False)
    finally:
        await close_pool(pool)


async def _audit(settings: Settings, *, is_offline: bool) -> Report:
    async with database(settings) as pool:
        return await _audit_all(settings, pool, is_offline=is_offline)


async def _audit_all(settings: Settings, pool: Pool, *, is_offline: bool) -> Report:
    coin_id = settings.coin.coin_id
    async with (
        open_eventlog(settings, SystemClock(), Telemetry.off(), pool=pool) as eventlog,
        open_nodes(settings.nodes, coin=settings.coin) as (group, wallet),
    ):
        return merge(
            [
                await audit_journals(pool, settings.data_dir, is_one_of_several=settings.etcd is not None),
                await shares.audit.audit(pool, eventlog),
                await miners.audit.audit(pool),
                await rewards.audit.audit(pool, coin_id=coin_id, nodes=None if is_offline else group),
                await ledger.audit.audit(pool, coin_id=coin_id),
                await payouts.audit.audit(pool, coin_id=coin_id, wallet=None if is_offline else wallet),
            ]
        )
