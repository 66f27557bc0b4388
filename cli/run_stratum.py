"""A stratum worker on what `lodepool run stratum` gives it."""

from cli.surroundings import Surroundings
from stratum.config import ProcessSettings
from stratum.main import run_worker


def names_awaited(around: Surroundings) -> frozenset[str]:
    """Return the services that are ready before the process is."""
    return frozenset({around.process})


async def run(around: Surroundings) -> None:
    """Serve miners until cancelled.

    Raises:
        UserError: It must not or cannot serve.
    """
    settings = around.settings
    process = ProcessSettings(coin=settings.coin, data_dir=settings.data_dir, pool=settings.pool, nodes=settings.nodes)
    await run_worker(process, around.live.stratum, around.stratum(), slot=around.slot)
