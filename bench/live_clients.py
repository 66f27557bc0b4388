"""Measure how long it takes until the last of many WebSocket clients has a new block.

The gateway's sockets and the clients share one process and one core, so a real gateway has less to do. From handing the
message to the hub to the last client's last byte; prints one JSON object at the end, times in milliseconds.

    python -m bench.live_clients --clients 5000
"""

import argparse
import asyncio
import json
import resource
import sys
import time

from aiohttp import web

from coins import registry
from coins.settings import PoolSettings
from gateway.app import make_app
from gateway.config import GatewayInfo, GatewaySettings
from gateway.context import Gateway
from gateway.examples import BLOCK_PAGE
from gateway.live.frames import message
from gateway.live.socket import LIVE, PATH
from gateway.main import make_runner
from gateway.sources import Sources
from runtime.clock import SystemClock
from runtime.live import Live
from runtime.rpc.client import RpcClients, StaticDirectory

COIN = registry.get("litecoin-regtest")
HANDSHAKE = (
    f"GET {PATH} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
).encode()
WISH = b'{"subscribe":["blocks"]}'


class Reader(asyncio.Protocol):
    """A client that counts bytes."""

    def __init__(self) -> None:
        self.byte_count = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Shake hands."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        transport.write(HANDSHAKE)

    def data_received(self, data: bytes) -> None:
        """Count; subscribe once the handshake is answered."""
        if not self.byte_count:
            self.transport.write(bytes([0x81, 0x80 | len(WISH)]) + bytes(4) + WISH)
        self.byte_count += len(data)


def make_gateway() -> Gateway:
    sockets = dict.fromkeys(("shares", "miners", "rewards", "payouts"), "unix:/nowhere")
    info = GatewayInfo(scheme_default="pplns", fee_ppm=10_000, payout_threshold_atomic=1, stratum_port=3333)
    settings = GatewaySettings(sockets_per_address_max=100_000, requests_per_second=1_000_000, requests_burst=1_000_000)
    return Gateway(
        settings=settings,
        pool_settings=PoolSettings(coin=COIN.coin_id, address="rltc1qqyqszqgpqyqszqgpqyqszqgpqyqszqgpjt8zj4"),
        live_info=Live(info),
        coin=COIN,
        sources=Sources(RpcClients(StaticDirectory(sockets)), coin_id=COIN.coin_id, timeout_s=1.0),
        clock=SystemClock(),
    )


async def measure(client_count: int, rounds: int) -> dict[str, object]:
    app = make_app(make_gateway())
    app.cleanup_ctx.clear()  # no services to look at here
    runner = make_runner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, backlog=4096).start()
    host, port = runner.addresses[0][:2]
    loop = asyncio.get_running_loop()
    readers = []
    for _ in range(client_count):
        _, reader = await loop.create_connection(Reader, host, port)
        readers.append(reader)
    live = app[LIVE]
    while len(live._hub.clients("blocks")) < client_count:  # noqa: ASYNC110, SLF001  a bench may look inside
        await asyncio.sleep(0.01)
    payload = message(
        event="block_found", data=BLOCK_PAGE.blocks[0], time=BLOCK_PAGE.blocks[0].found_time, topic="blocks"
    )
    times_ms = []
    for _ in range(rounds):
        wanted = [reader.byte_count + len(payload) for reader in readers]
        started_s = time.perf_counter()
        live.publish("blocks", payload)
        published_s = time.perf_counter()
        while any(reader.byte_count < count for reader, count in zip(readers, wanted, strict=True)):  # noqa: ASYNC110  a bench
            await asyncio.sleep(0)
        times_ms.append(((published_s - started_s) * 1000, (time.perf_counter() - started_s) * 1000))
    times_ms.sort(key=lambda pair: pair[1])
    await runner.cleanup()
    middle = times_ms[rounds // 2]
    return {
        "clients": client_count,
        "message_bytes": len(payload),
        "written_ms_p50": round(middle[0], 1),
        "last_client_ms_p50": round(middle[1], 1),
        "last_client_ms_max": round(times_ms[-1][1], 1),
        "rss_kb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clients", type=int, default=5_000)
    parser.add_argument("--rounds", type=int, default=20)
    options = parser.parse_args()
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    print(json.dumps(asyncio.run(measure(options.clients, options.rounds))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
