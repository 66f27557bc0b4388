"""Settings of the miners service."""

from typing import Annotated, ClassVar

import msgspec


class MinersSettings(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """The `[miners]` section.

    Attributes:
        payout_threshold_atomic_min: The lowest payout threshold an account may have, atomic units.
        batch_records_max: Records of the share stream taken in one transaction.
    """

    LIVE: ClassVar[frozenset[str]] = frozenset()

    payout_threshold_atomic_min: Annotated[int, msgspec.Meta(ge=1, le=1 << 53)] = 100_000
    batch_records_max: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 500
