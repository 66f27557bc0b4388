"""A miner for chains where nearly every hash is a block: it knows which of its shares are, and finds them as it is told."""

import asyncio
import contextlib
import itertools
import json
import random
import time
from collections import Counter
from dataclasses import dataclass, field

import native
from cli.mining.search import Work, header_for, share_target, work_from_notify
from coins.coin import Algorithm
from coins.work import target_from_nbits

RECONNECT_S = 0.1
ANSWER_S_MAX = 30.0
_TRIES_MAX = 200


@dataclass(slots=True, kw_only=True)
class Tally:
    """What one worker saw.

    Attributes:
        account: Its payout address.
        worker: Its name.
        accepted: Shares answered `true`.
        unanswered: Shares sent whose answer never came.
        rejected: Refusals by text.
        connects: Connections that brought a job.
        blocks: Shares answered `true` that met the network's target.
        disconnects: Connections that the pool or the network ended.
    """

    account: str
    worker: str
    accepted: int = 0
    unanswered: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    connects: int = 0
    blocks: int = 0
    disconnects: int = 0


class BlockBudget:
    """Lets all miners together find a block every so often.

    Args:
        interval_s: Seconds between two blocks.
        count_max: Blocks altogether.
    """

    def __init__(self, *, interval_s: float, count_max: int) -> None:
        self._interval_s = interval_s
        self._left = count_max
        self._next_s = time.monotonic()

    def take(self) -> bool:
        """Return whether the caller's next share shall be a block."""
        now_s = time.monotonic()
        if self._left <= 0 or now_s < self._next_s:
            return False
        self._left -= 1
        self._next_s = now_s + self._interval_s
        return True


class ShareMiner:
    """One worker with one connection at a time, to any of several addresses in turn.

    Args:
        addresses: (host, port) of stratum processes.
        account: The payout address.
        worker: The worker's name.
        interval_s: Mean time between two shares.
        budget: When to find blocks.
        seed: Of nonces and times.
    """

    def __init__(
        self,
        *,
        addresses: list[tuple[str, int]],
        account: str,
        worker: str,
        interval_s: float,
        budget: BlockBudget,
        seed: int,
    ) -> None:
        self.tally = Tally(account=account, worker=worker)
        self.is_stopping = False
        self._addresses = itertools.cycle(addresses)
        self._interval_s = interval_s
        self._budget = budget
        self._random = random.Random(seed)
        self._reader: asyncio.StreamReader
        self._writer: asyncio.StreamWriter
        self._work: Work | None = None
        self._target = 0
        self._extranonce1 = b""
        self._extranonce2_bytes = 0
        self._pending: dict[int, bool] = {}

    async def run(self) -> None:
        """Mine until `is_stopping`; then wait for the last answers."""
        while not self.is_stopping:
            with contextlib.suppress(OSError, EOFError, TimeoutError, ValueError):
                await self._connect()
            self.tally.unanswered += len(self._pending)
            self._pending.clear()
            await asyncio.sleep(RECONNECT_S)

    async def _connect(self) -> None:
        host, port = next(self._addresses)
        async with asyncio.timeout(5):
            self._reader, self._writer = await asyncio.open_connection(host, port, limit=1 << 20)
        self._work, self._target = None, 0
        listening: asyncio.Task[None] | None = None
        try:
            self._write(1, "mining.subscribe", ["chaos/1"])
            self._write(2, "mining.authorize", [f"{self.tally.account}.{self.tally.worker}", "x"])
            async with asyncio.timeout(ANSWER_S_MAX):
                while self._work is None or not self._target or not self._extranonce1:
                    await self._read()
            self.tally.connects += 1
            listening = asyncio.create_task(self._listen())
            await self._mine(listening)
        finally:
            if listening is not None:
                listening.cancel()
                await asyncio.gather(listening, return_exceptions=True)
            self._extranonce1 = b""
            self._writer.close()

    async def _mine(self, listening: asyncio.Task[None]) -> None:
        for request_id in itertools.count(10):
            if listening.done():
                self.tally.disconnects += 1
                listening.result()
            if self.is_stopping:
                break
            self._submit(request_id)
            await asyncio.sleep(self._random.expovariate(1 / self._interval_s))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(ANSWER_S_MAX):
                while self._pending and not listening.done():
                    await asyncio.sleep(0.02)

    def _submit(self, request_id: int) -> None:
        """Search a nonce whose hash is a share, and a block only when it is time for one."""
        work = self._work
        assert work is not None
        network_target = target_from_nbits(work.nbits)
        is_block_due = self._budget.take()
        extranonce2 = self._random.getrandbits(8 * self._extranonce2_bytes).to_bytes(self._extranonce2_bytes, "big")
        header = header_for(work, extranonce1=self._extranonce1, extranonce2=extranonce2)
        for _ in range(_TRIES_MAX):
            nonce = self._random.getrandbits(32)
            value = int.from_bytes(native.scrypt_1024_1_1(header[:76] + nonce.to_bytes(4, "little")), "little")
            if value <= self._target and (value <= network_target) == is_block_due:
                break
        else:
            raise ValueError("no nonce found that is a share and no block")
        self._pending[request_id] = is_block_due
        fields = [work.job_id, extranonce2.hex(), f"{work.ntime:08x}", f"{nonce:08x}"]
        self._write(request_id, "mining.submit", [f"{self.tally.account}.{self.tally.worker}", *fields])

    async def _listen(self) -> None:
        while True:
            await self._read()

    async def _read(self) -> None:
        line = await self._reader.readline()
        if not line.endswith(b"\n"):
            raise EOFError
        match json.loads(line):
            case {"method": "mining.notify", "params": [*params]}:
                self._work = work_from_notify(params)
            case {"method": "mining.set_difficulty", "params": [difficulty, *_]}:
                self._target = share_target(difficulty, Algorithm.SCRYPT)
            case {"method": "client.reconnect"}:
                raise EOFError
            case {"id": 1, "result": [_, str(extranonce1), int(extranonce2_bytes)]}:
                self._extranonce1, self._extranonce2_bytes = bytes.fromhex(extranonce1), extranonce2_bytes
            case {"id": int(request_id), "result": True} if request_id in self._pending:
                self.tally.accepted += 1
                self.tally.blocks += self._pending.pop(request_id)
            case {"id": int(request_id), "error": [_, reason, *_]} if request_id in self._pending:
                del self._pending[request_id]
                self.tally.rejected[str(reason)] += 1
            case _:
                pass

    def _write(self, request_id: int, method: str, params: list[str]) -> None:
        line = json.dumps({"id": request_id, "method": method, "params": params})
        self._writer.write(line.encode() + b"\n")
