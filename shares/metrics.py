"""What the shares service counts about itself."""

from dataclasses import dataclass


@dataclass(slots=True, kw_only=True)
class Counters:
    """Numbers since the process started.

    Attributes:
        shares_booked_total: Shares booked.
        shares_repeated_total: Shares skipped because they were booked before.
        shares_late_total: Shares booked one height above because their window was closed.
        gaps_total: Gaps found in instances' streams.
        records_poison_total: Records set aside.
        batches_total: Transactions of the consumer.
        windows_fixed_total: Windows fixed.
    """

    shares_booked_total: int = 0
    shares_repeated_total: int = 0
    shares_late_total: int = 0
    gaps_total: int = 0
    records_poison_total: int = 0
    batches_total: int = 0
    windows_fixed_total: int = 0
