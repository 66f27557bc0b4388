"""What every service is given to run on."""

from collections.abc import Callable
from dataclasses import dataclass

from runtime.clock import Clock
from runtime.eventlog.interface import EventLog
from runtime.postgres.pool import Pool
from runtime.rpc.client import Directory, RpcClients


@dataclass(frozen=True, slots=True, kw_only=True)
class Platform:
    """The process's surroundings, built by the composition root.

    Attributes:
        clock: The time.
        pool: Connections to the database.
        eventlog: Records between services.
        directory: Where each service listens.
        clients: Channels to the other services.
        ready: Called by a service with its name once it serves.
    """

    clock: Clock
    pool: Pool
    eventlog: EventLog
    directory: Directory
    clients: RpcClients
    ready: Callable[[str], None]
