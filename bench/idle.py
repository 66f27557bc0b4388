"""Memory of one stratum worker process with many idle connections, each subscribed, authorised and holding a job.

python -m bench.idle [--connections 10000]
"""

import argparse
import asyncio
import json
from pathlib import Path

from bench.fixed_node import POOL_ADDRESS
from bench.shares import stratum_worker
from runtime.process import free_port

HANDSHAKE = (
    b'{"id":1,"method":"mining.subscribe","params":["idle/1"]}\n'
    b'{"id":2,"method":"mining.authorize","params":["' + POOL_ADDRESS.encode() + b'.idle","x"]}\n'
)
AT_ONCE = 200
READY_TIMEOUT_S = 120


class IdleMiner(asyncio.Protocol):
    """A connection that says who it is and then nothing more."""

    def __init__(self) -> None:
        self.has_job: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.write(HANDSHAKE)

    def data_received(self, data: bytes) -> None:
        if b"mining.notify" in data and not self.has_job.done():
            self.has_job.set_result(None)

    def connection_lost(self, error: Exception | None) -> None:
        if not self.has_job.done():
            self.has_job.set_exception(error or ConnectionError("the server closed the connection"))


def measure(connections: int) -> dict[str, float]:
    """Open the connections and return what the worker's memory was before and is with them."""
    port = free_port()
    with stratum_worker(port) as pid:
        before = resident_bytes(pid)
        after = asyncio.run(_hold(port, pid, connections))
    return {
        "connections": connections,
        "worker_bytes": after,
        "idle_worker_bytes": before,
        "bytes_per_connection": round((after - before) / connections),
    }


def resident_bytes(pid: int) -> int:
    """Return the memory a process has resident."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise ProcessLookupError(pid)


async def _hold(port: int, pid: int, connections: int) -> int:
    loop = asyncio.get_running_loop()
    transports = []
    async with asyncio.timeout(READY_TIMEOUT_S):
        for start in range(0, connections, AT_ONCE):
            count = min(AT_ONCE, connections - start)
            opened = await asyncio.gather(*(loop.create_connection(IdleMiner, "127.0.0.1", port) for _ in range(count)))
            transports += [transport for transport, _ in opened]
            await asyncio.gather(*(miner.has_job for _, miner in opened))
    used = resident_bytes(pid)
    for transport in transports:
        transport.abort()
    return used


def main() -> None:
    """Measure and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--connections", type=int, default=10_000)
    print(json.dumps(measure(parser.parse_args().connections)))


if __name__ == "__main__":
    main()
