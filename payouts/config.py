"""The section [payouts]."""

from typing import Annotated, ClassVar

import msgspec

Positive = Annotated[int, msgspec.Meta(ge=1)]
PositiveSeconds = Annotated[float, msgspec.Meta(gt=0, le=86_400)]


class PayoutSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the operator decides about payouts. Amounts in atomic units, fee rates in satoshi per 1,000 virtual bytes.

    Attributes:
        is_enabled: False makes no new batches; what was sent is followed all the same.
        threshold_atomic: Balance at which an account is paid, unless it has a threshold of its own.
        interval_s: Time between two rounds of the payer.
        confirmations: A payment counts as made from this depth on.
        outputs_max: Payments of one batch.
        weight_max: Weight of one transaction; nodes relay up to 400,000.
        fee_target_blocks: The node is asked for a fee rate that confirms within so many blocks.
        fee_rate_sat_per_kvb: Used when the node has no estimate.
        fee_rate_min_sat_per_kvb: A lower estimate is raised to this; a transaction that pays less is not sent.
        fee_rate_max_sat_per_kvb: While the node asks for more, nothing is sent.
        fee_atomic_max: Ceiling of one batch's fee.
        rebroadcast_s: An unconfirmed transaction is handed to the node again after this time.
        dust_atomic: Less than this stays as balance.
        lock_retry_s: A second payer asks for the lock this often.
        miners_timeout_s: Limit of one question for thresholds.
    """

    LIVE: ClassVar[frozenset[str]] = frozenset(
        {
            "is_enabled",
            "threshold_atomic",
            "interval_s",
            "fee_target_blocks",
            "fee_rate_sat_per_kvb",
            "fee_rate_min_sat_per_kvb",
            "fee_rate_max_sat_per_kvb",
            "fee_atomic_max",
            "outputs_max",
            "rebroadcast_s",
        }
    )

    is_enabled: bool = True
    threshold_atomic: Positive = 1_000_000
    interval_s: PositiveSeconds = 60.0
    confirmations: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 6
    outputs_max: Annotated[int, msgspec.Meta(ge=1, le=2000)] = 200
    weight_max: Annotated[int, msgspec.Meta(ge=2_000, le=400_000)] = 100_000
    fee_target_blocks: Annotated[int, msgspec.Meta(ge=1, le=1008)] = 6
    fee_rate_sat_per_kvb: Positive = 10_000
    fee_rate_min_sat_per_kvb: Positive = 1_000
    fee_rate_max_sat_per_kvb: Positive = 500_000
    fee_atomic_max: Positive = 2_000_000
    rebroadcast_s: PositiveSeconds = 600.0
    dust_atomic: Positive = 1_000
    lock_retry_s: PositiveSeconds = 5.0
    miners_timeout_s: PositiveSeconds = 5.0

    def __post_init__(self) -> None:
        """Check what the fields promise each other.

        Raises:
            ValueError: When a minimum is above its maximum.
        """
        if self.fee_rate_min_sat_per_kvb > self.fee_rate_max_sat_per_kvb:
            raise ValueError("fee_rate_min_sat_per_kvb must not be above fee_rate_max_sat_per_kvb")
        if self.dust_atomic > self.threshold_atomic:
            raise ValueError("dust_atomic must not be above threshold_atomic")
