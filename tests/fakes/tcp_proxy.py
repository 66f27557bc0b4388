"""A TCP proxy that can stop forwarding: the network between a client and a server, with its faults."""

import asyncio
import contextlib
from pathlib import Path
from typing import Self

_CHUNK_BYTES = 65536


class TcpProxy:
    """Forwards connections on a loopback port to another one.

    `freeze` stops forwarding in both directions and keeps the connections: neither side learns anything, as with a
    cable that was pulled. `thaw` forwards again what has piled up, so that old requests arrive late. `cut` breaks the
    connections and refuses new ones until `thaw`.

    Args:
        target: A loopback port, or the path of a unix socket.
    """

    def __init__(self, target: int | Path) -> None:
        self._target = target
        self._server: asyncio.Server | None = None
        self._open = asyncio.Event()
        self._open.set()
        self._is_cut = False
        self._connections: set[asyncio.Task[None]] = set()
        self.port = 0

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        await self._drop_all()

    @property
    def endpoint(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def connection_count(self) -> int:
        return len(self._connections)

    def freeze(self) -> None:
        self._open.clear()

    async def cut(self) -> None:
        self._is_cut = True
        await self._drop_all()

    def thaw(self) -> None:
        self._is_cut = False
        self._open.set()

    async def _drop_all(self) -> None:
        tasks = list(self._connections)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        writers = [writer]
        try:
            if self._is_cut:
                return
            await self._open.wait()
            upstream_reader, upstream_writer = await self._connect()
            writers.append(upstream_writer)
            pumps = [
                asyncio.ensure_future(self._pump(reader, upstream_writer)),
                asyncio.ensure_future(self._pump(upstream_reader, writer)),
            ]
            try:
                await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for pump in pumps:
                    pump.cancel()
                await asyncio.gather(*pumps, return_exceptions=True)
        except (OSError, asyncio.CancelledError):
            return
        finally:
            self._connections.discard(task)
            for each in writers:
                with contextlib.suppress(OSError):
                    each.transport.abort()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if isinstance(self._target, Path):
            return await asyncio.open_unix_connection(self._target)
        return await asyncio.open_connection("127.0.0.1", self._target)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(_CHUNK_BYTES):
            await self._open.wait()
            writer.write(data)
            await writer.drain()
