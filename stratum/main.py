"""Wire the stratum processes: `run_worker` serves miners, `run_shipper_process` carries the journals of a host away.

Until the command line starts them: `python -m stratum.main worker --config FILE --slot N`, or `shipper --config FILE`.
"""

import argparse
import gc
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import msgspec

from nodes.bitcoin import BitcoinRpc
from runtime.clock import Clock, SystemClock
from runtime.config import decode_section, load_toml
from runtime.errors import UserError
from runtime.eventlog.interface import EventLog
from runtime.eventlog.postgres import PostgresEventLog
from runtime.live import Live
from runtime.logs import configure_logging
from runtime.postgres.pool import close_pool, open_pool
from runtime.postgres.settings import PostgresSettings
from runtime.process import EXIT_USER_ERROR, notify_ready, run_async, socket_dir
from runtime.rpc.client import StaticDirectory
from runtime.serving import LocalServing
from runtime.telemetry import Telemetry
from stratum.config import ProcessSettings, StratumSettings, load_process_settings
from stratum.lease import FilePrefixSource
from stratum.platform import StratumPlatform
from stratum.service import SERVICE
from stratum.shipper import Shipper, run_shipper
from stratum.supervisor import SHIPPER_NAME, worker_name
from stratum.worker import Worker

GC_YOUNG_OBJECTS = 50_000


async def run_worker(
    settings: ProcessSettings, live: Live[StratumSettings], platform: StratumPlatform, *, slot: int
) -> None:
    """Wire and run one worker process until it is cancelled.

    Raises:
        UserError: It must not or cannot serve.
        ExceptionGroup: With a PrefixLost: start anew.
    """
    # What is alive by now stays; shares make and drop objects by the million without cycles: look for those seldom.
    gc.freeze()
    gc.set_threshold(GC_YOUNG_OBJECTS, 50, 100)
    nodes = [BitcoinRpc(node, coin=settings.coin) for node in settings.nodes]
    async with platform.prefixes.hold() as lease:
        await Worker(settings, live, platform, lease=lease, slot=slot, nodes=nodes).run()


async def run_shipper_process(
    data_dir: Path, eventlog: EventLog, clock: Clock, telemetry: Telemetry, ready: Callable[[str], None]
) -> None:
    """Ship the journals of a host until it is cancelled.

    Raises:
        UserError: Another shipper works here.
    """
    shipper = Shipper(data_dir, eventlog, clock=clock, telemetry=telemetry)
    telemetry.register(shipper.families)
    await run_shipper(shipper, on_start=lambda: ready(SHIPPER_NAME))


class _Log(msgspec.Struct, frozen=True, kw_only=True):
    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    json: bool = False


async def _run_local_worker(settings: ProcessSettings, stratum: StratumSettings, slot: int) -> None:
    clock = SystemClock()
    address = f"unix:{socket_dir(settings.data_dir) / worker_name(slot)}.sock"
    platform = StratumPlatform(
        clock=clock,
        serve=LocalServing(StaticDirectory({SERVICE: address})),
        prefixes=FilePrefixSource(settings.data_dir, slot=slot, clock=clock),
        telemetry=Telemetry.off(),
        ready=notify_ready,
    )
    await run_worker(settings, Live(stratum), platform, slot=slot)


async def _run_local_shipper(settings: ProcessSettings, postgres: PostgresSettings) -> None:
    pool = await open_pool(postgres.dsn, postgres)
    try:
        eventlog = await PostgresEventLog.open(pool)
        await run_shipper_process(settings.data_dir, eventlog, SystemClock(), Telemetry.off(), notify_ready)
    finally:
        await close_pool(pool)


def main(arguments: list[str] | None = None) -> int:
    """Run the process that the arguments name; return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m stratum.main", description=__doc__)
    parser.add_argument("role", choices=("worker", "shipper"))
    parser.add_argument("--config", type=Path, required=True, help="lodepool.toml")
    parser.add_argument("--slot", type=int, default=0, help="number of the worker on this host, from 0")
    options = parser.parse_args(arguments)
    try:
        settings, stratum = load_process_settings(options.config)
        tree = load_toml(options.config)
        log = decode_section(tree, "log", _Log)
        postgres = decode_section(tree, "postgres", PostgresSettings)
    except UserError as error:
        sys.stderr.write(f"{error}\n")
        return EXIT_USER_ERROR
    name = worker_name(options.slot) if options.role == "worker" else SHIPPER_NAME
    configure_logging(name, json=log.json, level=log.level)
    if options.role == "worker":
        return run_async(_run_local_worker(settings, stratum, options.slot))
    return run_async(_run_local_shipper(settings, postgres))


if __name__ == "__main__":
    sys.exit(main())
