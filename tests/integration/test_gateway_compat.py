"""The second face over HTTP in front of recorded services: transcripts, paging, errors, and what front ends need."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.compat.app import add_compat
from gateway.compat.lists import CHUNK_ITEMS, KEEP_S
from gateway.compat.performance import OTHERS
from gateway.compat.routes import ROUTES
from gateway.config import GatewaySettings
from gateway.page import add_page
from proto.lodepool.payouts.v1 import payouts_pb2
from proto.lodepool.rewards.v1 import rewards_pb2
from proto.lodepool.shares.v1 import shares_pb2
from tests.fakes.compat_world import NINE_MS, PAYOUTS, fill, paged
from tests.fakes.gateway_world import ADDRESS, GatewayWorld

SETTINGS = GatewaySettings(timeout_s=0.5, cors_origins=("https://stats.example",), requests_burst=1_000)
TRANSCRIPTS = sorted((Path(__file__).parents[1] / "transcripts" / "compat").glob("*.json"))
POOL = "/api/pools/rltc1"
MINER = f"{POOL}/miners/{ADDRESS}"


@pytest.fixture
async def world(short_dir) -> AsyncIterator[GatewayWorld]:
    world = GatewayWorld(short_dir, SETTINGS)
    add_compat(world.app)
    add_page(world.app)
    fill(world)
    await world.start()
    yield world
    await world.close()


async def get(world: GatewayWorld, path: str) -> object:
    """Return the body of an answer that succeeds."""
    async with world.http.get(path) as response:
        assert response.status == 200, await response.text()
        return await response.json()


@pytest.mark.parametrize("file", TRANSCRIPTS, ids=lambda file: file.stem)
async def test_each_transcript_is_answered_to_the_letter(world, file):
    """P1: status, headers and body field by field; numbers digit by digit, for money is in them."""
    expected = json.loads(
        file.read_text(encoding="utf-8").replace("{address}", ADDRESS), parse_float=str, parse_int=int
    )
    request = expected["request"]
    async with world.http.request(request["method"], request["path"]) as response:
        text = await response.text()
        assert response.status == expected["status"], text
        assert {name: response.headers[name] for name in expected["headers"]} == expected["headers"]
    if "text" in expected:
        assert text == expected["text"]
    else:
        assert json.loads(text, parse_float=str) == expected["body"]


def test_every_route_has_a_transcript():
    asked = {
        json.loads(file.read_text(encoding="utf-8"))["request"]["path"].partition("?")[0].replace("rltc1", "{poolId}")
        for file in TRANSCRIPTS
    }
    assert {route.path for route in ROUTES} <= asked


async def test_the_document_describes_every_route_and_leads_somewhere(world):
    document = await get(world, "/api/compat/openapi.json")
    assert set(document["paths"]) == {route.path for route in ROUTES}
    schemas = document["components"]["schemas"]
    for path in document["paths"].values():
        operation = path["get"]
        assert operation["tags"] == ["compat"]
        schema = operation["responses"]["200"]["content"]["application/json"]["schema"]
        name = (schema.get("items") or schema)["$ref"].rpartition("/")[2]
        assert name in schemas
    assert schemas["Payment"]["properties"]["amount"] == {"type": "number"}


async def test_help_lists_every_path(world):
    async with world.http.get("/api/help") as response:
        lines = (await response.text()).splitlines()
    assert len(lines) == len(ROUTES)
    assert "GET   -> api/pools/<poolId>/miners/<address>/earnings/daily" in lines


async def test_pages_reach_beyond_what_a_service_gives_at_once(world):
    """Page numbers are served from lists that know page tokens only."""
    payouts = [
        payouts_pb2.Payout(
            payout_id=str(number),
            account=ADDRESS,
            amount_atomic=number,
            status=payouts_pb2.BATCH_STATUS_CONFIRMED,
            txid_hex="ab" * 32,
            create_time_ms=NINE_MS - number,
        )
        for number in range(2 * CHUNK_ITEMS + 10)
    ]
    answer = paged(payouts, lambda chosen, **more: payouts_pb2.ListPayoutsResponse(payouts=chosen, **more))
    world.services["payouts"].answers["ListPayouts"] = answer
    page = await get(world, f"/api/v2/pools/rltc1/payments?page={2 * CHUNK_ITEMS // 100}&pageSize=100")
    assert (page["itemCount"], page["pageCount"], len(page["result"])) == (2 * CHUNK_ITEMS + 10, 20, 10)
    assert page["result"][0]["amount"] == pytest.approx(2 * CHUNK_ITEMS / 10**8)
    asked = len(world.services["payouts"].requests("ListPayouts"))
    assert asked == 3, "the count and the page walk the same chunks"
    assert await get(world, f"{POOL}/payments?page=1000000&pageSize=1000") == []
    assert len(world.services["payouts"].requests("ListPayouts")) == asked, "what was just asked is kept"
    world.clock.advance(KEEP_S + 0.1)
    assert len(await get(world, f"{POOL}/payments?pageSize=5000")) == SETTINGS.page_size_max
    assert len(world.services["payouts"].requests("ListPayouts")) > asked


async def test_balance_changes_are_the_same_near_and_far(world):
    """Early pages merge what is needed, late ones and counts all of it."""
    rewarded = [
        rewards_pb2.Credit(
            height=number,
            status=rewards_pb2.BLOCK_STATUS_MATURE,
            found_time_ms=NINE_MS - number * 1_000,
            amount_atomic=1,
        )
        for number in range(CHUNK_ITEMS + 50)
    ]
    answer = paged(rewarded, lambda chosen, **more: rewards_pb2.ListCreditsResponse(credits=chosen, **more))
    world.services["rewards"].answers["ListCredits"] = answer
    every = await get(world, f"/api/v2/pools/rltc1/miners/{ADDRESS}/balancechanges?pageSize=1000")
    assert (every["itemCount"], every["pageCount"]) == (CHUNK_ITEMS + 52, 1)
    assert await get(world, f"{MINER}/balancechanges?pageSize=20") == every["result"][:20]
    last = await get(world, f"{MINER}/balancechanges?pageSize=40&page=26")
    assert len(last) == 12
    times = [change["created"] for change in every["result"]]
    assert times == sorted(times, reverse=True)


@pytest.mark.parametrize(
    ("query", "name", "value"),
    [
        ("page=x", "page", "x"),
        ("page=99999999999", "page", "99999999999"),
        ("pageSize=0", "pageSize", "0"),
        ("state=lost", "state", "lost"),
        ("state=%3Cb%3E", "state", "<b>"),
    ],
)
async def test_a_wrong_value_is_named_as_validation_does(world, query, name, value):
    async with world.http.get(f"{POOL}/blocks?{query}") as response:
        body = await response.json()
        assert (response.status, response.content_type) == (400, "application/problem+json")
    assert body["errors"] == {name: [f"The value '{value}' is not valid."]}


async def test_names_are_read_in_any_case_and_unknown_ones_ignored(world):
    plain = await get(world, f"{POOL}/blocks?page=1&pageSize=1&state=Confirmed&state=pending")
    assert plain == await get(world, f"{POOL}/blocks?PAGE=1&pagesize=1&State=3&state[]=1&_=17")
    assert len(plain) == 1


@pytest.mark.parametrize(
    ("service", "path"),
    [
        ("shares", POOL),
        ("rewards", f"{POOL}/blocks"),
        ("payouts", f"{POOL}/payments"),
        ("miners", f"{POOL}/miners"),
        ("shares", MINER),
    ],
)
async def test_a_service_that_is_away_is_a_503_with_a_sentence(world, service, path):
    await world.stop_services(service)
    async with world.http.get(path) as response:
        text = await response.text()
        assert (response.status, response.headers["Retry-After"]) == (503, "1")
    assert "does not answer" in text


async def test_a_pool_without_blocks_or_shares_still_has_all_that_pages_read(world):
    """Front ends read poolStats and networkStats without looking whether they are there."""
    world.services["shares"].answers = {
        "GetPoolStats": shares_pb2.PoolStats(),
        "GetHashrateHistory": shares_pb2.HashrateHistory(interval_s=600),
        "ListLeaders": shares_pb2.ListLeadersResponse(),
    }
    world.services["rewards"].answers = {
        "ListBlocks": rewards_pb2.ListBlocksResponse(),
        "GetLedgerTotals": rewards_pb2.LedgerTotals(),
    }
    world.services["payouts"].answers = {
        "GetStatus": payouts_pb2.PayerStatus(),
        "ListPayouts": payouts_pb2.ListPayoutsResponse(),
    }
    pool = (await get(world, POOL))["pool"]
    assert pool["poolStats"] == {"connectedMiners": 0, "poolHashrate": 0, "sharesPerSecond": 0}
    assert (pool["networkStats"]["networkDifficulty"], pool["networkStats"]["blockHeight"]) == (0, 0)
    assert (pool["topMiners"], pool["poolEffort"], pool["totalPaid"]) == ([], 0, 0)
    assert "lastPoolBlockTime" not in pool
    assert await get(world, f"{POOL}/performance") == {"stats": []}


def read(node: object, path: str) -> list[object]:
    """Return what lies at a path; `*` stands for every item."""
    found = [node]
    for name in path.split("."):
        if name == "*":
            found = [item for one in found for item in (one.values() if isinstance(one, dict) else one)]
        else:
            found = [one[name] for one in found]
    return found


FRONT_END = [
    (
        "/api/pools",
        "pools",
        *(
            [
                "id",
                "coin.type",
                "coin.name",
                "coin.algorithm",
                "poolStats.connectedMiners",
                "poolStats.poolHashrate",
                "poolFeePercent",
            ]
        ),
        *(["networkStats.networkHashrate", "networkStats.networkDifficulty", "networkStats.blockHeight", "address"]),
        *(["paymentProcessing.payoutScheme", "paymentProcessing.minimumPayment", "ports.*.varDiff.minDiff"]),
        *(["ports.*.difficulty", "ports.*.name"]),
    ),
    (
        f"{POOL}/performance",
        "stats",
        *(["created", "poolHashrate", "networkHashrate", "networkDifficulty", "connectedMiners", "connectedWorkers"]),
    ),
    (f"{POOL}/miners?page=0&pagesize=20", "", "miner", "hashrate", "sharesPerSecond"),
    (
        f"{POOL}/blocks?page=0&pageSize=100",
        "",
        *(["created", "blockHeight", "status", "reward", "confirmationProgress", "transactionConfirmationData"]),
    ),
    (f"{POOL}/payments?page=0&pageSize=500", "", "created", "address", "amount", "transactionConfirmationData"),
    (f"{MINER}/performance", "", "created", "workers.*.hashrate"),
]


@pytest.mark.parametrize(("path", "at", "fields"), [(path, at, fields) for path, at, *fields in FRONT_END])
async def test_what_a_known_front_end_asks_for_and_reads_is_there(world, path, at, fields):
    """The calls of the WebUI that comes with Miningcore, and what it reads without looking whether it is there."""
    items = await get(world, path)
    items = items[at] if at else items
    assert items
    for item in items:
        for field in fields:
            assert None not in read(item, field)


async def test_workers_beyond_the_greatest_stand_together_and_nothing_is_lost(world):
    workers = [
        shares_pb2.WorkerStats(worker=f"w{number:02d}", hashrates=shares_pb2.Hashrates(hps_24h=str(number)))
        for number in range(25)
    ]
    step = {"time_ms": NINE_MS, "accepted": 60, "work": "1"}

    def history(request: shares_pb2.GetHashrateHistoryRequest) -> shares_pb2.HashrateHistory:
        hps = 10 if request.HasField("worker") else 250
        return shares_pb2.HashrateHistory(interval_s=600, points=[shares_pb2.HistoryPoint(hps=str(hps), **step)])

    world.services["shares"].answers["GetAccountStats"] = shares_pb2.AccountStats(account=ADDRESS, workers=workers)
    world.services["shares"].answers["GetHashrateHistory"] = history
    (sample,) = await get(world, f"{MINER}/performance")
    assert len(sample["workers"]) == 21
    assert sample["workers"][OTHERS]["hashrate"] == 50
    assert sum(worker["hashrate"] for worker in sample["workers"].values()) == 250


async def test_names_with_markup_do_no_harm_in_pages_that_do_not_escape_them(world):
    """S4: anybody can mine to anybody's address under any name."""
    name = '<img src=x onerror="1">\'&'
    worker = shares_pb2.WorkerStats(worker=name, last_share_time_ms=NINE_MS + 4_000_000)
    stats = shares_pb2.AccountStats(account=ADDRESS, workers=[worker])
    world.services["shares"].answers["GetAccountStats"] = stats
    async with world.http.get(MINER) as response:
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        workers = (await response.json())["performance"]["workers"]
    assert list(workers) == ["&lt;img src=x onerror=&quot;1&quot;&gt;&#x27;&amp;"]


async def test_the_pool_is_asked_once_for_many_readers(world):
    """S6: readers within a second cost as much as one."""
    await asyncio.gather(*(get(world, POOL) for _ in range(20)))
    assert len(world.services["shares"].requests("GetPoolStats")) == 1


async def test_pages_of_allowed_origins_may_read_and_others_may_not(world):
    for origin, allowed in (("https://stats.example", "https://stats.example"), ("https://evil.example", None)):
        async with world.http.get(POOL, headers={"Origin": origin}) as response:
            assert response.headers.get("Access-Control-Allow-Origin") == allowed


async def test_a_turned_off_face_is_not_there(short_dir):
    world = GatewayWorld(short_dir, SETTINGS)
    fill(world)
    await world.start()
    try:
        for path in (POOL, "/notifications"):
            assert (await world.problem(path))["status"] == 404
    finally:
        await world.close()


async def test_payments_are_those_that_were_sent_and_totals_hold_those_under_way(world):
    """R1: pendingBalance + totalPaid is payable + reserved + paid of the ledger, from one reading of it."""
    miner = await get(world, MINER)
    assert round((miner["pendingBalance"] + miner["totalPaid"]) * 10**8) == 30_000_000 + 100_000_007 + 250_000_000
    sent = [payout for payout in PAYOUTS if payout.account == ADDRESS and payout.amount_atomic != 7]
    payments = await get(world, f"{MINER}/payments")
    assert [payment["transactionConfirmationData"] for payment in payments] == [payout.txid_hex for payout in sent]
