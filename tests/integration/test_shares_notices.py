"""What the share processor tells operators."""

from proto.lodepool.events.v1.notices_pb2 import Notice, TroubleKind
from runtime.clock import SystemClock
from runtime.eventlog.interface import OutRecord, Record
from runtime.postgres.migrations import migrate
from shares.consumer import ShareConsumer
from shares.metrics import Counters
from tests.fakes.share_stream import FakeInstance, FakeShare

COIN = "litecoin-regtest"


async def book(platform, *records: OutRecord) -> list[Notice]:
    """Book records as the consumer reads them; return what was told."""
    await migrate(platform.pool, schema="shares", package="shares")
    consumer = ShareConsumer(
        pool=platform.pool,
        eventlog=platform.eventlog,
        clock=SystemClock(),
        counters=Counters(),
        batch_records_max=100,
    )
    read = [
        Record(topic="shares", partition=0, offset=number, key=b"", payload=record.payload, append_time_ms=7)
        for number, record in enumerate(records)
    ]
    for _ in range(2):
        await consumer.book(read)
    rows = await platform.pool.fetch("SELECT payload FROM shares.outbox ORDER BY outbox_id")
    return [Notice.FromString(row["payload"]) for row in rows]


async def test_missing_shares_are_told_once(platform):
    """D5."""
    instance = FakeInstance("0-a-1")
    (notice,) = await book(platform, instance.batch_at(1, [FakeShare()]), instance.batch_at(5, [FakeShare()]))
    assert notice.notice_id == f"trouble/stream_gap/{COIN}/0-a-1/2"
    assert (notice.trouble.kind, notice.coin) == (TroubleKind.TROUBLE_KIND_STREAM_GAP, COIN)
    assert notice.trouble.detail == "shares 2 to 4 are missing"


async def test_records_that_are_set_aside_are_told_but_not_by_the_thousand(platform):
    told = await book(platform, *(OutRecord(key=b"", payload=b"\xff") for _ in range(50)))
    assert len(told) == 10
    assert told[0].notice_id == "trouble/poison_record/shares/shares/0/0"
    assert {notice.trouble.kind for notice in told} == {TroubleKind.TROUBLE_KIND_POISON_RECORD}
