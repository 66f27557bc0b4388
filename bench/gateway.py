"""How fast the API answers over a database of 20,000 workers, 90 days and 5,000 blocks.

The back office, the gateway and all services behind it in one process, has one core. The readers and PostgreSQL have
the other. Measured are the calls that the miner's page makes (for any account, all alike), those of the overview, and
the time from a block's record in the event log to the last of many WebSocket clients. Beside them stands a floor from
the same run: a server of the same kind that answers a fixed body.

    python -m bench.gateway                                          # as the targets want it; a few minutes
    python -m bench.gateway --workers 1000 --days 10 --blocks 500    # small
"""

import argparse
import asyncio
import contextlib
import hashlib
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path

import uvloop
from rich.console import Console

from bench.fixed_node import COIN, POOL_ADDRESS
from bench.gateway_data import Miner, Shape, fill, make_miners
from bench.gateway_load import Followers, OpenLoop, together
from bench.shares import cpu_s
from proto.lodepool.events.v1 import events_pb2
from runtime.eventlog.interface import OutRecord
from runtime.eventlog.postgres import PostgresEventLog
from runtime.postgres.embedded import EmbeddedPostgres
from runtime.postgres.pool import close_pool, open_pool
from runtime.postgres.settings import PostgresSettings
from runtime.process import free_port, launch_command

SERVER_CORE, LOAD_CORE = 0, 1
HOST = "127.0.0.1"
MINER_PER_S, OVERVIEW_PER_S = 200, 1000
WARMUP_S = 2.0
FIRST_LOOK_S = 3.0
"""What was there when the first client came is not told: wait until the gateway has seen it."""
START_S_MAX = 60.0
CREDITS_OF_BLOCK = 300
BUSY_ACCOUNTS = 3
FLOOR_BODY_BYTES = 4_000
OVERVIEW = (
    ("pool", "/api/v1/pool"),
    ("history", "/api/v1/pool/history?window=24h"),
    ("blocks", "/api/v1/blocks?page_size=8"),
)
CONFIGURATION = """\
[pool]
coin = "{coin}"
address = "{address}"
data_dir = "{folder}/data"

[[nodes]]
url = "http://127.0.0.1:{node_port}"

[postgres]
dsn = "{dsn}"

[payouts]
is_enabled = false

[gateway]
port = {port}
requests_per_second = 1000000
requests_burst = 1000000
sockets_per_address_max = 100000

[log]
level = "WARNING"
"""
FLOOR = """
import sys
import uvloop
from aiohttp import web

async def answer(request):
    return web.Response(body=BODY, content_type="application/json")

BODY = b"x" * int(sys.argv[2])
app = web.Application()
app.router.add_get("/{path:.*}", answer)
uvloop.install()
web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), access_log=None, print=None)
"""
console = Console(stderr=True)


def main() -> None:
    """Run once and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workers", type=int, default=20_000)
    parser.add_argument("--days", type=int, default=90)
    parser.add_argument("--blocks", type=int, default=5_000)
    parser.add_argument("--clients", type=int, default=5_000, help="WebSocket clients")
    parser.add_argument("--rounds", type=int, default=10, help="new blocks that the clients are told of")
    parser.add_argument("--seconds", type=float, default=12.0, help="measured time of each load")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--profile", type=Path, help="write a cProfile of the office to this file")
    parser.add_argument("--keep", type=Path, help="keep the database in this folder, and use the one that is there")
    options = parser.parse_args()
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    os.sched_setaffinity(0, {LOAD_CORE})
    with (
        tempfile.TemporaryDirectory(prefix="lp-bench-") as folder,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        Path(folder).chmod(0o755)
        result = runner.run(measure(Path(folder), options))
    print(json.dumps(result))


async def measure(folder: Path, options: argparse.Namespace) -> dict[str, object]:
    """Fill a database, measure the floor, then the pool."""
    started_s = time.monotonic()
    floor = await _floor(options)
    data_dir: Path = options.keep or folder / "pg"
    postgres = EmbeddedPostgres(data_dir)
    dsn = await postgres.start()
    miners = make_miners(options.workers)
    try:
        filled = data_dir / "filled"
        if not filled.exists():
            await _fill(dsn, miners, options)
            filled.touch()
        fill_s = time.monotonic() - started_s
        async with _office(folder, dsn, options) as (port, pid):
            used_s = cpu_s(pid)
            miner_page = await _load(port, miner_requests(miners, options), per_s=MINER_PER_S)
            miner_used_s = cpu_s(pid) - used_s
            overview = await _load(port, overview_requests(options), per_s=OVERVIEW_PER_S)
            overview_used_s = cpu_s(pid) - used_s - miner_used_s
            live = await _live(dsn, port, miners, options)
    finally:
        await postgres.stop()
    span_s = options.seconds + WARMUP_S
    return {
        "workers": options.workers,
        "accounts": len(miners),
        "days": options.days,
        "blocks": options.blocks,
        "floor": floor,
        "miner_page": {"per_s": MINER_PER_S, "core_percent": round(miner_used_s / span_s * 100), **miner_page},
        "overview": {"per_s": OVERVIEW_PER_S, "core_percent": round(overview_used_s / span_s * 100), **overview},
        "live": live,
        "load_average": [round(load, 1) for load in os.getloadavg()],
        "fill_s": round(fill_s),
        "seconds": round(time.monotonic() - started_s),
    }


def miner_requests(miners: Sequence[Miner], options: argparse.Namespace) -> list[tuple[str, str]]:
    """Return what pages of miners ask, each of the page's three calls for some account; all accounts alike."""
    chance = random.Random(options.seed)
    calls = (("miner", ""), ("history", "/history?window=24h"), ("payouts", "/payouts?page_size=25"))
    count = round((options.seconds + WARMUP_S) * MINER_PER_S)
    requests = []
    for number in range(count):
        kind, rest = calls[number % len(calls)]
        requests.append((kind, f"/api/v1/miners/{chance.choice(miners).address}{rest}"))
    return requests


def overview_requests(options: argparse.Namespace) -> list[tuple[str, str]]:
    """Return what overviews ask, each of the page's three calls in turn."""
    return [OVERVIEW[number % len(OVERVIEW)] for number in range(round((options.seconds + WARMUP_S) * OVERVIEW_PER_S))]


async def _load(port: int, requests: Sequence[tuple[str, str]], *, per_s: float) -> dict[str, object]:
    found = await OpenLoop(HOST, port).run(requests, per_s=per_s, warmup_s=WARMUP_S)
    all_of_them = together(list(found.values())).summary()
    console.print(per_s, all_of_them, {kind: part.summary() for kind, part in found.items()})
    return {**all_of_them, "calls": {kind: part.summary() for kind, part in found.items()}}


async def _floor(options: argparse.Namespace) -> dict[str, object]:
    """Measure a server that answers a fixed body, at both rates."""
    port = free_port()
    command = [sys.executable, "-c", FLOOR, str(port), str(FLOOR_BODY_BYTES)]
    async with _running(command, core=SERVER_CORE):
        await _until(lambda: _answers(port, "/"))
        found: dict[str, object] = {"body_bytes": FLOOR_BODY_BYTES}
        for per_s in (MINER_PER_S, OVERVIEW_PER_S):
            requests = [("floor", "/")] * round((options.seconds / 3 + WARMUP_S) * per_s)
            latencies = await OpenLoop(HOST, port).run(requests, per_s=per_s, warmup_s=WARMUP_S)
            summary = latencies["floor"].summary()
            found[f"at_{per_s}_per_s"] = {name: summary[name] for name in ("p50_ms", "p95_ms", "p99_ms")}
    console.print("floor", found)
    return found


async def _fill(dsn: str, miners: Sequence[Miner], options: argparse.Namespace) -> None:
    shape = Shape(
        worker_count=options.workers,
        days=options.days,
        block_count=options.blocks,
        credit_count=min(CREDITS_OF_BLOCK, len(miners)),
        busy_count=BUSY_ACCOUNTS,
    )
    pool = await open_pool(dsn, PostgresSettings(dsn=dsn))
    try:
        await fill(pool, miners, shape, now_ms=time.time_ns() // 1_000_000)
    finally:
        await close_pool(pool)


@contextlib.asynccontextmanager
async def _office(folder: Path, dsn: str, options: argparse.Namespace) -> AsyncIterator[tuple[int, int]]:
    """Run a node and the back office; yield the API's port and the office's process id."""
    node_port, port = free_port(), free_port()
    config = folder / "lodepool.toml"
    config.write_text(
        CONFIGURATION.format(
            coin=COIN.coin_id, address=POOL_ADDRESS, folder=folder, node_port=node_port, port=port, dsn=dsn
        )
    )
    profiling = [] if options.profile is None else ["-m", "cProfile", "-o", str(options.profile)]
    office = [sys.executable, *profiling, "-m", "cli.run", "office", "--config", str(config)]
    node = [sys.executable, "-m", "bench.fixed_node", str(node_port)]
    async with _running(node, core=LOAD_CORE), _running(office, core=SERVER_CORE) as pid:
        await _until(lambda: _answers(port, "/api/v1/pool"))
        yield port, pid


@contextlib.asynccontextmanager
async def _running(command: Sequence[str], *, core: int) -> AsyncIterator[int]:
    launched = ["taskset", "-c", str(core), *command]
    program = await asyncio.create_subprocess_exec(*launch_command(launched), stdout=subprocess.DEVNULL)
    try:
        yield program.pid
    finally:
        if program.returncode is None:
            program.terminate()
        await program.wait()


async def _live(dsn: str, port: int, miners: Sequence[Miner], options: argparse.Namespace) -> dict[str, object]:
    """Publish blocks as a stratum worker does, and see when each client knows."""
    pool = await open_pool(dsn, PostgresSettings(dsn=dsn))
    eventlog = await PostgresEventLog.open(pool)
    followers = Followers(HOST, port, "/api/v1/ws")
    firsts_ms, lasts_ms = [], []
    try:
        await followers.connect(options.clients)
        await asyncio.sleep(FIRST_LOOK_S)
        height = await pool.fetchval("SELECT max(height) FROM rewards.block")
        for number in range(options.rounds):
            block_hash = hashlib.sha256(f"{time.time_ns()}".encode()).hexdigest()
            record = OutRecord(
                key=b"blocks", payload=_found(block_hash, height + number + 1, miners[number]).SerializeToString()
            )
            times_ms = await followers.heard(
                block_hash.encode(), lambda record=record: eventlog.publish("blocks", [record])
            )
            firsts_ms.append(times_ms[0])
            lasts_ms.append(times_ms[-1])
    finally:
        followers.close()
        await eventlog.close()
        await close_pool(pool)
    lasts_ms.sort()
    found = {
        "clients": options.clients,
        "blocks": options.rounds,
        "first_client_ms_p50": round(sorted(firsts_ms)[options.rounds // 2]),
        "last_client_ms_p50": round(lasts_ms[options.rounds // 2]),
        "last_client_ms_max": round(lasts_ms[-1]),
    }
    console.print("live", found)
    return found


def _found(block_hash_hex: str, height: int, miner: Miner) -> events_pb2.BlockFound:
    return events_pb2.BlockFound(
        instance="stratum-0",
        coin=COIN.coin_id,
        block_hash_hex=block_hash_hex,
        height=height,
        time_ms=time.time_ns() // 1_000_000,
        account=miner.address,
        worker="rig1",
        scheme="pplns",
        coinbase_value_atomic=312_500_000,
        fees_atomic=1_000,
        network_target=(1 << 180).to_bytes(32, "big"),
        coinbase_txid_hex="00" * 32,
    )


async def _answers(port: int, path: str) -> bool:
    try:
        reader, writer = await asyncio.open_connection(HOST, port)
    except OSError:
        return False
    writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    answer = await reader.read()
    writer.close()
    return b" 200 " in answer.partition(b"\r\n")[0] and b'"degraded":["' not in answer


async def _until(is_so: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(START_S_MAX):
        while not await is_so():  # noqa: ASYNC110  a bench
            await asyncio.sleep(0.1)


if __name__ == "__main__":
    main()
