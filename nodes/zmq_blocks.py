"""Hear of new blocks over a node's ZMQ publisher."""

import asyncio
from typing import Final
from urllib.parse import urlsplit

import zmq
import zmq.asyncio

HEARTBEAT_MS: Final = 10_000
QUEUED_MAX: Final = 100


class BlockSubscriber:
    """Subscribe to `hashblock` of one node; ZMQ reconnects by itself.

    Args:
        endpoint: The publisher's address, `tcp://host:port`.
    """

    def __init__(self, endpoint: str) -> None:
        self._socket = zmq.asyncio.Context.instance().socket(zmq.SUB)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.setsockopt(zmq.RCVHWM, QUEUED_MAX)
        self._socket.setsockopt(zmq.HEARTBEAT_IVL, HEARTBEAT_MS)
        self._socket.setsockopt(zmq.SUBSCRIBE, b"hashblock")
        self._socket.connect(endpoint)

    async def wait(self, *, timeout_s: float) -> bool:
        """Return True at the next block, once for all blocks that are queued; False when none came in time."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._socket.recv_multipart()
        except TimeoutError:
            return False
        while await self._socket.poll(timeout=0):
            await self._socket.recv_multipart()
        return True

    def close(self) -> None:
        """Close the subscription."""
        self._socket.close()


def reachable_endpoint(published: str, *, node_url: str) -> str:
    """Return a publisher's address as seen from here: a wildcard host becomes the host of the node's URL."""
    scheme, _, rest = published.partition("://")
    host, _, port = rest.rpartition(":")
    if scheme == "tcp" and host in ("0.0.0.0", "*", "[::]"):  # noqa: S104  # compared with, not bound to
        host = urlsplit(node_url).hostname or "127.0.0.1"
        return f"tcp://{host}:{port}"
    return published
