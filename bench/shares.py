"""Shares answered per second by one stratum worker process on one core, against a floor that only echoes.

The load generator (C) has the other core. SHA-256d, nine merkle branches, every share verified, journal on. The share
difficulty is set so that every hash meets it: nothing is searched for, everything is checked. Usage:

    python -m bench.shares [--seconds 5] [--shape 500x1 ...]
"""

import argparse
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console

from bench.fixed_node import COIN, POOL_ADDRESS
from runtime.process import free_port

HERE = Path(__file__).parent
BINARIES = HERE / "bin"
SHAPES = ((500, 1), (50, 16), (5000, 1))
SERVER_CORE = "0"
CLIENT_CORE = "1"
WARMUP_S = 1.0
CONFIGURATION = """\
[pool]
coin = "{coin}"
address = "{address}"
data_dir = "{data_dir}"

[[nodes]]
url = "http://127.0.0.1:{node_port}"

[stratum]
host = "127.0.0.1"
port = {port}
difficulty_start = 2e-10
difficulty_min = 2e-10
difficulty_max = 2e-10
sessions_per_address_max = 20000

[log]
level = "WARNING"
"""

console = Console(stderr=True)


def main() -> None:
    """Run all shapes and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=5.0, help="measured time of each run")
    parser.add_argument("--shape", action="append", help="CONNECTIONSxIN_FLIGHT, for example 500x1")
    arguments = parser.parse_args()
    shapes = [tuple(int(part) for part in shape.split("x")) for shape in arguments.shape or []] or SHAPES
    build()
    results = []
    for connections, in_flight in shapes:
        floor = measure("echo", connections, in_flight, seconds=arguments.seconds)
        ours = measure("stratum", connections, in_flight, seconds=arguments.seconds)
        results.append(
            {
                "connections": connections,
                "in_flight": in_flight,
                "shares_per_s": round(ours["per_s"]),
                "cpu_us_per_share": round(ours["cpu_us"], 2),
                "p50_ms": ours["p50_ms"],
                "p99_ms": ours["p99_ms"],
                "floor_ratio": round(ours["per_s"] / floor["per_s"], 3),
                "floor_per_s": round(floor["per_s"]),
                "rejected": ours["rejected"],
            }
        )
        console.print(results[-1])
    print(json.dumps({"algorithm": "sha256d", "merkle_branches": 9, "seconds": arguments.seconds, "shapes": results}))


def build() -> None:
    """Compile the load generator and the floor."""
    compiler = shutil.which("cc")
    if compiler is None:
        sys.exit("bench: a C compiler is needed (Debian: gcc)")
    BINARIES.mkdir(exist_ok=True)
    for name in ("loadgen", "echo"):
        source = HERE / "csrc" / f"{name}.c"
        binary = BINARIES / name
        if not binary.exists() or binary.stat().st_mtime < source.stat().st_mtime:
            subprocess.run([compiler, "-O2", "-Wall", "-Wextra", "-o", str(binary), str(source)], check=True)


def measure(mode: str, connections: int, in_flight: int, *, seconds: float) -> dict[str, float]:
    """Run one shape against the floor ("echo") or the pool ("stratum")."""
    port = free_port()
    server = echo_server(port) if mode == "echo" else stratum_worker(port)
    with server as pid:
        command = [str(BINARIES / "loadgen"), "127.0.0.1", str(port), str(connections), str(in_flight)]
        command += [str(WARMUP_S), str(seconds), f"{POOL_ADDRESS}.bench", mode]
        with subprocess.Popen(["taskset", "-c", CLIENT_CORE, *command], stdout=subprocess.PIPE, text=True) as client:
            assert client.stdout is not None
            if client.stdout.readline().strip() != "MEASURE":
                sys.exit(f"bench: the load generator did not start measuring ({mode} {connections}x{in_flight})")
            before_s = cpu_s(pid)
            result = json.loads(client.stdout.readline())
            after_s = cpu_s(pid)
    if result["rejected"]:
        console.print(f"[red]{result['rejected']} refused: {result['first_refusal']}[/red]")
    count = result["accepted"]
    return {
        "per_s": count / result["seconds"],
        "cpu_us": (after_s - before_s) * 1e6 / max(count, 1),
        "p50_ms": result["p50_ms"],
        "p99_ms": result["p99_ms"],
        "rejected": result["rejected"],
    }


def cpu_s(pid: int) -> float:
    """Return the processor time a process has used, seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextlib.contextmanager
def echo_server(port: int) -> Iterator[int]:
    """Run the floor on the server's core."""
    with subprocess.Popen(["taskset", "-c", SERVER_CORE, str(BINARIES / "echo"), "127.0.0.1", str(port)]) as server:
        wait_for_port(port)
        try:
            yield server.pid
        finally:
            server.kill()


@contextlib.contextmanager
def stratum_worker(port: int) -> Iterator[int]:
    """Run a fixed node and one worker process; the worker has the server's core."""
    with tempfile.TemporaryDirectory(prefix="lodepool-bench-") as folder:
        node_port = free_port()
        config = Path(folder) / "lodepool.toml"
        config.write_text(
            CONFIGURATION.format(
                coin=COIN.coin_id, address=POOL_ADDRESS, data_dir=folder, node_port=node_port, port=port
            )
        )
        node = subprocess.Popen(
            [sys.executable, "-m", "bench.fixed_node", str(node_port)], stdout=subprocess.PIPE, text=True
        )
        try:
            assert node.stdout is not None
            node.stdout.readline()
            read_fd, write_fd = os.pipe()
            worker = subprocess.Popen(
                [
                    *("taskset", "-c", SERVER_CORE, sys.executable, "-m", "cli.run", "stratum"),
                    *("--config", str(config), "--slot", "0"),
                ],
                pass_fds=(write_fd,),
                env={**os.environ, "LODEPOOL_READY_FD": str(write_fd)},
            )
            os.close(write_fd)
            try:
                with os.fdopen(read_fd) as ready:
                    if not ready.readline().startswith("READY"):
                        sys.exit("bench: the stratum worker did not start")
                yield worker.pid
            finally:
                worker.send_signal(signal.SIGTERM)
                worker.wait(timeout=10)
        finally:
            node.kill()
            node.wait()


def wait_for_port(port: int) -> None:
    """Return once something listens on the port, without connecting to it."""
    while f":{port:04X} 00000000:0000 0A" not in Path("/proc/net/tcp").read_text():
        pass


if __name__ == "__main__":
    main()
