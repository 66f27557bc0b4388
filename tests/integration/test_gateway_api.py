"""The API over HTTP in front of recorded services on real gRPC sockets."""

import asyncio
import logging
from collections.abc import AsyncIterator

import msgspec
import pytest
from aiohttp import web
from yarl import URL

from gateway import models
from gateway.config import GatewaySettings
from gateway.context import GATEWAY
from gateway.routes import all_routes
from proto.lodepool.miners.v1 import miners_pb2
from proto.lodepool.payouts.v1 import payouts_pb2
from proto.lodepool.rewards.v1 import rewards_pb2
from proto.lodepool.shares.v1 import shares_pb2
from runtime.rpc.errors import InvalidArgument, NotFound
from tests.fakes.gateway_world import ADDRESS, COIN, OTHER, SERVICES, GatewayWorld

SETTINGS = GatewaySettings(timeout_s=0.5, cors_origins=("https://stats.example",))
HASH = "ab" * 32
TIME_MS = 1_700_000_000_000
TIME = "2023-11-14T22:13:20Z"
RATES = shares_pb2.Hashrates(hps_1m="1", hps_5m="2", hps_15m="3", hps_1h="4", hps_24h=str(2**53))
RATES_JSON = {"hps_1m": 1, "hps_5m": 2, "hps_15m": 3, "hps_1h": 4, "hps_24h": "9007199254740992"}
COUNTS = shares_pb2.ShareCounts(accepted=9, stale=4, duplicate=3, low_difficulty=2, invalid=1)
COUNTS_JSON = {"accepted": 9, "stale": 4, "duplicate": 3, "low_difficulty": 2, "invalid": 1}
INTERNAL = RuntimeError("a secret of the service")


def block(height: int, status: int, **changes: object) -> rewards_pb2.Block:
    fields = {
        "coin": COIN.coin_id,
        "height": height,
        "block_hash_hex": f"{height:064x}",
        "status": status,
        "confirmations": 2,
        "maturity_blocks": 100,
        "found_time_ms": TIME_MS,
        "account": ADDRESS,
        "worker": "rig1",
        "scheme": "pplns",
        "reward_atomic": 5_000_000_000,
        "fees_atomic": 10,
        "pool_fee_atomic": 50_000_000,
        "coinbase_txid_hex": "cd" * 32,
        "network_work": "200000000000000000000",
        "round_work": "300000000000000000000",
        "window_work": "400000000000000000000",
    }
    return rewards_pb2.Block(**(fields | changes))


BLOCKS = {
    rewards_pb2.BLOCK_STATUS_ORPHANED: [block(12, rewards_pb2.BLOCK_STATUS_ORPHANED)],
    rewards_pb2.BLOCK_STATUS_CANDIDATE: [],
    rewards_pb2.BLOCK_STATUS_IMMATURE: [block(11, rewards_pb2.BLOCK_STATUS_IMMATURE)],
    rewards_pb2.BLOCK_STATUS_MATURE: [block(5, rewards_pb2.BLOCK_STATUS_MATURE)],
}


def list_blocks(request: rewards_pb2.ListBlocksRequest) -> rewards_pb2.ListBlocksResponse:
    """Answer as the rewards service does, one page."""
    every = sorted((b for found in BLOCKS.values() for b in found), key=lambda b: -b.height)
    chosen = BLOCKS[request.status] if request.status else every
    chosen = [b for b in chosen if request.account in ("", b.account)]
    return rewards_pb2.ListBlocksResponse(
        blocks=chosen[: request.page_size],
        next_page_token="more" if len(chosen) > request.page_size else "",
        counts=rewards_pb2.BlockCounts(candidate=0, immature=1, mature=1, orphaned=1),
    )


def fill(world: GatewayWorld) -> None:
    """Record one miner with two workers, three blocks and a payment."""
    worker = shares_pb2.WorkerStats(
        worker="rig1", hashrates=RATES, counts=COUNTS, last_share_time_ms=TIME_MS, best_hash_work=77
    )
    stats = shares_pb2.AccountStats(
        account=ADDRESS, hashrates=RATES, counts=COUNTS, best_hash_work=77, workers=[worker], total_work=str(2**70)
    )
    listed = shares_pb2.AccountStats(account=ADDRESS, hashrates=RATES, counts=COUNTS, total_work=str(2**70))
    account = miners_pb2.Account(
        coin=COIN.coin_id,
        account=ADDRESS,
        create_time_ms=TIME_MS,
        last_share_time_ms=TIME_MS,
        payout_threshold_atomic=0,
        worker_count=2,
        worker_online_count=1,
    )
    payment = payouts_pb2.Payout(
        payout_id="p1",
        batch_id="b1",
        account=ADDRESS,
        amount_atomic=70,
        status=payouts_pb2.BATCH_STATUS_BROADCAST,
        txid_hex="ef" * 32,
        create_time_ms=TIME_MS,
    )
    world.services["shares"].answers = {
        "GetPoolStats": shares_pb2.PoolStats(
            hashrates=RATES,
            counts=COUNTS,
            round_work="100000000000000000000",
            best_hash_work=77,
            best_account=ADDRESS,
            account_count=1,
            worker_count=2,
            last_share_time_ms=TIME_MS,
        ),
        "GetAccountStats": lambda request: stats if request.account == ADDRESS else NotFound("no"),
        "ListAccounts": shares_pb2.ListAccountsResponse(accounts=[listed], next_page_token="more"),
        "GetHashrateHistory": lambda request: (
            shares_pb2.HashrateHistory(
                interval_s=600,
                points=[
                    shares_pb2.HistoryPoint(
                        time_ms=TIME_MS, work="600", hps="1", accepted=6, rejected=1, worker_count=2
                    ),
                    shares_pb2.HistoryPoint(time_ms=TIME_MS + 600_000, work="0", hps="0"),
                ],
            )
            if request.account in ("", ADDRESS) and request.worker != "stranger"
            else NotFound("no")
        ),
        "ListLeaders": shares_pb2.ListLeadersResponse(
            leaders=[
                shares_pb2.Leader(account=ADDRESS, work="8640000", hps="100", worker_count=2),
                shares_pb2.Leader(account=OTHER, work="86400", hps="1", worker_count=1),
            ]
        ),
    }
    world.services["miners"].answers = {
        "GetAccount": lambda request: account if request.account == ADDRESS else NotFound("no"),
        "BatchGetAccounts": miners_pb2.BatchGetAccountsResponse(accounts=[account]),
        "ListWorkers": lambda request: miners_pb2.ListWorkersResponse(
            workers=[
                miners_pb2.Worker(
                    worker="rig1",
                    create_time_ms=TIME_MS,
                    last_share_time_ms=TIME_MS,
                    presence=miners_pb2.PRESENCE_ONLINE,
                    scheme="pplns",
                    user_agent="<b>x</b>",
                ),
                miners_pb2.Worker(worker="rig2", presence=miners_pb2.PRESENCE_OFFLINE, scheme="solo"),
            ]
            if request.account == ADDRESS
            else []
        ),
    }
    world.services["rewards"].answers = {
        "ListBlocks": list_blocks,
        "GetBlock": lambda request: (
            block(
                11,
                rewards_pb2.BLOCK_STATUS_IMMATURE,
                block_hash_hex=HASH,
                credits=[
                    rewards_pb2.Credit(account=ADDRESS, work="400000000000000000000", amount_atomic=4_950_000_000)
                ],
            )
            if request.block_hash_hex == HASH
            else NotFound("no")
        ),
        "GetBalance": rewards_pb2.Balance(immature_atomic=4, payable_atomic=3, reserved_atomic=2, paid_atomic=1),
        "ListCredits": lambda request: rewards_pb2.ListCreditsResponse(
            credits=[
                rewards_pb2.Credit(
                    work="5",
                    amount_atomic=6,
                    height=11,
                    block_hash_hex=HASH,
                    status=rewards_pb2.BLOCK_STATUS_MATURE,
                    found_time_ms=TIME_MS,
                )
            ]
            if request.account == ADDRESS
            else []
        ),
        "GetLedgerTotals": rewards_pb2.LedgerTotals(
            coinbase_atomic=21,
            immature_atomic=1,
            payable_atomic=2,
            reserved_atomic=3,
            paid_atomic=4,
            pool_fee_atomic=5,
            remainder_atomic=6,
            network_fee_atomic=2,
        ),
    }
    world.services["payouts"].answers = {
        "GetStatus": payouts_pb2.PayerStatus(
            is_held=True,
            reason="looking into it",
            is_active=True,
            batches_confirmed=3,
            payouts_confirmed=5,
            paid_atomic=1,
            batches_in_review=1,
            isolated=[payouts_pb2.IsolatedAccount(account=OTHER, reason="refused")],
        ),
        "ListPayouts": lambda request: payouts_pb2.ListPayoutsResponse(
            payouts=[payment] if request.account in ("", ADDRESS) else []
        ),
    }


@pytest.fixture
async def world(short_dir) -> AsyncIterator[GatewayWorld]:
    world = GatewayWorld(short_dir, SETTINGS)
    fill(world)
    await world.start()
    yield world
    await world.close()


async def test_the_pool_is_answered_from_all_services(world):
    pool = await world.get("/api/v1/pool")
    assert pool["degraded"] == []
    assert {name: pool[name] for name in ("name", "coin", "ticker", "decimals", "network", "algorithm")} == {
        "name": "Proof",
        "coin": "litecoin-regtest",
        "ticker": "rLTC",
        "decimals": 8,
        "network": "regtest",
        "algorithm": "scrypt",
    }
    assert (pool["scheme"], pool["fee_ppm"], pool["payout_threshold_atomic"]) == ("pplns", 10_000, 1_000_000)
    assert (pool["stratum_port"], pool["difficulty_1_work"]) == (3333, "65537")
    assert pool["shares"] == {
        "hashrates": RATES_JSON,
        "counts": COUNTS_JSON,
        "miner_online_count": 1,
        "worker_online_count": 2,
        "best_share": {"hash_work": "77", "address": ADDRESS},
        "last_share_time": TIME,
    }
    assert pool["blocks"]["counts"] == {"candidate": 0, "immature": 1, "mature": 1, "orphaned": 1}
    assert (pool["blocks"]["last"]["height"], pool["blocks"]["last"]["status"]) == (12, "orphaned")
    assert pool["chain"] == {"height": 12, "work": "200000000000000000000"}
    assert (pool["payer"]["is_held"], pool["payer"]["reason"]) == (True, "looking into it")
    assert pool["payer"]["accounts_isolated"] == 1
    assert OTHER not in str(pool["payer"])


async def test_the_round_begins_after_the_newest_block_that_is_not_orphaned(world):
    pool = await world.get("/api/v1/pool")
    assert pool["round"] == {
        "start_height": 11,
        "round_work": "100000000000000000000",
        "network_work": "200000000000000000000",
        "effort_percent": "50.00",
    }
    assert [r.round_start_height for r in world.services["shares"].requests("GetPoolStats")] == [11]


async def test_a_pool_that_never_found_a_block_has_no_effort(world):
    world.services["rewards"].answers["ListBlocks"] = rewards_pb2.ListBlocksResponse()
    pool = await world.get("/api/v1/pool")
    assert pool["round"]["effort_percent"] is None
    assert (pool["round"]["start_height"], pool["blocks"]["last"], pool["chain"], pool["degraded"]) == (
        0,
        None,
        None,
        [],
    )


PANELS = {"shares": {"shares", "round"}, "rewards": {"round", "blocks", "chain", "luck"}, "payouts": {"payer"}}


@pytest.mark.parametrize("how", ["away", "slow", "failing"])
@pytest.mark.parametrize("service", PANELS)
async def test_a_service_that_does_not_answer_costs_the_pool_its_panel_only(world, service, how):
    if how == "away":
        await world.stop_services(service)
    elif how == "slow":
        world.services[service].is_slow = True
    else:
        world.services[service].answers = dict.fromkeys(world.services[service].answers, INTERNAL)
    pool = await world.get("/api/v1/pool")
    assert pool["degraded"] == [service]
    assert {name for name, value in pool.items() if value is None} == PANELS[service]


async def test_with_every_service_away_the_pool_still_says_what_it_is(world):
    await world.stop_services(*SERVICES)
    pool = await world.get("/api/v1/pool")
    assert sorted(pool["degraded"]) == ["payouts", "rewards", "shares"]
    assert (await world.get("/healthz")) == {"status": "ok"}
    for path in ("blocks", f"blocks/{HASH}", "miners", f"miners/{ADDRESS}", "payouts", "ledger"):
        problem = await world.problem(f"/api/v1/{path}")
        assert (problem["status"], problem["type"]) == (503, "urn:lodepool:problem:service-unavailable")


async def test_a_service_that_comes_back_is_asked_again_and_the_log_tells_both_once(world, caplog):
    caplog.set_level(logging.INFO, "lodepool.gateway")
    world.services["payouts"].is_slow = True
    for _ in range(2):
        assert (await world.problem("/api/v1/payouts"))["status"] == 503
    world.services["payouts"].is_slow = False
    for _ in range(2):
        assert len((await world.get("/api/v1/payouts"))["payouts"]) == 1
    assert [record.getMessage() for record in caplog.records] == ["service went away", "service came back"]


async def test_many_readers_of_the_pool_cost_as_much_as_one_a_second(world):
    await asyncio.gather(*(world.get("/api/v1/pool") for _ in range(20)))
    assert len(world.services["payouts"].requests("GetStatus")) == 1
    world.clock.advance(1.0)
    await world.get("/api/v1/pool")
    assert len(world.services["payouts"].requests("GetStatus")) == 2


async def test_a_miner_is_answered_with_workers_and_balance(world):
    miner = await world.get(f"/api/v1/miners/{ADDRESS}")
    assert miner["account"] == {
        "create_time": TIME,
        "last_share_time": TIME,
        "worker_count": 2,
        "worker_online_count": 1,
        "payout_threshold_atomic": 1_000_000,
        "is_threshold_default": True,
    }
    assert miner["shares"] == {
        "hashrates": RATES_JSON,
        "counts": COUNTS_JSON,
        "total_work": str(2**70),
        "best_hash_work": "77",
    }
    assert miner["balance"] == {"immature_atomic": 4, "payable_atomic": 3, "reserved_atomic": 2, "paid_atomic": 1}
    first, second = miner["workers"]
    assert (first["worker"], first["presence"], first["hashrates"]) == ("rig1", "online", RATES_JSON)
    assert (first["counts"], first["user_agent"], first["best_hash_work"]) == (COUNTS_JSON, "<b>x</b>", "77")
    assert (second["worker"], second["presence"], second["hashrates"]) == ("rig2", "offline", None)
    assert (miner["has_more_workers"], miner["degraded"]) == (False, [])


async def test_an_address_in_another_form_is_the_same_miner(world):
    miner = await world.get(f"/api/v1/miners/{ADDRESS.upper()}")
    assert miner["address"] == ADDRESS


async def test_a_miners_own_threshold_goes_before_the_pools(world):
    world.services["miners"].answers["GetAccount"] = miners_pb2.Account(account=ADDRESS, payout_threshold_atomic=5)
    account = (await world.get(f"/api/v1/miners/{ADDRESS}"))["account"]
    assert (account["payout_threshold_atomic"], account["is_threshold_default"]) == (5, False)


MINER_PANELS = {
    "shares": {"shares", "estimate", "uncertainty"},
    "miners": {"account"},
    "rewards": {"balance", "estimate"},
}


@pytest.mark.parametrize("service", MINER_PANELS)
async def test_a_service_that_is_away_costs_the_miner_its_panel_only(world, service):
    await world.stop_services(service)
    miner = await world.get(f"/api/v1/miners/{ADDRESS}")
    assert miner["degraded"] == [service]
    assert {name for name, value in miner.items() if value is None} == MINER_PANELS[service]
    by_name = {worker["worker"]: worker for worker in miner["workers"]}
    assert (by_name["rig1"]["presence"] is None) == (service == "miners")
    assert (by_name["rig1"]["counts"] is None) == (service == "shares")


async def test_a_balance_is_shown_while_those_who_see_shares_are_away(world):
    await world.stop_services("shares", "miners")
    miner = await world.get(f"/api/v1/miners/{ADDRESS}")
    assert (miner["balance"]["payable_atomic"], miner["workers"]) == (3, None)
    assert sorted(miner["degraded"]) == ["miners", "shares"]


async def test_a_long_list_of_workers_is_read_page_by_page_up_to_its_limit(world):
    def page(request: miners_pb2.ListWorkersRequest) -> miners_pb2.ListWorkersResponse:
        number = int(request.page_token or "0")
        workers = [miners_pb2.Worker(worker=f"w{number:03}-{i:04}") for i in range(request.page_size)]
        return miners_pb2.ListWorkersResponse(workers=workers, next_page_token=str(number + 1))

    world.services["miners"].answers["ListWorkers"] = page
    miner = await world.get(f"/api/v1/miners/{ADDRESS}")
    assert (len(miner["workers"]), miner["has_more_workers"]) == (5000, True)
    assert miner["workers"][-1]["worker"] == "w004-0999"


async def test_miners_are_listed_with_their_presence(world):
    page = await world.get("/api/v1/miners?page_size=7")
    (miner,) = page["miners"]
    assert (miner["address"], miner["hashrates"], miner["total_work"]) == (ADDRESS, RATES_JSON, str(2**70))
    assert (miner["worker_count"], miner["worker_online_count"], miner["last_share_time"]) == (2, 1, TIME)
    assert (page["next_page_token"], page["degraded"]) == ("more", [])
    await world.get("/api/v1/miners?page_size=7&page_token=more")
    asked = world.services["shares"].requests("ListAccounts")
    assert [(r.page_size, r.page_token) for r in asked] == [(7, ""), (7, "more")]


async def test_miners_are_listed_while_their_presence_is_not_known(world):
    await world.stop_services("miners")
    page = await world.get("/api/v1/miners")
    assert (page["miners"][0]["worker_online_count"], page["degraded"]) == (None, ["miners"])


async def test_blocks_are_listed_by_status_and_page(world):
    page = await world.get("/api/v1/blocks?page_size=2")
    assert [found["height"] for found in page["blocks"]] == [12, 11]
    assert (page["next_page_token"], page["counts"]["orphaned"]) == ("more", 1)
    assert page["blocks"][1]["effort_percent"] == "150.00"
    page = await world.get("/api/v1/blocks?status=mature")
    assert ([found["height"] for found in page["blocks"]], page["next_page_token"]) == ([5], None)


async def test_a_block_is_answered_with_its_distribution(world):
    """R1: credits + fee + remainder = reward."""
    found = await world.get(f"/api/v1/blocks/{HASH.upper()}")
    assert found["credits"] == [{"address": ADDRESS, "work": "400000000000000000000", "amount_atomic": 4_950_000_000}]
    total = sum(credit["amount_atomic"] for credit in found["credits"])
    assert total + found["pool_fee_atomic"] + found["remainder_atomic"] == found["reward_atomic"]


async def test_credits_payouts_and_ledger_are_answered(world):
    credits_page = await world.get(f"/api/v1/miners/{ADDRESS}/credits")
    assert credits_page == {
        "credits": [
            {
                "height": 11,
                "block_hash": HASH,
                "status": "mature",
                "found_time": TIME,
                "work": "5",
                "amount_atomic": 6,
            }
        ],
        "next_page_token": None,
    }
    everybody = await world.get("/api/v1/payouts")
    assert everybody == await world.get(f"/api/v1/miners/{ADDRESS}/payouts")
    assert everybody["payouts"][0]["status"] == "broadcast"
    assert everybody["payouts"][0]["confirm_time"] is None
    ledger = await world.get("/api/v1/ledger")
    parts = ("immature", "payable", "reserved", "paid", "pool_fee", "remainder")
    assert sum(ledger[f"{part}_atomic"] for part in parts) == ledger["coinbase_atomic"]


@pytest.mark.parametrize("tail", ["", "/credits", "/payouts"])
async def test_a_stranger_is_unknown_and_says_what_was_expected(world, tail):
    problem = await world.problem(f"/api/v1/miners/{OTHER}{tail}")
    assert (problem["status"], problem["type"]) == (404, "urn:lodepool:problem:unknown-miner")
    assert OTHER in problem["detail"]
    assert "expected" in problem["detail"]


async def test_an_empty_list_is_answered_while_nobody_can_say_who_is_a_stranger(world):
    await world.stop_services("miners")
    assert (await world.get(f"/api/v1/miners/{OTHER}/payouts"))["payouts"] == []


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        (ADDRESS[:-1] + "x", "checksum"),
        ("ltc1qqyqszqgpqyqszqgpqyqszqgpqyqszqgpq4933p", "litecoin mainnet"),
        ("nonsense", "litecoin-regtest"),
        ("%00", "litecoin-regtest"),
        ("x" * 500, "litecoin-regtest"),
    ],
)
async def test_a_bad_address_is_refused_with_the_reason(world, address, reason):
    problem = await world.problem(f"/api/v1/miners/{address}")
    assert (problem["status"], problem["type"]) == (400, "urn:lodepool:problem:bad-address")
    assert reason in problem["detail"]
    assert world.services["shares"].asked == []


@pytest.mark.parametrize(
    ("path", "status", "kind", "words"),
    [
        (f"blocks/{'0' * 64}", 404, "unknown-block", "expected the 64 hex digits"),
        ("blocks/12", 404, "unknown-block", "expected the 64 hex digits"),
        ("pool?coin=dogecoin", 404, "unknown-coin", "expected litecoin-regtest"),
        ("pool?page_size=3", 400, "bad-parameter", "expected coin"),
        ("blocks?status=ripe", 400, "bad-parameter", "expected one of candidate, immature, mature, orphaned"),
        ("blocks?page_size=0", 400, "bad-parameter", "from 1 to 1000"),
        ("blocks?page_size=5&page_size=6", 400, "bad-parameter", "twice"),
        ("payouts?page_token=" + "x" * 1001, 400, "bad-parameter", "next_page_token"),
        ("nothing", 404, "unknown-path", "/api/v1/openapi.json"),
        ("miners/a/b/c", 404, "unknown-path", "/api/v1/openapi.json"),
    ],
)
async def test_a_wrong_question_is_refused_with_what_was_expected(world, path, status, kind, words):
    problem = await world.problem(f"/api/v1/{path}")
    assert (problem["status"], problem["type"]) == (status, f"urn:lodepool:problem:{kind}")
    assert words in problem["detail"]


async def test_a_page_token_that_the_service_refuses_is_the_readers_fault(world):
    world.services["payouts"].answers["ListPayouts"] = InvalidArgument("page_token", "is not a token")
    problem = await world.problem("/api/v1/payouts?page_token=zzz")
    assert (problem["status"], problem["detail"]) == (400, "page_token is not a token.")


async def test_what_fails_inside_a_service_does_not_leak(world):
    world.services["payouts"].answers["ListPayouts"] = INTERNAL
    problem = await world.problem("/api/v1/payouts")
    assert (problem["status"], problem["type"]) == (502, "urn:lodepool:problem:service-failed")
    assert "secret" not in str(problem)


async def test_what_fails_here_does_not_leak(short_dir):
    async def broken(request: web.Request) -> web.Response:
        raise RuntimeError("a secret")

    world = GatewayWorld(short_dir, SETTINGS)
    world.app.router.add_get("/broken", broken)
    await world.start()
    problem = await world.problem("/broken")
    assert (problem["status"], problem["type"]) == (500, "urn:lodepool:problem:internal")
    assert "secret" not in str(problem)
    await world.close()


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
async def test_only_reading_is_answered(world, method):
    problem = await world.problem("/api/v1/pool", method)
    assert (problem["status"], problem["type"]) == (405, "urn:lodepool:problem:bad-method")
    async with world.http.request(method, "/api/v1/pool") as response:
        assert response.headers["Allow"] == "GET, HEAD"


async def test_a_reader_who_has_the_answer_is_not_sent_it_again(world):
    async with world.http.get("/api/v1/ledger") as response:
        etag, body = response.headers["ETag"], await response.read()
        assert response.headers["Cache-Control"] == "public, max-age=1"
    async with world.http.get("/api/v1/ledger", headers={"If-None-Match": f'"old", {etag}'}) as response:
        assert (response.status, await response.read(), response.headers["ETag"]) == (304, b"", etag)
    world.services["rewards"].answers["GetLedgerTotals"] = rewards_pb2.LedgerTotals(coinbase_atomic=1)
    async with world.http.get("/api/v1/ledger", headers={"If-None-Match": etag}) as response:
        assert response.status == 200
        assert await response.read() != body
    async with world.http.head("/api/v1/ledger") as response:
        assert response.headers["Server"] == "lodepool"
        assert (response.status, await response.read()) == (200, b"")


async def test_only_pages_of_allowed_origins_may_read(world):
    async with world.http.get("/api/v1/ledger", headers={"Origin": "https://stats.example"}) as response:
        assert response.headers["Access-Control-Allow-Origin"] == "https://stats.example"
        assert response.headers["Vary"] == "Origin"
    async with world.http.get("/api/v1/nothing", headers={"Origin": "https://stats.example"}) as response:
        assert response.headers["Access-Control-Allow-Origin"] == "https://stats.example"
    async with world.http.get("/api/v1/ledger", headers={"Origin": "https://evil.example"}) as response:
        assert "Access-Control-Allow-Origin" not in response.headers
        assert response.headers["Vary"] == "Origin"
    asked = {"Origin": "https://stats.example", "Access-Control-Request-Method": "GET"}
    async with world.http.options("/api/v1/pool", headers=asked) as response:
        assert (response.status, response.headers["Access-Control-Allow-Methods"]) == (204, "GET, HEAD, PUT")
        assert response.headers["Access-Control-Allow-Origin"] == "https://stats.example"
    async with world.http.options("/api/v1/pool", headers=asked | {"Origin": "https://evil.example"}) as response:
        assert response.status == 405


async def test_every_answer_is_what_the_document_says(world):
    """The document describes each route; each real answer holds the described fields, and nothing else."""
    document = await world.get("/api/v1/openapi.json")
    for route in all_routes():
        path = route.path.format(address=ADDRESS, block_hash=HASH)
        async with world.http.get(path) as response:
            body = await response.read()
        answer = msgspec.json.decode(body, type=route.answer, strict=True)
        assert msgspec.json.encode(answer) == body
        assert route.path in document["paths"]


async def test_garbage_is_answered_with_a_problem(world):
    for tail in ("%ff%fe", "miners/%2e%2e", "blocks/%F0%9F%92%A9", "blocks?status=%ff", "miners?page_token=%00", "//"):
        async with world.http.get(URL(f"/api/v1/{tail}", encoded=True)) as response:
            assert response.status in (200, 400, 404), tail
            assert response.content_type in ("application/json", "application/problem+json")


@pytest.mark.parametrize(
    "raw",
    [
        b"GARBAGE\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 9000 + b"\r\n\r\n",
        b"GET http://[/ HTTP/1.1\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\nhello",
    ],
)
async def test_what_is_not_http_is_refused_without_a_line_in_the_log(world, caplog, raw):
    caplog.set_level(logging.INFO)
    reader, writer = await asyncio.open_connection(world.host, world.port)
    writer.write(raw)
    answer = await asyncio.wait_for(reader.read(), 5)
    assert answer.startswith(b"HTTP/1.0 400 ")
    assert b"Traceback" not in answer
    writer.close()
    assert caplog.records == []
    assert (await world.get("/healthz"))["status"] == "ok"


async def test_a_page_and_a_websocket_can_be_added_to_the_application(short_dir):
    async def page(request: web.Request) -> web.Response:
        return web.Response(text=f"<h1>{request.app[GATEWAY].pool_settings.name}</h1>", content_type="text/html")

    async def live(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.send_str(request.app[GATEWAY].coin.ticker)
        await socket.close()
        return socket

    world = GatewayWorld(short_dir, SETTINGS)
    world.app.router.add_get("/", page)
    world.app.router.add_get("/api/v1/live", live)
    await world.start()
    async with world.http.get("/") as response:
        assert (response.content_type, await response.text()) == ("text/html", "<h1>Proof</h1>")
    async with world.http.ws_connect("/api/v1/live") as socket:
        assert await socket.receive_str() == "rLTC"
    await world.close()


def test_no_field_of_an_answer_has_a_default():
    """A default of the models would hide a field that translation forgot."""
    for model in (models.Pool, models.Miner, models.Block, models.Worker):
        assert all(field.required for field in msgspec.structs.fields(model)), model
