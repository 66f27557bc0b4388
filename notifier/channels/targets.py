"""Whom a webhook may call. Pure.

Whoever makes a subscription chooses the URL that our server calls. So the name is looked up once, every address found
must be of the public internet, and the connection goes to just these addresses: a name that means something else a
moment later does not matter. Source: OWASP, Server Side Request Forgery Prevention.
"""

import ipaddress
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final, TypeAlias
from urllib.parse import urlsplit

from notifier.errors import TargetRefused

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

_REFUSED: Final[tuple[Network, ...]] = tuple(
    map(
        ipaddress.ip_network,
        (
            # Public by the registries, but they mean something inside clouds and tunnels.
            "168.63.129.16/32",
            "192.0.0.0/24",
            "192.88.99.0/24",
            "2001::/23",
            "2002::/16",
            "3fff::/20",
        ),
    )
)
_UNICAST: Final = ipaddress.IPv6Network("2000::/3")
"""All of IPv6 that is given to anybody. Source: IANA, IPv6 Global Unicast Address Assignments."""
_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A webhook's URL, taken apart.

    Attributes:
        url: The whole.
        host: Name or address, without brackets.
        port: Where it listens.
    """

    url: str
    host: str
    port: int


def parse_networks(texts: Collection[str]) -> tuple[Network, ...]:
    """Return networks of their texts.

    Raises:
        ValueError: When one is none.
    """
    return tuple(map(ipaddress.ip_network, texts))


def parse_target(url: str, *, ports: Collection[int], is_http_allowed: bool) -> Target:
    """Return where a URL leads.

    Raises:
        TargetRefused: When it is not http(s), has a user in it, or a port that may not be called.
    """
    try:
        parts = urlsplit(url)
        port, host = parts.port, parts.hostname
    except ValueError:
        raise TargetRefused("the URL cannot be read") from None
    if parts.scheme not in {"https", "http"} or not host or "%" in host:
        raise TargetRefused("the URL is not http or https")
    if parts.scheme == "http" and not is_http_allowed:
        raise TargetRefused("the URL is not https")
    if parts.username is not None or parts.password is not None:
        raise TargetRefused("the URL has a user in it")
    port = port if port is not None else {"https": 443, "http": 80}[parts.scheme]
    if port not in ports:
        raise TargetRefused(f"port {port} may not be called")
    return Target(url=url, host=host, port=port)


def check_addresses(texts: Collection[str], allowed: Collection[Network]) -> tuple[str, ...]:
    """Return the addresses a name has when all of them may be called.

    Raises:
        TargetRefused: When there is none, or one that may not be called.
    """
    if not texts:
        raise TargetRefused("the name has no address")
    for text in texts:
        if not is_allowed(text, allowed):
            raise TargetRefused("the name leads to an address that is not of the public internet")
    return tuple(texts)


def is_allowed(text: str, allowed: Collection[Network]) -> bool:
    """Tell whether an address is of the public internet, or in a network that the operator allows.

    An IPv4 address inside an IPv6 one (mapped, NAT64) counts as what it means.
    """
    try:
        address: Address = ipaddress.ip_address(text)
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv6Address):
        if address.scope_id is not None:
            return False
        if address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        elif address in _NAT64:
            address = ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
    if any(address.version == network.version and address in network for network in allowed):
        return True
    if any(address.version == network.version and address in network for network in _REFUSED):
        return False
    if isinstance(address, ipaddress.IPv6Address) and address not in _UNICAST:
        return False
    return address.is_global and not address.is_multicast and not address.is_reserved
