"""The demo's live view."""

from collections.abc import Sequence

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
    api_url: str,
    elapsed_s: float,
    miners: Sequence[tuple[str, str, Miner]],
    progress: Progress | None,
) -> RenderableType:
    """Draw one picture of the running demo.

    Args:
        coin: The coin that is mined.
        node_name: "litecoind" or "simulated".
        headline: What happens at this moment.
        api_url: Where the pool's API answers.
        elapsed_s: Time since miners connected.
        miners: Worker name, account, miner.
        progress: The newest snapshot; None before the first.
    """
    node = "litecoind in regtest mode" if node_name == "litecoind" else "the simulated node (litecoind was not found)"
    title = Text.assemble(("Lodepool", "bold"), f"  {coin.name} on {node}")
    parts: list[RenderableType] = [Text.assemble((headline, "italic"), f"   {elapsed_s:.0f} s   {api_url}")]
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
    table = Table(title="Miners", title_justify="left", expand=True, header_style="dim")
    for name in ("worker", "account"):
        table.add_column(name, overflow="ellipsis", no_wrap=True)
    for name in ("shares", "immature", "payable", "in payout", "paid"):
        table.add_column(name, justify="right", no_wrap=True)
    for worker, account, miner in miners:
        balance = progress.balances[account]
        amounts = (balance.immature_atomic, balance.payable_atomic, balance.reserved_atomic, balance.paid_atomic)
        table.add_row(
            worker, account, str(miner.stats.accepted), *(coin.format_amount(amount).split()[0] for amount in amounts)
        )
    return table


def _blocks(coin: Coin, progress: Progress) -> Table:
    table = Table(title="Newest blocks", title_justify="left", expand=True, header_style="dim")
    for name in ("height", "status", "confirmations", "reward", "hash"):
        table.add_column(name, no_wrap=True, overflow="ellipsis")
    for block in progress.blocks.blocks:
        word = STATUS_WORDS[block.status]
        table.add_row(
            str(block.height),
            f"[{_BLOCK_STYLES[word]}]{word}[/]",
            f"{block.confirmations}/{block.maturity_blocks}",
            coin.format_amount(block.reward_atomic),
            block.block_hash_hex,
        )
    return table


def _payouts(coin: Coin, progress: Progress) -> RenderableType:
    if not progress.payouts.payouts:
        waiting = f"coins mature after {coin.maturity_blocks} blocks; the first payout follows at once"
        return Text(f"No payout yet: {waiting}.", style="dim")
    table = Table(title="Newest payouts", title_justify="left", expand=True, header_style="dim")
    for name in ("account", "amount", "status", "txid"):
        table.add_column(name, no_wrap=True, overflow="ellipsis")
    for payout in progress.payouts.payouts:
        word = PAYOUT_WORDS.get(payout.status, "isolated")
        table.add_row(payout.account, coin.format_amount(payout.amount_atomic), word, payout.txid_hex or "–")
    return table
