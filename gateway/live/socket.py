"""The WebSocket connections."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from aiohttp import WSCloseCode, WSMsgType, web

from coins.bitcoin.address import payee
from coins.errors import AddressError
from gateway import translation
from gateway.context import GATEWAY, Gateway
from gateway.limits import ADDRESSES_MAX, TokenBuckets
from gateway.live.frames import TRY_AGAIN_LATER, close_frame, message, text_frame
from gateway.live.hub import MESSAGE_BYTES_MAX, MINER_PREFIX, Hub, MessageRefused, Wish, read_wish
from gateway.live.places import Places
from gateway.live.poller import Poller
from gateway.routes.status import program_version
from runtime.process import keep_running

PATH = "/api/v1/ws"
PING_S = 20.0
UNSENT_BYTES_MAX = 256 * 1024
"""A client that leaves more than this unread gets nothing more and is dropped; one message may be longer."""
REFUSALS_MAX = 5
MESSAGES_PER_S = 10
MESSAGES_BURST = 40
FOLLOWED_PER_S = 2
FOLLOWED_BURST = 400
"""Miners that an address may begin to follow at once."""
ABORT_S = 5.0
"""How long a dropped client may take to read its close frame."""
_SLOW = close_frame(TRY_AGAIN_LATER, "too slow")


@dataclass(eq=False, slots=True, kw_only=True)
class Client:
    """A connection.

    Attributes:
        transport: Where frames are written.
        socket: Reads, answers pings and closes.
        is_dropped: It was too slow: nothing is written any more.
    """

    transport: asyncio.Transport
    socket: web.WebSocketResponse
    is_dropped: bool = False

    def write(self, frame: bytes) -> bool:
        """Write a frame; return False when the client is too slow and was dropped."""
        if self.is_dropped or self.transport.is_closing():
            return True
        if self.transport.get_write_buffer_size() > UNSENT_BYTES_MAX:
            self.is_dropped = True
            self.transport.write(_SLOW)
            self.transport.close()
            asyncio.get_running_loop().call_later(ABORT_S, self.transport.abort)
            return False
        self.transport.write(frame)
        return True


class LiveSockets:
    """All WebSocket connections of the process, and the one poller behind them.

    Args:
        gateway: The surroundings.

    Attributes:
        places: Those of all WebSocket connections, also on other paths.
        dropped_count: Clients that were too slow.
    """

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._hub: Hub[Client] = Hub()
        self._somebody = asyncio.Event()
        self._poller = Poller(
            gateway, wanted=lambda topic: topic in self._hub.wanted, miners=self._hub.miners, publish=self.publish
        )
        self._followed = TokenBuckets(rate_per_s=FOLLOWED_PER_S, burst=FOLLOWED_BURST, addresses_max=ADDRESSES_MAX)
        self.places = Places(gateway.settings)
        self.dropped_count = 0

    @property
    def client_count(self) -> int:
        """Return how many clients are connected."""
        return len(self._hub.topics)

    async def run(self) -> None:
        """Look at the services while there are clients, until cancelled."""
        while True:
            if not self._hub.topics:
                self._somebody.clear()
            await self._somebody.wait()
            await self._poller.look()
            await self._poller.rest()

    def publish(self, topic: str, payload: bytes) -> None:
        """Write a message to all who follow the topic; its frame is made once."""
        frame = text_frame(payload)
        for client in self._hub.clients(topic):
            if not client.write(frame):
                self._hub.leave(client)
                self.dropped_count += 1

    async def serve(self, request: web.Request, address: str) -> web.WebSocketResponse:
        """Serve a connection to its end.

        Args:
            request: Its handshake.
            address: Who asks.

        Raises:
            ProblemFound: When it is not let in.
        """
        with self.places.taken(request, address):
            socket, client = await accept(request)
            if client is None:
                return socket
            try:
                self._hub.join(client)
                self._somebody.set()
                hello = {"version": program_version(), "coin": self._gateway.coin.coin_id}
                self._say(client, "hello", hello)
                await self._read(client, address)
                return socket
            finally:
                self._hub.leave(client)

    async def close(self) -> None:
        """Tell all clients that the pool stops serving."""
        await close_all(tuple(self._hub.topics))

    async def _read(self, client: Client, address: str) -> None:
        refusals = 0
        bucket = TokenBuckets(rate_per_s=MESSAGES_PER_S, burst=MESSAGES_BURST, addresses_max=1)
        async for received in client.socket:
            if client.is_dropped or received.type not in (WSMsgType.TEXT, WSMsgType.BINARY):
                break
            try:
                if bucket.take("", self._gateway.clock.monotonic_s()):
                    raise MessageRefused(f"There are more than {MESSAGES_PER_S} messages a second.")
                wish = read_wish(received.data, canonical=self._canonical)
                self._charge(client, wish, address)
                for topic in self._hub.follow(client, wish):
                    if (last := self._poller.last.get(topic)) is not None:
                        client.write(text_frame(last))
            except MessageRefused as refused:
                refusals += 1
                self._say(client, "error", {"detail": str(refused)})
                if refusals >= REFUSALS_MAX:
                    await client.socket.close(code=WSCloseCode.POLICY_VIOLATION, message=b"too many bad messages")
                    break

    def _charge(self, client: Client, wish: Wish, address: str) -> None:
        """Count the miners that an address begins to follow: the first look at each is out of turn.

        Raises:
            MessageRefused: When there are too many.
        """
        now_s = self._gateway.clock.monotonic_s()
        for topic in set(wish.subscribe) - self._hub.topics[client]:
            if topic.startswith(MINER_PREFIX) and self._followed.take(address, now_s):
                raise MessageRefused("Your address follows too many miners one after the other; try again in a moment.")

    def _canonical(self, address: str) -> str:
        try:
            return payee(self._gateway.coin, address).text
        except AddressError as error:
            raise ValueError(str(error)) from None

    def _say(self, client: Client, event: str, data: dict[str, str]) -> None:
        time = translation.time_of(self._gateway.clock.now_ms())
        client.write(text_frame(message(event=event, data=data, time=time)))


async def accept(request: web.Request) -> tuple[web.WebSocketResponse, Client | None]:
    """Answer a handshake; there is no client when it has gone meanwhile."""
    socket = web.WebSocketResponse(heartbeat=PING_S, compress=False, max_msg_size=MESSAGE_BYTES_MAX)
    await socket.prepare(request)
    transport = request.transport
    # uvloop's transports have the methods of asyncio.Transport and not its type.
    return socket, None if transport is None else Client(transport=transport, socket=socket)


async def close_all(clients: Sequence[Client]) -> None:
    """Tell clients that the pool stops serving."""
    closing = (client.socket.close(code=WSCloseCode.GOING_AWAY, message=b"the pool restarts") for client in clients)
    await asyncio.gather(*closing, return_exceptions=True)


LIVE = web.AppKey("live", LiveSockets)
"""Where an application keeps its WebSocket connections."""


async def keep_looking(app: web.Application) -> AsyncIterator[None]:
    """Run the poller as long as the application."""
    live = app[LIVE]
    task = asyncio.create_task(keep_running("gateway live", live.run, clock=app[GATEWAY].clock))
    yield
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
