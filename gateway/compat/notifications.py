"""The WebSocket `/notifications`: everybody is told everything; what clients say is not read."""

import asyncio

import msgspec
from aiohttp import WSMsgType, web

from gateway import models as own
from gateway.compat import notices
from gateway.compat.context import Compat
from gateway.compat.pool import chain_height
from gateway.live.frames import text_frame
from gateway.live.hub import BLOCKS, PAYOUTS, POOL
from gateway.live.places import Places
from gateway.live.poller import POLL_S, Poller
from gateway.live.socket import Client, accept, close_all

HASHRATE_EVERY_S = 60.0
"""The hashrate is told not more often."""
_TOPICS = frozenset({POOL, BLOCKS, PAYOUTS})


class _Told(msgspec.Struct, frozen=True, kw_only=True):
    """A message of `gateway.live`."""

    event: str
    data: msgspec.Raw


class Notifications:
    """All connections of the process, and one poller of `gateway.live` behind them.

    Args:
        compat: The surroundings.
        places: Those of all WebSocket connections.

    Attributes:
        dropped_count: Clients that were too slow.
    """

    def __init__(self, compat: Compat, places: Places) -> None:
        self._compat = compat
        self._gateway = compat.gateway
        self._clients: set[Client] = set()
        self._places = places
        self._somebody = asyncio.Event()
        self._poller = self._new_poller()
        self._sent: list[own.Payout] = []
        self._height = 0
        self._hashrate_told_s: float | None = None
        self.dropped_count = 0

    @property
    def client_count(self) -> int:
        """Return how many clients are connected."""
        return len(self._clients)

    async def run(self) -> None:
        """Look at the services while there are clients, until cancelled."""
        while True:
            if not self._clients:
                self._somebody.clear()
                await self._somebody.wait()
                self._poller = self._new_poller()
                self._height = 0
            await self._poller.look()
            self._tell_payments()
            await self._look_at_chain()
            await self._gateway.clock.sleep(POLL_S)

    async def serve(self, request: web.Request, address: str) -> web.WebSocketResponse:
        """Serve a connection to its end.

        Args:
            request: Its handshake.
            address: Who asks.

        Raises:
            ProblemFound: When it is not let in.
        """
        with self._places.taken(request, address):
            socket, client = await accept(request)
            if client is None:
                return socket
            try:
                self._clients.add(client)
                self._somebody.set()
                client.write(text_frame(msgspec.json.encode(notices.greeting(self._gateway.pool_settings.name))))
                async for received in socket:
                    if client.is_dropped or received.type not in (WSMsgType.TEXT, WSMsgType.BINARY):
                        break
                return socket
            finally:
                self._clients.discard(client)

    async def close(self) -> None:
        """Tell all clients that the pool stops serving."""
        await close_all(tuple(self._clients))

    def _new_poller(self) -> Poller:
        """Return a poller that knows nothing yet, so that what happened while nobody listened is not told."""
        return Poller(self._gateway, wanted=_TOPICS.__contains__, miners=list, publish=self._hear)

    def _hear(self, topic: str, payload: bytes) -> None:
        """Take what the poller tells; payments wait until all of a look are there."""
        told = msgspec.json.decode(payload, type=_Told)
        coin, pool_id = self._gateway.coin, self._compat.pool_id
        if topic == BLOCKS:
            block = msgspec.json.decode(told.data, type=own.Block)
            self._tell(notices.block_notice(told.event, block, coin, pool_id=pool_id))
        elif topic == PAYOUTS and told.event == "payout_sent":
            self._sent.append(msgspec.json.decode(told.data, type=own.Payout))
        elif topic == POOL:
            self._tell_hashrate(msgspec.json.decode(told.data, type=own.PoolMoment))

    def _tell_payments(self) -> None:
        sent, self._sent = self._sent, []
        for notice in notices.payment_notices(sent, self._gateway.coin, pool_id=self._compat.pool_id):
            self._tell(notice)

    def _tell_hashrate(self, moment: own.PoolMoment) -> None:
        now_s = self._gateway.clock.monotonic_s()
        is_due = self._hashrate_told_s is None or now_s - self._hashrate_told_s >= HASHRATE_EVERY_S
        if moment.shares is not None and is_due:
            self._hashrate_told_s = now_s
            self._tell(notices.hashrate(moment.shares.hashrates.hps_15m, pool_id=self._compat.pool_id))

    async def _look_at_chain(self) -> None:
        height = await chain_height(self._compat)
        if height > self._height:
            if self._height:
                self._tell(notices.chain_height(height, self._gateway.coin, pool_id=self._compat.pool_id))
            self._height = height

    def _tell(self, notice: notices.Notice) -> None:
        frame = text_frame(msgspec.json.encode(notice))
        for client in tuple(self._clients):
            if not client.write(frame):
                self._clients.discard(client)
                self.dropped_count += 1
