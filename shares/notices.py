"""What the share processor tells operators: written with the booking it tells of, published by the outbox."""

from collections.abc import Mapping, Sequence
from typing import Final

from proto.lodepool.events.v1.notices_pb2 import Notice, TroubleKind, TroubleNotice
from runtime.eventlog.interface import OutRecord, Record
from runtime.outbox import put
from runtime.postgres.pool import Connection
from shares.domain import Gap

SCHEMA: Final = "shares"
TOPIC: Final = "notices"
TOLD_MAX: Final = 10
"""Of one transaction: a stream that is broken altogether is one trouble, not thousands."""
DETAIL_CHARS_MAX: Final = 500


async def tell_gaps(connection: Connection, gaps: Sequence[Gap], coins: Mapping[str, str], *, time_ms: int) -> None:
    """Say that shares are missing in the streams of instances.

    Args:
        connection: In the transaction that books what came instead.
        gaps: What is missing.
        coins: Instance → coin id.
        time_ms: When that was read, by the event log's clock.
    """
    await _put(
        connection,
        [
            Notice(
                notice_id=f"trouble/stream_gap/{coins[gap.instance]}/{gap.instance}/{gap.first_seq}",
                coin=coins[gap.instance],
                time_ms=time_ms,
                trouble=TroubleNotice(
                    kind=TroubleKind.TROUBLE_KIND_STREAM_GAP,
                    subject=gap.instance,
                    detail=f"shares {gap.first_seq} to {gap.last_seq} are missing",
                ),
            )
            for gap in gaps[:TOLD_MAX]
        ],
    )


async def tell_poison(connection: Connection, poison: Sequence[tuple[Record, str]]) -> None:
    """Say that records were set aside."""
    await _put(connection, [_poison_notice(record, problem) for record, problem in poison[:TOLD_MAX]])


def _poison_notice(record: Record, problem: str) -> Notice:
    place = f"{record.topic}/{record.partition}/{record.offset}"
    return Notice(
        notice_id=f"trouble/poison_record/{SCHEMA}/{place}",
        time_ms=record.append_time_ms,
        trouble=TroubleNotice(
            kind=TroubleKind.TROUBLE_KIND_POISON_RECORD, subject=place, detail=problem[:DETAIL_CHARS_MAX]
        ),
    )


async def _put(connection: Connection, told: Sequence[Notice]) -> None:
    records = [OutRecord(key=f"{notice.coin}/".encode(), payload=notice.SerializeToString()) for notice in told]
    await put(connection, SCHEMA, TOPIC, records)
