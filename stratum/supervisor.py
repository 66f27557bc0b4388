"""Say which stratum processes a machine runs, for whoever keeps them running."""

import errno
import os
import socket
from collections.abc import Callable, Mapping, Sequence

from runtime.errors import UserError
from runtime.supervisor import ChildProcess
from stratum.config import StratumSettings

WORKER_ROLE = "stratum"
SHIPPER_NAME = "shipper"


def worker_name(slot: int) -> str:
    """Return the name of a worker process, in logs and in the directory of services."""
    return f"stratum-{slot}"


def child_specs(
    settings: StratumSettings,
    command: Callable[[str, int], Sequence[str]],
    environment: Mapping[str, str] | None = None,
) -> list[ChildProcess]:
    """Return the worker processes, "stratum-0" and so on, and one "shipper".

    Args:
        settings: The section [stratum].
        command: Returns program and arguments for a role ("stratum" or "shipper") and a slot.
        environment: Variables on top of ours.
    """
    workers = [
        ChildProcess(name=worker_name(slot), command=command(WORKER_ROLE, slot), environment=environment or {})
        for slot in range(settings.worker_count)
    ]
    return [*workers, ChildProcess(name=SHIPPER_NAME, command=command(SHIPPER_NAME, 0), environment=environment or {})]


def require_free_port(settings: StratumSettings) -> None:
    """Refuse to start on a port that another process has.

    The workers share the port with SO_REUSEPORT, which would let them in beside a foreign process of the same user,
    and the kernel would give that one half of the miners.

    Raises:
        UserError: The port is taken or may not be used; names it.
    """
    if settings.port == 0:
        return
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((settings.host, settings.port))
            probe.listen(1)
        except OSError as error:
            place = f"{settings.host}:{settings.port}"
            hint = {
                errno.EADDRINUSE: "another process uses it; stop that one, or set stratum.port to a free port",
                errno.EADDRNOTAVAIL: "stratum.host is not an address of this machine",
                errno.EACCES: "this user may not listen on ports below 1024",
            }.get(error.errno or 0, os.strerror(error.errno or 0))
            raise UserError(f"Miners' port {place} cannot be used.", hint) from None
