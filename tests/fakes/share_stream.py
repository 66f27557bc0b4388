"""Build records of topic `shares` as stratum instances write them."""

from collections.abc import Sequence
from dataclasses import dataclass

from proto.lodepool.events.v1 import events_pb2
from runtime.eventlog.interface import OutRecord

ACCEPTED, STALE, DUPLICATE, LOW, INVALID = 1, 2, 3, 4, 5


@dataclass(frozen=True, slots=True, kw_only=True)
class FakeShare:
    """One share as an instance decides it; times in milliseconds since the Unix epoch."""

    account: str = "alice"
    worker: str = "rig"
    scheme: str = "pplns"
    height: int = 100
    work: int = 1000
    hash_work: int = 2000
    outcome: int = ACCEPTED
    time_ms: int = 1_700_000_000_000


class FakeInstance:
    """Numbers shares as one life of a stratum process does, and packs them into records."""

    def __init__(self, name: str = "0-a-1", *, coin: str = "litecoin-regtest") -> None:
        self.name = name
        self.coin = coin
        self.last_seq = 0

    def batch(self, shares: Sequence[FakeShare]) -> OutRecord:
        """Return the record of the next shares."""
        record = self.batch_at(self.last_seq + 1, shares)
        self.last_seq += len(shares)
        return record

    def batch_at(self, first_seq: int, shares: Sequence[FakeShare]) -> OutRecord:
        """Return a record of shares with given numbers, such as one sent again."""
        submitters = list(dict.fromkeys((share.account, share.worker, share.scheme) for share in shares))
        base_ms = min(share.time_ms for share in shares)
        batch = events_pb2.ShareBatch(
            instance=self.name,
            first_seq=first_seq,
            coin=self.coin,
            base_time_ms=base_ms,
            submitters=[
                events_pb2.Submitter(account=account, worker=worker, scheme=scheme, user_agent="cgminer/4.11.1")
                for account, worker, scheme in submitters
            ],
            submitter_index=[submitters.index((share.account, share.worker, share.scheme)) for share in shares],
            time_offset_ms=[share.time_ms - base_ms for share in shares],
            height=[share.height for share in shares],
            work=[share.work for share in shares],
            hash_work=[share.hash_work if share.outcome == ACCEPTED else 0 for share in shares],
            outcome=[share.outcome for share in shares],  # type: ignore[misc]  # the numbers of the enum
        )
        return self._record(events_pb2.ShareRecord(batch=batch))

    def mark(self, *, height: int, time_ms: int, is_closed: bool = False) -> OutRecord:
        """Return the record of a watermark."""
        mark = events_pb2.Watermark(
            instance=self.name,
            coin=self.coin,
            last_seq=self.last_seq,
            height=height,
            time_ms=time_ms,
            is_closed=is_closed,
        )
        return self._record(events_pb2.ShareRecord(watermark=mark))

    def _record(self, record: events_pb2.ShareRecord) -> OutRecord:
        return OutRecord(key=self.name.encode(), payload=record.SerializeToString())
