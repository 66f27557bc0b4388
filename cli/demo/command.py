"""The command `lodepool demo` and its course: node, pool, miners, spectacle, reckoning."""

import asyncio
import contextlib
import os
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import click
from rich.console import Console, RenderableType
from rich.live import Live

from cli.audit import audit_books, print_report
from cli.demo.node import COIN_ID, DemoNode, demo_node
from cli.demo.progress import Progress, ask
from cli.demo.view import render
from cli.local_pool import running
from cli.mining.client import Miner, MinerSettings
from cli.options import print_json
from cli.reading import Services, services
from cli.settings import Settings, load_settings
from coins import registry
from runtime.audit import Report
from runtime.errors import UserError
from runtime.logs import configure_logging
from runtime.process import free_port, run_async
from runtime.rpc.errors import RpcError

COIN = registry.get(COIN_ID)
MARKER = ".lodepool-demo"
REFRESH_S = 0.5
BOOKING_TIMEOUT_S = 30.0
WORKERS = (("alice", "rig1", 2.5), ("alice", "rig2", 1.5), ("bob", "garage", 2.0), ("carol", "attic", 1.0))
"""Account, worker, hashes per second: regtest's target is met by every second hash, so the miners hold back."""

CONFIGURATION = """\
[pool]
name = "Lodepool demo"
coin = "{coin}"
address = "{address}"
data_dir = "."

{nodes}
[stratum]
host = "127.0.0.1"
port = {stratum_port}
difficulty_start = 0.00001
difficulty_min = 0.00001
share_interval_s = 0.1

[rewards]
fee_ppm = 10000
pplns_window_percent = 5000
confirmations_poll_s = 1

[payouts]
threshold_atomic = 100000000
interval_s = 3
confirmations = 1

[gateway]
host = "127.0.0.1"
port = {gateway_port}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What the demo ended with.

    Attributes:
        node: "litecoind" or "simulated".
        shares_accepted: Shares the miners saw answered `true`.
        shares_unanswered: Shares whose answer a miner did not see.
        progress: The last snapshot.
        report: The audit of all books.
    """

    node: str
    shares_accepted: int
    shares_unanswered: int
    progress: Progress
    report: Report

    def summary(self) -> dict[str, object]:
        """Return the JSON object the command ends with."""
        counts = self.progress.blocks.counts
        return {
            "node": self.node,
            "shares_accepted": self.shares_accepted,
            "shares_journalled": self.progress.pool.counts.accepted,
            "shares_unanswered": self.shares_unanswered,
            "blocks_found": self.progress.blocks_found,
            "blocks_confirmed": self.progress.blocks_confirmed,
            "blocks_mature": counts.mature,
            "blocks_orphaned": counts.orphaned,
            "payouts_confirmed": self.progress.payer.payouts_confirmed,
            "paid_atomic": self.progress.payer.paid_atomic,
            "audit_ok": self.report.is_ok,
            "audit_findings": [str(finding) for finding in self.report.findings],
        }

    @property
    def is_good(self) -> bool:
        """Tell whether every accepted share is booked and the books agree."""
        booked = self.progress.pool.counts.accepted
        return self.report.is_ok and self.shares_accepted <= booked <= self.shares_accepted + self.shares_unanswered


@click.command(epilog="Example: lodepool demo --seconds 90 --json")
@click.option(
    "--seconds", type=click.FloatRange(min=1), help="End after this time of mining; default: when interrupted."
)
@click.option("--node", type=click.Choice(["auto", "litecoind", "simulated"]), default="auto", show_default=True)
@click.option(
    "--data-dir",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("data/demo"),
    show_default=True,
    help="Chain, journal and books of the demo; made anew at each start.",
)
@click.option("--json", "as_json", is_flag=True, help="No live view; one JSON object at the end.")
def demo(seconds: float | None, node: str, data_dir: Path, *, as_json: bool) -> None:
    """Run a whole pool on a private chain, with CPU miners, and watch it pay.

    Everything is real but the chain's value: litecoind in regtest mode, the Stratum port, the journal, PostgreSQL, the
    services, the payouts. Ends with an audit of all books; exit code 1 when they do not agree.
    """
    data_dir = _fresh(data_dir.absolute())
    outcomes: list[Outcome] = []
    with _logs_to(data_dir / "demo.log") as screen:
        console = Console(file=screen)
        code = run_async(_run(data_dir, node, seconds, None if as_json else console, outcomes))
    if not outcomes:
        if code:
            click.echo(f"lodepool: the demo did not start; its log is {data_dir / 'demo.log'}", err=True)
            _print_end(data_dir / "demo.log")
        sys.exit(code)
    outcome = outcomes[0]
    if as_json:
        print_json(outcome.summary())
    else:
        _print_reckoning(outcome)
    sys.exit(0 if outcome.is_good else 1)


async def _run(
    data_dir: Path, node_kind: str, seconds: float | None, console: Console | None, outcomes: list[Outcome]
) -> None:
    if console:
        console.print("Starting the node, PostgreSQL and the pool …", style="dim")
    async with demo_node(node_kind, data_dir / "chain") as node:
        accounts = {name: await node.miner_address() for name in dict.fromkeys(account for account, _, _ in WORKERS)}
        settings = _configure(data_dir, node)
        async with running(settings) as pool, services(settings) as stubs:
            miners = [
                (worker, accounts[account], _miner(settings, f"{accounts[account]}.{worker}", hashrate))
                for account, worker, hashrate in WORKERS
            ]
            spectacle = _Spectacle(settings, node, stubs, miners, console)
            await spectacle.mine(seconds)
            progress = await spectacle.settle()
            report = await audit_books(settings, dsn=pool.dsn)
            outcomes.append(
                Outcome(
                    node=node.name,
                    shares_accepted=sum(miner.stats.accepted for _, _, miner in miners),
                    shares_unanswered=sum(miner.stats.unanswered for _, _, miner in miners),
                    progress=progress,
                    report=report,
                )
            )


class _Spectacle:
    """Mining with a live view, until the time is up or the spectator has seen enough."""

    def __init__(
        self,
        settings: Settings,
        node: DemoNode,
        stubs: Services,
        miners: Sequence[tuple[str, str, Miner]],
        console: Console | None,
    ) -> None:
        self._settings = settings
        self._node = node
        self._stubs = stubs
        self._miners = miners
        self._console = console
        self._accounts = tuple(dict.fromkeys(account for _, account, _ in miners))
        self._started_s = time.monotonic()
        self._progress: Progress | None = None

    async def mine(self, seconds: float | None) -> None:
        """Run the miners; a signal (or the end of the time) stops them and waits for the pool's last answers."""
        lively = asyncio.create_task(self._node.keep_lively())
        view = asyncio.create_task(self._show())
        mining = [asyncio.create_task(miner.run()) for _, _, miner in self._miners]
        try:
            await asyncio.wait(mining, timeout=seconds, return_when=asyncio.FIRST_EXCEPTION)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            assert task is not None  # a coroutine runs in a task
            task.uncancel()
        finally:
            for _, _, miner in self._miners:
                miner.stop()
            await asyncio.wait(mining)
            lively.cancel()
            view.cancel()
            await asyncio.wait((lively, view))
        for ended in mining:
            ended.result()

    async def settle(self) -> Progress:
        """Wait until every accepted share is booked, and return the last snapshot."""
        accepted = sum(miner.stats.accepted for _, _, miner in self._miners)
        deadline_s = time.monotonic() + BOOKING_TIMEOUT_S
        while True:
            progress = await ask(self._stubs, coin_id=COIN_ID, accounts=self._accounts)
            is_done = progress.pool.counts.accepted >= accepted and not progress.blocks.counts.candidate
            if is_done or time.monotonic() > deadline_s:
                return progress
            await asyncio.sleep(REFRESH_S)

    async def _show(self) -> None:
        if self._console is None:
            return
        with Live(console=self._console, refresh_per_second=4) as live:
            while True:
                with contextlib.suppress(RpcError):
                    self._progress = await ask(self._stubs, coin_id=COIN_ID, accounts=self._accounts)
                live.update(self._picture())
                await asyncio.sleep(REFRESH_S)

    def _picture(self) -> RenderableType:
        gateway = self._settings.gateway
        return render(
            coin=COIN,
            node_name=self._node.name,
            headline="Mining; Ctrl-C ends the demo with an audit",
            page_url=f"http://{gateway.host}:{gateway.port}/",
            elapsed_s=time.monotonic() - self._started_s,
            miners=self._miners,
            progress=self._progress,
        )


def _miner(settings: Settings, user: str, hashrate_hps: float) -> Miner:
    return Miner(
        MinerSettings(
            host=settings.stratum.host,
            port=settings.stratum.port,
            user=user,
            algorithm=settings.coin.algorithm,
            hashrate_max=hashrate_hps,
        )
    )


def _fresh(data_dir: Path) -> Path:
    """Empty the demo's directory; refuse one that is not the demo's."""
    if data_dir.exists() and any(data_dir.iterdir()):
        if not (data_dir / MARKER).exists():
            raise UserError(f"{data_dir} is not empty and not a demo's.", "choose another --data-dir")
        shutil.rmtree(data_dir)
    data_dir.mkdir(parents=True, exist_ok=True)
    (data_dir / MARKER).touch()
    return data_dir


def _configure(data_dir: Path, node: DemoNode) -> Settings:
    """Write the demo's lodepool.toml and read it like any other."""
    nodes = "".join(
        f'[[nodes]]\nname = "{n.name}"\nurl = "{n.url}"\nuser = "{n.user}"\npassword = "{n.password}"\n'
        f'wallet = "{n.wallet}"\n\n'
        for n in node.settings
    )
    path = data_dir / "lodepool.toml"
    path.touch(mode=0o600)
    path.write_text(
        CONFIGURATION.format(
            coin=COIN_ID,
            address=node.pool_address,
            nodes=nodes,
            stratum_port=free_port(),
            gateway_port=free_port(),
        ),
        encoding="utf-8",
    )
    return load_settings(path)


@contextlib.contextmanager
def _logs_to(path: Path) -> Iterator[TextIO]:
    """Send what this process and its children write to a file; yield the screen itself."""
    sys.stdout.flush()
    sys.stderr.flush()
    kept = [os.dup(1), os.dup(2)]
    with path.open("ab", buffering=0) as log, os.fdopen(os.dup(1), "w") as screen:
        try:
            os.dup2(log.fileno(), 1)
            os.dup2(log.fileno(), 2)
            configure_logging("demo", json=False, level="INFO")
            yield screen
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            for descriptor, number in zip(kept, (1, 2), strict=True):
                os.dup2(descriptor, number)
                os.close(descriptor)


def _print_end(log: Path, *, lines_max: int = 12) -> None:
    for line in log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines_max:]:
        click.echo(f"  {line}", err=True)


def _print_reckoning(outcome: Outcome) -> None:
    progress = outcome.progress
    click.echo(
        f"\n{outcome.shares_accepted} shares accepted, {progress.pool.counts.accepted} booked; "
        f"{progress.blocks_found} blocks found, {progress.blocks_confirmed} in the chain; "
        f"{progress.payer.payouts_confirmed} payouts confirmed, {COIN.format_amount(progress.payer.paid_atomic)} paid."
    )
    for payout in progress.payouts.payouts:
        click.echo(f"  {COIN.format_amount(payout.amount_atomic)} to {payout.account} in {payout.txid_hex}")
    print_report(outcome.report)
