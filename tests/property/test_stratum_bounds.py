"""Whatever the operator changes and the miner wishes, in any order: the difficulty is within the bounds in force."""

from dataclasses import replace
from fractions import Fraction
from ipaddress import ip_address, ip_network

from hypothesis import given, settings
from hypothesis import strategies as st

from stratum.gate import AddressList
from tests.fakes.stratum_world import World, say

NBITS = 0x1B00FFFF
"""A network difficulty of 65,536, above all others here."""
POWERS = st.integers(-20, 12)
BOUNDS = st.lists(POWERS, min_size=3, max_size=3).map(sorted)
STEPS = st.one_of(
    BOUNDS.map(lambda bounds: ("rules", bounds)),
    POWERS.map(lambda power: ("suggest", power)),
    st.tuples(st.sampled_from(["d", "fd"]), POWERS).map(lambda option: ("password", option)),
    st.integers(1, 200).map(lambda count: ("shares", count)),
)


def two_to(power):
    return Fraction(2) ** power


@given(first=BOUNDS, steps=st.lists(STEPS, max_size=12), agent=st.sampled_from(["cgminer/4.12", "NerdMinerV2"]))
@settings(max_examples=150, deadline=None)
def test_a_session_never_works_outside_the_bounds_in_force(first, steps, agent):
    """S4: and a job's own target stays what was announced with it, or becomes easier."""
    low, start, high = first
    world = World(nbits=NBITS, difficulty_min=two_to(low), difficulty_start=two_to(start), difficulty_max=two_to(high))
    session = world.ready_session(agent=agent)
    rules = world.rules
    promised = {world.jobs.active: session.target_for(world.jobs.active).target}
    now_s = 0.0
    for kind, value in steps:
        now_s += 30
        if kind == "rules":
            low, start, high = value
            rules = replace(
                rules, difficulty_min=two_to(low), difficulty_start=two_to(start), difficulty_max=two_to(high)
            )
            session.use_rules(rules)
        elif kind == "suggest":
            say(session, "mining.suggest_difficulty", [float(two_to(value))])
        elif kind == "password":
            option, power = value
            say(session, "mining.authorize", [f"{world.address}.rig", f"{option}={float(two_to(power)):.20f}"])
        else:
            for _ in range(value):
                session.record_accepted(session.target.work, now_s)
            session.tick(now_s)
        job = world.jobs.reissue()
        session.send_job(job, is_clean=False)
        assert two_to(low) <= session.target.difficulty <= two_to(high)
        promised = {each: target for each, target in promised.items() if each.job_id in world.jobs.by_id}
        promised[job] = session.target.target
        for each, target in promised.items():
            assert session.target_for(each).target >= target


@given(
    networks=st.lists(
        st.tuples(st.ip_addresses(v=4), st.integers(0, 32)) | st.tuples(st.ip_addresses(v=6), st.integers(0, 128)),
        max_size=20,
    ),
    addresses=st.lists(st.ip_addresses(), max_size=20),
)
def test_an_address_list_says_what_the_networks_say(networks, addresses):
    texts = [f"{address}/{length}" for address, length in networks]
    listed = AddressList(texts)
    parsed = [ip_network(text, strict=False) for text in texts]
    for address in [*addresses, *(address for address, _ in networks)]:
        assert (str(address) in listed) == any(ip_address(str(address)) in network for network in parsed)
