"""A miner for tests over a real socket, and a worker process run inside the test."""

import asyncio
import contextlib
import itertools
import json
from collections.abc import AsyncIterator

from nodes.interface import BitcoinNode
from runtime.clock import SystemClock
from stratum.config import ProcessSettings
from stratum.worker import Worker

TIMEOUT_S = 10.0


class Miner:
    """Speaks lines of JSON; keeps the newest job."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, user: str) -> None:
        self._reader = reader
        self._writer = writer
        self._ids = itertools.count(1)
        self._nonces = itertools.count()
        self.user = user
        self.job: list = []
        self.pushed: list[dict] = []

    @classmethod
    async def connect(cls, port: int, user: str, *, first: bytes = b"") -> "Miner":
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(first)
        return cls(reader, writer, user)

    @classmethod
    async def ready(cls, port: int, user: str, *, password: str = "x") -> "Miner":
        miner = await cls.connect(port, user)
        await miner.ask("mining.subscribe", ["test/1"])
        await miner.ask("mining.authorize", [user, password])
        await miner.wait_job()
        return miner

    async def line(self) -> dict:
        data = await asyncio.wait_for(self._reader.readline(), TIMEOUT_S)
        if not data:
            raise ConnectionError("closed")
        message = json.loads(data)
        if message.get("method"):
            self.pushed.append(message)
        if message.get("method") == "mining.notify":
            self.job = message["params"]
        return message

    def send(self, method: str, params: object) -> int:
        request_id = next(self._ids)
        line = json.dumps({"id": request_id, "method": method, "params": params})
        self._writer.write(line.encode() + b"\n")
        return request_id

    def send_raw(self, data: bytes) -> None:
        self._writer.write(data)

    async def answer(self, request_id: int) -> dict:
        while True:
            message = await self.line()
            if message.get("id") == request_id:
                return message

    async def ask(self, method: str, params: object) -> dict:
        return await self.answer(self.send(method, params))

    async def wait_job(self, *, other_than: str = "") -> list:
        while not self.job or self.job[0] == other_than:
            await self.line()
        return self.job

    def share(self, *, nonce: int | None = None, job: list | None = None) -> list[str]:
        job = job or self.job
        number = next(self._nonces) if nonce is None else nonce
        return [self.user, job[0], f"{number:016x}", job[7], f"{number:08x}"]

    async def submit(self, fields: list[str] | None = None) -> dict:
        return await self.ask("mining.submit", fields or self.share())

    async def closed(self) -> None:
        with contextlib.suppress(ConnectionError):
            while True:
                await self.line()

    async def close(self) -> None:
        self._writer.close()
        with contextlib.suppress(ConnectionError):
            await self._writer.wait_closed()


@contextlib.asynccontextmanager
async def running_worker(settings: ProcessSettings, *nodes: BitcoinNode) -> AsyncIterator[Worker]:
    worker = Worker(settings, slot=0, nodes=nodes, clock=SystemClock())
    ready = asyncio.Event()
    run = asyncio.create_task(worker.run(ready.set))
    waiter = asyncio.create_task(ready.wait())
    await asyncio.wait([run, waiter], return_when=asyncio.FIRST_COMPLETED, timeout=TIMEOUT_S)
    waiter.cancel()
    if run.done():
        run.result()
    try:
        yield worker
    finally:
        run.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await run
