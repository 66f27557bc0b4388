"""Vardiff aims at a share interval, and leaves chance alone."""

from fractions import Fraction

from stratum.protocol.vardiff import LOWER_MAX, RAISE_MAX, Vardiff, VardiffRules
from tests.fakes.stratum_world import World

RULES = VardiffRules(share_interval_ms=10_000, retarget_interval_ms=60_000)


def shares(count, *, work, now_ms=0):
    vardiff = Vardiff(0)
    for _ in range(count):
        vardiff.record(work)
    return vardiff


def test_the_worked_example_of_the_docstring():
    assert shares(24, work=1000).retarget(60_000, work=1000, rules=RULES) == 4000


def test_nothing_changes_before_the_interval_is_over():
    assert shares(3, work=1000).retarget(59_000, work=1000, rules=RULES) is None


def test_the_expected_number_of_shares_changes_nothing():
    for count in range(2, 11):
        assert shares(count, work=1000).retarget(60_000, work=1000, rules=RULES) is None


def test_a_burst_is_not_waited_for():
    assert shares(8, work=1000).retarget(2_000, work=1000, rules=RULES) == 40_000
    assert shares(8, work=1000).retarget(0, work=1000, rules=RULES) == 1000 * RAISE_MAX


def test_silence_lowers_step_by_step():
    assert shares(0, work=1000).retarget(240_000, work=1000, rules=RULES) == 1000 // LOWER_MAX


def test_a_small_deviation_is_corrected_once_there_is_enough_evidence():
    assert shares(12, work=1000).retarget(60_000, work=1000, rules=RULES) is None
    assert shares(40, work=1000).retarget(240_000, work=1000, rules=RULES) == 1666


def test_a_steady_miner_settles_and_stays():
    world = World(nbits=0x170FFFFF)
    session = world.ready_session()
    hashes_per_s = 50_000_000_000_000
    now_s, done, changes = 0.0, 0.0, []
    for _ in range(4000):
        now_s += 1
        done += hashes_per_s
        while done >= session.target.work:
            done -= session.target.work
            session.record_accepted(session.target.work, now_s)
            if session.is_retarget_pending:
                break
        session.tick(now_s)
        session.receive_data(b"\n")
        if session.is_retarget_pending:
            session.send_job(world.jobs.reissue(), is_clean=False)
            changes.append((now_s, session.target.work))
    assert changes[-1][0] < 300
    interval_s = Fraction(session.target.work, hashes_per_s)
    assert Fraction(20, 3) <= interval_s <= 15


def test_an_asic_never_goes_below_one_but_a_small_device_does():
    for agent, lowest in (("bmminer/1.0", Fraction(1)), ("NerdMinerV2", Fraction(1, 2**20))):
        world = World(difficulty_start=Fraction(4), difficulty_min=Fraction(1, 2**20))
        session = world.ready_session(agent=agent)
        for step in range(1, 100):
            session.receive_data(b"\n")
            session.tick(step * 300)
            if session.is_retarget_pending:
                session.send_job(world.jobs.reissue(), is_clean=False)
        assert session.target.difficulty == lowest


def test_a_fixed_difficulty_stays_fixed():
    world = World(nbits=0x170FFFFF)
    session = world.ready_session(password="fd=8")
    for _ in range(100):
        session.record_accepted(session.target.work, 1.0)
    session.tick(100)
    session.suggest(Fraction(99))
    assert not session.is_retarget_pending
    assert session.target.difficulty == 8


def test_a_miners_own_difficulty_is_the_floor():
    world = World(nbits=0x170FFFFF)
    session = world.ready_session(password="d=64")
    for step in range(1, 30):
        session.receive_data(b"\n")
        session.tick(step * 300)
    assert not session.is_retarget_pending
    assert session.target.difficulty == 64
