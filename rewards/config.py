"""Settings of the rewards service."""

from typing import Annotated, ClassVar

import msgspec


class RewardsSettings(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """The `[rewards]` section.

    Attributes:
        fee_ppm: The pool's fee, millionths of a block's reward: 10000 is 1 %.
        pplns_window_percent: Work in a PPLNS window, percent of the network's work for the block.
        confirmations_poll_s: Seconds between two looks at the chain.
        orphan_depth: A candidate that is not in the chain when the tip is this many blocks above it is orphaned.
    """

    LIVE: ClassVar[frozenset[str]] = frozenset({"fee_ppm"})

    fee_ppm: Annotated[int, msgspec.Meta(ge=0, le=1_000_000)] = 10_000
    pplns_window_percent: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 200
    confirmations_poll_s: Annotated[float, msgspec.Meta(ge=0.05, le=600)] = 2.0
    orphan_depth: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 10
