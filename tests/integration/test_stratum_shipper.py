"""The shipper: journals of a host into a real event log in PostgreSQL."""

import asyncio
import contextlib
from collections import Counter

import pytest

from proto.lodepool.events.v1.events_pb2 import BlockFound, JournalEntry, ShareBatch, ShareRecord, Submitter, Watermark
from proto.lodepool.events.v1.notices_pb2 import Notice
from runtime.clock import SystemClock
from runtime.errors import UserError
from runtime.eventlog.interface import EventLogUnavailable
from stratum.journal import JournalWriter, instance_dirs, journal_dir, segments
from stratum.shipper import PAYLOAD_BYTES_MAX, RECORD_SHARES_MAX, Shipper, only_shipper
from tests.fakes.waiting import eventually


class FaultyLog:
    """The real log behind faults: `away` refuses, `drops_answer` publishes and then fails once."""

    def __init__(self, log):
        self.log = log
        self.away = False
        self.drops_answer = False

    async def publish(self, topic, records):
        if self.away:
            raise EventLogUnavailable("away")
        await self.log.publish(topic, records)
        if self.drops_answer:
            self.drops_answer = False
            raise EventLogUnavailable("connection lost")


def batch(instance, first_seq, count, *, height=7):
    return JournalEntry(
        batch=ShareBatch(
            instance=instance,
            first_seq=first_seq,
            coin="bitcoin-regtest",
            base_time_ms=1000 + first_seq,
            submitters=[Submitter(account="a", worker=f"w{first_seq % 3}", scheme="pplns")],
            submitter_index=[0] * count,
            time_offset_ms=[0] * count,
            height=[height] * count,
            work=[100] * count,
            hash_work=[200] * count,
            outcome=[1] * count,
        )
    ).SerializeToString()


def mark(instance, last_seq, height):
    return JournalEntry(
        watermark=Watermark(instance=instance, coin="bitcoin-regtest", last_seq=last_seq, height=height)
    ).SerializeToString()


def writer(data_dir, instance, **settings):
    folder = journal_dir(data_dir) / "bitcoin-regtest" / instance
    return JournalWriter(folder, **{"segment_bytes_max": 1 << 20, **settings})


async def read_all(eventlog, topic):
    async def from_the_beginning(_partition):
        return 0

    subscription = await eventlog.subscribe(topic, group="test", load_position=from_the_beginning)
    records = []
    while found := await subscription.poll(records_max=1000, timeout_s=0.1):
        records += found
    await subscription.close()
    return records


async def shares(eventlog):
    return [ShareRecord.FromString(record.payload) for record in await read_all(eventlog, "shares")]


def seqs(records):
    return [
        seq
        for record in records
        if record.HasField("batch")
        for seq in range(record.batch.first_seq, record.batch.first_seq + len(record.batch.outcome))
    ]


@contextlib.asynccontextmanager
async def shipping(data_dir, eventlog):
    shipper = Shipper(data_dir, eventlog, clock=SystemClock())
    task = asyncio.create_task(shipper.run())
    try:
        yield shipper
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def test_small_batches_arrive_as_large_ones_dense_and_in_order(platform, short_dir):
    journal = writer(short_dir, "0-1-0000")
    seq = 1
    for count in [3, 1, 50, 2000, 2500, 4096, 1]:
        journal.append([batch("0-1-0000", seq, count)])
        seq += count
    journal.append([mark("0-1-0000", seq - 1, height) for height in (8, 9)])
    shipper = Shipper(short_dir, platform.eventlog, clock=SystemClock())
    assert await shipper.ship_round()
    records = await shares(platform.eventlog)
    assert seqs(records) == list(range(1, seq))
    assert max(len(record.batch.outcome) for record in records) <= RECORD_SHARES_MAX
    assert len(records) == 5
    assert (records[-1].watermark.last_seq, records[-1].watermark.height) == (seq - 1, 9)
    assert not await shipper.ship_round()


async def test_a_journal_that_goes_on_is_followed_and_shipped_segments_are_deleted(platform, short_dir):
    journal = writer(short_dir, "0-1-0000", segment_bytes_max=4096)
    async with shipping(short_dir, platform.eventlog):
        for seq in range(1, 401):
            journal.append([batch("0-1-0000", seq, 1)])
            if seq % 50 == 0:
                await asyncio.sleep(0.01)
        folder = instance_dirs(short_dir)[0]
        await eventually(lambda: len(segments(folder)) == 1)
    assert seqs(await shares(platform.eventlog)) == list(range(1, 401))


async def test_blocks_go_to_their_own_topic_by_coin(platform, short_dir):
    journal = writer(short_dir, "0-1-0000")
    found = BlockFound(instance="0-1-0000", coin="bitcoin-regtest", block_hash_hex="ab", height=8, block=b"x" * 900_000)
    journal.append([batch("0-1-0000", 1, 1), JournalEntry(block=found).SerializeToString()])
    await Shipper(short_dir, platform.eventlog, clock=SystemClock()).ship_round()
    (record,) = await read_all(platform.eventlog, "blocks")
    assert record.key == b"bitcoin-regtest"
    assert BlockFound.FromString(record.payload) == found


async def test_a_block_too_big_for_a_record_goes_without_its_bytes_and_holds_nothing_up(platform, short_dir):
    """D2: a log that never takes the record would keep every share of the host behind it; the bytes are in a file."""
    journal = writer(short_dir, "0-1-0000")
    found = BlockFound(
        instance="0-1-0000", coin="bitcoin-regtest", block_hash_hex="ab", height=8, block=b"x" * 4_000_000
    )
    journal.append([batch("0-1-0000", 1, 1), JournalEntry(block=found).SerializeToString()])
    await Shipper(short_dir, platform.eventlog, clock=SystemClock()).ship_round()
    (record,) = await read_all(platform.eventlog, "blocks")
    found.ClearField("block")
    assert BlockFound.FromString(record.payload) == found
    assert len(record.payload) <= PAYLOAD_BYTES_MAX


@pytest.mark.parametrize("spoilt", ["segment", "lock"])
async def test_a_journal_that_cannot_be_read_does_not_hold_up_the_others(platform, short_dir, caplog, spoilt):
    """D1: one bad sector must not fill the disks of the whole host; what can be read is shipped."""
    broken, whole = writer(short_dir, "0-1-0000"), writer(short_dir, "1-1-0001")
    broken.append([batch("0-1-0000", 1, 1)])
    whole.append([batch("1-1-0001", 1, 1)])
    path = broken.folder / ("lock" if spoilt == "lock" else "00000001.seg")
    path.rename(broken.folder / "away")
    path.mkdir()  # reading it fails, whoever reads
    shipper = Shipper(short_dir, platform.eventlog, clock=SystemClock())
    for _ in range(3):
        await shipper.ship_round()
    assert [entry.batch.instance for entry in await shares(platform.eventlog)] == ["1-1-0001"]
    told = [record for record in caplog.records if record.getMessage() == "journal cannot be read"]
    assert [record.levelname for record in told] == ["ERROR"]

    path.rmdir()
    (broken.folder / "away").rename(path)
    await shipper.ship_round()
    assert len(await shares(platform.eventlog)) == 2


async def test_a_full_disk_is_emptied_and_repeats_nothing(platform, short_dir, caplog):
    """D1: what has arrived is deleted though there is no room to remember it, or there would never be any."""
    journal = writer(short_dir, "0-1-0000", segment_bytes_max=1)
    for seq in range(1, 4):
        journal.append([batch("0-1-0000", seq, 1)])
    no_room = journal.folder / "shipped.json.tmp"
    no_room.mkdir()
    shipper = Shipper(short_dir, platform.eventlog, clock=SystemClock())
    for _ in range(3):
        await shipper.ship_round()
    assert [number for number, _ in segments(journal.folder)] == [3]
    no_room.rmdir()
    journal.append([batch("0-1-0000", 4, 1)])
    await shipper.ship_round()
    again = Shipper(short_dir, platform.eventlog, clock=SystemClock())
    await again.ship_round()
    seqs = [seq for entry in await shares(platform.eventlog) for seq in range_of(entry.batch)]
    assert seqs == [1, 2, 3, 4]
    told = [record for record in caplog.records if record.getMessage() == "journal cannot be changed"]
    assert [record.levelname for record in told] == ["ERROR"]


def range_of(shipped):
    return range(shipped.first_seq, shipped.first_seq + len(shipped.outcome))


async def test_what_the_log_did_not_acknowledge_is_sent_again(platform, short_dir):
    """D1."""
    journal = writer(short_dir, "0-1-0000")
    journal.append([batch("0-1-0000", 1, 5)])
    log = FaultyLog(platform.eventlog)
    log.drops_answer = True
    async with shipping(short_dir, log) as shipper:
        await eventually(lambda: shipper.records_published == 1)
    counts = Counter(seqs(await shares(platform.eventlog)))
    assert counts == dict.fromkeys(range(1, 6), 2)


async def test_while_the_log_is_away_nothing_is_lost_or_deleted(platform, short_dir):
    """D1."""
    journal = writer(short_dir, "0-1-0000", segment_bytes_max=4096)
    log = FaultyLog(platform.eventlog)
    log.away = True
    async with shipping(short_dir, log) as shipper:
        for seq in range(1, 201):
            journal.append([batch("0-1-0000", seq, 1)])
        await asyncio.sleep(0.3)
        assert shipper.records_published == 0
        log.away = False
        await eventually(lambda: len(segments(instance_dirs(short_dir)[0])) == 1)
    assert seqs(await shares(platform.eventlog)) == list(range(1, 201))


async def test_a_new_shipper_goes_on_where_the_last_one_stopped(platform, short_dir):
    journal = writer(short_dir, "0-1-0000")
    for first in (1, 11, 21):
        journal.append([batch("0-1-0000", first, 10)])
        await Shipper(short_dir, platform.eventlog, clock=SystemClock()).ship_round()
    assert seqs(await shares(platform.eventlog)) == list(range(1, 31))


async def test_an_instance_whose_process_is_gone_is_closed_and_removed(platform, short_dir):
    journal = writer(short_dir, "0-1-0000")
    journal.append([batch("0-1-0000", 1, 10), mark("0-1-0000", 10, 9)])
    shipper = Shipper(short_dir, platform.eventlog, clock=SystemClock())
    await shipper.ship_round()
    assert instance_dirs(short_dir)
    journal.close()
    await shipper.ship_round()
    last = (await shares(platform.eventlog))[-1].watermark
    assert (last.is_closed, last.last_seq, last.height, last.instance) == (True, 10, 9, "0-1-0000")
    assert instance_dirs(short_dir) == []
    assert not await shipper.ship_round()


async def test_a_torn_tail_of_a_dead_process_does_not_hold_the_shipper_up(platform, short_dir):
    journal = writer(short_dir, "0-1-0000")
    journal.append([batch("0-1-0000", 1, 3)])
    journal.append([batch("0-1-0000", 4, 3)])
    journal.close()
    ((_, path),) = segments(instance_dirs(short_dir)[0])
    path.write_bytes(path.read_bytes()[:-4])
    await Shipper(short_dir, platform.eventlog, clock=SystemClock()).ship_round()
    records = await shares(platform.eventlog)
    assert seqs(records) == [1, 2, 3]
    assert (records[-1].watermark.is_closed, records[-1].watermark.last_seq) == (True, 3)
    assert list(journal_dir(short_dir).glob("*.damaged")) == []


async def test_a_damaged_segment_is_kept_for_the_operator(platform, short_dir):
    journal = writer(short_dir, "0-1-0000")
    journal.append([batch("0-1-0000", 1, 3), batch("0-1-0000", 4, 3)])
    journal.close()
    ((_, path),) = segments(instance_dirs(short_dir)[0])
    data = bytearray(path.read_bytes())
    data[-10] ^= 1
    path.write_bytes(data)
    await Shipper(short_dir, platform.eventlog, clock=SystemClock()).ship_round()
    assert seqs(await shares(platform.eventlog)) == [1, 2, 3]
    (kept,) = journal_dir(short_dir).glob("*.damaged")
    assert kept.read_bytes() == bytes(data)


def test_a_host_has_one_shipper(tmp_path):
    with only_shipper(tmp_path), pytest.raises(UserError, match="Another shipper"), only_shipper(tmp_path):
        pass
    with only_shipper(tmp_path):
        pass


async def test_notices_of_the_journal_go_to_their_topic(platform, short_dir):
    journal = writer(short_dir, "0-1-0000")
    notice = Notice(notice_id="trouble/node_down/bitcoin-regtest/a/0", coin="bitcoin-regtest", time_ms=7)
    journal.append([batch("0-1-0000", 1, 3), JournalEntry(notice=notice).SerializeToString()])
    shipper = Shipper(short_dir, platform.eventlog, clock=SystemClock())
    assert await shipper.ship_round()
    (record,) = await read_all(platform.eventlog, "notices")
    assert (record.key, Notice.FromString(record.payload)) == (b"bitcoin-regtest/", notice)
    assert seqs(await shares(platform.eventlog)) == [1, 2, 3]
    journal.close()
