"""Exports over HTTP in front of recorded services."""

import csv
import io
from collections.abc import AsyncIterator

import aiohttp
import pytest

from gateway.config import GatewaySettings
from proto.lodepool.payouts.v1 import payouts_pb2
from proto.lodepool.shares.v1 import shares_pb2
from runtime.rpc.errors import Unavailable
from tests.fakes.gateway_world import ADDRESS, OTHER, GatewayWorld
from tests.integration.test_gateway_api import HASH, TIME, TIME_MS, fill

BASE = f"/api/v1/miners/{ADDRESS}/exports"
MINUTE = TIME_MS // 60_000
ROWS = 1_500


def list_slices(request: shares_pb2.ListSlicesRequest) -> shares_pb2.ListSlicesResponse:
    """Answer 1,500 slices in two pages."""
    start = int(request.page_token or "0")
    slices = [
        shares_pb2.Slice(
            scheme="pplns",
            account=ADDRESS,
            worker="=cmd|'/c calc'!A0",
            height=number,
            minute=MINUTE,
            work=str(2**70),
            counts=shares_pb2.ShareCounts(accepted=5, stale=4, duplicate=3, low_difficulty=2, invalid=1),
        )
        for number in range(start, min(ROWS, start + request.page_size))
    ]
    more = start + len(slices)
    return shares_pb2.ListSlicesResponse(slices=slices, next_page_token=str(more) if more < ROWS else "")


@pytest.fixture
async def world(short_dir) -> AsyncIterator[GatewayWorld]:
    world = GatewayWorld(short_dir, GatewaySettings(timeout_s=0.5))
    fill(world)
    world.services["shares"].answers["ListSlices"] = list_slices
    await world.start()
    yield world
    await world.close()


async def test_shares_come_as_csv_of_any_length(world):
    async with world.http.get(f"{BASE}/shares.csv?from=2023-11-01&to=2023-11-14") as response:
        text = (await response.read()).decode("utf-8-sig")
        assert (response.status, response.content_type, response.charset) == (200, "text/csv", "utf-8")
        assert f'filename="{ADDRESS}-shares.csv"' in response.headers["Content-Disposition"]
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    assert [int(row["height"]) for row in rows] == list(range(ROWS))
    assert rows[0] == {
        "time": "2023-11-14T22:13:00Z",
        "height": "0",
        "worker": "'=cmd|'/c calc'!A0",
        "scheme": "pplns",
        "work": str(2**70),
        "accepted": "5",
        "stale": "4",
        "duplicate": "3",
        "low_difficulty": "2",
        "invalid": "1",
    }
    first, second = world.services["shares"].requests("ListSlices")
    assert (first.start_minute, first.end_minute) == (1_698_796_800 // 60, 1_700_006_400 // 60 - 1)
    assert second.page_token == "1000"


async def test_credits_and_payouts_come_as_json_of_their_time_only(world):
    async with world.http.get(f"{BASE}/credits.json") as response:
        assert await response.json() == [
            {
                "time": TIME,
                "height": 11,
                "block_hash": HASH,
                "status": "mature",
                "work": "5",
                "amount_atomic": 6,
            }
        ]
    async with world.http.get(f"{BASE}/credits.json?to=2023-11-13") as response:
        assert await response.json() == []
    async with world.http.get(f"{BASE}/payouts.json") as response:
        (payout,) = await response.json()
    assert (payout["payout_id"], payout["amount_atomic"], payout["status"]) == ("p1", 70, "broadcast")
    assert payout["confirm_time"] is None


async def test_a_workbook_is_one(world):
    async with world.http.get(f"{BASE}/shares.xlsx") as response:
        assert response.content_type.endswith("spreadsheetml.sheet")
        assert (await response.read()).startswith(b"PK\x03\x04")


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        (f"{BASE}/shares.csv?from=yesterday", "bad-parameter"),
        (f"{BASE}/shares.csv?from=2023-02-30", "bad-parameter"),
        (f"{BASE}/shares.csv?from=0001-01-01", "bad-parameter"),
        (f"{BASE}/shares.csv?to=9999-12-31T23:59:59-23:59", "bad-parameter"),
        (f"{BASE}/shares.csv?from=2023-11-02&to=2023-11-01", "bad-parameter"),
        (f"{BASE}/shares.csv?since=2023-11-02", "bad-parameter"),
        (f"{BASE}/shares.pdf", "unknown-path"),
        (f"{BASE}/keys.csv", "unknown-path"),
        (f"/api/v1/miners/{OTHER}/exports/shares.csv", "unknown-miner"),
        ("/api/v1/miners/nobody/exports/shares.csv", "bad-address"),
    ],
)
async def test_what_cannot_be_exported_is_said(world, path, kind):
    assert (await world.problem(path))["type"] == f"urn:lodepool:problem:{kind}"


async def test_a_service_that_is_away_is_a_problem_at_the_start_and_a_broken_transfer_later(world):
    world.services["payouts"].answers["ListPayouts"] = Unavailable("gone")
    assert (await world.problem(f"{BASE}/payouts.csv"))["status"] == 503

    def breaks_off(request: payouts_pb2.ListPayoutsRequest) -> object:
        if request.page_token:
            return Unavailable("gone")
        payout = payouts_pb2.Payout(create_time_ms=TIME_MS)
        return payouts_pb2.ListPayoutsResponse(payouts=[payout], next_page_token="x")

    world.services["payouts"].answers["ListPayouts"] = breaks_off
    with pytest.raises((aiohttp.ClientPayloadError, aiohttp.ClientConnectionError)):
        async with world.http.get(f"{BASE}/payouts.csv") as response:
            await response.read()
