"""What holds for any input: splitting, spelling, cutting, merging."""

import itertools
import json
import tempfile
from pathlib import Path

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from coins.work import work_from_target
from proto.lodepool.events.v1.events_pb2 import JournalEntry, Watermark
from stratum.errors import LineTooLong
from stratum.journal import JournalWriter, SegmentReader, entries, segments
from stratum.protocol.difficulty import snap
from stratum.protocol.framing import split_lines
from stratum.protocol.messages import Submit, decode_request, decode_submit
from stratum.protocol.methods import lenient_submit
from stratum.protocol.session import Session
from stratum.validation import Candidate, examine, hash_work
from tests.fakes.stratum_world import EASY_DIFFICULTY, World, request, submit_fields, submits

WORLD = World(difficulty_start=EASY_DIFFICULTY)
DIALOGUE = b"".join(
    [
        request("mining.configure", [["version-rolling"], {"version-rolling.mask": "ffffffff"}], 1),
        request("mining.subscribe", ["cgminer/4.12"], 2),
        b"\r\n",
        request("mining.authorize", [WORLD.address + ".rig", "d=2"], 3),
        b"not json\n",
        request("mining.suggest_difficulty", [3], "four"),
        *(request("mining.submit", submit_fields(WORLD, WORLD.jobs.active, nonce=n), 10 + n) for n in range(5)),
        request("mining.submit", submit_fields(WORLD, WORLD.jobs.active), None),
        request("mining.teleport", {}, 99),
    ]
)


def converse(chunks):
    session = WORLD.session()
    events, sent = [], b""
    for chunk in chunks:
        session.receive_data(chunk)
        events += session.events_received()
        sent += session.data_to_send()
    extranonce1 = session.extranonce1.hex().encode()
    session.receive_eof()
    answers = [json.loads(line) for line in sent.replace(extranonce1, b"EXTRANONCE").splitlines()]
    replies = [answer for answer in answers if "result" in answer]
    return [(type(event), getattr(event, "id", None), getattr(event, "params", None)) for event in events], replies


WHOLE = converse([DIALOGUE])


@given(cuts=st.lists(st.integers(0, len(DIALOGUE)), max_size=20))
@settings(max_examples=150)
def test_any_split_of_the_stream_gives_the_same_events_and_answers(cuts):
    edges = [0, *sorted(cuts), len(DIALOGUE)]
    chunks = [DIALOGUE[start:end] for start, end in itertools.pairwise(edges)]
    assert converse(chunks) == WHOLE


text = st.text(max_size=40)
params = st.lists(text, max_size=8)


@given(
    request_id=st.integers(-(2**63), 2**64 - 1), method=st.sampled_from(["mining.submit", "mining.ping"]), params=params
)
def test_the_fast_way_reads_a_submit_as_the_slow_way_does(request_id, method, params):
    line = json.dumps({"id": request_id, "method": method, "params": params}).encode()
    fast = decode_submit(line)
    slow = decode_request(line)
    assert fast.method == slow.method
    if request_id >= 0:
        submit = lenient_submit(slow)
        assert isinstance(submit, Submit)
        expected = params[:5] if len(params) >= 6 and params[5] is None else params
        assert (fast.id, fast.params) == (submit.id, submit.params) == (request_id, expected)


@given(data=st.binary(max_size=200), parts=st.integers(1, 7))
def test_lines_do_not_depend_on_how_they_arrive(data, parts):
    whole, rest = split_lines(b"", data, line_bytes_max=1000)
    found, partial = [], b""
    step = max(len(data) // parts, 1)
    for start in range(0, len(data), step):
        lines, partial = split_lines(partial, data[start : start + step], line_bytes_max=1000)
        found += lines
    assert (found, partial) == (whole, rest)
    assert b"\n".join([*whole, rest]) == data


@given(data=st.binary(max_size=300), limit=st.integers(1, 50))
def test_no_line_ever_exceeds_the_limit(data, limit):
    try:
        lines, rest = split_lines(b"", data, line_bytes_max=limit)
    except LineTooLong:
        assert any(len(line) > limit for line in data.split(b"\n"))
    else:
        assert all(len(line) <= limit for line in [*lines, rest])


hexish = st.text(alphabet="0123456789abcdefABCDEF xX+-_", max_size=18)


@given(extranonce2=hexish, ntime=hexish, nonce=hexish, bits=st.none() | hexish)
def test_two_spellings_with_the_same_numbers_have_the_same_key(extranonce2, ntime, nonce, bits):
    """S1."""
    session = WORLD.ready_session()
    session.events_received()
    fields = [f"{WORLD.address}.rig", WORLD.jobs.active.job_id, extranonce2, ntime, nonce]
    if bits is not None:
        fields.append(bits)
    session.receive_data(request("mining.submit", fields))
    (submit,) = submits(session.events_received())
    examined = examine(session, submit, WORLD.jobs.by_id)
    session.receive_eof()
    if isinstance(examined, Candidate):
        assert len(examined.key) == 4 + 8 + 4 + 4 + 4
        assert int(extranonce2, 16) == int.from_bytes(examined.key[4:12], "big")
        assert int(ntime, 16) == int.from_bytes(examined.key[12:16], "big")
        assert int(nonce, 16) == int.from_bytes(examined.key[16:20], "big")


@given(payloads=st.lists(st.integers(0, 2**40), min_size=1, max_size=20), cut=st.integers(0, 400))
@settings(max_examples=60, deadline=None)
def test_a_journal_cut_anywhere_gives_a_prefix(payloads, cut):
    """D4."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "coin" / "instance"
        writer = JournalWriter(folder, segment_bytes_max=1 << 20)
        writer.append([JournalEntry(watermark=Watermark(height=number)).SerializeToString() for number in payloads])
        writer.close()
        ((_, path),) = segments(folder)
        path.write_bytes(path.read_bytes()[:cut])
        heights = [entry.watermark.height for entry in entries(folder)]
        assert heights == payloads[: len(heights)]
        reader = SegmentReader(path)
        assert len(list(reader.frames())) == len(heights)
        assert bool(reader.damage) == (reader.position < path.stat().st_size)


@given(number=st.integers(0, 2**256 - 1))
def test_the_work_of_a_hash_is_the_work_of_a_target_that_it_just_meets(number):
    assert hash_work(number.to_bytes(32, "little")) == min(work_from_target(number), 2**63 - 1)


@given(difficulty=st.fractions(min_value=2**-30, max_value=2**60))
def test_snapping_goes_down_by_less_than_a_quarter(difficulty):
    snapped = snap(difficulty)
    assert snapped <= difficulty < snapped * 5 / 4
    assert snap(snapped) == snapped


@given(line=st.binary(max_size=200))
def test_any_line_is_decoded_or_refused(line):
    session = Session(WORLD.rules, now_s=0)
    session.receive_data(line + b"\n")
    for answer in session.data_to_send().splitlines():
        msgspec.json.decode(answer)
