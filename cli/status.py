"""`lodepool status`: how the running pool is doing."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import msgspec
from google.protobuf.json_format import MessageToDict

from cli.options import config_option, json_option, print_facts, print_json, print_rows
from cli.reading import (
    Services,
    all_instances,
    blocks_and_round,
    hashrate_text,
    ratio_percent,
    read,
    register,
    time_text,
)
from cli.settings import METRICS_LABEL, Settings, load_host, load_settings
from proto.lodepool.payouts.v1 import payouts_pb2
from proto.lodepool.rewards.v1 import rewards_pb2
from proto.lodepool.stratum.v1 import stratum_pb2
from runtime.errors import UserError
from runtime.etcd.discovery import Instance
from runtime.rpc.client import call
from runtime.rpc.errors import RpcError


@click.command(epilog="Example: lodepool status --json")
@config_option
@json_option
@click.option("--processes", is_flag=True, help="Show only what the cluster's register shows; asks no service.")
def status(config: Path, *, as_json: bool, processes: bool) -> None:
    """Show hashrate, sessions, blocks, balances, payouts, nodes and the cluster's processes."""
    if processes:
        instances = asyncio.run(_registered(config))
        if as_json:
            print_json({"processes": msgspec.to_builtins(instances)})
        else:
            _print_processes(instances)
        return
    settings = load_settings(config)
    answers = read(settings, lambda stubs: collect(stubs, settings))
    if as_json:
        print_json({name: _plain(answer) for name, answer in answers.items()})
    else:
        _print(settings, answers)


@click.command(epilog="Example: lodepool targets > /etc/prometheus/targets/lodepool.json")
@config_option
def targets(config: Path) -> None:
    """Print the metrics addresses of the cluster's processes, as Prometheus reads them with file_sd_configs."""
    print_json(prometheus_targets(asyncio.run(_registered(config))))


def prometheus_targets(instances: Sequence[Instance]) -> list[dict[str, object]]:
    """Return the register in the form of Prometheus' file_sd_configs; a process in it twice is there once."""
    groups: dict[str, dict[str, object]] = {
        instance.labels[METRICS_LABEL]: {
            "targets": [instance.labels[METRICS_LABEL]],
            "labels": {"service": instance.service, "host": instance.labels.get("host", "")},
        }
        for instance in instances
        if METRICS_LABEL in instance.labels
    }
    return list(groups.values())


async def _registered(config: Path) -> tuple[Instance, ...]:
    etcd = load_host(config).etcd
    if etcd is None:
        raise UserError("On one machine there is no register.", "it needs [etcd] in the host's file")
    async with register(etcd) as directory:
        return all_instances(directory)


async def collect(stubs: Services, settings: Settings) -> dict[str, Any]:
    """Ask every service of the pool; the answers by what they are about.

    Raises:
        Unavailable: A back-office service does not answer. A stratum worker that does not is left out.
    """
    coin = settings.coin.coin_id
    blocks, pool = await blocks_and_round(stubs, coin_id=coin, blocks_shown=1)
    workers = []
    for stub in stubs.stratum:
        try:
            workers.append(await call(stub.GetStatus, stratum_pb2.GetStatusRequest(), timeout_s=2))
        except RpcError:
            continue
    return {
        "pool": pool,
        "blocks": blocks,
        "ledger": await call(stubs.rewards.GetLedgerTotals, rewards_pb2.GetLedgerTotalsRequest(coin=coin)),
        "payer": await call(stubs.payouts.GetStatus, payouts_pb2.GetStatusRequest(coin=coin)),
        "stratum": workers,
        "processes": stubs.instances,
    }


def _plain(answer: Any) -> Any:  # a protobuf message of any service, or a list of them
    if isinstance(answer, list | tuple):
        return [_plain(item) for item in answer]
    if isinstance(answer, Instance):
        return msgspec.to_builtins(answer)
    return MessageToDict(answer, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)


def _print(settings: Settings, answers: dict[str, Any]) -> None:
    coin, pool, blocks = settings.coin, answers["pool"], answers["blocks"]
    ledger, payer, workers = answers["ledger"], answers["payer"], answers["stratum"]
    counts = blocks.counts
    network_work = blocks.blocks[0].network_work if blocks.blocks else "0"
    rejected = pool.counts.stale + pool.counts.duplicate + pool.counts.low_difficulty + pool.counts.invalid
    print_facts(
        {
            "coin": f"{coin.name} {coin.network}",
            "hashrate": f"{hashrate_text(pool.hashrates.hps_5m)} (5 min), {hashrate_text(pool.hashrates.hps_1h)} (1 h)",
            "miners": f"{pool.account_count} accounts, {pool.worker_count} workers",
            "sessions": f"{sum(w.session_count for w in workers)} on {len(workers)} processes",
            "shares": f"{pool.counts.accepted} accepted, {rejected} rejected",
            "last share": time_text(pool.last_share_time_ms),
            "effort": ratio_percent(pool.round_work, network_work),
            "blocks": f"{counts.candidate} candidate, {counts.immature} immature, {counts.mature} mature, "
            f"{counts.orphaned} orphaned",
            "immature": coin.format_amount(ledger.immature_atomic),
            "payable": coin.format_amount(ledger.payable_atomic),
            "in payouts": coin.format_amount(ledger.reserved_atomic),
            "paid": f"{coin.format_amount(ledger.paid_atomic)} in {payer.payouts_confirmed} payouts",
            "payer": "held: " + payer.reason if payer.is_held else payer.reason or "ready",
            "in review": payer.batches_in_review,
        }
    )
    rows = [
        (w.instance, node.name, "up" if node.is_up else "down", node.height, node.error)
        for w in workers
        for node in w.nodes
    ]
    print_rows("Nodes", ("instance", "node", "state", "height", "error"), rows, empty="No stratum worker answers.")
    for worker in workers:
        if worker.refusing_reason:
            click.secho(f"{worker.instance} refuses shares: {worker.refusing_reason}", fg="red")
    if settings.etcd is not None:
        _print_processes(answers["processes"])


def _print_processes(instances: Sequence[Instance]) -> None:
    rows = [
        (each.service, each.instance, each.address, time_text(each.start_time_ms), each.version) for each in instances
    ]
    columns = ("service", "instance", "address", "since", "version")
    print_rows("Processes", columns, rows, empty="The register shows no process.")
