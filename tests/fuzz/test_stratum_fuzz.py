"""Any bytes on the miners' port give an answer, an error line or a closed connection; never an exception.

Every run prints its seed; LODEPOOL_FUZZ_SEED replays it, LODEPOOL_FUZZ_ROUNDS makes it longer.
"""

import json
import os
import random
import sys
import time

import msgspec
import pytest

from stratum.protocol.messages import OddSubmit, Submit
from stratum.protocol.session import State
from stratum.validation import Candidate, decide, examine
from tests.fakes.stratum_world import EASY_DIFFICULTY, World, request, submit_fields

ROUNDS = int(os.environ.get("LODEPOOL_FUZZ_ROUNDS", "3000"))
METHODS = [
    "mining.subscribe", "mining.authorize", "mining.submit", "mining.configure", "mining.suggest_difficulty",
    "mining.suggest_target", "mining.suggest_difficulty(1)", "mining.extranonce.subscribe", "mining.ping", "login",
    "mining.get_transactions", "mining.term", "client.get_version", "", "nonsense",
]  # fmt: skip


def scalar(rng):
    return rng.choice(
        [
            None,
            True,
            False,
            0,
            -1,
            1,
            2**63,
            2**70,
            1e308,
            -0.0,
            "",
            "x",
            "00" * 40,
            "\x00",
            "é\ud7ff",
            "1e9",
            "ffffffff",
        ]
    )


def value(rng, depth=0):
    kind = rng.random()
    if depth > 3 or kind < 0.6:
        return scalar(rng)
    if kind < 0.8:
        return [value(rng, depth + 1) for _ in range(rng.randrange(5))]
    keys = ["version-rolling.mask", "minimum-difficulty.value", "login", "pass", "id", "x"]
    return {rng.choice(keys): value(rng, depth + 1) for _ in range(rng.randrange(4))}


def line(rng, world):
    kind = rng.random()
    good = request(rng.choice(METHODS), [world.address + ".rig", "x"], rng.randrange(1000))
    if kind < 0.25:
        body = {"id": scalar(rng), "method": rng.choice(METHODS), "params": value(rng)}
        return json.dumps(body).encode("utf-8", "surrogatepass") + b"\n"
    if kind < 0.45:
        fields = submit_fields(world, world.jobs.active, nonce=rng.randrange(2**32))
        fields[rng.randrange(5)] = rng.choice([scalar(rng), fields[0], "zz", "0" * 16])
        return request("mining.submit", fields + [scalar(rng)] * rng.randrange(3))
    if kind < 0.6:
        return good
    if kind < 0.75:
        data = bytearray(good)
        for _ in range(rng.randrange(1, 5)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        return bytes(data)
    if kind < 0.85:
        return good[: rng.randrange(len(good))]
    if kind < 0.9:
        return b"[" * rng.randrange(4000) + b"\n"
    return rng.randbytes(rng.randrange(300))


def act(world, session):
    """Do what the shell does with events."""
    for event in session.events_received():
        if isinstance(event, Submit | OddSubmit):
            examined = examine(session, event, world.jobs.by_id)
            if isinstance(examined, Candidate):
                verdict, _ = examined.job.native.verify(examined.key, examined.target.target_le)
                decide(examined, verdict)
    for answer in session.data_to_send().splitlines():
        decoded = msgspec.json.decode(answer)
        assert {"id", "result", "error"} == set(decoded) or {"id", "method", "params"} == set(decoded)


@pytest.mark.parametrize("shift", range(3))
def test_any_bytes_are_answered_or_end_the_connection(shift):
    seed = int(os.environ.get("LODEPOOL_FUZZ_SEED", str(time.time_ns()))) + shift
    sys.stdout.write(f"LODEPOOL_FUZZ_SEED={seed - shift}\n")
    rng = random.Random(seed)
    world = World(difficulty_start=EASY_DIFFICULTY, bad_lines_max=50)
    session = world.session()
    sessions = closed = 0
    for step in range(ROUNDS):
        session.receive_data(line(rng, world))
        act(world, session)
        if rng.random() < 0.02:
            session.tick(step * rng.random())
        if rng.random() < 0.01:
            job = world.new_tip() if rng.random() < 0.1 else world.jobs.reissue()
            if session.is_ready:
                session.send_job(job, is_clean=job.serial % 2 == 0)
        act(world, session)
        closed += session.state is State.CLOSED
        if session.state is State.CLOSED or rng.random() < 0.01:
            session.receive_eof()
            act(world, session)
            session = world.session(now_s=step)
            sessions += 1
    session.receive_eof()
    assert sessions > 10
    assert closed > 0
    assert world.rules.extranonces.in_use_count == 0
