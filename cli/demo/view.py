"""The demo's live view."""

from collections.abc import Sequence

from rich import box
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from cli.blocks import STATUS_WORDS
from cli.demo.progress import Progress
from cli.mining.client import Miner
from cli.payouts import STATUS_WORDS as PAYOUT_WORDS
from cli.reading import hashrate_text
from coins.coin import Coin

_BLOCK_STYLES = {"candidate": "yellow", "immature": "cyan", "mature": "green", "orphaned": "red"}


def render(
    *,
    coin: Coin,
    node_name: str,
    headline: str,
    page_url: str,
    elapsed_s: float,
    miners: Sequence[tuple[str, str, Miner]],
    progress: Progress | None,
) -> RenderableType:
    """Draw one picture of the running demo.

    Args:
        coin: The coin that is mined.
        node_name: "litecoind" or "simulated".
        headline: What happens at this moment.
        page_url: Where the pool's page answers, and its API.
        elapsed_s: Time since miners connected.
        miners: Worker name, account, miner.
        progress: The newest snapshot; None before the first.
    """
    node = "litecoind" if node_name == "litecoind" else "the simulated node (litecoind is not installed)"
    title = Text.assemble(("Lodepool", "bold"), f"  {coin.name} on {node}")
    parts: list[RenderableType] = [
        Text.assemble((headline, "italic"), f"   {elapsed_s:.0f} s   the page: ", (page_url, "bold"))
    ]
    if progress:
        parts += [_facts(coin, progress, miners), _miners(coin, progress, miners), _blocks(coin, progress)]
        parts.append(_payouts(coin, progress))
    return Panel(Group(*parts), title=title, title_align="left", border_style="blue")


def _facts(coin: Coin, progress: Progress, miners: Sequence[tuple[str, str, Miner]]) -> Table:
    counts = progress.blocks.counts
    accepted = sum(miner.stats.accepted for _, _, miner in miners)
    booked = progress.pool.counts.accepted
    rejected = sum(miner.stats.rejected.total() for _, _, miner in miners)
    table = Table.grid(padding=(0, 3))
    table.add_row(
        f"[bold]{hashrate_text(progress.pool.hashrates.hps_1m)}[/bold] hashrate",
        f"[bold]{accepted}[/bold] shares accepted, [bold]{booked}[/bold] booked, {rejected} rejected",
    )
    table.add_row(
        f"[bold]{progress.blocks_found}[/bold] blocks found",
        f"{counts.immature} maturing, [green]{counts.mature} mature[/green], {counts.orphaned} orphaned",
    )
    table.add_row(
        f"[bold]{progress.payer.payouts_confirmed}[/bold] payouts confirmed",
        f"{coin.format_amount(progress.payer.paid_atomic)} paid",
    )
    return table


def _miners(coin: Coin, progress: Progress, miners: Sequence[tuple[str, str, Miner]]) -> Table:
    table = Table(title="Miners", title_justify="left", expand=True, header_style="dim", box=box.SIMPLE_HEAD)
    table.add_column("worker", overflow="ellipsis", no_wrap=True, min_width=6)
    table.add_column("account", overflow="ellipsis", no_wrap=True)
    table.add_column("shares", justify="right", no_wrap=True, min_width=6)
    for name in ("immature", "payable", "in payout", "paid"):
        table.add_column(name, justify="right", no_wrap=True, min_width=13)
    shown: set[str] = set()
    for worker, account, miner in miners:
        if account in shown:
            table.add_row(worker, "″", str(miner.stats.accepted))
            continue
        shown.add(account)
        balance = progress.balances[account]
        amounts = (balance.immature_atomic, balance.payable_atomic, balance.reserved_atomic, balance.paid_atomic)
        table.add_row(
            worker,
            _short(account),
            str(miner.stats.accepted),
            *(coin.format_amount(amount).split()[0] for amount in amounts),
        )
    return table


def _blocks(coin: Coin, progress: Progress) -> Table:
    table = Table(title="Newest blocks", title_justify="left", expand=True, header_style="dim", box=box.SIMPLE_HEAD)
    for name, width in (("height", 6), ("status", 9), ("confirmations", 13), ("reward", 16), ("hash", 20)):
        table.add_column(name, no_wrap=True, overflow="ellipsis", min_width=width)
    for block in progress.blocks.blocks:
        word = STATUS_WORDS[block.status]
        table.add_row(
            str(block.height),
            f"[{_BLOCK_STYLES[word]}]{word}[/]",
            f"{block.confirmations}/{block.maturity_blocks}",
            coin.format_amount(block.reward_atomic),
            f"{block.block_hash_hex[:40]}…",
        )
    return table


def _payouts(coin: Coin, progress: Progress) -> RenderableType:
    if not progress.payouts.payouts:
        waiting = f"coins mature after {coin.maturity_blocks} blocks; the first payout follows at once"
        return Text(f"No payout yet: {waiting}.", style="dim")
    table = Table(title="Newest payouts", title_justify="left", expand=True, header_style="dim", box=box.SIMPLE_HEAD)
    for name, width in (("account", 20), ("amount", 18), ("status", 9), ("txid", 24)):
        table.add_column(name, no_wrap=True, overflow="ellipsis", min_width=width)
    for payout in progress.payouts.payouts:
        word = PAYOUT_WORDS.get(payout.status, "isolated")
        table.add_row(_short(payout.account), coin.format_amount(payout.amount_atomic), word, payout.txid_hex or "–")
    return table


def _short(address: str) -> str:
    """Return an address with its middle left out."""
    return f"{address[:14]}…{address[-6:]}"
