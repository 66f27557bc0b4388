"""A gateway over HTTP in front of recorded services, each a real gRPC server of its own."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

from coins import registry
from coins.settings import PoolSettings
from gateway.app import make_app
from gateway.config import GatewayInfo, GatewaySettings
from gateway.context import Gateway
from gateway.door import Door
from gateway.main import make_runner
from gateway.sources import Sources
from proto.lodepool.miners.v1 import miners_pb2_grpc
from proto.lodepool.payouts.v1 import payouts_pb2_grpc
from proto.lodepool.rewards.v1 import rewards_pb2_grpc
from proto.lodepool.shares.v1 import shares_pb2_grpc
from runtime.clock import ManualClock
from runtime.live import Live
from runtime.rpc.client import RpcClients, StaticDirectory
from runtime.rpc.errors import NotFound
from runtime.rpc.server import RpcServer

COIN = registry.get("litecoin-regtest")
ADDRESS = "rltc1qqyqszqgpqyqszqgpqyqszqgpqyqszqgpjt8zj4"
OTHER = "rltc1qqgpqyqszqgpqyqszqgpqyqszqgpqyqszr0p8er"
POOL = PoolSettings(coin=COIN.coin_id, address=OTHER, name="Proof")
INFO = GatewayInfo(scheme_default="pplns", fee_ppm=10_000, payout_threshold_atomic=1_000_000, stratum_port=3333)
SERVICES = ("shares", "miners", "rewards", "payouts")


@dataclass(kw_only=True)
class Recorded:
    """What services answer: a method's name → a message, an error, or a function of the request.

    A method without a recorded answer says that there is nothing. `asked` keeps the requests; while `is_slow` is set,
    nobody answers.
    """

    answers: dict[str, object] = field(default_factory=dict)
    asked: list[tuple[str, object]] = field(default_factory=list)
    is_slow: bool = False

    async def answer(self, method: str, request: object) -> object:
        self.asked.append((method, request))
        if self.is_slow:
            await asyncio.Event().wait()
        answer = self.answers.get(method, NotFound("nothing is recorded"))
        if isinstance(answer, Callable):
            answer = answer(request)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def requests(self, method: str) -> list:
        return [request for name, request in self.asked if name == method]


def _servicer(base: type, recorded: Recorded) -> object:
    def method(name: str) -> Callable[..., object]:
        async def serve(self: object, request: object, context: object) -> object:
            return await recorded.answer(name, request)

        return serve

    names = [name for name in vars(base) if name[0].isupper()]
    return type(f"Recorded{base.__name__}", (base,), {name: method(name) for name in names})()


_KINDS = {
    "shares": (shares_pb2_grpc.add_ShareServiceServicer_to_server, shares_pb2_grpc.ShareServiceServicer),
    "miners": (miners_pb2_grpc.add_MinerServiceServicer_to_server, miners_pb2_grpc.MinerServiceServicer),
    "rewards": (rewards_pb2_grpc.add_RewardServiceServicer_to_server, rewards_pb2_grpc.RewardServiceServicer),
    "payouts": (payouts_pb2_grpc.add_PayoutServiceServicer_to_server, payouts_pb2_grpc.PayoutServiceServicer),
}


class GatewayWorld:
    """The gateway, its services and a reader.

    Args:
        folder: For the services' sockets.
        settings: The `[gateway]` section; the port is free.
    """

    def __init__(self, folder: Path, settings: GatewaySettings) -> None:
        self.settings = settings
        self.clock = ManualClock()
        self.services = {name: Recorded() for name in SERVICES}
        self._targets = {name: f"unix:{folder / name}.sock" for name in SERVICES}
        self._servers: dict[str, RpcServer] = {}
        self._clients = RpcClients(StaticDirectory(self._targets))
        self.app = make_app(
            Gateway(
                settings=settings,
                pool_settings=POOL,
                live_info=Live(INFO),
                coin=COIN,
                sources=Sources(self._clients, coin_id=COIN.coin_id, timeout_s=settings.timeout_s),
                clock=self.clock,
            )
        )
        self._runner = make_runner(self.app)
        self.http: aiohttp.ClientSession

    async def start(self) -> None:
        """Start services and gateway; routes can be added to `app` before."""
        for name, (add, base) in _KINDS.items():
            servicer = _servicer(base, self.services[name])
            server = RpcServer(self._targets[name], services=[(add, servicer, f"test.{name}")])
            await server.start()
            self._servers[name] = server
        await self._runner.setup()
        self.door = Door(self._runner.server, self.settings)
        self._server = await asyncio.get_running_loop().create_server(self.door, "127.0.0.1", 0)
        self.host, self.port = self._server.sockets[0].getsockname()
        self.http = aiohttp.ClientSession(f"http://{self.host}:{self.port}")

    async def stop_services(self, *names: str) -> None:
        """Take services away."""
        for name in names:
            await self._servers.pop(name).stop(0)

    async def close(self) -> None:
        """End everything."""
        await self.http.close()
        self._server.close()
        await self._runner.cleanup()
        await self._clients.close()
        await self.stop_services(*self._servers)

    async def get(self, path: str) -> dict:
        """Return the answer to a request that succeeds."""
        async with self.http.get(path) as response:
            body = await response.json()
            assert (response.status, response.content_type) == (200, "application/json"), body
            return body

    async def problem(self, path: str, method: str = "GET") -> dict:
        """Return the problem that a request meets."""
        async with self.http.request(method, path) as response:
            assert response.content_type == "application/problem+json"
            assert response.headers["Cache-Control"] == "no-store"
            body = await response.json()
            assert body["status"] == response.status
            assert set(body) == {"type", "title", "status", "detail"}
            return body
