"""Read the records of topic `shares` for who mined and when."""

from google.protobuf.message import DecodeError

from miners.domain import NAME_CHARS_MAX, SEQ_MAX, TIME_MS_MAX, USER_AGENT_CHARS_MAX, AcceptedShares
from miners.errors import MalformedRecord
from proto.lodepool.events.v1 import events_pb2


def decode_record(payload: bytes) -> AcceptedShares | None:
    """Return the accepted shares in a ShareRecord; None for a watermark.

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
            return None
        case _:
            raise MalformedRecord("neither a batch nor a watermark")


def _shares(batch: events_pb2.ShareBatch) -> AcceptedShares:
    outcomes = list(batch.outcome)
    if not len(batch.submitter_index) == len(batch.time_offset_ms) == len(outcomes):
        raise MalformedRecord("the columns differ in length")
    if max(batch.submitter_index, default=-1) >= len(batch.submitters):
        raise MalformedRecord("a share names no submitter")
    if not 1 <= batch.first_seq < SEQ_MAX or not 0 <= batch.base_time_ms < TIME_MS_MAX:
        raise MalformedRecord("first_seq or base_time_ms is out of range")
    _check_names(batch.instance, batch.coin)
    for who in batch.submitters:
        _check_names(who.account, who.scheme)
        if len(who.worker) > NAME_CHARS_MAX or "\x00" in who.worker:
            raise MalformedRecord("a worker's name cannot be stored")
    first_seq, base_ms = batch.first_seq, batch.base_time_ms
    columns = zip(batch.submitter_index, batch.time_offset_ms, outcomes, strict=True)
    accepted = [
        (first_seq + number, index, base_ms + offset_ms)
        for number, (index, offset_ms, outcome) in enumerate(columns)
        if outcome == events_pb2.SHARE_OUTCOME_ACCEPTED
    ]
    return AcceptedShares(
        instance=batch.instance,
        coin=batch.coin,
        first_seq=first_seq,
        last_seq=first_seq + len(outcomes) - 1,
        submitters=[
            (who.account, who.worker, who.scheme, who.user_agent.replace("\x00", "")[:USER_AGENT_CHARS_MAX])
            for who in batch.submitters
        ],
        seqs=[entry[0] for entry in accepted],
        submitter_index=[entry[1] for entry in accepted],
        times_ms=[entry[2] for entry in accepted],
    )


def _check_names(*names: str) -> None:
    for name in names:
        if not name or len(name) > NAME_CHARS_MAX or "\x00" in name:
            raise MalformedRecord("a name is empty, too long or has a NUL character")
