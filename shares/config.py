"""Settings of the shares service."""

from typing import Annotated, ClassVar

import msgspec


class SharesSettings(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """The `[shares]` section.

    Attributes:
        window_wait_s: How long after a block was found a silent instance is waited for before its window is fixed.
        instance_dead_s: An instance that has sent nothing for this long counts as dead.
        instance_forgotten_s: An instance silent for longer is not named in windows any more.
        clock_skew_ms_max: How far the clocks of two hosts (stratum, event log, this one) may differ; so much longer is
            waited before a window is fixed.
        batch_records_max: Records booked in one transaction.
        refused_run_max: So many records in a row are set aside when the database refuses them. One more and booking
            stands still, with an alarm and nothing lost: then the fault is the pool's, not the records'.
        retention_days: Slices older than this are removed; their sums are kept. Windows never reach back that far.
        retention_interval_s: How often retention runs.
    """

    LIVE: ClassVar[frozenset[str]] = frozenset()

    window_wait_s: Annotated[int, msgspec.Meta(ge=0, le=86_400)] = 60
    instance_dead_s: Annotated[int, msgspec.Meta(ge=5, le=3600)] = 30
    instance_forgotten_s: Annotated[int, msgspec.Meta(ge=3600)] = 7 * 86_400
    clock_skew_ms_max: Annotated[int, msgspec.Meta(ge=0, le=600_000)] = 2_000
    batch_records_max: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 500
    refused_run_max: Annotated[int, msgspec.Meta(ge=0, le=1_000_000)] = 20
    retention_days: Annotated[int, msgspec.Meta(ge=14, le=3650)] = 90
    retention_interval_s: Annotated[int, msgspec.Meta(ge=1, le=86_400)] = 3600
