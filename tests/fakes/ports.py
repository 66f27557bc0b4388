"""Ports for servers that are killed and started again: nobody else gets them in between.

The kernel gives outgoing connections, and whoever asks for any port, one of its ephemeral range. A server that is away for
a second can lose such a port; one below that range it keeps.
"""

import random
import socket
from contextlib import ExitStack
from pathlib import Path

LOWEST = 20_000
_EPHEMERAL_DEFAULT = 32_768
_chance = random.SystemRandom()


def steady_ports(count: int) -> list[int]:
    """Return different ports below the ephemeral range that nobody listens on now."""
    with ExitStack() as stack:
        found: list[int] = []
        while len(found) < count:
            probe = stack.enter_context(socket.socket())
            port = _chance.randrange(LOWEST, _highest())
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            found.append(port)
        return found


def steady_port() -> int:
    """Return one such port."""
    return steady_ports(1)[0]


def _highest() -> int:
    try:
        lowest_ephemeral = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text(encoding="ascii").split()[0])
    except (OSError, ValueError):
        return _EPHEMERAL_DEFAULT
    return lowest_ephemeral if lowest_ephemeral > LOWEST + 1000 else _EPHEMERAL_DEFAULT
