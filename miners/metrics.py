"""What the miners service counts about itself."""

from dataclasses import dataclass


@dataclass(slots=True, kw_only=True)
class Counters:
    """Numbers since the process started.

    Attributes:
        batches_total: Transactions of the consumer.
        shares_seen_total: Accepted shares seen.
        records_malformed_total: Records passed over.
        accounts_updated_total: Changes of settings.
    """

    batches_total: int = 0
    shares_seen_total: int = 0
    records_malformed_total: int = 0
    accounts_updated_total: int = 0
