"""Shares: what counts, what does not and why."""

import json
from fractions import Fraction

import pytest

from native import BLOCK
from proto.lodepool.events.v1.events_pb2 import ShareOutcome
from stratum.errors import Outcome, RejectReason
from stratum.jobs.job import wire_prev_hash
from stratum.jobs.store import PAST_JOBS_MAX
from stratum.protocol.difficulty import ShareTargets, snap
from stratum.validation import Candidate, decide, examine, hash_work, is_block
from tests.fakes.stratum_world import (
    BITCOIN,
    EASY_DIFFICULTY,
    World,
    find_nonce,
    judge,
    request,
    say,
    submit_fields,
    submits,
)


@pytest.fixture
def world():
    return World(difficulty_start=EASY_DIFFICULTY)


def test_outcomes_have_the_numbers_of_the_contract():
    assert {outcome.name: outcome.value for outcome in Outcome} == {
        name.removeprefix("SHARE_OUTCOME_"): number
        for name, number in ShareOutcome.items()
        if not name.endswith("UNSPECIFIED")
    }


def test_a_good_share_is_accepted_and_again_is_a_duplicate(world):
    """S1."""
    session = world.ready_session()
    fields = submit_fields(world, world.jobs.active)
    assert judge(world, session, fields) is None
    assert judge(world, session, fields) is RejectReason.DUPLICATE


@pytest.mark.parametrize("case", ["upper", "short nonce", "no bits", "empty bits"])
def test_other_spellings_of_a_share_are_duplicates(world, case):
    """S1."""
    session = world.ready_session()
    fields = submit_fields(world, world.jobs.active, nonce=0xAB, extranonce2=0xCD)
    assert judge(world, session, fields) is None
    other = {
        "upper": [*fields[:2], *(text.upper() for text in fields[2:])],
        "short nonce": [*fields[:4], "ab"],
        "no bits": [*fields[:5]],
        "empty bits": [*fields, ""],
    }[case]
    assert judge(world, session, other) is RejectReason.DUPLICATE


@pytest.mark.parametrize(
    ("index", "text", "reason"),
    [
        (2, "00", RejectReason.BAD_EXTRANONCE2),
        (2, "0x00000000000001", RejectReason.BAD_EXTRANONCE2),
        (2, " 00000000000001", RejectReason.BAD_EXTRANONCE2),
        (3, "1234567", RejectReason.BAD_NTIME),
        (3, "00000001", RejectReason.NTIME_OUT_OF_RANGE),
        (3, "ffffffff", RejectReason.NTIME_OUT_OF_RANGE),
        (4, "", RejectReason.BAD_NONCE),
        (4, "123456789", RejectReason.BAD_NONCE),
        (4, "+1", RejectReason.BAD_NONCE),
        (1, "ffff", RejectReason.UNKNOWN_JOB),
        (1, "", RejectReason.UNKNOWN_JOB),
        (0, "somebody.else", RejectReason.UNAUTHORIZED),
        (0, "", RejectReason.UNAUTHORIZED),
    ],
)
def test_malformed_fields_are_refused_before_hashing(world, index, text, reason):
    """S1, S2, S3."""
    session = world.ready_session()
    fields = submit_fields(world, world.jobs.active)
    fields[index] = text
    assert judge(world, session, fields) is reason


@pytest.mark.parametrize("params", [[], ["ADDRESS.rig"], ["ADDRESS.rig", "1", 5, None, {}], {"a": 1}, [[[]]]])
def test_a_submit_with_wrong_parameters_is_still_answered_as_a_share(world, params):
    session = world.ready_session()
    session.events_received()
    text = json.dumps(params).replace("ADDRESS", world.address)
    session.receive_data(b'{"id":1,"method":"mining.submit","params":%b}\n' % text.encode())
    (submit,) = submits(session.events_received())
    assert not isinstance(examine(session, submit, world.jobs.by_id), Candidate)


def test_a_share_before_subscribe_or_authorize_gets_its_own_code(world):
    fields = submit_fields(world, world.jobs.active)
    session = world.session()
    assert judge(world, session, fields).code == 25
    say(session, "mining.authorize", [fields[0], "x"])
    session.events_received()
    assert judge(world, session, fields).code == 25
    session = world.session()
    say(session, "mining.subscribe", [])
    session.events_received()
    assert judge(world, session, fields).code == 24


def test_version_bits_are_taken_inside_the_negotiated_mask_only(world):
    """S7."""
    session = world.session()
    say(session, "mining.configure", [["version-rolling"], {"version-rolling.mask": "1fffe000"}])
    say(session, "mining.subscribe", [])
    say(session, "mining.authorize", [world.address + ".rig", "x"])
    session.events_received()
    fields = submit_fields(world, world.jobs.active)
    assert judge(world, session, [*fields, "00002000"]) is None
    assert judge(world, session, [*fields, "00004000"]) is None
    assert judge(world, session, fields) is None
    assert judge(world, session, [*fields, "00000001"]) is RejectReason.BAD_VERSION_BITS
    plain = world.ready_session()
    plain.events_received()
    assert judge(world, plain, [*fields, "00002000"]) is RejectReason.BAD_VERSION_BITS


def test_low_difficulty_is_refused_with_code_23():
    world = World(difficulty_start=Fraction(1, 2**28))
    session = world.ready_session()
    session.events_received()
    job = world.jobs.active
    target = session.target.target
    bad = find_nonce(session, job, is_good=lambda number: number > target)
    good = find_nonce(session, job, is_good=lambda number: number <= target)
    assert judge(world, session, submit_fields(world, job, nonce=bad)) is RejectReason.LOW_DIFFICULTY
    assert judge(world, session, submit_fields(world, job, nonce=good)) is None


def test_a_raised_difficulty_counts_from_the_next_job_on():
    """S4."""
    world = World(difficulty_start=EASY_DIFFICULTY)
    session = world.ready_session()
    old = world.jobs.active
    session.suggest(Fraction(1, 2**20))
    assert judge_only(world, session, submit_fields(world, old, nonce=1)) is None
    new = world.jobs.reissue()
    session.send_job(new, is_clean=False)
    hard = session.target.target
    bad = find_nonce(session, new, is_good=lambda number: number > hard)
    assert judge_only(world, session, submit_fields(world, new, nonce=bad)) is RejectReason.LOW_DIFFICULTY
    assert judge_only(world, session, submit_fields(world, old, nonce=2)) is None
    assert session.target_for(old).work < session.target_for(new).work


def test_a_lowered_difficulty_counts_at_once_for_older_jobs_too():
    """S4."""
    world = World(difficulty_start=Fraction(1, 2**20))
    session = world.ready_session()
    old = world.jobs.active
    session.suggest(EASY_DIFFICULTY)
    session.send_job(world.jobs.reissue(), is_clean=False)
    assert judge_only(world, session, submit_fields(world, old, nonce=1)) is None
    assert session.target_for(old) is session.target


def judge_only(world, session, fields):
    session.events_received()
    return judge(world, session, fields)


def test_past_jobs_stay_valid_until_the_tip_changes(world):
    """S5."""
    session = world.ready_session()
    first = world.jobs.active
    for _ in range(8):
        world.new_job()
    assert judge_only(world, session, submit_fields(world, first)) is None
    for _ in range(PAST_JOBS_MAX):
        world.new_job()
    assert first.job_id not in world.jobs.by_id
    current = world.jobs.active
    world.new_tip()
    assert judge_only(world, session, submit_fields(world, current)) is RejectReason.STALE


def test_a_late_share_is_hashed_all_the_same_and_may_be_a_block():
    """S8."""
    world = World(nbits=0x207FFFFF, difficulty_start=EASY_DIFFICULTY)
    session = world.ready_session()
    session.events_received()
    job = world.jobs.active
    nonce = find_nonce(session, job, is_good=lambda number: number <= job.network_target)
    world.new_tip()
    session.receive_data(request("mining.submit", submit_fields(world, job, nonce=nonce)))
    (submit,) = submits(session.events_received())
    candidate = examine(session, submit, world.jobs.by_id)
    assert isinstance(candidate, Candidate)
    verdict, _ = job.native.verify(candidate.key, candidate.target.target_le)
    assert verdict == BLOCK
    assert is_block(verdict)
    assert decide(candidate, verdict) is RejectReason.STALE


def test_a_share_that_meets_the_network_target_makes_a_block_the_node_takes():
    """S8."""
    world = World(nbits=0x207FFFFF, difficulty_start=EASY_DIFFICULTY)
    session = world.ready_session()
    job = world.jobs.active
    nonce = find_nonce(session, job, is_good=lambda number: number <= job.network_target, extranonce2=9)
    ntime = f"{job.template.curtime:08x}"
    key = job.native.key(session.extranonce1, f"{9:016x}", ntime, f"{nonce:08x}", None, 0)
    assert world.node.submit(job.block(key)) == ""


def test_two_jobs_of_one_template_have_different_search_space(world):
    first = world.jobs.active
    second = world.jobs.reissue()
    coinbases = [json.loads(job.notify_line)["params"][3] for job in (first, second)]
    assert coinbases[0] != coinbases[1]
    assert (json.loads(second.notify_line)["params"][-1], json.loads(second.notify_clean_line)["params"][-1]) == (
        False,
        True,
    )


def test_previous_hash_goes_over_the_wire_in_reversed_words():
    assert wire_prev_hash(bytes(range(32)))[:24] == "030201000706050" + "40b0a0908"


def test_hash_work_is_the_expected_number_of_hashes():
    assert hash_work((2**256 // 1000 - 1).to_bytes(32, "little")) == 1000
    assert hash_work(b"\xff" * 32) == 1
    assert hash_work(bytes(32)) == 2**63 - 1


@pytest.mark.parametrize(
    ("difficulty", "snapped"), [(Fraction(1000), 896), (Fraction(3, 10), Fraction(1, 4)), (Fraction(7), 7)]
)
def test_difficulties_are_rounded_down_to_three_leading_bits(difficulty, snapped):
    assert snap(difficulty) == snapped


def test_share_targets_are_shared_and_work_is_capped():
    targets = ShareTargets(BITCOIN.diff1_target)
    assert targets.of_difficulty(Fraction(5)) is targets.of_difficulty(Fraction(5))
    assert targets.of_target(1).work == 2**63 - 1
    assert json.loads(targets.of_difficulty(Fraction(3, 20000)).line)["params"] == [0.00015]
