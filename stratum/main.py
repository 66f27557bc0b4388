"""Start a stratum process: `python -m stratum.main worker --config FILE --slot N`, or `shipper --config FILE`."""

import argparse
import gc
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import msgspec

from nodes.bitcoin import BitcoinRpc
from runtime.clock import SystemClock
from runtime.config import decode_section, load_toml
from runtime.errors import UserError
from runtime.eventlog.postgres import PostgresEventLog
from runtime.logs import configure_logging
from runtime.postgres.pool import close_pool, open_pool
from runtime.process import EXIT_USER_ERROR, notify_ready, run_async
from stratum.config import ProcessSettings, load_process_settings
from stratum.shipper import run_shipper
from stratum.supervisor import SHIPPER_NAME, worker_name
from stratum.worker import Worker

GC_YOUNG_OBJECTS = 50_000


class _Log(msgspec.Struct, frozen=True, kw_only=True):
    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    json: bool = False


async def run_worker(settings: ProcessSettings, *, slot: int, on_ready: Callable[[], None]) -> None:
    """Wire and run one worker process.

    Raises:
        UserError: It must not or cannot serve.
    """
    # What is alive by now stays; shares make and drop objects by the million without cycles: look for those seldom.
    gc.freeze()
    gc.set_threshold(GC_YOUNG_OBJECTS, 50, 100)
    clock = SystemClock()
    nodes = [BitcoinRpc(node, coin=settings.coin) for node in settings.nodes]
    await Worker(settings, slot=slot, nodes=nodes, clock=clock).run(on_ready)


async def run_shipper_process(settings: ProcessSettings, *, on_ready: Callable[[], None]) -> None:
    """Wire and run the shipper.

    Raises:
        UserError: It must not or cannot serve.
    """
    pool = await open_pool(settings.postgres.dsn, settings.postgres)
    try:
        eventlog = await PostgresEventLog.open(pool)
        on_ready()
        await run_shipper(settings.data_dir, eventlog, clock=SystemClock())
    finally:
        await close_pool(pool)


def main(arguments: list[str] | None = None) -> int:
    """Run the process that the arguments name; return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m stratum.main", description=__doc__)
    parser.add_argument("role", choices=("worker", "shipper"))
    parser.add_argument("--config", type=Path, required=True, help="lodepool.toml")
    parser.add_argument("--slot", type=int, default=0, help="number of the worker on this host, from 0")
    options = parser.parse_args(arguments)
    name = worker_name(options.slot) if options.role == "worker" else SHIPPER_NAME
    try:
        settings = load_process_settings(options.config)
        log = decode_section(load_toml(options.config), "log", _Log)
    except UserError as error:
        sys.stderr.write(f"{error}\n")
        return EXIT_USER_ERROR
    configure_logging(name, json=log.json, level=log.level)
    if options.role == "worker":
        return run_async(run_worker(settings, slot=options.slot, on_ready=lambda: notify_ready(name)))
    return run_async(run_shipper_process(settings, on_ready=lambda: notify_ready(name)))


if __name__ == "__main__":
    sys.exit(main())
