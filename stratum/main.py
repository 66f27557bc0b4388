"""Wire the stratum processes: `run_worker` serves miners, `run_shipper_process` carries the journals of a host away.

They read no configuration and open nothing but nodes and files: `lodepool run`, which calls them, gives them the rest.
"""

import gc
from collections.abc import Callable
from pathlib import Path

from nodes.bitcoin import BitcoinRpc
from runtime.clock import Clock
from runtime.eventlog.interface import EventLog
from runtime.live import Live
from runtime.telemetry import Telemetry
from stratum.config import ProcessSettings, StratumSettings
from stratum.platform import StratumPlatform
from stratum.shipper import Shipper, run_shipper
from stratum.supervisor import SHIPPER_NAME
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
