"""Names that miners choose come back as data, whatever they hold; bad questions get answers that help."""

from collections.abc import AsyncIterator

import pytest
from yarl import URL

from gateway.config import GatewaySettings
from proto.lodepool.miners.v1 import miners_pb2
from proto.lodepool.shares.v1 import shares_pb2
from tests.fakes.gateway_world import ADDRESS, GatewayWorld
from tests.integration.test_gateway_api import fill

NAMES = [
    "<img src=x onerror=alert(1)>",
    "</script><script>alert(1)</script>",
    "\u202egnp.exe",
    "\x1b[31mred",
    "a\r\nSet-Cookie: x=1",
    "\ufeff\u200b",
    "' OR 1=1 --",
    "{{7*7}}${7*7}",
    "\U0010ffff",
    "",
]


@pytest.fixture
async def world(short_dir) -> AsyncIterator[GatewayWorld]:
    world = GatewayWorld(short_dir, GatewaySettings(timeout_s=0.5))
    fill(world)
    await world.start()
    yield world
    await world.close()


async def test_names_of_workers_come_back_exactly(world):
    """S9."""
    workers = [shares_pb2.WorkerStats(worker=name) for name in NAMES]
    known = [miners_pb2.Worker(worker=name, user_agent=name) for name in NAMES]
    world.services["shares"].answers["GetAccountStats"] = shares_pb2.AccountStats(account=ADDRESS, workers=workers)
    world.services["miners"].answers["ListWorkers"] = miners_pb2.ListWorkersResponse(workers=known)
    async with world.http.get(f"/api/v1/miners/{ADDRESS}") as response:
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert "Set-Cookie" not in response.headers
        miner = await response.json()
    assert {worker["worker"] for worker in miner["workers"]} == set(NAMES)
    assert {worker["user_agent"] or "" for worker in miner["workers"]} == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
async def test_a_name_in_a_question_is_only_a_name(world, name):
    url = URL(f"/api/v1/miners/{ADDRESS}/history").with_query(worker=name)
    async with world.http.get(url) as response:
        assert response.status == 200
    assert world.services["shares"].requests("GetHashrateHistory")[-1].worker == name


@pytest.mark.parametrize(
    "query",
    ["page_size=0", "page_size=1001", "page_size=9" + "9" * 400, "page_size=-1", "page_size=1e3", "page_size=١"],
)
async def test_pages_of_any_size_are_not_given(world, query):
    for path in ("blocks", "miners", "payouts", f"miners/{ADDRESS}/blocks", f"miners/{ADDRESS}/credits"):
        assert (await world.problem(f"/api/v1/{path}?{query}"))["type"] == "urn:lodepool:problem:bad-parameter"
