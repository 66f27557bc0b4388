"""A load of shares for tests: clients that submit what every hash meets, and remember what they were answered."""

import asyncio
import contextlib
import itertools
import json
import random
from collections import Counter
from dataclasses import dataclass, field

RECONNECT_S = 0.05


@dataclass(slots=True, kw_only=True)
class Tally:
    """What one worker saw.

    Attributes:
        worker: The worker's name.
        accepted: Shares answered `true`.
        unanswered: Shares sent whose answer never came.
        rejected: Refusals by text.
        connects: Connections made.
    """

    worker: str
    accepted: int = 0
    unanswered: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    connects: int = 0


class LoadClient:
    """One worker's connection that keeps a number of shares in flight and reconnects when it is cut off.

    Args:
        port: The pool's Stratum port on 127.0.0.1.
        account: The payout address.
        worker: The worker's name.
        in_flight: Shares under way at any time.
        pause_s: Pause between two rounds.
        seed: Seed of the nonces.
    """

    def __init__(self, *, port: int, account: str, worker: str, in_flight: int, pause_s: float, seed: int) -> None:
        self.tally = Tally(worker=worker)
        self.is_stopping = False
        self._port = port
        self._user = f"{account}.{worker}"
        self._in_flight = in_flight
        self._pause_s = pause_s
        self._random = random.Random(seed)
        self._job: tuple[str, str] | None = None

    async def run(self) -> None:
        """Submit until `is_stopping`; then wait for the last answers."""
        while not self.is_stopping:
            with contextlib.suppress(OSError, EOFError, TimeoutError):
                await self._connect()
            await asyncio.sleep(RECONNECT_S)

    async def _connect(self) -> None:
        async with asyncio.timeout(5):
            reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        self._job = None
        pending: set[int] = set()
        try:
            writer.write(b'{"id":1,"method":"mining.subscribe","params":["load/1"]}\n')
            line = {"id": 2, "method": "mining.authorize", "params": [self._user, "x"]}
            writer.write(json.dumps(line).encode() + b"\n")
            while self._job is None:
                await self._read(reader, pending)
            self.tally.connects += 1
            for request_id in itertools.count(10):
                if self.is_stopping:
                    break
                self._submit(writer, request_id, pending)
                while len(pending) >= self._in_flight:
                    await self._read(reader, pending)
                if request_id % self._in_flight == 0:
                    await asyncio.sleep(self._pause_s)
            async with asyncio.timeout(15):
                while pending:
                    await self._read(reader, pending)
        finally:
            self.tally.unanswered += len(pending)
            writer.close()

    def _submit(self, writer: asyncio.StreamWriter, request_id: int, pending: set[int]) -> None:
        assert self._job is not None
        job_id, ntime = self._job
        extranonce2 = f"{self._random.getrandbits(64):016x}"
        params = [self._user, job_id, extranonce2, ntime, f"{self._random.getrandbits(32):08x}"]
        pending.add(request_id)
        line = {"id": request_id, "method": "mining.submit", "params": params}
        writer.write(json.dumps(line).encode() + b"\n")

    async def _read(self, reader: asyncio.StreamReader, pending: set[int]) -> None:
        async with asyncio.timeout(30):
            line = await reader.readline()
        if not line.endswith(b"\n"):
            raise EOFError
        message = json.loads(line)
        if message.get("method") == "mining.notify":
            self._job = (message["params"][0], message["params"][7])
        elif message.get("id") in pending:
            pending.discard(message["id"])
            if message["result"] is True:
                self.tally.accepted += 1
            else:
                self.tally.rejected[str(message["error"][1])] += 1
