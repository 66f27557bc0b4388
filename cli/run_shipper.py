"""The shipper of a host on what `lodepool run shipper` gives it."""

from cli.eventlogs import open_eventlog
from cli.surroundings import Surroundings
from stratum.main import run_shipper_process
from stratum.supervisor import SHIPPER_NAME


def names_awaited(around: Surroundings) -> frozenset[str]:
    """Return the services that are ready before the process is."""
    return frozenset({around.process})


async def run(around: Surroundings) -> None:
    """Carry this host's journals to the event log until cancelled.

    Raises:
        UserError: The database cannot be reached, or another shipper works on this host.
    """
    # It serves nothing but its metrics: those are what the register can show of it.
    address = around.telemetry.metrics_address
    async with (
        open_eventlog(around.settings, around.clock, around.telemetry) as eventlog,
        around.registered(SHIPPER_NAME, around.advertised(*address.rsplit(":", 1)) if address else ""),
    ):
        await run_shipper_process(around.settings.data_dir, eventlog, around.clock, around.telemetry, around.ready)
