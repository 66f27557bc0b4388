"""The second face in front of the real services: it tells the same money as the pool's own API."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from decimal import Decimal

import pytest

from runtime.platform import Platform
from tests.fakes.waiting import eventually
from tests.integration.test_gateway_pool import ALICE, BOB, COIN, FEE, REWARD, SERVICES, Pool

API = "/api/pools/rltc1"


@pytest.fixture
async def pool(platform: Platform) -> AsyncIterator[Pool]:
    pool = Pool(platform)
    started: set[str] = set()
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(service) for service in pool.services(replace(platform, ready=started.add))]
        await eventually(lambda: started >= SERVICES, timeout_s=30, what="every service")
        yield pool
        await pool.http.close()
        for task in tasks:
            task.cancel()


async def read(pool: Pool, path: str) -> object:
    async with pool.http.get(API + path) as response:
        assert response.status == 200, await response.text()
        return await response.json(loads=loads)


def loads(text: str) -> object:
    """Read JSON without making a float of money."""
    return json.loads(text, parse_float=Decimal)


async def test_an_empty_pool_answers_on_every_path(pool):
    found = (await read(pool, ""))["pool"]
    assert (found["id"], found["totalBlocks"], found["totalPaid"]) == ("rltc1", 0, 0)
    for path in ("/performance", "/miners", "/blocks", "/payments", f"/miners/{ALICE}", f"/miners/{ALICE}/blocks"):
        assert await read(pool, path) is not None
    assert await read(pool, f"/miners/{ALICE}/balancechanges") == []


async def test_the_money_of_a_block_is_told_in_coins_to_the_last_digit(pool):
    """R1, P1: shares → block → maturity → payment, as a front end reads it."""
    block_hash = await pool.mine()
    await pool.eventually(f"blocks/{block_hash}", lambda found: found["status"] == "immature", "the credits")

    pool.node.mine_blocks(COIN.maturity_blocks)
    share = Decimal((REWARD - FEE) * 3 // 4) / 10**8

    async def is_paid() -> bool:
        pool.node.mine_block()
        return (await pool.get(f"miners/{ALICE}"))["balance"]["paid_atomic"] > 0

    await eventually(is_paid, timeout_s=30, what="alice's payment")

    alice = await read(pool, f"/miners/{ALICE}")
    assert (alice["pendingBalance"], alice["totalPaid"], alice["totalConfirmedBlocks"]) == (0, share, 1)
    assert set(alice["performance"]["workers"]) == {"rig1"}, "rig2 sent nothing that counts"
    (payment,) = await read(pool, f"/miners/{ALICE}/payments")
    assert payment["amount"] == share
    changes = await read(pool, f"/miners/{ALICE}/balancechanges")
    assert sum(change["amount"] for change in changes) == 0
    assert [earning["amount"] for earning in await read(pool, f"/miners/{ALICE}/earnings/daily")] == [share]
    assert [miner["miner"] for miner in await read(pool, "/miners")] == [ALICE, BOB]
    (confirmed,) = await read(pool, "/blocks?state=Confirmed")
    assert (confirmed["hash"], confirmed["confirmationProgress"]) == (block_hash, 1)
    assert confirmed["reward"] == Decimal(REWARD) / 10**8
    assert await read(pool, "/blocks?state=Pending&state=Orphaned") == []
    found = (await read(pool, ""))["pool"]
    assert (found["totalPaid"], found["totalConfirmedBlocks"]) == (Decimal(REWARD - FEE) / 10**8, 1)
