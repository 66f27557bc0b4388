"""Settings that change while miners are connected, bans by list, and what a worker tells about itself."""

from dataclasses import replace
from fractions import Fraction

import msgspec
import pytest

from runtime.live import Live
from runtime.telemetry.families import declared
from stratum import metrics
from stratum.backlog import MARKS_MAX, Backlog
from stratum.config import StratumSettings
from stratum.errors import ExtranonceExhausted, RejectReason
from stratum.gate import AUTHORISATIONS_PER_SESSION, AUTHORISATIONS_REST_S, AddressList, Gate, plain_address
from stratum.lease import INSTANCE_CHARS_MAX, PREFIXES, instance_name, prefix_timing
from stratum.protocol.extranonce import ExtranonceSpace
from stratum.protocol.proxy import parse_proxy_header
from stratum.protocol.session import Session
from stratum.protocol.user import takes_reconnect
from tests.fakes.stratum_world import World, find_nonce, judge, lines, submit_fields

EASY = Fraction(1, 2**20)
HIGH_NBITS = 0x1B00FFFF
"""A network difficulty of 65,536: the difficulties here are below it."""


def announced(session):
    return [line["params"][0] for line in lines(session.data_to_send()) if line["method"] == "mining.set_difficulty"]


def change(world, session, **rules):
    """Put other rules into force and give the next job, as the server does."""
    session.use_rules(replace(world.rules, **rules))
    is_pending = session.is_retarget_pending
    job = world.jobs.reissue()
    session.send_job(job, is_clean=False)
    return is_pending, job


def test_a_higher_minimum_reaches_a_running_session_with_the_next_job():
    world = World(difficulty_start=Fraction(2), nbits=HIGH_NBITS)
    session = world.ready_session()
    is_pending, _ = change(world, session, difficulty_min=Fraction(8))
    assert is_pending
    assert announced(session) == [8]
    is_pending, _ = change(world, session, difficulty_min=Fraction(8))
    assert not is_pending
    assert announced(session) == []


def test_a_lower_maximum_reaches_a_running_session_and_a_difficulty_inside_the_bounds_stays():
    world = World(difficulty_start=Fraction(16), nbits=HIGH_NBITS)
    session = world.ready_session()
    assert change(world, session, difficulty_min=Fraction(4), difficulty_max=Fraction(16))[0] is False
    assert announced(session) == []
    assert change(world, session, difficulty_max=Fraction(8))[0] is True
    assert announced(session) == [8]


def test_shares_of_earlier_jobs_keep_their_own_difficulty_when_the_operator_changes_the_bounds():
    """S4."""
    world = World(difficulty_start=EASY)
    session = world.ready_session(agent="cpuminer/2", password="d=0.00000095367431640625")
    old_job = world.jobs.active
    change(world, session, difficulty_min=Fraction(1))
    easy_target = world.rules.targets.of_difficulty(EASY).target
    hard_target = world.rules.targets.of_difficulty(Fraction(1)).target
    nonce = find_nonce(session, old_job, is_good=lambda number: hard_target < number <= easy_target)
    assert judge(world, session, submit_fields(world, old_job, nonce=nonce)) is None
    nonce = find_nonce(session, world.jobs.active, is_good=lambda number: hard_target < number <= easy_target)
    fields = submit_fields(world, world.jobs.active, nonce=nonce)
    assert judge(world, session, fields) is RejectReason.LOW_DIFFICULTY


@pytest.mark.parametrize("option", ["d=4", "fd=4"])
def test_a_difficulty_named_in_the_password_stays_within_the_bounds_and_comes_back_with_them(option):
    world = World(difficulty_start=Fraction(1), nbits=HIGH_NBITS)
    session = world.ready_session(password=option)
    assert announced(session) == []
    assert session.target.difficulty == 4
    change(world, session, difficulty_max=Fraction(2))
    assert announced(session) == [2]
    change(world, session, difficulty_min=Fraction(32))
    assert announced(session) == [32]
    change(world, session)
    assert session.target.difficulty == (4 if option == "fd=4" else 32)


def test_a_small_device_follows_a_minimum_that_is_lowered():
    world = World(difficulty_start=Fraction(1, 2**10), difficulty_min=Fraction(1, 2**10))
    session = world.ready_session(agent="NerdMinerV2")
    session.use_rules(replace(world.rules, difficulty_min=Fraction(1, 2**20)))
    session.suggest(Fraction(1, 2**20))
    assert session.is_retarget_pending


def test_only_firmware_that_knows_it_is_asked_to_reconnect():
    world = World()
    for agent, expected in (("cgminer/4.12", ["client.reconnect"]), ("bitaxe/BM1366", ["client.reconnect"]), ("x", [])):
        session = world.ready_session(agent=agent)
        session.data_to_send()
        session.send_reconnect()
        assert [line["method"] for line in lines(session.data_to_send())] == expected
    assert not takes_reconnect("")


def test_listed_addresses_and_networks_are_turned_away_while_they_are_listed():
    gate = Gate(sessions_max=3, sessions_per_address_max=2, ban_s=10, bans=("203.0.113.7", "2001:db8::/32"))
    assert "operator" in gate.enter("203.0.113.7", 0)
    assert "operator" in gate.enter("2001:db8:1::1%eth0", 0)
    assert gate.enter("203.0.113.8", 0) == ""
    assert gate.session_count == 1
    gate.set_bans(ban_s=5, bans=())
    assert gate.enter("203.0.113.7", 0) == ""
    gate.ban("203.0.113.9", "garbage", 0)
    assert gate.enter("203.0.113.9", 4.9)
    assert gate.enter("203.0.113.9", 5.1) == ""


def test_a_customer_with_a_whole_ipv6_network_is_one_address():
    """S5: an address for each connection is free there."""
    gate = Gate(sessions_max=10, sessions_per_address_max=2, ban_s=10)
    assert gate.enter("2001:db8:0:1::1", 0) == gate.enter("2001:db8:0:1::2", 0) == ""
    assert "2 connections from your address" in gate.enter("2001:db8:0:1:ffff::3", 0)
    assert gate.enter("2001:db8:0:2::1", 0) == ""
    gate.leave("2001:db8:0:1::2")
    gate.ban("2001:db8:0:1::1", "garbage", 0)
    assert "garbage" in gate.enter("2001:db8:0:1::9", 5)
    assert gate.enter("2001:db8:0:1::9", 11) == ""
    gate.leave("2001:db8:0:1::9")
    gate.leave("2001:db8:0:1::1")
    gate.leave("2001:db8:0:2::1")
    assert gate.session_count == 0


def test_an_ipv4_address_is_the_same_however_it_is_written():
    """S5: balancers that listen on both families write it as IPv6."""
    listed = AddressList(("203.0.113.7", "::ffff:198.51.100.0/120"))
    for header in (b"PROXY TCP6 ::ffff:203.0.113.7 ::1 1 2\r\n", b"PROXY TCP6 ::ffff:cb00:7107 ::1 1 2\r\n"):
        address, _ = parse_proxy_header(header)
        assert plain_address(address) == "203.0.113.7"
        assert plain_address(address) in listed
    assert plain_address("::ffff:198.51.100.200") in listed
    assert "198.51.101.1" not in listed


def test_an_address_cannot_fill_the_books_with_names():
    """S5: a worker's name costs nothing, and each is a row."""
    gate = Gate(sessions_max=10, sessions_per_address_max=2, ban_s=10)
    world = World()
    session = Session(world.rules, now_s=0, may_authorize=lambda: gate.authorise("203.0.113.7", 0))
    asked = b"".join(
        b'{"id":%d,"method":"mining.authorize","params":["%s.w%d","x"]}\n' % (number, world.address.encode(), number)
        for number in range(20)
    )
    session.receive_data(asked)
    answers = [line["result"] for line in lines(session.data_to_send()) if line.get("id") is not None]
    assert answers.count(True) == 2 * AUTHORISATIONS_PER_SESSION
    assert not session.is_closed
    assert not gate.authorise("203.0.113.7", 0)
    assert gate.authorise("203.0.113.8", 0)
    assert gate.authorise("203.0.113.7", AUTHORISATIONS_REST_S / 4)


def test_an_address_list_knows_both_families_and_hosts_inside_networks():
    listed = AddressList(("198.51.100.0/24", "203.0.113.7/31", "2001:db8::5"))
    for address in ("198.51.100.255", "203.0.113.6", "203.0.113.7", "2001:db8::5"):
        assert address in listed
    for address in ("198.51.101.0", "203.0.113.8", "2001:db8::6", "", "no address", "::ffff:198.51.100.1"):
        assert address not in listed
    assert plain_address("::ffff:198.51.100.1") in listed
    assert plain_address("2001:db8::5") == "2001:db8::5"


@pytest.mark.parametrize("bans", [("203.0.113.300",), ("pool.example",), ("10.0.0.0/33",), ("",)])
def test_a_ban_that_is_no_address_is_refused_with_what_is_expected(bans):
    with pytest.raises(msgspec.ValidationError, match=r"bans: .* expected 203\.0\.113\.7"):
        msgspec.convert({"bans": bans}, StratumSettings)


def test_bounds_intervals_and_bans_change_while_running_and_the_port_waits_for_a_restart():
    live = Live(StratumSettings(port=1))
    wanted = StratumSettings(
        port=2, bans=("203.0.113.7",), difficulty_min=2, difficulty_start=4, difficulty_max=8, ban_s=1, bad_lines_max=2
    )
    assert live.set(wanted) == ("port",)
    assert live.value == msgspec.structs.replace(wanted, port=1)


def test_a_lost_prefix_gives_out_no_search_space():
    is_held = True
    space = ExtranonceSpace(7, is_held=lambda: is_held)
    assert space.take() == bytes([0, 7, 0, 0])
    is_held = False
    with pytest.raises(ExtranonceExhausted):
        space.take(bytes([0, 7, 0, 5]))


def test_instance_names_differ_and_fit_into_their_limit():
    longest = instance_name(slot=255, start_ms=2**47, prefix=65_535, token=2**63 - 1)
    assert len(longest) <= INSTANCE_CHARS_MAX
    names = {instance_name(slot=0, start_ms=5, prefix=prefix, token=token) for prefix in (1, 2) for token in (3, 4)}
    assert len(names) == 4
    with pytest.raises(ValueError, match="65536"):
        instance_name(slot=0, start_ms=5, prefix=len(PREFIXES), token=1)
    with pytest.raises(ValueError, match="64 characters"):
        instance_name(slot=10**60, start_ms=5, prefix=1)


def test_a_prefix_lasts_a_day_without_etcd_and_is_renewed_every_few_seconds():
    timing = prefix_timing(StratumSettings().prefix_lease_s)
    assert (timing.hold_s, timing.renew_s, timing.retry_s) == (86_340, 10, 1)


def test_the_backlog_is_as_old_as_its_oldest_entry():
    backlog = Backlog()
    backlog.written((1, 100), 10)
    backlog.written((1, 100), 11)
    backlog.written((1, 300), 12)
    assert backlog.age_s(20) == 10
    backlog.shipped((1, 200))
    assert backlog.age_s(20) == 8
    backlog.shipped((2, 0))
    assert backlog.age_s(20) == 0
    for second in range(3 * MARKS_MAX):
        backlog.written((2, second + 1), second)
    assert backlog.age_s(3 * MARKS_MAX) == 3 * MARKS_MAX


def test_every_metric_is_told_with_closed_labels():
    """D5."""
    counters = metrics.StratumMetrics(not_recorded=3)
    counters.answer_s.observe(0.0004)
    readings = metrics.WorkerReadings(
        session_count=1,
        last_seq=2,
        height=3,
        journal_bytes=4,
        journal_age_s=5,
        is_refusing=True,
        prefix_left_s=6,
        nodes={"a": True, "b": False},
    )
    told = [
        *metrics.worker_families(counters, readings),
        *metrics.shipper_families(records=1, lag_bytes=2, lag_s=3, is_log_up=False),
    ]
    names = [sample.name for family in told for sample in family.samples]
    assert len({family.name for family in told}) == len(declared(vars(metrics)))
    assert "lodepool_stratum_shares_not_recorded_total" in names
    assert {tuple(sample.labels) for family in told for sample in family.samples} <= {
        (),
        ("outcome",),
        ("node",),
        ("le",),
    }
