"""`lodepool run`: one process of the pool in the foreground, for a service manager or `lodepool up` to keep running.

Start it as `python -m cli.run` where start-up time and memory count: the other commands are not loaded then.
"""

import importlib
import logging
import sys
from pathlib import Path
from typing import Final

import click

from runtime.logs import log_event
from runtime.process import notify_ready, run_async

_log = logging.getLogger("lodepool.run")

ROLES: Final = {
    "stratum": "cli.run_stratum",
    "shipper": "cli.run_shipper",
    "shares": "cli.office",
    "miners": "cli.office",
    "rewards": "cli.office",
    "payouts": "cli.office",
    "notifier": "cli.office",
    "gateway": "cli.office",
    "office": "cli.office",
}
"""What can be run → the module whose `run` does it; loaded when it is asked for, so that a process holds only its own.

A stratum worker must be small and must not depend on the database's driver, for example.
"""


@click.command(epilog="Example: lodepool run stratum --config /etc/lodepool/host.toml --slot 1")
@click.argument("role", metavar="PROCESS", type=click.Choice(list(ROLES)))
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    default=Path("lodepool.toml"),
    show_default=True,
    envvar="LODEPOOL_CONFIG",
    help="The pool's configuration file; on a cluster the host's.",
)
@click.option("--slot", type=click.IntRange(0, 255), default=0, help="Number of a stratum worker on its host, from 0.")
def run(role: str, config: Path, slot: int) -> None:
    """Run one process of the pool until it is told to stop.

    PROCESS is stratum (serves miners), shipper (carries this host's journals to the event log), shares, miners,
    rewards, payouts, notifier, gateway, or office: the last six in one process, for one machine.

    SIGTERM makes it take nothing new and finish what runs. It tells systemd when it serves (Type=notify), and feeds
    its watchdog. Exit codes: 0 stopped, 1 unexpected error, 2 you must act, and stderr says how.
    """
    sys.exit(run_async(_serve(role, config, slot)))


async def _serve(role: str, config: Path, slot: int) -> None:
    surroundings = importlib.import_module("cli.surroundings")
    module = importlib.import_module(ROLES[role])
    waited_for: set[str] = set()

    def ready(service: str) -> None:
        waited_for.discard(service)
        if not waited_for:
            process = f"stratum-{slot}" if role == "stratum" else role
            log_event(_log, logging.INFO, "process serves", process=process)
            notify_ready(process)

    async with surroundings.open_surroundings(config, role, ready=ready, slot=slot) as around:
        waited_for.update(module.names_awaited(around))
        await module.run(around)


if __name__ == "__main__":
    run()
