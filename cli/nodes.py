"""How commands reach the coin's nodes."""

import contextlib
from collections.abc import AsyncIterator, Sequence

from coins.coin import Coin
from nodes.bitcoin import BitcoinRpc
from nodes.group import NodeGroup
from nodes.settings import NodeSettings
from runtime.clock import Clock, SystemClock


@contextlib.asynccontextmanager
async def open_nodes(
    settings: Sequence[NodeSettings], *, coin: Coin, clock: Clock | None = None
) -> AsyncIterator[tuple[NodeGroup, BitcoinRpc]]:
    """Open the nodes; yield them as a group, and the first one, whose wallet is the pool's."""
    nodes = [BitcoinRpc(node, coin=coin) for node in settings]
    group = NodeGroup(nodes, coin=coin, clock=clock or SystemClock())
    try:
        yield group, nodes[0]
    finally:
        await group.close()
