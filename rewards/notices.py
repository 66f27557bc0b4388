"""What the rewards service tells people: written with the booking it tells of, published by the outbox."""

from collections.abc import Iterable
from typing import Final

from proto.lodepool.events.v1 import notices_pb2
from proto.lodepool.events.v1.notices_pb2 import BlockNoticeKind, TroubleKind
from rewards.distribution import Credit
from rewards.domain import Block, FoundBlock
from runtime.eventlog.interface import OutRecord, Record
from runtime.outbox import put
from runtime.postgres.pool import Connection

SCHEMA: Final = "rewards"
TOPIC: Final = "notices"
DETAIL_CHARS_MAX: Final = 500

_KIND_NAMES: Final = {
    BlockNoticeKind.BLOCK_NOTICE_KIND_CONFIRMED: "block_confirmed",
    BlockNoticeKind.BLOCK_NOTICE_KIND_ORPHANED: "block_orphaned",
}


async def tell_found(conn: Connection, found: FoundBlock) -> None:
    """Say that the pool has found a block."""
    notice = notices_pb2.Notice(
        notice_id=f"block_found/{found.coin}/{found.block_hash_hex}",
        coin=found.coin,
        time_ms=found.found_time_ms,
        block=_block(found, BlockNoticeKind.BLOCK_NOTICE_KIND_FOUND),
    )
    await _put(conn, [notice])


async def tell_moved(conn: Connection, block: Block, kind: "BlockNoticeKind.ValueType") -> None:
    """Say that a block has become payable, or was lost."""
    found = block.found
    notice = notices_pb2.Notice(
        notice_id=f"{_KIND_NAMES[kind]}/{found.coin}/{found.block_hash_hex}/{block.generation}",
        coin=found.coin,
        time_ms=await _now_ms(conn),
        block=_block(found, kind, effort_hundredths=block.round_work * 10_000 // found.network_work),
    )
    await _put(conn, [notice])


async def tell_credits(conn: Connection, found: FoundBlock, credits_: Iterable[Credit], *, generation: int) -> None:
    """Say to each account what its part of a block is."""
    time_ms = await _now_ms(conn)
    await _put(
        conn,
        (
            notices_pb2.Notice(
                notice_id=f"credit/{found.coin}/{found.block_hash_hex}/{generation}/{credit.account}",
                coin=found.coin,
                time_ms=time_ms,
                account=credit.account,
                credit=notices_pb2.CreditNotice(
                    block_hash_hex=found.block_hash_hex, height=found.height, amount_atomic=credit.amount_atomic
                ),
            )
            for credit in credits_
            if credit.amount_atomic
        ),
    )


async def tell_held(conn: Connection, *, coin: str, block_hash_hex: str, reason: str) -> None:
    """Say that a block waits for the operator."""
    time_ms = await _now_ms(conn)
    await _trouble(
        conn,
        TroubleKind.TROUBLE_KIND_BLOCK_HELD,
        notice_id=f"trouble/block_held/{coin}/{block_hash_hex}/{time_ms}",
        coin=coin,
        subject=block_hash_hex,
        detail=reason,
        time_ms=time_ms,
    )


async def tell_poison(conn: Connection, record: Record, error: str) -> None:
    """Say that a record of the event log was set aside."""
    place = f"{record.topic}/{record.partition}/{record.offset}"
    await _trouble(
        conn,
        TroubleKind.TROUBLE_KIND_POISON_RECORD,
        notice_id=f"trouble/poison_record/{SCHEMA}/{place}",
        coin="",
        subject=place,
        detail=error,
        time_ms=record.append_time_ms,
    )


def _block(
    found: FoundBlock, kind: "BlockNoticeKind.ValueType", *, effort_hundredths: int = 0
) -> notices_pb2.BlockNotice:
    return notices_pb2.BlockNotice(
        kind=kind,
        height=found.height,
        block_hash_hex=found.block_hash_hex,
        reward_atomic=found.reward_atomic,
        account=found.account,
        worker=found.worker,
        effort_hundredths=effort_hundredths,
    )


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


async def _now_ms(conn: Connection) -> int:
    now_ms: int = await conn.fetchval("SELECT floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint")
    return now_ms
