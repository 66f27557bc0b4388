"""The miner: keeps a connection to a pool, searches, submits and counts what the pool answers."""

import asyncio
import contextlib
import itertools
import json
import random
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import native
from cli.mining.search import Work, header_for, share_target, work_from_notify
from coins.coin import Algorithm

LINE_BYTES_MAX = 1 << 20
CONNECT_TIMEOUT_S = 10.0
ANSWER_TIMEOUT_S = 60.0
BACKOFF_S_MIN = 0.2
BACKOFF_S_MAX = 10.0
SLICE_S = 0.05
NONCE_END = 1 << 32
COUNT_MAX = 1 << 24
_PACE = random.Random()  # noqa: S311 - paces hashing, hides nothing
"""Throttled miners hash at random moments, as far apart on average as told, so that they do not march in step."""
USER_AGENT = "lodepool-mine/0.1"


class PoolRefused(Exception):
    """Raised when the pool answers a handshake request with an error.

    Attributes:
        method: The request.
        reason: The pool's words.
    """

    def __init__(self, method: str, reason: str) -> None:
        super().__init__(f"the pool refused {method}: {reason}")
        self.method = method
        self.reason = reason


@dataclass(slots=True)
class MinerStats:
    """What a miner has done so far.

    Attributes:
        hashes: Hashes computed.
        accepted: Shares answered `true`.
        rejected: Shares answered with an error, by the pool's text.
        unanswered: Shares whose answer a lost connection cut off.
        connects: Connections made.
        difficulty: The pool's newest difficulty.
        last_error: Why the connection was lost last.
    """

    hashes: int = 0
    accepted: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    unanswered: int = 0
    connects: int = 0
    difficulty: float = 0.0
    last_error: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class MinerSettings:
    """What a miner is told.

    Attributes:
        host: The pool's host name or address.
        port: The pool's Stratum port.
        user: `address.worker`.
        algorithm: What to hash with.
        password: `x`, or settings such as `d=0.01` or `m=solo`.
        hashrate_max: Hashes per second to stay below; None for as fast as one thread goes.
    """

    host: str
    port: int
    user: str
    algorithm: Algorithm
    password: str = "x"  # noqa: S105 - Stratum's conventional "no password"
    hashrate_max: float | None = None


class Miner:
    """A CPU miner for one worker.

    Args:
        settings: Where to mine, as whom, with what.
        on_share: Called after each answered share: True for accepted.
    """

    def __init__(self, settings: MinerSettings, *, on_share: Callable[[bool], None] | None = None) -> None:
        self.stats = MinerStats()
        self._settings = settings
        self._on_share = on_share or (lambda _: None)
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        """Search no more; `run` returns once the pool has answered what is under way."""
        self._stopping.set()

    async def run(self) -> None:
        """Mine until stopped; reconnect with growing pauses when the connection is lost.

        Raises:
            PoolRefused: The pool does not take this user.
        """
        backoff_s = BACKOFF_S_MIN
        while not self._stopping.is_set():
            connects = self.stats.connects
            try:
                await self._mine_once()
            except (OSError, TimeoutError, EOFError, ValueError) as error:
                self.stats.last_error = str(error) or type(error).__name__
            backoff_s = BACKOFF_S_MIN if self.stats.connects > connects else min(backoff_s * 2, BACKOFF_S_MAX)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(backoff_s):
                    await self._stopping.wait()

    async def _mine_once(self) -> None:
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            reader, writer = await asyncio.open_connection(
                self._settings.host, self._settings.port, limit=LINE_BYTES_MAX
            )
        connection = _Connection(reader, writer, self._settings, self.stats, self._on_share, self._stopping)
        try:
            await connection.mine()
        finally:
            self.stats.unanswered += connection.shares_pending
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


class _Connection:
    """One connection's life: handshake, jobs in, shares out."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        settings: MinerSettings,
        stats: MinerStats,
        on_share: Callable[[bool], None],
        stopping: asyncio.Event,
    ) -> None:
        self.shares_pending = 0
        self._reader = reader
        self._writer = writer
        self._settings = settings
        self._stats = stats
        self._on_share = on_share
        self._stopping = stopping
        self._ids = itertools.count(1)
        self._answers: dict[int, asyncio.Future[object]] = {}
        self._work: Work | None = None
        self._target = 0
        self._work_changed = asyncio.Event()
        self._extranonce1 = b""
        self._extranonce2_bytes = 0

    async def mine(self) -> None:
        """Speak with the pool until the connection ends or the miner is stopped."""
        try:
            async with asyncio.TaskGroup() as group:
                listener = group.create_task(self._listen())
                await self._handshake()
                async with asyncio.TaskGroup() as shares:
                    await self._search(shares)
                listener.cancel()
        except BaseExceptionGroup as failure:
            raise _first(failure) from None

    async def _handshake(self) -> None:
        subscribed = await self._ask("mining.subscribe", [USER_AGENT])
        match subscribed:
            case [_, str(extranonce1), int(extranonce2_bytes)]:
                self._extranonce1 = bytes.fromhex(extranonce1)
                self._extranonce2_bytes = extranonce2_bytes
            case _:
                raise ValueError(f"the pool answered mining.subscribe with {subscribed!r:.200}")
        await self._ask("mining.authorize", [self._settings.user, self._settings.password])
        self._stats.connects += 1

    async def _ask(self, method: str, params: list[object]) -> object:
        request_id = next(self._ids)
        answer: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        self._answers[request_id] = answer
        line = json.dumps({"id": request_id, "method": method, "params": params})
        self._writer.write(line.encode() + b"\n")
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                return await answer
        except PoolRefused as refusal:
            raise PoolRefused(method, refusal.reason) from None
        finally:
            del self._answers[request_id]

    async def _listen(self) -> None:
        while line := await self._reader.readline():
            self._receive(json.loads(line))
        raise EOFError("the pool closed the connection")

    def _receive(self, message: object) -> None:
        match message:
            case {"method": "mining.set_difficulty", "params": [difficulty, *_]}:
                self._target = share_target(difficulty, self._settings.algorithm)
                self._stats.difficulty = float(str(difficulty))
            case {"method": "mining.notify", "params": [*params]}:
                self._work = work_from_notify(params)
                self._work_changed.set()
            case {"method": "mining.set_extranonce", "params": [str(extranonce1), int(extranonce2_bytes), *_]}:
                self._extranonce1, self._extranonce2_bytes = bytes.fromhex(extranonce1), extranonce2_bytes
            case {"method": str()}:
                pass
            case {"id": int(request_id), **rest}:
                answer = self._answers.get(request_id)
                if answer and not answer.done():
                    _settle(answer, rest)
            case {"id": None, "error": [_, reason, *_]}:
                raise ValueError(f"the pool complains: {reason}")
            case _:
                raise ValueError(f"the pool sent something that is not Stratum: {message!r:.200}")

    async def _search(self, shares: asyncio.TaskGroup) -> None:
        stopped = asyncio.ensure_future(self._stopping.wait())
        try:
            while not stopped.done():
                changed = asyncio.ensure_future(self._work_changed.wait())
                await asyncio.wait((stopped, changed), return_when=asyncio.FIRST_COMPLETED)
                changed.cancel()
                self._work_changed.clear()
                if self._work is not None and not stopped.done():
                    await self._search_work(self._work, self._target, shares)
        finally:
            stopped.cancel()

    async def _search_work(self, work: Work, target: int, shares: asyncio.TaskGroup) -> None:
        """Scan one job until a newer one arrives or the miner is stopped."""
        loop = asyncio.get_running_loop()
        rate_max = self._settings.hashrate_max
        count = max(1, int(rate_max * SLICE_S)) if rate_max else 64
        for extranonce2_number in itertools.count():
            extranonce2 = extranonce2_number.to_bytes(self._extranonce2_bytes, "big")
            header = header_for(work, extranonce1=self._extranonce1, extranonce2=extranonce2)
            scanner = native.HeaderScanner(algorithm=self._settings.algorithm.value, header=header)
            nonce = 0
            while nonce < NONCE_END:
                started_s = loop.time()
                found, hashes = await asyncio.to_thread(scanner.scan, nonce_start=nonce, count=count, target=target)
                self._stats.hashes += hashes
                nonce += hashes
                if found is not None:
                    shares.create_task(self._submit(work, extranonce2, found))
                    await self._writer.drain()
                elapsed_s = loop.time() - started_s
                if rate_max:
                    pause_s = hashes / rate_max * _PACE.expovariate(1)
                    await asyncio.sleep(max(0.0, pause_s - elapsed_s))
                elif hashes == count:
                    count = _next_count(count, elapsed_s)
                if self._work_changed.is_set() or self._stopping.is_set():
                    return

    async def _submit(self, work: Work, extranonce2: bytes, nonce: int) -> None:
        self.shares_pending += 1
        fields: list[object] = [extranonce2.hex(), f"{work.ntime:08x}", f"{nonce:08x}"]
        try:
            result = await self._ask("mining.submit", [self._settings.user, work.job_id, *fields])
        except PoolRefused as refusal:
            self._stats.rejected[refusal.reason] += 1
            self._on_share(False)
        else:
            self._stats.accepted += result is True
            self._on_share(result is True)
        self.shares_pending -= 1


def _next_count(count: int, elapsed_s: float) -> int:
    """Return how many hashes the next scan should do so that it takes about `SLICE_S`."""
    if elapsed_s < SLICE_S / 2:
        return min(count * 2, COUNT_MAX)
    return max(1, count // 2) if elapsed_s > SLICE_S * 2 else count


def _settle(answer: asyncio.Future[object], rest: Mapping[object, object]) -> None:
    match rest.get("error"):
        case None:
            answer.set_result(rest.get("result"))
        case [_, str(reason), *_]:
            answer.set_exception(PoolRefused("", reason))
        case error:
            answer.set_exception(PoolRefused("", str(error)))


def _first(failure: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the first plain exception of a nested group."""
    inner = failure.exceptions[0]
    return _first(inner) if isinstance(inner, BaseExceptionGroup) else inner
