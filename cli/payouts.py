"""`lodepool payouts`: what was paid, and the operator's hand on the payer."""

import uuid
from pathlib import Path

import click

from cli.options import as_dict, config_option, json_option, limit_option, print_json, print_rows
from cli.reading import read, time_text
from cli.settings import load_settings
from coins.coin import Coin
from proto.lodepool.payouts.v1 import payouts_pb2
from runtime.rpc.client import call

STATUS_WORDS = {
    payouts_pb2.BATCH_STATUS_RESERVED: "reserved",
    payouts_pb2.BATCH_STATUS_SIGNED: "signed",
    payouts_pb2.BATCH_STATUS_BROADCAST: "broadcast",
    payouts_pb2.BATCH_STATUS_CONFIRMED: "confirmed",
    payouts_pb2.BATCH_STATUS_REVIEW: "review",
    payouts_pb2.BATCH_STATUS_VOIDED: "voided",
}


@click.group(
    invoke_without_command=True, epilog="Example: lodepool payouts --limit 50; lodepool payouts hold --reason audit"
)
@config_option
@limit_option
@json_option
@click.pass_context
def payouts(context: click.Context, config: Path, limit: int, *, as_json: bool) -> None:
    """List payments to miners, newest first, or steer the payer."""
    settings = load_settings(config)
    context.obj = settings
    if context.invoked_subcommand:
        return
    coin = settings.coin
    answer = read(
        settings,
        lambda stubs: call(
            stubs.payouts.ListPayouts, payouts_pb2.ListPayoutsRequest(coin=coin.coin_id, page_size=limit)
        ),
    )
    if as_json:
        print_json([as_dict(payout) for payout in answer.payouts])
        return
    request = payouts_pb2.GetStatusRequest(coin=coin.coin_id)
    print_unknown_sends(coin, read(settings, lambda stubs: call(stubs.payouts.GetStatus, request)))
    rows = [
        (
            time_text(p.create_time_ms),
            p.account,
            coin.format_amount(p.amount_atomic),
            STATUS_WORDS.get(p.status, "isolated"),
            p.txid_hex or "–",
        )
        for p in answer.payouts
    ]
    columns = ("made (UTC)", "account", "amount", "status", "txid")
    print_rows("Payouts", columns, rows, empty="Nothing has been paid yet.")


def print_unknown_sends(coin: Coin, status: payouts_pb2.PayerStatus) -> None:
    """Say what the wallet has sent that the books do not know; nothing is paid meanwhile."""
    if not status.unknown_sends:
        return
    rows = [
        (time_text(send.create_time_ms), coin.format_amount(send.amount_atomic), send.account_count, send.txid_hex)
        for send in status.unknown_sends
    ]
    columns = ("seen (UTC)", "amount", "accounts", "txid")
    print_rows("Sent by the wallet, unknown to the books: payouts stand still", columns, rows, empty="")
    click.echo(
        "Was the database restored from a backup? `lodepool payouts adopt TXID` books such a payout;\n"
        "`lodepool payouts ignore TXID --reason …` says that it was not the pool's.\n"
    )


@payouts.command(epilog="Example: lodepool payouts hold --reason 'moving the wallet'")
@click.option("--reason", required=True, help="Shown to whoever asks why nothing is paid.")
@click.pass_context
def hold(context: click.Context, reason: str) -> None:
    """Make no new payouts until `lodepool payouts resume`."""
    settings = context.obj
    request = payouts_pb2.HoldPayoutsRequest(coin=settings.coin.coin_id, reason=reason, request_id=str(uuid.uuid4()))
    read(settings, lambda stubs: call(stubs.payouts.HoldPayouts, request))
    click.echo(f"Payouts are held: {reason}")


@payouts.command(epilog="Example: lodepool payouts resume")
@click.pass_context
def resume(context: click.Context) -> None:
    """Let new payouts be made again."""
    settings = context.obj
    request = payouts_pb2.ResumePayoutsRequest(coin=settings.coin.coin_id, request_id=str(uuid.uuid4()))
    read(settings, lambda stubs: call(stubs.payouts.ResumePayouts, request))
    click.echo("Payouts go on.")


@payouts.command(epilog="Example: lodepool payouts batches --json")
@limit_option
@json_option
@click.pass_context
def batches(context: click.Context, limit: int, *, as_json: bool) -> None:
    """List batches, newest first, with what they wait for."""
    settings = context.obj
    request = payouts_pb2.ListBatchesRequest(coin=settings.coin.coin_id, page_size=limit)
    answer = read(settings, lambda stubs: call(stubs.payouts.ListBatches, request))
    if as_json:
        print_json([as_dict(batch) for batch in answer.batches])
        return
    rows = [
        (
            batch.batch_id,
            STATUS_WORDS[batch.status],
            batch.payout_count,
            settings.coin.format_amount(batch.amount_atomic),
            settings.coin.format_amount(batch.fee_atomic),
            batch.txid_hex or "–",
            batch.reason,
        )
        for batch in answer.batches
    ]
    columns = ("batch", "status", "payments", "amount", "fee", "txid", "waits for")
    print_rows("Batches", columns, rows, empty="No batch has been made yet.")


@payouts.command(epilog="Example: lodepool payouts void 6f1c… --reason 'double-spent by hand'")
@click.argument("batch_id")
@click.option("--reason", required=True, help="Kept with the batch.")
@click.pass_context
def void(context: click.Context, batch_id: str, reason: str) -> None:
    """Give up a batch in review: its amounts return to the balances.

    Only when its transaction can no longer confirm; the pool checks this with the node and refuses otherwise.
    """
    settings = context.obj
    request = payouts_pb2.VoidBatchRequest(batch_id=batch_id, reason=reason, request_id=str(uuid.uuid4()))
    batch = read(settings, lambda stubs: call(stubs.payouts.VoidBatch, request))
    click.echo(f"Batch {batch.batch_id} is voided: {settings.coin.format_amount(batch.amount_atomic)} went back.")


@payouts.command(epilog="Example: lodepool payouts adopt 4d2a…")
@click.argument("txid")
@click.pass_context
def adopt(context: click.Context, txid: str) -> None:
    """Book a payout that the wallet has sent and the books have forgotten.

    For a database that was restored from a backup. It becomes a batch that is followed until it is confirmed. Refused
    while the balances do not cover it: the rewards service is still catching up then; try again later.
    """
    settings = context.obj
    request = payouts_pb2.AdoptSendRequest(coin=settings.coin.coin_id, txid_hex=txid, request_id=str(uuid.uuid4()))
    batch = read(settings, lambda stubs: call(stubs.payouts.AdoptSend, request))
    amount = settings.coin.format_amount(batch.amount_atomic)
    payments = "1 payment" if batch.payout_count == 1 else f"{batch.payout_count} payments"
    click.echo(f"Booked as batch {batch.batch_id}: {amount} in {payments}.")


@payouts.command(epilog="Example: lodepool payouts ignore 4d2a… --reason 'a private payment'")
@click.argument("txid")
@click.option("--reason", required=True, help="Kept with the transaction.")
@click.pass_context
def ignore(context: click.Context, txid: str, reason: str) -> None:
    """Say that a transaction of the wallet was no payout of the pool, though it pays an account.

    The account's balance stays as it is and is paid out as usual.
    """
    settings = context.obj
    request = payouts_pb2.IgnoreSendRequest(
        coin=settings.coin.coin_id, txid_hex=txid, reason=reason, request_id=str(uuid.uuid4())
    )
    read(settings, lambda stubs: call(stubs.payouts.IgnoreSend, request))
    click.echo(f"{txid} is ignored: {reason}")
