"""Connections, before there is a request: how many there may be, and how long a peer may leave an answer unread.

aiohttp takes as many connections as there are, and waits for ever for a reader that does not read. A `Knock` stands
before aiohttp's own protocol and passes everything on to it.
"""

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Final, cast

from gateway.config import GatewaySettings
from gateway.limits import client_address, networks_of, speaks_for_many

PLAIN_MAX: Final = 5_000
"""Connections on top of those that WebSockets may have."""
PLAIN_PER_ADDRESS_MAX: Final = 100
"""Likewise, of one address."""
UNREAD_S_MAX: Final = 60.0
"""A peer that leaves more unread than the system's buffers hold is left after this."""
_FULL: Final = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nRetry-After: 10\r\nCache-Control: no-store\r\n"
    b"Connection: close\r\nServer: lodepool\r\n\r\n"
)


class Door:
    """Counts connections; makes the protocol of a new one.

    Peers on this machine and trusted proxies speak for many: only all connections together are limited for them.

    Args:
        make: Makes the HTTP server's own protocol.
        settings: The `[gateway]` section.

    Attributes:
        count: Connections that are open.
        refused_count: Connections that were turned away.
    """

    def __init__(self, make: Callable[[], asyncio.Protocol], settings: GatewaySettings) -> None:
        self.make = make
        self.count = 0
        self.refused_count = 0
        self._trusted = networks_of(settings.trusted_proxies)
        self._count_max = settings.sockets_max + PLAIN_MAX
        self._per_address_max = settings.sockets_per_address_max + PLAIN_PER_ADDRESS_MAX
        self._counts: Counter[str] = Counter()

    def __call__(self) -> asyncio.Protocol:
        """Return the protocol of a new connection."""
        return Knock(self)

    def enter(self, peer: str) -> str | None:
        """Count a connection; return by what name to count it out, None when it may not come in."""
        name = "" if speaks_for_many(peer, self._trusted) else client_address(peer, (), ())
        if self.count >= self._count_max or (name and self._counts[name] >= self._per_address_max):
            self.refused_count += 1
            return None
        self.count += 1
        self._counts[name] += 1
        return name

    def leave(self, name: str) -> None:
        """Count a connection out."""
        self.count -= 1
        self._counts[name] -= 1
        if not self._counts[name]:
            del self._counts[name]


class Knock(asyncio.Protocol):
    """One connection.

    Args:
        door: Counts it.
    """

    __slots__ = ("_door", "_inner", "_name", "_stalled", "_transport")

    def __init__(self, door: Door) -> None:
        self._door = door
        self._inner: asyncio.Protocol | None = None
        self._name = ""
        self._stalled: asyncio.TimerHandle | None = None
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Let the peer in, or tell it that there is no room."""
        peer = transport.get_extra_info("peername")
        name = self._door.enter(str(peer[0]) if peer else "")
        # uvloop's transports have the methods of asyncio.Transport and not its type.
        self._transport = cast("asyncio.Transport", transport)
        if name is None:
            self._transport.write(_FULL)
            self._transport.close()
            return
        self._name = name
        self._inner = self._door.make()
        self._inner.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        """Pass bytes on."""
        if self._inner is not None:
            self._inner.data_received(data)

    def eof_received(self) -> bool | None:
        """Pass the end on."""
        return None if self._inner is None else self._inner.eof_received()

    def pause_writing(self) -> None:
        """Wait for the peer to read, for a while."""
        if self._inner is not None and self._transport is not None:
            self._stalled = asyncio.get_running_loop().call_later(UNREAD_S_MAX, self._transport.abort)
            self._inner.pause_writing()

    def resume_writing(self) -> None:
        """Go on."""
        self._stop_timer()
        if self._inner is not None:
            self._inner.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """Count it out."""
        self._stop_timer()
        if self._inner is not None:
            self._inner.connection_lost(exc)
            self._inner = None
            self._door.leave(self._name)

    def _stop_timer(self) -> None:
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None
