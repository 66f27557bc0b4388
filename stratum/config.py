"""What the operator can set in the section [stratum]."""

from dataclasses import dataclass
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, ClassVar

import msgspec

from coins.coin import Coin
from coins.settings import PoolSettings
from nodes.settings import NodeSettings

SCHEMES = ("pplns", "prop", "solo")
MIB = 1024 * 1024

_Difficulty = Annotated[float, msgspec.Meta(gt=0, le=2**80)]
_Seconds = Annotated[float, msgspec.Meta(gt=0, le=86_400)]
_Count = Annotated[int, msgspec.Meta(ge=1, le=10_000_000)]


class StratumSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The section `[stratum]`.

    Attributes:
        host: Address to listen on.
        port: TCP port; 0 takes a free one (tests, one worker only).
        worker_count: Worker processes on the port, one core each.
        difficulty_start: Share difficulty of a new connection.
        difficulty_min: No share difficulty is lower.
        difficulty_max: No share difficulty is higher; None leaves only the network's.
        share_interval_s: What vardiff aims at: seconds between two shares of a connection.
        retarget_interval_s: Seconds between two looks of vardiff at a connection that behaves as expected.
        version_mask: Version bits miners may roll, hex; None means the coin's.
        line_bytes_max: A longer line closes the connection.
        sessions_max: Connections of one worker process.
        sessions_per_address_max: Connections of one worker process from one IP address.
        idle_timeout_s: A connection that sends nothing for this long is closed.
        unauthorised_timeout_s: A connection without an authorised worker is closed after this.
        job_refresh_s: Seconds between two jobs on the same tip.
        ntime_ahead_s: How far a share's time may be ahead of the template's.
        schemes_allowed: Reward schemes that miners may choose with the password `m=`.
        scheme_default: Scheme of those who do not choose.
        bad_lines_max: Malformed lines of a connection before its address is banned.
        ban_s: How long a ban lasts.
        bans: Addresses or networks that are turned away for as long as they are listed here.
        journal_fsync_ms: How often the journal is forced to disk; bounds what a power failure can take.
        journal_segment_bytes: Size at which a new journal file begins.
        journal_bytes_max: Unshipped journal of one worker above which shares are refused.
        verify_threads: Threads that verify slow hashes (scrypt); None means one per core.
        proxy_sources: Addresses or networks whose PROXY protocol header is believed (and required).
        prefix_lease_s: On a cluster, how long a worker serves on without etcd: its share of the search space is its
            own for so long after etcd was last heard. The same for all workers.

    Raises:
        ValueError: If values contradict each other; msgspec reports it as a validation error.
    """

    LIVE: ClassVar[frozenset[str]] = frozenset(
        {
            "difficulty_start",
            "difficulty_min",
            "difficulty_max",
            "share_interval_s",
            "retarget_interval_s",
            "bad_lines_max",
            "ban_s",
            "bans",
        }
    )

    host: str = "0.0.0.0"  # noqa: S104 - miners come from outside
    port: Annotated[int, msgspec.Meta(ge=0, le=65_535)] = 3333
    worker_count: Annotated[int, msgspec.Meta(ge=1, le=256)] = 1
    difficulty_start: _Difficulty = 1024
    difficulty_min: _Difficulty = 0.000001
    difficulty_max: _Difficulty | None = None
    share_interval_s: _Seconds = 10
    retarget_interval_s: _Seconds = 60
    version_mask: Annotated[str, msgspec.Meta(pattern=r"^[0-9a-fA-F]{1,8}$")] | None = None
    line_bytes_max: Annotated[int, msgspec.Meta(ge=512, le=1_048_576)] = 4096
    sessions_max: Annotated[int, msgspec.Meta(ge=1, le=65_535)] = 20_000
    sessions_per_address_max: _Count = 5_000
    idle_timeout_s: _Seconds = 600
    unauthorised_timeout_s: _Seconds = 60
    job_refresh_s: _Seconds = 30
    ntime_ahead_s: Annotated[int, msgspec.Meta(ge=0, le=7200)] = 7200
    schemes_allowed: tuple[str, ...] = SCHEMES
    scheme_default: str = "pplns"
    bad_lines_max: _Count = 16
    ban_s: _Seconds = 600
    bans: Annotated[tuple[str, ...], msgspec.Meta(max_length=10_000)] = ()
    journal_fsync_ms: Annotated[int, msgspec.Meta(ge=1, le=60_000)] = 100
    journal_segment_bytes: Annotated[int, msgspec.Meta(ge=4096, le=1024 * MIB)] = 16 * MIB
    journal_bytes_max: Annotated[int, msgspec.Meta(ge=65_536)] = 1024 * MIB
    verify_threads: Annotated[int, msgspec.Meta(ge=1, le=256)] | None = None
    proxy_sources: tuple[str, ...] = ()
    prefix_lease_s: Annotated[float, msgspec.Meta(ge=300, le=30 * 86_400)] = 86_400

    def __post_init__(self) -> None:
        for scheme in self.schemes_allowed:
            if scheme not in SCHEMES:
                raise ValueError(f"schemes_allowed: {scheme!r} is unknown, expected some of {', '.join(SCHEMES)}")
        if self.scheme_default not in self.schemes_allowed:
            raise ValueError(
                f"scheme_default: {self.scheme_default!r} is not one of schemes_allowed, "
                f"expected one of {', '.join(self.schemes_allowed)}"
            )
        highest = self.difficulty_max or 2.0**80
        if not self.difficulty_min <= self.difficulty_start <= highest:
            raise ValueError(
                f"difficulty_start: {self.difficulty_start:g} is outside difficulty_min..difficulty_max "
                f"({self.difficulty_min:g}..{highest:g})"
            )
        if self.journal_bytes_max < 2 * self.journal_segment_bytes:
            raise ValueError(
                f"journal_bytes_max: {self.journal_bytes_max} is less than two segments of journal_segment_bytes; "
                "a segment is deleted only as a whole, so shares would be refused for ever"
            )
        _require_networks("proxy_sources", self.proxy_sources)
        _require_networks("bans", self.bans)


def _require_networks(name: str, texts: tuple[str, ...]) -> None:
    for text in texts:
        try:
            ip_network(text, strict=False)
        except ValueError:
            raise ValueError(
                f"{name}: {text!r} is neither an IP address nor a network, expected 203.0.113.7 or 2001:db8::/32"
            ) from None


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessSettings:
    """What a stratum process reads from the configuration beside its own section.

    Attributes:
        coin: The coin that `pool.coin` names.
        data_dir: Absolute.
    """

    coin: Coin
    data_dir: Path
    pool: PoolSettings
    nodes: tuple[NodeSettings, ...]
