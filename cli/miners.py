"""`lodepool miners`: who mines here."""

from pathlib import Path

import click

from cli.options import as_dict, config_option, json_option, limit_option, print_facts, print_json, print_rows
from cli.reading import hashrate_text, read, time_text
from cli.settings import load_settings
from coins.bitcoin.address import payee
from coins.errors import AddressError
from proto.lodepool.rewards.v1 import rewards_pb2
from proto.lodepool.shares.v1 import shares_pb2
from runtime.errors import UserError
from runtime.rpc.client import call


@click.command(epilog="Example: lodepool miners; lodepool miners ADDRESS --json")
@click.argument("address", required=False)
@config_option
@limit_option
@json_option
def miners(address: str | None, config: Path, limit: int, *, as_json: bool) -> None:
    """List accounts by hashrate; with ADDRESS show one with its workers and balances."""
    settings = load_settings(config)
    coin = settings.coin
    if address is None:
        answer = read(
            settings,
            lambda stubs: call(
                stubs.shares.ListAccounts, shares_pb2.ListAccountsRequest(coin=coin.coin_id, page_size=limit)
            ),
        )
        if as_json:
            print_json([as_dict(account) for account in answer.accounts])
            return
        rows = [
            (a.account, hashrate_text(a.hashrates.hps_5m), hashrate_text(a.hashrates.hps_1h), a.counts.accepted)
            for a in answer.accounts
        ]
        print_rows("Miners", ("account", "5 min", "1 h", "shares"), rows, empty="Nobody has mined here yet.")
        return
    try:
        address = payee(coin, address.strip()).text
    except AddressError as error:
        raise UserError(str(error)) from None
    stats = read(
        settings,
        lambda stubs: call(
            stubs.shares.GetAccountStats, shares_pb2.GetAccountStatsRequest(coin=coin.coin_id, account=address)
        ),
    )
    balance = read(
        settings,
        lambda stubs: call(stubs.rewards.GetBalance, rewards_pb2.GetBalanceRequest(coin=coin.coin_id, account=address)),
    )
    if as_json:
        print_json(
            {
                "stats": as_dict(stats),
                "balance": as_dict(balance),
            }
        )
        return
    print_facts(
        {
            "account": stats.account,
            "hashrate, 5 min": hashrate_text(stats.hashrates.hps_5m),
            "hashrate, 1 h": hashrate_text(stats.hashrates.hps_1h),
            "immature": coin.format_amount(balance.immature_atomic),
            "payable": coin.format_amount(balance.payable_atomic),
            "in payouts": coin.format_amount(balance.reserved_atomic),
            "paid": coin.format_amount(balance.paid_atomic),
        }
    )
    worker_rows = [
        (
            w.worker or "(default)",
            hashrate_text(w.hashrates.hps_5m),
            w.counts.accepted,
            w.counts.stale,
            w.counts.duplicate,
            w.counts.low_difficulty,
            w.counts.invalid,
            time_text(w.last_share_time_ms),
        )
        for w in stats.workers
    ]
    columns = ("worker", "5 min", "accepted", "stale", "duplicate", "low difficulty", "invalid", "last share (UTC)")
    print_rows("Workers", columns, worker_rows, empty="No worker has sent a share yet.")
