"""What the payout service tells people: written with the change it tells of, published by the outbox."""

from collections.abc import Iterable, Sequence
from typing import Final

from payouts.domain import Batch, BatchStatus, Item
from proto.lodepool.events.v1 import notices_pb2
from proto.lodepool.events.v1.notices_pb2 import PayoutNoticeKind, TroubleKind
from runtime.eventlog.interface import OutRecord
from runtime.outbox import put
from runtime.postgres.pool import Connection

SCHEMA: Final = "payouts"
TOPIC: Final = "notices"
DETAIL_CHARS_MAX: Final = 500

_KINDS: Final = {
    BatchStatus.BROADCAST: PayoutNoticeKind.PAYOUT_NOTICE_KIND_SENT,
    BatchStatus.CONFIRMED: PayoutNoticeKind.PAYOUT_NOTICE_KIND_CONFIRMED,
    BatchStatus.REVIEW: PayoutNoticeKind.PAYOUT_NOTICE_KIND_REVIEW,
    BatchStatus.VOIDED: PayoutNoticeKind.PAYOUT_NOTICE_KIND_HELD,
}


def tells(before: BatchStatus, after: BatchStatus) -> bool:
    """Return whether people are told of a batch's change of status.

    A batch that is given up before anybody heard of it is followed by another one at once.
    """
    return after in _KINDS and (after is not BatchStatus.VOIDED or before is BatchStatus.REVIEW)


async def tell_moved(
    conn: Connection, batch: Batch, items: Sequence[Item], status: BatchStatus, *, reason: str, now_ms: int
) -> None:
    """Say to each account that its payment was sent, confirmed, given up or stopped; and to operators what stopped."""
    kind = _KINDS[status]
    await _put(
        conn,
        (
            notices_pb2.Notice(
                notice_id=_payout_id(item, batch, status, now_ms=now_ms),
                coin=batch.coin,
                time_ms=now_ms,
                account=item.account,
                payout=notices_pb2.PayoutNotice(
                    kind=kind,
                    payout_id=str(item.payout_id),
                    amount_atomic=item.amount_atomic,
                    txid_hex=batch.txid_hex,
                ),
            )
            for item in items
        ),
    )
    if status is BatchStatus.REVIEW:
        await _trouble(
            conn,
            TroubleKind.TROUBLE_KIND_BATCH_IN_REVIEW,
            notice_id=f"trouble/batch_in_review/{batch.coin}/{batch.batch_id}/{now_ms}",
            coin=batch.coin,
            subject=str(batch.batch_id),
            detail=reason,
            time_ms=now_ms,
        )


async def tell_waiting(conn: Connection, *, coin: str, cause: str, reason: str, since_ms: int) -> None:
    """Say to operators that nobody is paid until somebody does something."""
    await _trouble(
        conn,
        TroubleKind.TROUBLE_KIND_PAYOUTS_WAIT,
        notice_id=f"trouble/payouts_wait/{coin}/{cause}/{since_ms}",
        coin=coin,
        subject=cause,
        detail=reason,
        time_ms=since_ms,
    )


def _payout_id(item: Item, batch: Batch, status: BatchStatus, *, now_ms: int) -> str:
    match status:
        case BatchStatus.BROADCAST:
            return f"payout_sent/{item.payout_id}/{batch.txid_hex}"
        case BatchStatus.CONFIRMED:
            return f"payout_confirmed/{item.payout_id}/{batch.txid_hex}"
        case BatchStatus.VOIDED:
            return f"payout_held/{item.payout_id}"
        case _:
            return f"payout_review/{item.payout_id}/{now_ms}"


async def _trouble(
    conn: Connection,
    kind: "TroubleKind.ValueType",
    *,
    notice_id: str,
    coin: str,
    subject: str,
    detail: str,
    time_ms: int,
) -> None:
    trouble = notices_pb2.TroubleNotice(kind=kind, subject=subject, detail=detail[:DETAIL_CHARS_MAX])
    await _put(conn, [notices_pb2.Notice(notice_id=notice_id, coin=coin, time_ms=time_ms, trouble=trouble)])


async def _put(conn: Connection, told: Iterable[notices_pb2.Notice]) -> None:
    records = [
        OutRecord(key=f"{notice.coin}/{notice.account}".encode(), payload=notice.SerializeToString()) for notice in told
    ]
    await put(conn, SCHEMA, TOPIC, records)
