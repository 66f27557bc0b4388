"""Decide which connections may come in: limits, bans, and the operator's list."""

from collections import OrderedDict
from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

BANS_MAX = 100_000
"""More bans than this and the oldest are forgotten: memory is bounded whatever comes."""

AUTHORISATIONS_PER_SESSION = 4
"""Times the connections that an address may have: so many workers it may authorise at once after a rest."""
AUTHORISATIONS_REST_S = 1_000.0
"""The rest: an address that goes on and on may authorise that many in this time."""
RATES_MAX = 100_000
"""Addresses whose rates are remembered; the one seen longest ago is forgotten first."""
IPV6_PREFIX = 64
"""What one customer is given: it counts as one address."""
_MAPPED_BITS = 96

LISTED = "banned by the pool's operator"


class AddressList:
    """Addresses and networks; the question costs one look-up for each length of prefix among them.

    Args:
        texts: "203.0.113.7", "2001:db8::/32".
    """

    def __init__(self, texts: Iterable[str]) -> None:
        self._networks: dict[tuple[int, int], set[int]] = {}
        for text in texts:
            network = _plain_network(ip_network(text, strict=False))
            shift = network.max_prefixlen - network.prefixlen
            found = self._networks.setdefault((network.version, shift), set())
            found.add(int(network.network_address) >> shift)

    def __contains__(self, address: str) -> bool:
        if not self._networks:
            return False
        try:
            parsed = ip_address(address.partition("%")[0])
        except ValueError:
            return False
        number = int(parsed)
        return any(
            version == parsed.version and number >> shift in found for (version, shift), found in self._networks.items()
        )


def plain_address(address: str) -> str:
    """Return an IPv4 address that came in over IPv6 (::ffff:203.0.113.7, ::ffff:cb00:7107) as what it is."""
    if ":" in address:
        try:
            mapped = IPv6Address(address).ipv4_mapped
        except ValueError:
            return address
        if mapped is not None:
            return str(mapped)
    return address


def _plain_network(network: IPv4Network | IPv6Network) -> IPv4Network | IPv6Network:
    """Return a network of IPv4 addresses that is written as IPv6 as what it is."""
    if isinstance(network, IPv6Network) and network.prefixlen >= _MAPPED_BITS:
        mapped = network.network_address.ipv4_mapped
        if mapped is not None:
            return IPv4Network((int(mapped), network.prefixlen - _MAPPED_BITS))
    return network


def _customer(address: str) -> str:
    """Return what is counted for an address: IPv6 by its network, of which a customer has all addresses."""
    if ":" not in address:
        return address
    try:
        number = int(IPv6Address(address.partition("%")[0]))
    except ValueError:
        return address
    return str(IPv6Network((number, IPV6_PREFIX), strict=False))


class Gate:
    """Counts connections by address and remembers bans; pure. An IPv6 address counts as its /64.

    Args:
        sessions_max: Connections altogether.
        sessions_per_address_max: Connections from one address.
        ban_s: How long a ban lasts.
        bans: Addresses and networks that are turned away.
    """

    def __init__(
        self, *, sessions_max: int, sessions_per_address_max: int, ban_s: float, bans: Iterable[str] = ()
    ) -> None:
        self._sessions_max = sessions_max
        self._sessions_per_address_max = sessions_per_address_max
        self._ban_s = ban_s
        self._counts: dict[str, int] = {}
        self._bans: dict[str, tuple[float, str]] = {}
        self._listed = AddressList(bans)
        self._rates: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self.session_count = 0

    def set_bans(self, *, ban_s: float, bans: Iterable[str]) -> None:
        """Take another list, and another length for the bans to come."""
        self._ban_s = ban_s
        self._listed = AddressList(bans)

    def is_listed(self, address: str) -> bool:
        """Return whether the operator keeps an address out."""
        return address in self._listed

    def enter(self, address: str, now_s: float) -> str:
        """Let a connection in; otherwise say why not, and count nothing.

        Returns:
            Empty when it is in; `leave` must be called once for it.
        """
        if address in self._listed:
            return LISTED
        address = _customer(address)
        ban = self._bans.get(address)
        if ban is not None:
            until_s, reason = ban
            if now_s < until_s:
                return f"banned for another {until_s - now_s:.0f} s: {reason}"
            del self._bans[address]
        if self.session_count >= self._sessions_max:
            return f"the pool has its {self._sessions_max} connections, use another server"
        count = self._counts.get(address, 0)
        if count >= self._sessions_per_address_max:
            return f"there are {count} connections from your address already"
        self._counts[address] = count + 1
        self.session_count += 1
        return ""

    def leave(self, address: str) -> None:
        """Note that a connection has ended."""
        self.session_count -= 1
        address = _customer(address)
        count = self._counts[address] - 1
        if count:
            self._counts[address] = count
        else:
            del self._counts[address]

    def ban(self, address: str, reason: str, now_s: float) -> None:
        """Keep an address out for a while."""
        address = _customer(address)
        if len(self._bans) >= BANS_MAX:
            del self._bans[next(iter(self._bans))]
        self._bans[address] = (now_s + self._ban_s, reason)

    def authorise(self, address: str, now_s: float) -> bool:
        """Return whether an address may authorise one more worker: each can leave its name in the pool's books."""
        address = _customer(address)
        tokens_max = float(AUTHORISATIONS_PER_SESSION * self._sessions_per_address_max)
        tokens, seen_s = self._rates.pop(address, (tokens_max, now_s))
        tokens = min(tokens_max, tokens + max(0.0, now_s - seen_s) * tokens_max / AUTHORISATIONS_REST_S)
        is_allowed = tokens >= 1
        self._rates[address] = (tokens - is_allowed, now_s)
        if len(self._rates) > RATES_MAX:
            self._rates.popitem(last=False)
        return is_allowed
