"""The journal: what append() has taken is there, whatever happens next."""

import errno
import os

import pytest

from proto.lodepool.events.v1.events_pb2 import JournalEntry, ShareBatch, Watermark
from runtime.clock import ManualClock
from stratum.errors import JournalUnavailable, PoolCannotStart
from stratum.journal import (
    JournalWriter,
    SegmentReader,
    entries,
    instance_dirs,
    is_alive,
    journal_dir,
    segments,
    summarise,
)
from stratum.lease import FilePrefixSource


@pytest.fixture
def folder(tmp_path):
    return journal_dir(tmp_path) / "litecoin-regtest" / "0-1-0000"


def entry(number):
    return JournalEntry(watermark=Watermark(instance="i", last_seq=number)).SerializeToString()


def numbers(folder, damages=None):
    return [found.watermark.last_seq for found in entries(folder, damages)]


def test_entries_come_back_in_order_while_the_writer_lives(folder):
    """D1."""
    writer = JournalWriter(folder, segment_bytes_max=1 << 20)
    writer.append([entry(1), entry(2)])
    writer.append([entry(3)])
    assert numbers(folder) == [1, 2, 3]
    assert is_alive(folder)
    writer.close()
    assert not is_alive(folder)


def test_segments_rotate_and_keep_the_order(folder):
    writer = JournalWriter(folder, segment_bytes_max=64)
    for number in range(50):
        writer.append([entry(number)])
    writer.close()
    assert len(segments(folder)) > 5
    assert numbers(folder) == list(range(50))
    assert writer.bytes_on_disk() == sum(path.stat().st_size for _, path in segments(folder))


def test_a_torn_tail_is_named_and_everything_before_it_is_read(folder):
    """D4."""
    writer = JournalWriter(folder, segment_bytes_max=1 << 20)
    writer.append([entry(1), entry(2)])
    writer.close()
    (_, path), *_ = segments(folder)
    path.write_bytes(path.read_bytes()[:-1])
    damages = []
    assert numbers(folder, damages) == [1]
    assert "unfinished frame" in damages[0]


def test_a_flipped_bit_is_found(folder):
    writer = JournalWriter(folder, segment_bytes_max=1 << 20)
    writer.append([entry(1), entry(2), entry(3)])
    writer.close()
    (_, path), *_ = segments(folder)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    damages = []
    assert numbers(folder, damages) == [1]
    assert "checksum" in damages[0]


def test_an_absurd_length_is_damage_not_memory(folder):
    writer = JournalWriter(folder, segment_bytes_max=1 << 20)
    writer.append([b"\xff" * 3])
    writer.close()
    (_, path), *_ = segments(folder)
    path.write_bytes(b"\xff" * 100)
    reader = SegmentReader(path)
    assert list(reader.frames()) == []
    assert not reader.is_unfinished


@pytest.mark.parametrize("written", [0, 1, 7, 20])
def test_a_full_disk_refuses_and_leaves_nothing_behind(folder, monkeypatch, written):
    """D6."""
    writer = JournalWriter(folder, segment_bytes_max=1 << 20)
    writer.append([entry(1)])
    real, calls = os.write, []

    def full(fd, data):
        calls.append(len(data))
        if len(calls) == 1 and written:
            return real(fd, bytes(data)[:written])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("stratum.journal.os.write", full)
    with pytest.raises(JournalUnavailable, match="No space left"):
        writer.append([entry(2), entry(3)])
    monkeypatch.undo()
    writer.append([entry(4)])
    damages = []
    assert numbers(folder, damages) == [1, 4]
    assert damages == []


def test_short_writes_are_continued(folder, monkeypatch):
    writer = JournalWriter(folder, segment_bytes_max=1 << 20)
    real = os.write
    monkeypatch.setattr("stratum.journal.os.write", lambda fd, data: real(fd, bytes(data)[:5]))
    writer.append([entry(1), entry(2)])
    assert numbers(folder) == [1, 2]


def test_when_the_tail_cannot_be_cut_off_a_new_segment_begins(folder, monkeypatch):
    writer = JournalWriter(folder, segment_bytes_max=1 << 20)
    writer.append([entry(1)])
    real, calls = os.write, []

    def torn(fd, data):
        calls.append(1)
        if len(calls) == 1:
            return real(fd, bytes(data)[:9])
        raise OSError(errno.EIO, "Input/output error")

    def no_truncate(_fd, _size):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr("stratum.journal.os.write", torn)
    monkeypatch.setattr("stratum.journal.os.ftruncate", no_truncate)
    with pytest.raises(JournalUnavailable):
        writer.append([entry(2)])
    monkeypatch.undo()
    writer.append([entry(3)])
    assert numbers(folder, []) == [1, 3]


def test_a_failing_sync_says_so(folder, monkeypatch):
    writer = JournalWriter(folder, segment_bytes_max=1 << 20)
    writer.append([entry(1)])

    def broken(_fd):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr("stratum.journal.os.fdatasync", broken)
    with pytest.raises(JournalUnavailable, match="Input/output"):
        writer.sync()


def test_a_journal_that_cannot_be_made_stops_the_start(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(PoolCannotStart, match="cannot be written"):
        JournalWriter(tmp_path / "file" / "instance", segment_bytes_max=4096)


def test_summary_counts_shares_and_changes_nothing(folder):
    """D4."""
    writer = JournalWriter(folder, segment_bytes_max=1 << 20)
    batch = ShareBatch(first_seq=5, work=[10, 20, 30], hash_work=[11, 0, 35], outcome=[1, 3, 1], height=[1, 1, 1])
    writer.append([JournalEntry(batch=batch).SerializeToString(), entry(7)])
    first, second = summarise(folder), summarise(folder)
    assert first == second
    assert (first.share_count, first.accepted_count, first.work) == (3, 2, 40)
    assert (first.first_seq, first.last_seq, first.is_alive) == (5, 7, True)
    assert instance_dirs(folder.parents[2]) == [folder]


async def test_no_two_lives_have_the_same_prefix_or_name(tmp_path):
    source = FilePrefixSource(tmp_path, slot=0, clock=ManualClock(1.0))
    leases = []
    for _ in range(300):
        async with source.hold() as lease:
            leases.append(lease)
    assert [lease.prefix for lease in leases] == list(range(300))
    assert len({lease.instance for lease in leases}) == 300
    assert leases[255].instance == "0-3e8-00ff"
    assert (leases[0].is_held, leases[0].left_s) == (True, None)
