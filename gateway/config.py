"""Settings of the gateway, and what it is told about the pool's rules."""

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
    """

    LIVE: ClassVar[frozenset[str]] = frozenset()

    is_enabled: bool = True
    host: Annotated[str, msgspec.Meta(min_length=1)] = "127.0.0.1"
    port: Annotated[int, msgspec.Meta(ge=1, le=65_535)] = 8080
    timeout_s: Annotated[float, msgspec.Meta(gt=0, le=60)] = 2.0
    cors_origins: tuple[Origin, ...] = ()
    page_size_max: Annotated[int, msgspec.Meta(ge=1, le=1_000)] = 1_000


class GatewayInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What other sections of the configuration say and a miner wants to know.

    Attributes:
        scheme_default: The reward scheme of miners who choose none.
        fee_ppm: The pool's fee, millionths of a block's reward.
        payout_threshold_atomic: The balance at which a miner without a threshold of its own is paid, atomic units.
        stratum_port: Where miners connect.
    """

    LIVE: ClassVar[frozenset[str]] = frozenset({"fee_ppm", "payout_threshold_atomic", "scheme_default"})

    scheme_default: str
    fee_ppm: int
    payout_threshold_atomic: int
    stratum_port: int
