"""The protocol core: bytes in, events and bytes out."""

import json
from fractions import Fraction

import pytest

from stratum.protocol.session import NEXT_STATE, Authorized, Closing, State, Step, Subscribed
from tests.fakes.stratum_world import World, request, say


def methods_of(answers):
    return [answer.get("method", "reply") for answer in answers]


def test_subscribe_and_authorize_are_answered_before_difficulty_and_job():
    world = World()
    session = world.session()
    session.receive_data(
        request("mining.subscribe", ["cgminer/4.12"], 1) + request("mining.authorize", [world.address, "x"], "two")
    )
    answers = [json.loads(line) for line in session.data_to_send().splitlines()]
    assert methods_of(answers) == ["reply", "reply", "mining.set_difficulty", "mining.notify"]
    assert answers[0]["id"] == 1
    assert answers[1] == {"id": "two", "result": True, "error": None}
    topics, extranonce1, extranonce2_bytes = answers[0]["result"]
    assert topics == [["mining.set_difficulty", extranonce1], ["mining.notify", extranonce1]]
    assert (len(extranonce1), extranonce2_bytes) == (8, 8)
    assert answers[3]["params"][-1] is True


def test_authorize_may_come_before_subscribe_and_gets_the_user_agent():
    world = World()
    session = world.session()
    assert methods_of(say(session, "mining.authorize", [world.address + "_rig", "x"])) == ["reply"]
    answers = say(session, "mining.subscribe", ["bmminer/2.0"])
    assert methods_of(answers) == ["reply", "mining.set_difficulty", "mining.notify"]
    assert session.submitters[world.address + "_rig"].user_agent == "bmminer/2.0"
    assert session.submitters[world.address + "_rig"].worker == "rig"


def test_second_subscribe_is_answered_again_with_the_same_extranonce_and_a_job():
    world = World()
    session = world.ready_session()
    before = session.extranonce1
    answers = say(session, "mining.subscribe", [])
    assert methods_of(answers) == ["reply", "mining.set_difficulty", "mining.notify"]
    assert answers[0]["result"][1] == before.hex()


def test_two_open_sessions_never_share_an_extranonce_and_a_lost_one_can_be_resumed():
    world = World()
    first, second = world.ready_session(), world.ready_session()
    assert first.extranonce1 != second.extranonce1
    first.receive_eof()
    third = world.session()
    say(third, "mining.subscribe", ["cgminer", first.extranonce1.hex()])
    assert third.extranonce1 == first.extranonce1
    fourth = world.session()
    say(fourth, "mining.subscribe", ["cgminer", second.extranonce1.hex()])
    assert fourth.extranonce1 != second.extranonce1


def test_several_workers_may_authorize_on_one_connection():
    """S3."""
    world = World()
    session = world.ready_session()
    assert say(session, "mining.authorize", [world.address + ".two", "m=solo"])[0]["result"] is True
    schemes = {submitter.worker: submitter.scheme for submitter in session.submitters.values()}
    assert schemes == {"rig": "pplns", "two": "solo"}


@pytest.mark.parametrize(
    ("user", "password", "needle"),
    [
        ("nobody", "x", "payout address"),
        ("ltc1qw508d6qejxtdg4y5r3zarvary0c5xw7kgmn4n9", "x", "expected bitcoin-regtest"),
        ("", "x", "payout address"),
        ("a" * 129, "x", "128"),
        ("ADDRESS.\x07", "x", "control"),
        ("ADDRESS", "m=prop", "not offered"),
        ("ADDRESS", "m=nonsense", "not offered"),
    ],
)
def test_a_worker_that_cannot_be_paid_is_refused_with_code_24_and_the_reason(user, password, needle):
    """S3."""
    world = World()
    session = world.session()
    (answer,) = say(session, "mining.authorize", [user.replace("ADDRESS", world.address), password])
    assert answer["result"] is None
    assert answer["error"][0] == 24
    assert needle in answer["error"][1]


def test_version_rolling_mask_is_the_intersection():
    """S7."""
    session = World(version_mask=0x1FFFE000).session()
    (answer,) = say(
        session,
        "mining.configure",
        [["version-rolling", "subscribe-extranonce", "teleport"], {"version-rolling.mask": "00ffff00"}],
    )
    assert answer["result"] == {
        "version-rolling": True,
        "version-rolling.mask": "00ffe000",
        "subscribe-extranonce": True,
        "teleport": False,
    }
    assert session.version_mask == 0x00FFE000


@pytest.mark.parametrize(
    ("params", "result"),
    [
        ([["version-rolling"]], {"version-rolling": True, "version-rolling.mask": "1fffe000"}),
        (
            [["version-rolling"], {"version-rolling.min-bit-count": 2, "version-rolling.mask": "FFFFFFFF"}],
            {"version-rolling": True, "version-rolling.mask": "1fffe000"},
        ),
        ([["version-rolling"], {"version-rolling.mask": "1"}], {"version-rolling": False}),
        ([["minimum-difficulty"], {"minimum-difficulty.value": 2048}], {"minimum-difficulty": True}),
        ([["minimum-difficulty"], {}], {"minimum-difficulty": False}),
        ([["info"], {"info.hw-id": "x"}], {"info": True}),
        ([[]], {}),
    ],
)
def test_configure_answers_every_extension_asked_for(params, result):
    assert say(World().session(), "mining.configure", params)[0]["result"] == result


@pytest.mark.parametrize(
    ("method", "params", "result"),
    [
        ("mining.extranonce.subscribe", [], True),
        ("mining.get_transactions", ["1"], []),
        ("mining.capabilities", [{}], {}),
        ("mining.multi_version", [4], True),
        ("mining.ping", [], "pong"),
        ("pong", [], True),
        ("client.get_version", [], "Lodepool/test"),
        ("mining.suggest_difficulty", [0.5], True),
        ("mining.suggest_difficulty(42)", [], True),
        ("mining.suggest_target", ["00000000ffff0000000000000000000000000000000000000000000000000000"], True),
        ("mining.term", [], True),
    ],
)
def test_de_facto_methods_are_answered(method, params, result):
    (answer,) = say(World().session(), method, params)
    assert (answer["result"], answer["error"]) == (result, None)


def test_unknown_method_is_answered_with_code_32601():
    (answer,) = say(World().session(), "mining.teleport", [])
    assert answer["error"][0] == -32601


def test_an_answer_of_the_miner_is_passed_over():
    session = World().session()
    session.receive_data(b'{"id": 5, "result": "cgminer/4.12", "error": null}\n')
    assert session.data_to_send() == b""
    assert session.events_received() == []


@pytest.mark.parametrize("request_id", [0, -7, 123456789012345678901234567890, "abc", None, True, 1.5])
def test_any_scalar_is_a_legal_id_and_is_echoed(request_id):
    session = World().session()
    session.receive_data(json.dumps({"id": request_id, "method": "mining.ping", "params": []}).encode() + b"\n")
    assert json.loads(session.data_to_send())["id"] == request_id


@pytest.mark.parametrize("bad_id", ["[1]", "{}", '"' + "x" * 80 + '"'])
def test_ids_that_are_no_short_scalars_are_refused(bad_id):
    session = World().session()
    session.receive_data(b'{"id": %b, "method": "mining.ping", "params": []}\n' % bad_id.encode())
    answer = json.loads(session.data_to_send())
    assert (answer["id"], answer["error"][0]) == (None, 20)


def test_malformed_lines_are_answered_and_too_many_end_in_a_ban():
    session = World(bad_lines_max=3).session()
    for _ in range(2):
        session.receive_data(b"GET / HTTP/1.1\r\n")
        assert json.loads(session.data_to_send())["error"][0] == 20
    session.receive_data(b"[[[[\n")
    (closing,) = session.events_received()
    assert isinstance(closing, Closing)
    assert closing.is_ban
    assert "3 malformed lines" in closing.reason


def test_a_line_that_is_too_long_closes_the_connection():
    session = World(line_bytes_max=600).session()
    session.receive_data(b"x" * 601)
    assert session.events_received() == [Closing(reason="a line has more than 600 bytes", is_ban=False)]
    assert json.loads(session.data_to_send())["error"][0] == 20
    session.receive_data(request("mining.ping", []))
    assert session.data_to_send() == b""


def test_empty_lines_and_carriage_returns_are_harmless():
    session = World().session()
    session.receive_data(b"\n\r\n" + request("mining.ping", [], 1).replace(b"\n", b"\r\n"))
    assert json.loads(session.data_to_send())["result"] == "pong"


def test_events_tell_of_subscribe_and_authorize():
    world = World()
    session = world.ready_session(agent="NerdMinerV2 \x00 x")
    subscribed, authorized = session.events_received()
    assert subscribed == Subscribed(extranonce1=session.extranonce1, user_agent="NerdMinerV2  x")
    assert isinstance(authorized, Authorized)
    assert authorized.submitter.account == world.address


def test_a_session_without_worker_or_without_traffic_is_closed():
    world = World()
    session = world.session(now_s=0)
    session.tick(61)
    assert "authorised in time" in session.events_received()[0].reason
    session = world.ready_session()
    session.events_received()
    session.tick(10)
    session.tick(609)
    assert session.events_received() == []
    session.tick(611)
    assert "nothing was received" in session.events_received()[0].reason
    assert session.state is State.CLOSED


def test_a_miner_that_is_ready_before_the_first_template_gets_the_job_when_it_comes():
    world = World(has_job=False)
    session = world.ready_session()
    assert session.data_to_send() == b""
    session.send_job(world.new_job(), is_clean=True)
    assert methods_of([json.loads(line) for line in session.data_to_send().splitlines()]) == [
        "mining.set_difficulty",
        "mining.notify",
    ]


def test_difficulty_is_announced_only_when_it_changes_and_only_before_a_job():
    world = World(nbits=0x170FFFFF)
    session = world.ready_session()
    session.send_job(world.new_job(), is_clean=False)
    assert session.data_to_send().count(b"set_difficulty") == 0
    assert methods_of(say(session, "mining.suggest_difficulty", [64])) == ["reply"]
    assert session.is_retarget_pending
    session.send_job(world.new_job(), is_clean=False)
    sent = [json.loads(line) for line in session.data_to_send().splitlines()]
    assert methods_of(sent) == ["mining.set_difficulty", "mining.notify"]
    assert sent[0]["params"] == [64]
    assert not session.is_retarget_pending


def test_the_same_suggestion_again_is_a_keep_alive():
    world = World()
    session = world.ready_session(agent="NerdMinerV2")
    say(session, "mining.suggest_difficulty", [0.00015])
    session.send_job(world.new_job(), is_clean=False)
    assert b'"params":[0.00015]' in session.data_to_send()
    say(session, "mining.suggest_difficulty", [0.00015])
    assert not session.is_retarget_pending


def test_share_difficulty_is_never_above_the_networks():
    world = World(nbits=0x207FFFFF, difficulty_start=Fraction(1024))
    session = world.ready_session()
    job = world.jobs.active
    assert job is not None
    assert session.target.target == job.network_target


@pytest.mark.parametrize(
    ("password", "agent", "difficulty"),
    [
        ("x", "cgminer", 1),
        ("d=4096", "cgminer", 4096),
        ("c=LTC,diff=0.5;m=solo", "cgminer", Fraction(1, 2)),
        ("fd=3", "cgminer", 3),
        ("d=-1", "cgminer", 1),
        ("d=1e999", "cgminer", 1),
        ("x", "NiceHash/1.0.0", 500_000),
        ("d=100", "NiceHash/1.0.0", 500_000),
    ],
)
def test_start_difficulty_follows_password_and_user_agent(password, agent, difficulty):
    session = World(nbits=0x170FFFFF).ready_session(password=password, agent=agent)
    assert session.target.difficulty == difficulty


def test_every_state_answers_every_step_but_closed():
    for state in State:
        for step in Step:
            assert ((state, step) in NEXT_STATE) == (state is not State.CLOSED)
