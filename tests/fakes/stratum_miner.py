"""A miner for tests over a real socket, and a worker process run inside the test."""

import asyncio
import contextlib
import itertools
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from nodes.interface import BitcoinNode
from runtime.clock import SystemClock
from runtime.process import socket_dir
from runtime.rpc.client import StaticDirectory
from runtime.serving import LocalServing
from runtime.telemetry import Telemetry
from stratum.lease import FilePrefixSource, PrefixSource
from stratum.platform import StratumPlatform
from stratum.worker import Worker
from tests.fakes.stratum_world import WorkerSetup

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
    async def connect(cls, port: int, user: str, *, first: bytes = b"", local_host: str = "127.0.0.1") -> "Miner":
        """Connect from an address of the loopback network."""
        reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(local_host, 0))
        writer.write(first)
        return cls(reader, writer, user)

    @classmethod
    async def ready(cls, port: int, user: str, *, password: str = "x", local_host: str = "127.0.0.1") -> "Miner":
        miner = await cls.connect(port, user, local_host=local_host)
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

    async def submit_until_accepted(self) -> None:
        """Submit shares, of the newest job that was heard of, until one is accepted."""
        for _ in range(100):
            if (answer := await self.submit())["result"] is True:
                return
        raise AssertionError(f"no share of 100 is accepted: {answer}")

    async def wait_pushed(self, method: str) -> dict:
        """Return the next message of that method which has not been read yet."""
        while True:
            message = await self.line()
            if message.get("method") == method:
                return message

    async def closed(self) -> None:
        with contextlib.suppress(ConnectionError):
            while True:
                await self.line()

    async def close(self) -> None:
        self._writer.close()
        with contextlib.suppress(ConnectionError):
            await self._writer.wait_closed()


def stratum_platform(
    data_dir: Path,
    *,
    slot: int = 0,
    prefixes: PrefixSource | None = None,
    telemetry: Telemetry | None = None,
    ready: Callable[[str], None] = lambda _name: None,
) -> StratumPlatform:
    """Return the surroundings of a worker on one machine."""
    clock = SystemClock()
    address = f"unix:{socket_dir(data_dir) / f'stratum-{slot}.sock'}"
    return StratumPlatform(
        clock=clock,
        serve=LocalServing(StaticDirectory({"stratum": address})),
        prefixes=prefixes or FilePrefixSource(data_dir, slot=slot, clock=clock),
        telemetry=telemetry or Telemetry.off(),
        ready=ready,
    )


@contextlib.asynccontextmanager
async def running_worker(
    setup: WorkerSetup,
    *nodes: BitcoinNode,
    prefixes: PrefixSource | None = None,
    telemetry: Telemetry | None = None,
) -> AsyncIterator[Worker]:
    """Run a worker inside the test until the block ends; raises what it raises."""
    started: asyncio.Future[Worker] = asyncio.get_running_loop().create_future()
    ready = asyncio.Event()
    platform = stratum_platform(
        setup.settings.data_dir, prefixes=prefixes, telemetry=telemetry, ready=lambda _name: ready.set()
    )

    async def serve() -> None:
        async with platform.prefixes.hold() as lease:
            worker = Worker(setup.settings, setup.live, platform, lease=lease, slot=0, nodes=nodes)
            started.set_result(worker)
            await worker.run()

    run = asyncio.create_task(serve())
    waiter = asyncio.create_task(ready.wait())
    await asyncio.wait([run, waiter], return_when=asyncio.FIRST_COMPLETED, timeout=TIMEOUT_S)
    waiter.cancel()
    if run.done():
        run.result()
    try:
        yield started.result()
    finally:
        run.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await run
