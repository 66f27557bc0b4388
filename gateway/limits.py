"""Who asks, and how often he may. Pure."""

from collections import OrderedDict
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Network = IPv4Network | IPv6Network
_IPV6_PREFIX = 64
"""What one customer is given."""
_HOPS_MAX = 20
ADDRESSES_MAX = 100_000
"""Clients whose rates are remembered."""


def client_address(peer: str, forwarded: Sequence[str], trusted: Sequence[Network]) -> str:
    """Return the address that a request comes from.

    The peer itself, unless it is a trusted proxy: then the last address in X-Forwarded-For that is no trusted proxy.
    What stands before it was written by whoever asked and is not believed. IPv6 addresses are cut to their /64.

    Args:
        peer: The other end of the connection; empty for a unix socket, which only a proxy of ours has.
        forwarded: The X-Forwarded-For headers in their order.
        trusted: The proxies.
    """
    found = _address(peer)
    if peer and (found is None or not _is_trusted(found, trusted)):
        return _name(found, peer)
    hops = [hop.strip() for header in forwarded for hop in header.split(",")][-_HOPS_MAX:]
    for hop in reversed(hops):
        address = _address(hop)
        if address is None:
            break
        found = address
        if not _is_trusted(address, trusted):
            break
    return _name(found, peer)


def speaks_for_many(peer: str, trusted: Sequence[Network]) -> bool:
    """Return whether a connection's other end is a trusted proxy, or something on this machine."""
    found = _address(peer)
    return found is None or found.is_loopback or _is_trusted(found, trusted)


def networks_of(texts: Sequence[str]) -> tuple[Network, ...]:
    """Return addresses and networks as networks.

    Raises:
        ValueError: When one is neither.
    """
    return tuple(ip_network(text, strict=False) for text in texts)


class TokenBuckets:
    """Lets each address do so many things a second, and a burst after a rest.

    Args:
        rate_per_s: Tokens that come back in a second.
        burst: Tokens at most.
        addresses_max: Addresses remembered; the one seen longest ago is forgotten first, and has a full bucket again.
    """

    def __init__(self, *, rate_per_s: float, burst: int, addresses_max: int) -> None:
        self._rate_per_s = rate_per_s
        self._burst = burst
        self._addresses_max = addresses_max
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, address: str, now_s: float) -> float:
        """Take a token; return 0, or the seconds after which there is one again.

        Args:
            address: Who.
            now_s: A monotonic clock, seconds.
        """
        tokens, seen_s = self._buckets.pop(address, (float(self._burst), now_s))
        tokens = min(float(self._burst), tokens + max(0.0, now_s - seen_s) * self._rate_per_s)
        wait_s = 0.0 if tokens >= 1 else (1 - tokens) / self._rate_per_s
        self._buckets[address] = (tokens if wait_s else tokens - 1, now_s)
        if len(self._buckets) > self._addresses_max:
            self._buckets.popitem(last=False)
        return wait_s


def _address(text: str) -> IPv4Address | IPv6Address | None:
    try:
        address = ip_address(text.strip("[]"))
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def _is_trusted(address: IPv4Address | IPv6Address, trusted: Sequence[Network]) -> bool:
    return any(address in network for network in trusted)


def _name(address: IPv4Address | IPv6Address | None, peer: str) -> str:
    if address is None:
        return peer
    if isinstance(address, IPv6Address):
        return str(IPv6Network((int(address), _IPV6_PREFIX), strict=False).network_address) + f"/{_IPV6_PREFIX}"
    return str(address)
