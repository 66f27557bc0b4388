"""Read the records of topic `shares`: protobuf outside, checked domain values inside."""

from google.protobuf.message import DecodeError

from proto.lodepool.events.v1 import events_pb2
from shares.domain import Mark, ShareColumns, Submitter, check_batch, check_mark
from shares.errors import MalformedRecord


def decode_record(payload: bytes) -> ShareColumns | Mark:
    """Return the batch or watermark in a ShareRecord.

    Raises:
        MalformedRecord: When it is not one, or breaks a rule.
    """
    try:
        record = events_pb2.ShareRecord.FromString(payload)
    except DecodeError as error:
        raise MalformedRecord(f"not a ShareRecord: {error}") from None
    match record.WhichOneof("record"):
        case "batch":
            batch = _columns(record.batch)
            check_batch(batch)
            return batch
        case "watermark":
            mark = _mark(record.watermark)
            check_mark(mark)
            return mark
        case _:
            raise MalformedRecord("neither a batch nor a watermark")


def _columns(batch: events_pb2.ShareBatch) -> ShareColumns:
    return ShareColumns(
        instance=batch.instance,
        coin=batch.coin,
        first_seq=batch.first_seq,
        base_time_ms=batch.base_time_ms,
        submitters=[
            Submitter(account=who.account, worker=who.worker, scheme=who.scheme, user_agent=who.user_agent)
            for who in batch.submitters
        ],
        submitter_index=list(batch.submitter_index),
        time_offset_ms=list(batch.time_offset_ms),
        height=list(batch.height),
        work=list(batch.work),
        hash_work=list(batch.hash_work),
        outcome=list(batch.outcome),
        trace_parents=tuple(batch.trace_parents),
    )


def _mark(mark: events_pb2.Watermark) -> Mark:
    return Mark(
        instance=mark.instance,
        coin=mark.coin,
        last_seq=mark.last_seq,
        height=mark.height,
        time_ms=mark.time_ms,
        is_closed=mark.is_closed,
    )
