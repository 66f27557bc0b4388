"""Dialogues as firmware holds them, one table each: ">" is what the miner sends in one go, "<" each line it gets.

Texts in capitals stand for values of the run: ADDRESS, JOB, NTIME, EN1 (extranonce1). A "<" entry is compared field by
field; a field that is not named is free. Written from the firmware's sources and from the field's descriptions of it.
"""

import json
from fractions import Fraction

import pytest

from stratum.protocol.messages import OddSubmit, accepted_line, rejected_line
from stratum.validation import Candidate, decide, examine
from tests.fakes.stratum_world import BITCOIN, LITECOIN, World

TRUE = {"result": True, "error": None}
JOB_LINE = {"id": None, "method": "mining.notify"}


def difficulty(number):
    return {"id": None, "method": "mining.set_difficulty", "params": [number]}


CGMINER = [
    (">", ['{"id": 0, "method": "mining.configure", "params": [["version-rolling"], {"version-rolling.mask": "1fffe000", "version-rolling.min-bit-count": 2}]}']),
    ("<", {"id": 0, "result": {"version-rolling": True, "version-rolling.mask": "1fffe000"}, "error": None}),
    (">", ['{"id": 1, "method": "mining.subscribe", "params": ["cgminer/4.12.1"]}']),
    ("<", {"id": 1, "result": [[["mining.set_difficulty", "EN1"], ["mining.notify", "EN1"]], "EN1", 8], "error": None}),
    (">", ['{"id": 2, "method": "mining.authorize", "params": ["ADDRESS.s9", "x"]}']),
    ("<", {"id": 2, **TRUE}),
    ("<", difficulty(1)),
    ("<", JOB_LINE),
    (">", ['{"params": ["ADDRESS.s9", "JOB", "0000000000000000", "NTIME", "00000001", "00c00000"], "id": 3, "method": "mining.submit"}']),
    ("<", {"id": 3, **TRUE}),
    (">", ['{"params": ["ADDRESS.s9", "JOB", "0000000000000000", "NTIME", "00000001", "00c00000"], "id": 4, "method": "mining.submit"}']),
    ("<", {"id": 4, "result": None, "error": [22, "duplicate share", None]}),
    (">", ['{"id": 5, "method": "mining.extranonce.subscribe", "params": []}']),
    ("<", {"id": 5, **TRUE}),
]  # fmt: skip

NERDMINER = [
    (">", ['{"id": 1, "method": "mining.subscribe", "params": ["NerdMinerV2/V1.7.0"]}']),
    ("<", {"id": 1, "error": None}),
    (">", [
        '{"params": ["ADDRESS", "x"], "id": 2, "method": "mining.authorize"}',
        '{"id": 3, "method": "mining.suggest_difficulty", "params": [0.00015]}',
    ]),
    ("<", {"id": 2, **TRUE}),
    ("<", {"id": 3, **TRUE}),
    ("<", difficulty(0.00015)),
    ("<", JOB_LINE),
    (">", ['{"id": 4, "method": "mining.submit", "params": ["ADDRESS", "JOB", "00000000000000a1", "NTIME", "7b"]}']),
    ("<", {"id": 4, **TRUE}),
    (">", ['{"id": 5, "method": "mining.suggest_difficulty", "params": [0.00015]}']),
    ("<", {"id": 5, **TRUE}),
]  # fmt: skip

ESP_MINER = [
    (">", ['{"id": 1, "method": "mining.subscribe", "params": ["bitaxe/BM1370/v2.9.0"]}']),
    ("<", {"id": 1, "error": None}),
    (">", ['{"id": 2, "method": "mining.configure", "params": [["version-rolling"], {"version-rolling.mask": "ffffffff"}]}']),
    ("<", {"id": 2, "result": {"version-rolling": True, "version-rolling.mask": "1fffe000"}, "error": None}),
    (">", ['{"id": 3, "method": "mining.suggest_difficulty", "params": [1000]}']),
    ("<", {"id": 3, **TRUE}),
    (">", ['{"id": 4, "method": "mining.authorize", "params": ["ADDRESS.bitaxe", "x"]}']),
    ("<", {"id": 4, **TRUE}),
    ("<", difficulty(1000)),
    ("<", JOB_LINE),
    (">", ['{"id": 1023, "method": "mining.submit", "params": ["ADDRESS.bitaxe", "JOB", "01000000", "NTIME", "1fd20a04", "00000000"]}']),
    ("<", {"id": 1023, "result": None, "error": [20, "extranonce2 must be hex of the size given at subscribe", None]}),
    (">", ['{"id": 0, "method": "pong", "params": []}']),
    ("<", {"id": 0, **TRUE}),
]  # fmt: skip

NICEHASH = [
    (">", ['{"id": 1, "method": "mining.subscribe", "params": ["NiceHash/1.0.0"]}']),
    ("<", {"id": 1, "error": None}),
    (">", [
        '{"id": 2, "method": "mining.authorize", "params": ["ADDRESS.nh", "x"]}',
        '{"id": 3, "method": "mining.extranonce.subscribe", "params": []}',
    ]),
    ("<", {"id": 2, **TRUE}),
    ("<", {"id": 3, **TRUE}),
    ("<", difficulty(500000)),
    ("<", JOB_LINE),
]  # fmt: skip

RENTAL = [
    (">", ['{"id": "a1", "method": "login", "params": {"login": "ADDRESS.mrr", "pass": "d=2048,m=solo"}}']),
    ("<", {"id": "a1", **TRUE}),
    (">", ['{"id": "a2", "method": "mining.subscribe", "params": []}']),
    ("<", {"id": "a2", "error": None}),
    ("<", difficulty(2048)),
    ("<", JOB_LINE),
    (">", ['{"id": "a3", "method": "mining.submit", "params": ["ADDRESS.other", "JOB", "0000000000000001", "NTIME", "00000001"]}']),
    ("<", {"id": "a3", "result": None, "error": [24, "unauthorized worker: authorize this user name first", None]}),
]  # fmt: skip

OLD_ANTMINER = [
    (">", ['{"id": 0, "method": "mining.multi_version", "params": [4]}']),
    ("<", {"id": 0, **TRUE}),
    (">", ['{"id": 1, "method": "mining.capabilities", "params": [{"notify": [], "suggest_difficulty": "1"}]}']),
    ("<", {"id": 1, "result": {}, "error": None}),
    (">", ['{"id": 2, "method": "mining.subscribe", "params": ["bmminer/1.0.0", "deadbeef"]}']),
    ("<", {"id": 2, "error": None}),
    (">", ['{"id": 3, "method": "mining.authorize", "params": ["ADDRESS_ant", ""]}']),
    ("<", {"id": 3, **TRUE}),
    ("<", difficulty(1)),
    ("<", JOB_LINE),
    (">", ['{"params": ["ADDRESS_ant", "JOB", "000000000000ABCD", "NTIME", "0000ABCD", null], "id": 4, "method": "mining.submit"}']),
    ("<", {"id": 4, **TRUE}),
    (">", ['{"params": ["ADDRESS_ant", "gone", "000000000000ABCD", "NTIME", "0000ABCD"], "id": 5, "method": "mining.submit"}']),
    ("<", {"id": 5, "result": None}),
    (">", ['{"id": 6, "method": "mining.get_transactions", "params": ["JOB"]}']),
    ("<", {"id": 6, "result": [], "error": None}),
]  # fmt: skip

PROXY_WITH_MANY_WORKERS = [
    (">", ['{"id": 1, "method": "mining.subscribe", "params": ["proxy/1"]}']),
    ("<", {"id": 1, "error": None}),
    (">", ['{"id": 2, "method": "mining.authorize", "params": ["ADDRESS.one", "x"]}']),
    ("<", {"id": 2, **TRUE}),
    ("<", difficulty(1)),
    ("<", JOB_LINE),
    (">", ['{"id": 3, "method": "mining.authorize", "params": ["ADDRESS.two", "x"]}']),
    ("<", {"id": 3, **TRUE}),
    (">", ['{"id": 4, "method": "mining.authorize", "params": ["not-an-address", "x"]}']),
    ("<", {"id": 4, "result": None}),
    (">", ['{"id": 5, "method": "mining.submit", "params": ["ADDRESS.two", "JOB", "0000000000000000", "NTIME", "00000005"]}']),
    ("<", {"id": 5, **TRUE}),
]  # fmt: skip


def answers(world, session):
    """Answer shares as if every hash were good enough: transcripts are about words, not luck."""
    for event in session.events_received():
        if isinstance(event, OddSubmit) or hasattr(event, "params"):
            examined = examine(session, event, world.jobs.by_id)
            reason = decide(examined, 1) if isinstance(examined, Candidate) else examined.reason
            yield accepted_line(event.id) if reason is None else rejected_line(event.id, reason)


@pytest.mark.parametrize(
    ("transcript", "coin", "start"),
    [
        pytest.param(CGMINER, BITCOIN, 1, id="cgminer"),
        pytest.param(CGMINER, LITECOIN, 1, id="cgminer-scrypt"),
        pytest.param(NERDMINER, BITCOIN, 1, id="NerdMiner"),
        pytest.param(ESP_MINER, BITCOIN, 1, id="ESP-Miner"),
        pytest.param(NICEHASH, BITCOIN, 1, id="NiceHash"),
        pytest.param(RENTAL, BITCOIN, 1, id="MiningRigRentals"),
        pytest.param(OLD_ANTMINER, BITCOIN, 1, id="old Antminer"),
        pytest.param(PROXY_WITH_MANY_WORKERS, BITCOIN, 1, id="proxy"),
    ],
)
def test_firmware_gets_the_lines_it_can_work_with_in_their_order(transcript, coin, start):
    world = World(coin=coin, nbits=0x170FFFFF, difficulty_start=Fraction(start), difficulty_min=Fraction(1, 2**20))
    session = world.session()
    job = world.jobs.active
    got: list[dict] = []
    for direction, entry in transcript:
        if direction == ">":
            assert not got, f"unexpected lines: {got}"
            text = "\n".join(entry) + "\n"
            values = {"ADDRESS": world.address, "JOB": job.job_id, "NTIME": f"{job.template.curtime:08x}"}
            for name, known in values.items():
                text = text.replace(name, known)
            session.receive_data(text.encode())
            sent = session.data_to_send() + b"".join(answers(world, session))
            got = [json.loads(line) for line in sent.splitlines()]
            continue
        line = got.pop(0)
        expected = json.loads(json.dumps(entry).replace("EN1", session.extranonce1.hex()))
        assert {name: line.get(name) for name in expected} == expected
    assert not got


def test_a_notify_fits_the_buffer_of_the_smallest_firmware():
    job = World().jobs.active
    assert len(job.notify_clean_line) <= 4096
    assert json.loads(job.notify_clean_line)["params"][-1] is True
