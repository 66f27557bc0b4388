"""Histories, the leaderboard, luck, expectations and status over HTTP in front of recorded services."""

from collections.abc import AsyncIterator

import pytest

from gateway.config import GatewaySettings
from proto.lodepool.miners.v1 import miners_pb2
from proto.lodepool.rewards.v1 import rewards_pb2
from proto.lodepool.shares.v1 import shares_pb2
from tests.fakes.gateway_world import ADDRESS, OTHER, GatewayWorld
from tests.integration.test_gateway_api import TIME, TIME_MS, block, fill

SETTINGS = GatewaySettings(timeout_s=0.5)
DAY_MS = 86_400_000


@pytest.fixture
async def world(short_dir) -> AsyncIterator[GatewayWorld]:
    world = GatewayWorld(short_dir, SETTINGS)
    fill(world)
    await world.start()
    yield world
    await world.close()


async def test_the_pools_history_has_its_blocks(world):
    history = await world.get("/api/v1/pool/history?window=7d")
    assert (history["window"], history["interval_s"], history["degraded"]) == ("7d", 600, [])
    assert history["points"] == [
        {"time": TIME, "hps": 1, "accepted": 6, "rejected": 1, "worker_count": 2},
        {"time": "2023-11-14T22:23:20Z", "hps": 0, "accepted": 0, "rejected": 0, "worker_count": None},
    ]
    assert history["blocks"] == [
        {"time": TIME, "height": 11, "effort_percent": "150.00"},
        {"time": TIME, "height": 5, "effort_percent": "150.00"},
    ], "orphaned ones are left out"
    (asked,) = world.services["shares"].requests("GetHashrateHistory")
    assert asked.window == shares_pb2.HISTORY_WINDOW_WEEK


async def test_the_pools_history_does_without_its_blocks(world):
    await world.stop_services("rewards")
    history = await world.get("/api/v1/pool/history")
    assert (history["blocks"], history["degraded"], len(history["points"])) == (None, ["rewards"], 2)


async def test_a_miners_history_is_of_all_workers_or_of_one(world):
    history = await world.get(f"/api/v1/miners/{ADDRESS}/history?window=90d")
    assert history["points"][0] == {"time": TIME, "hps": 1, "accepted": 6, "rejected": 1, "work": "600"}
    await world.get(f"/api/v1/miners/{ADDRESS}/history?worker=")
    every, nameless = world.services["shares"].requests("GetHashrateHistory")
    assert (every.account, every.HasField("worker"), every.window) == (
        ADDRESS,
        False,
        shares_pb2.HISTORY_WINDOW_QUARTER,
    )
    assert (nameless.HasField("worker"), nameless.worker) == (True, "")


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("pool/history?window=1y", "bad-parameter"),
        ("pool/history?window=", "bad-parameter"),
        (f"miners/{ADDRESS}/history?worker=stranger", "unknown-miner"),
        (f"miners/{OTHER}/history", "unknown-miner"),
        (f"miners/{ADDRESS}/history?worker=%00", "bad-parameter"),
        (f"miners/{ADDRESS}/history?worker={'x' * 256}", "bad-parameter"),
        ("miners/nobody/history", "bad-address"),
        ("leaderboard?window=7d", "bad-parameter"),
    ],
)
async def test_what_cannot_be_answered_is_said(world, path, kind):
    assert (await world.problem(f"/api/v1/{path}"))["type"] == f"urn:lodepool:problem:{kind}"


async def test_leaders_who_want_no_name_have_none(world):
    world.services["miners"].answers["BatchGetAccounts"] = miners_pb2.BatchGetAccountsResponse(
        accounts=[miners_pb2.Account(account=ADDRESS, is_anonymous=True), miners_pb2.Account(account=OTHER)]
    )
    leaderboard = await world.get("/api/v1/leaderboard")
    assert leaderboard["leaders"] == [
        {"rank": 1, "address": None, "hps": 100, "work": "8640000", "worker_count": 2},
        {"rank": 2, "address": OTHER, "hps": 1, "work": "86400", "worker_count": 1},
    ]
    assert (await world.get("/api/v1/miners"))["miners"][0]["address"] is None


async def test_without_those_who_know_the_anonymous_nobody_is_named(world):
    await world.stop_services("miners")
    assert (await world.problem("/api/v1/leaderboard"))["status"] == 503
    assert (await world.get("/api/v1/miners"))["miners"][0]["address"] is None


async def test_the_pool_says_how_to_connect_and_how_lucky_it_was(world):
    newest = world.clock.now_ms() - 1
    blocks = [
        block(30, rewards_pb2.BLOCK_STATUS_IMMATURE, found_time_ms=newest, round_work="100", network_work="100"),
        block(29, rewards_pb2.BLOCK_STATUS_ORPHANED, found_time_ms=newest, round_work="9", network_work="1"),
        block(28, rewards_pb2.BLOCK_STATUS_CANDIDATE, found_time_ms=newest, round_work="0", network_work="100"),
        block(5, rewards_pb2.BLOCK_STATUS_MATURE, found_time_ms=newest - 8 * DAY_MS, round_work="1", network_work="3"),
    ]
    world.services["rewards"].answers["ListBlocks"] = rewards_pb2.ListBlocksResponse(blocks=blocks)
    pool = await world.get("/api/v1/pool")
    assert pool["luck"] == {
        "blocks_7d": 2,
        "effort_percent_mean_7d": "100.00",
        "effort_percent_mean_100": "66.66",
    }
    assert pool["stratum"] == {
        "host": None,
        "port": 3333,
        "is_tls": False,
        "difficulty_start": "1024",
        "difficulty_min": "0.000001",
        "difficulty_max": None,
        "schemes_allowed": ["pplns", "prop", "solo"],
        "password_options": ["d=", "m="],
    }


async def test_a_miner_is_told_what_to_expect_and_how_sure_its_hashrate_is(world):
    """S9: the last rejected share has its reason and time."""
    rates = shares_pb2.Hashrates(hps_1h="1000", hps_24h="2000")
    stats = shares_pb2.AccountStats(account=ADDRESS, hashrates=rates, accepted_count_1h=100)
    stats.workers.add(worker="rig1", last_reject_time_ms=TIME_MS, last_reject_reason="stale")
    world.services["shares"].answers["GetAccountStats"] = stats
    blocks = [block(9, rewards_pb2.BLOCK_STATUS_MATURE, network_work="864000000", reward_atomic=5_000_000_000)]
    world.services["rewards"].answers["ListBlocks"] = rewards_pb2.ListBlocksResponse(blocks=blocks)
    miner = await world.get(f"/api/v1/miners/{ADDRESS}")
    assert miner["estimate"] == {"atomic_per_day": 495_000_000, "basis": "1h"}
    assert miner["uncertainty"] == {"hps_1h_low": 813, "hps_1h_high": 1217, "share_count_1h": 100}
    assert miner["workers"][0]["last_reject"] == {"reason": "stale", "time": TIME}
    world.clock.advance(86_400)
    miner = await world.get(f"/api/v1/miners/{ADDRESS}")
    assert miner["estimate"] == {"atomic_per_day": 990_000_000, "basis": "24h"}


async def test_a_miner_without_shares_or_a_pool_without_blocks_expects_nothing(world):
    world.services["shares"].answers["GetAccountStats"] = shares_pb2.AccountStats(account=ADDRESS)
    world.services["rewards"].answers["ListBlocks"] = rewards_pb2.ListBlocksResponse()
    miner = await world.get(f"/api/v1/miners/{ADDRESS}")
    assert miner["estimate"] == {"atomic_per_day": None, "basis": "1h"}
    assert miner["uncertainty"] == {"hps_1h_low": None, "hps_1h_high": None, "share_count_1h": 0}


async def test_a_miners_blocks_are_its_own(world):
    page = await world.get(f"/api/v1/miners/{ADDRESS}/blocks")
    assert [found["height"] for found in page["blocks"]] == [12, 11, 5]
    assert page["next_page_token"] is None
    assert world.services["rewards"].requests("ListBlocks")[-1].account == ADDRESS
    assert (await world.problem(f"/api/v1/miners/{OTHER}/blocks"))["type"] == "urn:lodepool:problem:unknown-miner"


async def test_the_status_says_since_when_a_service_is_away(world):
    status = await world.get("/api/v1/status")
    assert [(service["name"], service["is_up"]) for service in status["services"]] == [
        ("shares", True),
        ("miners", True),
        ("rewards", True),
        ("payouts", True),
    ]
    await world.stop_services("payouts")
    world.clock.advance(60)
    payouts = (await world.get("/api/v1/status"))["services"][3]
    assert payouts == {
        "name": "payouts",
        "is_up": False,
        "since": "2023-11-14T22:14:20Z",
        "detail": "It does not answer.",
    }
    world.clock.advance(60)
    assert (await world.get("/api/v1/status"))["services"][3] == payouts
