"""Shares end to end: answered by two stratum workers, shipped, and booked into slices, all on this machine.

The load generator, both workers, the shipper, the event log and the back office share the cores, as on a small pool's
one machine. Two numbers matter: shares answered per second, and shares booked per second until the last one was. Usage:

    python -m bench.pool [--seconds 10] [--workers 2] [--log postgres|kafka] [--shape 50x16]
"""

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import asyncpg
from rich.console import Console

from bench.fixed_node import COIN, POOL_ADDRESS
from bench.shares import BINARIES, CONFIGURATION, WARMUP_S, build, cpu_s
from runtime.postgres.embedded import EmbeddedPostgres
from runtime.process import free_port, launch_command
from tests.fakes.kafka_cluster import KafkaCluster

START_S_MAX = 60.0
BOOK_S_MAX = 300.0
BOOKED = "SELECT coalesce(sum(accepted_count), 0)::bigint FROM shares.worker"
MORE = """
worker_count = {workers}
sessions_max = 10000

[payouts]
is_enabled = false

[gateway]
is_enabled = false

[postgres]
dsn = "{dsn}"

[eventlog]
kind = "{log}"
"""
KAFKA = """
[kafka]
bootstrap_servers = {servers}

[kafka.topic]
partitions = 4
replication_factor = 1
min_insync_replicas = 1
"""

console = Console(stderr=True)


def main() -> None:
    """Run once and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=10.0, help="measured time")
    parser.add_argument("--workers", type=int, default=2, help="stratum worker processes")
    parser.add_argument("--log", choices=("postgres", "kafka"), default="postgres", help="the event log")
    parser.add_argument("--shape", default="50x16", help="CONNECTIONSxIN_FLIGHT")
    options = parser.parse_args()
    build()
    with tempfile.TemporaryDirectory(prefix="lodepool-bench-") as folder:
        Path(folder).chmod(0o755)
        print(json.dumps(asyncio.run(measure(Path(folder), options))))


async def measure(folder: Path, options: argparse.Namespace) -> dict[str, object]:
    """Start everything, load it, wait for the books."""
    postgres = EmbeddedPostgres(folder / "pg")
    dsn = await postgres.start()
    kafka = KafkaCluster(directory=folder / "kafka") if options.log == "kafka" else None
    programs: list[asyncio.subprocess.Process] = []
    try:
        if kafka is not None:
            await kafka.start()
        port, config = free_port(), folder / "lodepool.toml"
        node_port = free_port()
        text = CONFIGURATION.format(
            coin=COIN.coin_id, address=POOL_ADDRESS, data_dir=folder / "data", node_port=node_port, port=port
        )
        text = text.replace("\n[log]", MORE.format(workers=options.workers, dsn=dsn, log=options.log) + "\n[log]")
        if kafka is not None:
            text += KAFKA.format(servers=json.dumps(list(kafka.bootstrap_servers)))
        config.write_text(text)
        node = [sys.executable, "-m", "bench.fixed_node", str(node_port)]
        programs.append(await asyncio.create_subprocess_exec(*node, stdout=subprocess.DEVNULL))
        roles = [["office"], ["shipper"], *(["stratum", "--slot", str(slot)] for slot in range(options.workers))]
        for role in roles:
            command = [sys.executable, "-m", "cli.run", *role, "--config", str(config)]
            programs.append(await asyncio.create_subprocess_exec(*launch_command(command)))
        connection = await asyncpg.connect(dsn)
        try:
            await ready(connection, port)
            return await load(connection, port, programs[1:], options)
        finally:
            await connection.close()
    finally:
        for program in reversed(programs):
            if program.returncode is None:
                program.terminate()
        for program in programs:
            await program.wait()
        if kafka is not None:
            await kafka.stop()
        await postgres.stop()


async def ready(connection: asyncpg.Connection, port: int) -> None:
    """Wait until the miners' port is open and the books are there."""
    async with asyncio.timeout(START_S_MAX):
        while True:
            try:
                await connection.fetchval(BOOKED)
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.close()
                return
            except (OSError, asyncpg.PostgresError):
                await asyncio.sleep(0.1)


async def load(
    connection: asyncpg.Connection, port: int, programs: list[asyncio.subprocess.Process], options: argparse.Namespace
) -> dict[str, object]:
    """Run the load generator and follow the books until they hold what was accepted."""
    connections, in_flight = (int(part) for part in options.shape.split("x"))
    command = [str(BINARIES / "loadgen"), "127.0.0.1", str(port), str(connections), str(in_flight)]
    command += [str(WARMUP_S), str(options.seconds), f"{POOL_ADDRESS}.bench", "stratum"]
    start_s = time.monotonic()
    before = [cpu_s(program.pid) for program in programs]
    client = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
    out, _ = await client.communicate()
    end_s = time.monotonic()
    result = json.loads(out.decode().splitlines()[-1])
    booked_at_end = await connection.fetchval(BOOKED)
    booked, still_s = booked_at_end, end_s
    # Shares of the warm-up are booked too and not in the generator's count: the end is when nothing more arrives.
    while time.monotonic() - still_s < 3.0 and time.monotonic() - end_s < BOOK_S_MAX:
        await asyncio.sleep(0.2)
        now = await connection.fetchval(BOOKED)
        if now != booked:
            booked, still_s = now, time.monotonic()
    cpu = [cpu_s(program.pid) - used for program, used in zip(programs, before, strict=True)]
    names = ["office", "shipper", *(f"stratum-{slot}" for slot in range(options.workers))]
    answered = {
        "workers": options.workers,
        "log": options.log,
        "connections": connections,
        "in_flight": in_flight,
        "answered_per_s": round(result["accepted"] / result["seconds"]),
        "p50_ms": result["p50_ms"],
        "p99_ms": result["p99_ms"],
        "rejected": result["rejected"],
        "booked": booked,
        "booked_per_s": round(booked / (still_s - start_s)),
        "booked_after_s": round(still_s - end_s, 1),
        "cpu_us_per_share": {name: round(used * 1e6 / booked, 2) for name, used in zip(names, cpu, strict=True)},
    }
    console.print(answered)
    return answered


if __name__ == "__main__":
    main()
