"""Settings of the gateway, and what it is told about the pool's rules."""

from ipaddress import ip_network
from typing import Annotated, ClassVar

import msgspec

Origin = Annotated[str, msgspec.Meta(pattern=r"^(\*|https?://[^/\s]+)$")]


class GatewaySettings(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """The `[gateway]` section.

    Attributes:
        is_enabled: False serves no API.
        host: The address to listen on; put a reverse proxy with TLS in front of anything but loopback.
        port: The TCP port to listen on.
        timeout_s: Deadline of each question to another service.
        cors_origins: Origins whose pages may read the API: "https://stats.example"; "*" is everybody.
        page_size_max: The largest page a reader may ask for.
        requests_per_second: How many requests one address may make, averaged over a while.
        requests_burst: How many it may make at once after a rest.
        trusted_proxies: Addresses or networks of reverse proxies, whose X-Forwarded-For is believed.
        sockets_max: WebSocket connections in all.
        sockets_per_address_max: WebSocket connections of one address.
        stratum_host: The host name that miners are told to connect to; None means the page's own.
        is_compat_enabled: Serve `/api/pools…` and `/notifications` as well, for front ends written for Miningcore.
        compat_pool_id: The pool's id there; None is the ticker and a 1: "ltc1".

    Raises:
        ValueError: If a trusted proxy is neither an address nor a network; msgspec reports it as a validation error.
    """

    LIVE: ClassVar[frozenset[str]] = frozenset()

    is_enabled: bool = True
    host: Annotated[str, msgspec.Meta(min_length=1)] = "127.0.0.1"
    port: Annotated[int, msgspec.Meta(ge=1, le=65_535)] = 8080
    timeout_s: Annotated[float, msgspec.Meta(gt=0, le=60)] = 2.0
    cors_origins: tuple[Origin, ...] = ()
    page_size_max: Annotated[int, msgspec.Meta(ge=1, le=1_000)] = 1_000
    requests_per_second: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 50
    requests_burst: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 200
    trusted_proxies: tuple[str, ...] = ()
    sockets_max: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 20_000
    sockets_per_address_max: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 50
    stratum_host: Annotated[str, msgspec.Meta(min_length=1, max_length=253)] | None = None
    is_compat_enabled: bool = True
    compat_pool_id: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_.-]{1,64}$")] | None = None

    def __post_init__(self) -> None:
        for proxy in self.trusted_proxies:
            try:
                ip_network(proxy, strict=False)
            except ValueError as error:
                raise ValueError(f"trusted_proxies: {error}") from error


class GatewayInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What other sections of the configuration say and a miner wants to know.

    Attributes:
        scheme_default: The reward scheme of miners who choose none.
        fee_ppm: The pool's fee, millionths of a block's reward.
        payout_threshold_atomic: The balance at which a miner without a threshold of its own is paid, atomic units.
        stratum_port: Where miners connect.
        is_stratum_tls: That port speaks TLS.
        difficulty_start: Share difficulty of a new connection.
        difficulty_min: No share difficulty is lower.
        difficulty_max: No share difficulty is higher; None leaves only the network's.
        schemes_allowed: Reward schemes that a worker may choose.
    """

    LIVE: ClassVar[frozenset[str]] = frozenset(
        {
            "fee_ppm",
            "payout_threshold_atomic",
            "scheme_default",
            "difficulty_start",
            "difficulty_min",
            "difficulty_max",
        }
    )

    scheme_default: str
    fee_ppm: int
    payout_threshold_atomic: int
    stratum_port: int
    is_stratum_tls: bool = False
    difficulty_start: float = 1024
    difficulty_min: float = 0.000001
    difficulty_max: float | None = None
    schemes_allowed: tuple[str, ...] = ("pplns", "prop", "solo")
