"""Read the records of topic `shares` for who mined, when and how much."""

from google.protobuf.message import DecodeError

from miners.domain import NAME_CHARS_MAX, SEQ_MAX, TIME_MS_MAX, USER_AGENT_CHARS_MAX, Mark, Shares
from miners.errors import MalformedRecord
from proto.lodepool.events.v1 import events_pb2


def decode_record(payload: bytes) -> Shares | Mark:
    """Return what is in a ShareRecord.

    Raises:
        MalformedRecord: When it is not one, or has what no table can hold.
    """
    try:
        record = events_pb2.ShareRecord.FromString(payload)
    except DecodeError as error:
        raise MalformedRecord(f"not a ShareRecord: {error}") from None
    match record.WhichOneof("record"):
        case "batch":
            return _shares(record.batch)
        case "watermark":
            mark = record.watermark
            _check_names(mark.instance, mark.coin)
            if not 0 < mark.time_ms < TIME_MS_MAX:
                raise MalformedRecord("time_ms is out of range")
            return Mark(instance=mark.instance, coin=mark.coin, time_ms=mark.time_ms, is_closed=mark.is_closed)
        case _:
            raise MalformedRecord("neither a batch nor a watermark")


def _shares(batch: events_pb2.ShareBatch) -> Shares:
    outcomes = list(batch.outcome)
    if not len(batch.submitter_index) == len(batch.time_offset_ms) == len(batch.work) == len(outcomes):
        raise MalformedRecord("the columns differ in length")
    if max(batch.submitter_index, default=-1) >= len(batch.submitters):
        raise MalformedRecord("a share names no submitter")
    if not 1 <= batch.first_seq < SEQ_MAX or not 0 <= batch.base_time_ms < TIME_MS_MAX:
        raise MalformedRecord("first_seq or base_time_ms is out of range")
    if min(batch.work, default=0) < 0:
        raise MalformedRecord("a share has work below zero")
    _check_names(batch.instance, batch.coin)
    for who in batch.submitters:
        _check_names(who.account, who.scheme)
        if len(who.worker) > NAME_CHARS_MAX or "\x00" in who.worker:
            raise MalformedRecord("a worker's name cannot be stored")
    base_ms = batch.base_time_ms
    return Shares(
        instance=batch.instance,
        coin=batch.coin,
        first_seq=batch.first_seq,
        submitters=[
            (who.account, who.worker, who.scheme, who.user_agent.replace("\x00", "")[:USER_AGENT_CHARS_MAX])
            for who in batch.submitters
        ],
        submitter_index=list(batch.submitter_index),
        times_ms=[base_ms + offset_ms for offset_ms in batch.time_offset_ms],
        works=list(batch.work),
        outcomes=outcomes,
    )


def _check_names(*names: str) -> None:
    for name in names:
        if not name or len(name) > NAME_CHARS_MAX or "\x00" in name:
            raise MalformedRecord("a name is empty, too long or has a NUL character")
