"""Put a simulated node behind HTTP JSON-RPC, so that whatever speaks to a real node can speak to it.

`python -m nodes.simulated_server --coin litecoin-regtest --port 19332` starts one, with the wallets `pool` and `miner`.
"""

import asyncio
import base64
import hmac
import sys
from decimal import Decimal
from typing import Final, Self

import click
import msgspec
from aiohttp import web

from coins import registry
from nodes.errors import NodeRpcError, NodeUnreachable
from nodes.settings import NodeSettings
from nodes.simulated import SimulatedNode
from nodes.simulated_chain import REGTEST_NBITS
from nodes.simulated_rpc import MethodFailed, SimulatedRpc
from runtime.clock import SystemClock
from runtime.process import notify_ready, run_async

REQUEST_BYTES_MAX: Final = 16 * 1024 * 1024
SHUTDOWN_S: Final = 0.1
_PARSE_ERROR: Final = -32700


class _Call(msgspec.Struct):
    method: str
    params: list[object] = []
    id: object = None


class SimulatedServer:
    """A simulated node's HTTP server on loopback; an async context manager.

    Args:
        node: The node.
        port: Where to listen; 0 means any free port.
        user: RPC user; with an empty user and password nobody is asked.
        password: RPC password.
    """

    def __init__(self, node: SimulatedNode, *, port: int = 0, user: str = "", password: str = "") -> None:
        self.node = node
        self.port = port
        self._user = user
        self._password = password
        self._rpc = SimulatedRpc(node)
        self._runner: web.AppRunner | None = None
        self._decoder = msgspec.json.Decoder(_Call, float_hook=Decimal)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    def settings(self, *, name: str = "", wallet: str = "", timeout_s: float = 10.0) -> NodeSettings:
        """Return how to reach it. Valid once started."""
        return NodeSettings(
            name=name or self.node.name,
            url=f"http://127.0.0.1:{self.port}",
            user=self._user,
            password=self._password,
            wallet=wallet,
            timeout_s=timeout_s,
        )

    async def start(self) -> None:
        """Listen."""
        app = web.Application(client_max_size=REQUEST_BYTES_MAX)
        app.router.add_post("/", self._answer)
        app.router.add_post("/wallet/{wallet}", self._answer)
        self._runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=SHUTDOWN_S)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """Break what is under way and stop listening."""
        await self.node.close()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        if not self._is_authorised(request):
            return web.Response(status=401, headers={"WWW-Authenticate": 'Basic realm="jsonrpc"'})
        try:
            call = self._decoder.decode(await request.read())
        except msgspec.DecodeError as error:
            return _response(status=500, result=None, code=_PARSE_ERROR, message=f"Parse error: {error}", call_id=None)
        wallet = request.match_info.get("wallet", "")
        try:
            result = await self._rpc.call(call.method, call.params, wallet=wallet)
        except (MethodFailed, NodeRpcError) as error:
            return _response(status=500, result=None, code=error.code, message=error.message, call_id=call.id)
        except NodeUnreachable:
            if request.transport is not None:
                request.transport.abort()
            return web.Response(status=500)
        return _response(status=200, result=result, code=None, message="", call_id=call.id)

    def _is_authorised(self, request: web.Request) -> bool:
        if not self._user and not self._password:
            return True
        expected = base64.b64encode(f"{self._user}:{self._password}".encode()).decode()
        return hmac.compare_digest(request.headers.get("Authorization", ""), f"Basic {expected}")


def _response(*, status: int, result: object, code: int | None, message: str, call_id: object) -> web.Response:
    error = None if code is None else {"code": code, "message": message}
    body = msgspec.json.encode({"result": result, "error": error, "id": call_id})
    return web.Response(status=status, body=body, content_type="application/json")


async def serve(server: SimulatedServer, *, blocks: int, interval_s: float) -> None:
    """Serve until cancelled.

    Args:
        server: Not yet started.
        blocks: Blocks to mine first, for the wallet `miner`; 101 give it a first spendable coinbase.
        interval_s: Seconds between two blocks of strangers; 0 means none.
    """
    address = server.node.open_wallet("miner").new_address()
    server.node.mine_blocks(blocks, address)
    async with server:
        sys.stdout.write(f"READY {server.port}\n")
        sys.stdout.flush()
        notify_ready("node")
        while True:
            await asyncio.sleep(interval_s or 3600)
            if interval_s:
                server.node.mine_block()


@click.command()
@click.option("--coin", "coin_id", default="litecoin-regtest", show_default=True, help="Whose rules.")
@click.option("--port", default=0, show_default=True, help="Port on loopback; 0 means any free one.")
@click.option("--user", default="", help="RPC user.")
@click.option("--password", default="", envvar="LODEPOOL_SIMULATED_PASSWORD", help="RPC password.")
@click.option("--seed", default="lodepool", show_default=True, help="What addresses and blocks follow from.")
@click.option("--bits", default=f"{REGTEST_NBITS:08x}", show_default=True, help="Target of all blocks, compact hex.")
@click.option("--blocks", default=1, show_default=True, help="Blocks to mine first, for the wallet miner.")
@click.option("--interval", "interval_s", default=0.0, help="Seconds between blocks of strangers; 0 means none.")
def main(
    coin_id: str, port: int, user: str, password: str, seed: str, bits: str, blocks: int, interval_s: float
) -> None:
    """Serve a simulated node with the wallets pool and miner. Prints READY and the port."""
    node = SimulatedNode(registry.get(coin_id), seed=seed, clock=SystemClock(), nbits=int(bits, 16))
    server = SimulatedServer(node, port=port, user=user, password=password)
    sys.exit(run_async(serve(server, blocks=blocks, interval_s=interval_s)))


if __name__ == "__main__":
    main()
