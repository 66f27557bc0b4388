"""Readers of the API at a constant rate, and followers of the live feed, from one event loop.

Requests are due at fixed moments whatever the answers do (an open loop): a request's latency counts from when it was
due, so a server that stalls is not spared the requests that would have come meanwhile.
"""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import cast

CONNECTIONS_MAX = 200
ANSWER_S_MAX = 20.0
POLL_S = 0.01
CLIENTS_AT_ONCE = 50
WARMUP = "warmup"
_PING, _PONG = b"\x89\x00", b"\x8a\x80" + bytes(4)
"""Without content, as the server sends the one and a client the other."""
HTTP_OK = 200
_HEADER_END = b"\r\n\r\n"


@dataclass(slots=True)
class Latencies:
    """What came of the requests of one kind.

    Attributes:
        times_ms: From when a request was due to its answer's last byte.
        error_count: Answers that were not 200, or none.
        body_bytes: Of all answers together.
    """

    times_ms: list[float] = field(default_factory=list)
    error_count: int = 0
    body_bytes: int = 0

    def summary(self) -> dict[str, float | int]:
        """Return the percentiles, milliseconds."""
        ordered = sorted(self.times_ms)
        count = len(ordered)
        quantiles = {f"p{part}_ms": round(ordered[count * part // 100], 2) if count else -1.0 for part in (50, 95, 99)}
        mean_bytes = self.body_bytes // max(count, 1)
        return {**quantiles, "requests": count + self.error_count, "errors": self.error_count, "body_bytes": mean_bytes}


def together(parts: Sequence[Latencies]) -> Latencies:
    """Return several kinds as one."""
    return Latencies(
        times_ms=[time_ms for part in parts for time_ms in part.times_ms],
        error_count=sum(part.error_count for part in parts),
        body_bytes=sum(part.body_bytes for part in parts),
    )


class _Reader(asyncio.Protocol):
    """A connection that asks one thing at a time and keeps alive."""

    def __init__(self, on_answer: Callable[["_Reader", int, int], None]) -> None:
        self._on_answer = on_answer
        self._data = b""
        self._wanted_bytes = 0
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self.transport = cast("asyncio.Transport", transport)  # uvloop's has the methods and not the type

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  the protocol's signature
        """Count as an answer with status 0."""
        self.transport = None
        self._on_answer(self, 0, 0)

    def data_received(self, data: bytes) -> None:
        """Gather an answer."""
        self._data += data
        if not self._wanted_bytes:
            end = self._data.find(_HEADER_END)
            if end < 0:
                return
            length = self._data[:end].lower().partition(b"content-length:")[2].partition(b"\r\n")[0]
            self._wanted_bytes = end + len(_HEADER_END) + int(length)
        if len(self._data) >= self._wanted_bytes:
            status, size = int(self._data[9:12]), len(self._data)
            self._data, self._wanted_bytes = b"", 0
            self._on_answer(self, status, size)


class OpenLoop:
    """Asks at a constant rate.

    Args:
        host: The server's.
        port: The server's.
    """

    def __init__(self, host: str, port: int) -> None:
        self._host, self._port = host, port
        self._idle: list[_Reader] = []
        self._waiting: deque[tuple[str, str, float]] = deque()
        self._asked: dict[_Reader, tuple[str, float]] = {}
        self.found: dict[str, Latencies] = {}

    async def run(self, requests: Sequence[tuple[str, str]], *, per_s: float, warmup_s: float) -> dict[str, Latencies]:
        """Ask for (kind, path) in turn, `per_s` of them a second; return what came by kind, the warm-up left out."""
        loop = asyncio.get_running_loop()
        for _ in range(CONNECTIONS_MAX):
            _, reader = await loop.create_connection(lambda: _Reader(self._answered), self._host, self._port)
            self._idle.append(reader)
        start_s = time.perf_counter()
        for number, (kind, path) in enumerate(requests):
            due_s = start_s + number / per_s
            while (wait_s := due_s - time.perf_counter()) > 0:  # noqa: ASYNC110  a bench
                await asyncio.sleep(wait_s)
            self._waiting.append((kind if due_s - start_s >= warmup_s else WARMUP, path, due_s))
            self._send()
        try:
            async with asyncio.timeout(ANSWER_S_MAX):
                while self._asked or self._waiting:  # noqa: ASYNC110  a bench
                    await asyncio.sleep(POLL_S)
        except TimeoutError:
            for kind, _ in self._asked.values():
                self.found.setdefault(kind, Latencies()).error_count += 1
        self._asked.clear()
        for reader in self._idle:
            if reader.transport is not None:
                reader.transport.abort()
        self.found.pop(WARMUP, None)
        return self.found

    def _send(self) -> None:
        while self._waiting and self._idle:
            kind, path, due_s = self._waiting.popleft()
            reader = self._idle.pop()
            if reader.transport is None:
                continue
            self._asked[reader] = kind, due_s
            reader.transport.write(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())

    def _answered(self, reader: _Reader, status: int, size: int) -> None:
        asked = self._asked.pop(reader, None)
        if asked is None:
            return
        kind, due_s = asked
        found = self.found.setdefault(kind, Latencies())
        if status == HTTP_OK:
            found.times_ms.append((time.perf_counter() - due_s) * 1000)
            found.body_bytes += size
        else:
            found.error_count += 1
        self._idle.append(reader)
        self._send()


class _Follower(asyncio.Protocol):
    """A WebSocket client that looks for one text."""

    def __init__(self, handshake: bytes, wish: bytes) -> None:
        self._handshake, self._wish = handshake, wish
        self._tail = b""
        self.wanted = b""
        self.seen_s: float | None = None
        self.is_greeted = False
        self.is_lost = False
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Shake hands."""
        self.transport = cast("asyncio.Transport", transport)
        self.transport.write(self._handshake)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  the protocol's signature
        """Take note."""
        self.is_lost = True

    def data_received(self, data: bytes) -> None:
        """Subscribe once greeted; afterwards look for the text. Answer pings."""
        if _PING in data and self.transport is not None:
            self.transport.write(_PONG)
        self._tail = (self._tail + data)[-4096:]
        if not self.is_greeted and b'"hello"' in self._tail:
            self.is_greeted = True
            assert self.transport is not None
            self.transport.write(bytes([0x81, 0x80 | len(self._wish)]) + bytes(4) + self._wish)
        elif self.wanted and self.wanted in self._tail:
            self.seen_s = time.perf_counter()
            self.wanted, self._tail = b"", b""


class Followers:
    """Clients of the live feed that follow the blocks.

    Args:
        host: The server's.
        port: The server's.
        path: Of the WebSocket.
    """

    def __init__(self, host: str, port: int, path: str) -> None:
        self._host, self._port = host, port
        self._handshake = (
            f"GET {path} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        ).encode()
        self._clients: list[_Follower] = []

    async def connect(self, count: int) -> None:
        """Connect clients, and wait until all are greeted."""
        loop = asyncio.get_running_loop()

        async def one() -> None:
            wish = b'{"subscribe":["blocks"]}'
            _, client = await loop.create_connection(lambda: _Follower(self._handshake, wish), self._host, self._port)
            self._clients.append(client)

        for start in range(0, count, CLIENTS_AT_ONCE):
            await asyncio.gather(*(one() for _ in range(min(CLIENTS_AT_ONCE, count - start))))
        await self._until(lambda client: client.is_greeted)

    async def heard(self, text: bytes, say: Callable[[], Awaitable[None]]) -> list[float]:
        """Do what makes the text be told, and return when each client had it, milliseconds later, in order."""
        for client in self._clients:
            client.wanted, client.seen_s = text, None
        started_s = time.perf_counter()
        await say()
        await self._until(lambda client: client.seen_s is not None)
        return sorted((client.seen_s - started_s) * 1000 for client in self._clients if client.seen_s is not None)

    def close(self) -> None:
        """Hang up."""
        for client in self._clients:
            if client.transport is not None:
                client.transport.abort()

    async def _until(self, is_done: Callable[[_Follower], bool]) -> None:
        """Wait until all clients are done.

        Raises:
            TimeoutError: When that takes too long, or a client was hung up on.
        """
        async with asyncio.timeout(ANSWER_S_MAX):
            while not all(map(is_done, self._clients)):
                if any(client.is_lost for client in self._clients):
                    raise TimeoutError("a client was hung up on")
                await asyncio.sleep(POLL_S)
