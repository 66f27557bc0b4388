"""The demo's node: litecoind in regtest mode, or the simulated node where litecoind cannot be had."""

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from nodes.errors import NodeError
from nodes.jsonrpc import JsonRpc
from nodes.regtest import MINER_WALLET, MWEB_HEIGHT, POOL_WALLET, LitecoindRegtest, find_litecoind
from nodes.settings import NodeSettings
from runtime.errors import UserError
from runtime.process import free_port, launch_command

COIN_ID = "litecoin-regtest"
TRAFFIC_INTERVAL_S = 5.0
TRAFFIC_AMOUNT = "0.01"
PEG_IN_AHEAD_BLOCKS = 12
START_TIMEOUT_S = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoNode:
    """A private chain to mine on.

    Attributes:
        name: "litecoind" or "simulated".
        settings: How the pool reaches it; the first has the pool's wallet.
        pool_address: Where blocks pay.
        rpc: Calls to its first node.
    """

    name: str
    settings: Sequence[NodeSettings]
    pool_address: str
    rpc: JsonRpc

    async def miner_address(self) -> str:
        """Return a new address of the miners' wallet."""
        return str(await self.rpc.call("getnewaddress", ("", "bech32"), wallet=MINER_WALLET))

    async def keep_lively(self) -> None:
        """Send transactions for ever once the miners' wallet has coins, so that blocks have something to confirm.

        Just before MWEB activates one of them is the peg-in without which the chain would stand still.
        """
        while True:
            await asyncio.sleep(TRAFFIC_INTERVAL_S)
            with contextlib.suppress(NodeError):
                height = int(str(await self.rpc.call("getblockcount")))
                is_due = MWEB_HEIGHT - PEG_IN_AHEAD_BLOCKS <= height < MWEB_HEIGHT
                kind = "mweb" if is_due and self.name == "litecoind" else "bech32"
                address = await self.rpc.call("getnewaddress", ("", kind), wallet=MINER_WALLET)
                await self.rpc.call("sendtoaddress", (address, TRAFFIC_AMOUNT), wallet=MINER_WALLET)


@contextlib.asynccontextmanager
async def demo_node(kind: str, data_dir: Path) -> AsyncIterator[DemoNode]:
    """Run a node for the demo.

    Args:
        kind: "litecoind", "simulated", or "auto" for litecoind where it is installed.
        data_dir: Where its chain lies.

    Raises:
        UserError: It cannot be started.
    """
    if kind == "simulated" or (kind == "auto" and find_litecoind() is None):
        async with _simulated() as node:
            yield node
        return
    async with LitecoindRegtest(data_dir) as pair:
        rpc = JsonRpc(pair.miner_settings(), name="litecoind")
        try:
            yield DemoNode(
                name="litecoind",
                settings=pair.node_settings(),
                pool_address=await pair.new_address(POOL_WALLET),
                rpc=rpc,
            )
        finally:
            await rpc.close()


@contextlib.asynccontextmanager
async def _simulated() -> AsyncIterator[DemoNode]:
    port = free_port()
    command = [sys.executable, "-m", "nodes.simulated_server", "--coin", COIN_ID, "--port", str(port)]
    process = await asyncio.create_subprocess_exec(*launch_command(command), start_new_session=True)
    url = f"http://127.0.0.1:{port}"
    settings = NodeSettings(name="simulated", url=url, wallet=POOL_WALLET)
    rpc = JsonRpc(settings, name="simulated")
    try:
        await _wait_for(rpc)
        address = await rpc.call("getnewaddress", ("", "bech32"), wallet=POOL_WALLET)
        yield DemoNode(name="simulated", settings=(settings,), pool_address=str(address), rpc=rpc)
    finally:
        await rpc.close()
        process.terminate()
        await process.wait()


async def _wait_for(node: JsonRpc) -> None:
    try:
        async with asyncio.timeout(START_TIMEOUT_S):
            while True:
                try:
                    await node.call("getblockcount")
                    return
                except NodeError:
                    await asyncio.sleep(0.1)
    except TimeoutError:
        raise UserError("The simulated node does not start.", "its log tells why") from None
