"""User names, passwords, the gate, the PROXY header, settings, blocks on disk, and merged batches."""

from fractions import Fraction

import msgspec
import pytest

from nodes.interface import SubmitOutcome, SubmitStatus
from proto.lodepool.events.v1.events_pb2 import BlockFound, ShareBatch, Submitter
from runtime.errors import UserError
from runtime.process import free_port
from stratum import blocks
from stratum.config import StratumSettings
from stratum.errors import ExtranonceExhausted, ProtocolError
from stratum.gate import Gate
from stratum.protocol.extranonce import ExtranonceSpace
from stratum.protocol.messages import positive_fraction
from stratum.protocol.proxy import parse_proxy_header
from stratum.protocol.user import PasswordOptions, parse_password, parse_user
from stratum.shipper import merge_batches
from stratum.supervisor import child_specs, require_free_port
from tests.fakes.stratum_world import BITCOIN, World


@pytest.mark.parametrize(("suffix", "worker"), [("", ""), (".rig1", "rig1"), ("_rig1", "rig1"), (".a.b_c", "a.b_c")])
def test_user_is_address_and_worker(suffix, worker):
    address = World().address
    assert parse_user(BITCOIN, address + suffix) == (address, worker)
    assert parse_user(BITCOIN, address.upper() + suffix) == (address, worker)


@pytest.mark.parametrize(
    ("password", "options"),
    [
        ("", PasswordOptions()),
        ("x", PasswordOptions()),
        ("d=512", PasswordOptions(difficulty=Fraction(512))),
        ("x,diff=0.25 m=SOLO", PasswordOptions(difficulty=Fraction(1, 4), scheme="solo")),
        ("fd=1e3;m=", PasswordOptions(difficulty=Fraction(1000), is_fixed=True)),
        ("d=inf,d=nan,d=0", PasswordOptions()),
    ],
)
def test_password_options(password, options):
    assert parse_password(password) == options


@pytest.mark.parametrize("value", [True, None, [], {}, "", "0", 0, -1, "1e400000", "1" * 50, "0x10", "١"])
def test_what_is_no_positive_number_is_none(value):
    assert positive_fraction(value) is None


def test_gate_counts_by_address_and_forgets_bans_in_time():
    gate = Gate(sessions_max=3, sessions_per_address_max=2, ban_s=10)
    assert gate.enter("a", 0) == gate.enter("a", 0) == ""
    assert "2 connections from your address" in gate.enter("a", 0)
    assert gate.enter("b", 0) == ""
    assert "3 connections" in gate.enter("c", 0)
    gate.leave("a")
    gate.ban("a", "garbage", 100)
    assert "banned for another 5 s: garbage" in gate.enter("a", 105)
    assert gate.enter("a", 111) == ""
    assert gate.session_count == 3


def test_extranonces_run_out_loudly_and_come_back():
    space = ExtranonceSpace(1)
    taken = [space.take() for _ in range(65_536)]
    assert len(set(taken)) == 65_536
    with pytest.raises(ExtranonceExhausted):
        space.take()
    space.release(taken[77])
    assert space.take() == taken[77]


V2 = b"\r\n\r\n\x00\r\nQUIT\n"


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"PROXY TCP4 203.0.113.7 10.0.0.1 5 3333\r\n{}", ("203.0.113.7", b"{}")),
        (b"PROXY TCP6 2001:db8::1 ::1 5 3333\r\n", ("2001:db8::1", b"")),
        (b"PROXY UNKNOWN\r\nx", (None, b"x")),
        (b"PROXY TCP4 203.0.113.7", None),
        (b"PRO", None),
        (V2 + b"\x21\x11\x00\x0c" + bytes([203, 0, 113, 9, 10, 0, 0, 1, 0, 5, 1, 2]) + b"y", ("203.0.113.9", b"y")),
        (V2 + b"\x20\x00\x00\x00z", (None, b"z")),
        (V2 + b"\x21\x11\x00\x0c", None),
        (V2[:7], None),
    ],
)
def test_proxy_headers(data, expected):
    assert parse_proxy_header(data) == expected


@pytest.mark.parametrize(
    "data",
    [
        b"{",
        b"PROXY TCP4 x y 1 2\r\n",
        b"PROXY TCP4\r\n",
        b"PROXY " + b"x" * 200,
        V2 + b"\x31\x11\x00\x00",
        V2 + b"\x21\x11\xff\xff",
    ],
)
def test_what_is_no_proxy_header_is_refused(data):
    with pytest.raises(ProtocolError):
        parse_proxy_header(data)


@pytest.mark.parametrize(
    "fields",
    [
        {"scheme_default": "pps"},
        {"schemes_allowed": ["pplns", "pps"]},
        {"difficulty_start": 1, "difficulty_min": 2},
        {"difficulty_start": 4, "difficulty_max": 2},
        {"proxy_sources": ["nonsense"]},
        {"port": 70000},
        {"journal_bytes_max": 100_000, "journal_segment_bytes": 60_000},
        {"prot": 3333},
        {"version_mask": "xyz"},
    ],
)
def test_settings_that_make_no_sense_are_refused(fields):
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(fields, StratumSettings)


def test_a_taken_port_is_named(tmp_path):
    import socket

    port = free_port()
    settings = StratumSettings(host="127.0.0.1", port=port, worker_count=2)
    require_free_port(settings)
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.bind(("127.0.0.1", port))
        other.listen()
        with pytest.raises(UserError, match=str(port)):
            require_free_port(settings)


def test_each_process_of_a_host_is_started_with_its_role_and_slot():
    specs = child_specs(StratumSettings(worker_count=2), lambda role, slot: ("run", role, str(slot)), {"A": "b"})
    assert [(spec.name, spec.command[1:]) for spec in specs] == [
        ("stratum-0", ("stratum", "0")),
        ("stratum-1", ("stratum", "1")),
        ("shipper", ("shipper", "0")),
    ]
    assert all(spec.environment == {"A": "b"} for spec in specs)


def test_a_found_block_is_on_disk_until_a_definite_answer(tmp_path):
    """D2."""
    found = BlockFound(coin="c", height=12, block_hash_hex="ab" * 32, account="a", block=b"\x01\x02")
    stored = blocks.store(tmp_path, found)
    assert stored.path.read_text() == "0102\n"
    (listed,) = blocks.list_blocks(tmp_path)
    assert (listed.height, listed.is_done, listed.read_block()) == (12, False, b"\x01\x02")
    assert listed.read_found() == found
    blocks.mark_done(stored, {"n": SubmitOutcome(status=SubmitStatus.ACCEPTED)})
    assert blocks.list_blocks(tmp_path)[0].is_done


def test_only_taken_by_one_or_refused_by_all_is_definite():
    """D2."""
    accepted = SubmitOutcome(status=SubmitStatus.ACCEPTED)
    refused = SubmitOutcome(status=SubmitStatus.REJECTED, reason="high-hash")
    silent = SubmitOutcome(status=SubmitStatus.INCONCLUSIVE, reason="timeout")
    assert blocks.is_definite({"a": accepted, "b": silent})
    assert blocks.is_definite({"a": refused, "b": refused})
    assert not blocks.is_definite({"a": refused, "b": silent})
    assert not blocks.is_definite({})


def test_merged_batches_keep_every_share_its_worker_and_its_time():
    def batch(first_seq, base_ms, workers):
        count = len(workers)
        return ShareBatch(
            instance="i",
            coin="c",
            first_seq=first_seq,
            base_time_ms=base_ms,
            submitters=[Submitter(account="a", worker=name) for name in workers],
            submitter_index=list(range(count)),
            time_offset_ms=[5] * count,
            height=[9] * count,
            work=[first_seq] * count,
            hash_work=[1] * count,
            outcome=[1] * count,
        )

    merged = merge_batches([batch(1, 1000, "xy"), batch(3, 990, "yz"), batch(5, 2000, "x")])
    shares = [
        (merged.submitters[place].worker, merged.base_time_ms + offset, work)
        for place, offset, work in zip(merged.submitter_index, merged.time_offset_ms, merged.work, strict=True)
    ]
    assert shares == [("x", 1005, 1), ("y", 1005, 1), ("y", 995, 3), ("z", 995, 3), ("x", 2005, 5)]
    assert (merged.first_seq, len(merged.outcome), len(merged.submitters)) == (1, 5, 3)
