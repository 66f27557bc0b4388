"""What every service is given to run on."""

from collections.abc import Callable
from dataclasses import dataclass

from runtime.clock import Clock
from runtime.eventlog.interface import EventLog
from runtime.exclusive import Alone, Exclusive
from runtime.postgres.pool import Pool
from runtime.rpc.client import Directory, RpcClients
from runtime.serving import LocalServing, Serving
from runtime.telemetry import Telemetry


@dataclass(frozen=True, slots=True, kw_only=True)
class FrontPlatform:
    """What a process runs on that only asks the others: no database, no event log.

    Attributes:
        clock: The time.
        directory: Where each service listens.
        clients: Channels to the other services.
        telemetry: Metrics and traces.
        ready: Called by a service with its name once it serves.
    """

    clock: Clock
    directory: Directory
    clients: RpcClients
    telemetry: Telemetry
    ready: Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Platform:
    """The process's surroundings, built by the composition root.

    Attributes:
        clock: The time.
        pool: Connections to the database.
        eventlog: Records between services.
        directory: Where each service listens.
        clients: Channels to the other services.
        serve: Offers a gRPC server to the others.
        exclusive: Lets one process of a cluster do a piece of work.
        telemetry: Metrics and traces.
        ready: Called by a service with its name once it serves.
    """

    clock: Clock
    pool: Pool
    eventlog: EventLog
    directory: Directory
    clients: RpcClients
    serve: Serving
    exclusive: Exclusive
    telemetry: Telemetry
    ready: Callable[[str], None]

    @classmethod
    def local(
        cls,
        *,
        clock: Clock,
        pool: Pool,
        eventlog: EventLog,
        directory: Directory,
        clients: RpcClients,
        ready: Callable[[str], None],
        telemetry: Telemetry | None = None,
    ) -> "Platform":
        """Return the surroundings of a service on one machine: unix sockets, and each process runs once."""
        telemetry = telemetry or Telemetry.off()
        return cls(
            clock=clock,
            pool=pool,
            eventlog=eventlog,
            directory=directory,
            clients=clients,
            serve=LocalServing(directory, interceptors=(telemetry.rpc_server,)),
            exclusive=Alone(),
            telemetry=telemetry,
            ready=ready,
        )
