"""What the payout service tells people, each in the transaction that changes the batch."""

from typing import Any

import pytest

from nodes.faults import Fault, FaultKind
from payouts.domain import Arrow, BatchStatus
from payouts.payer import NODE_PATIENCE_MS
from proto.lodepool.events.v1.notices_pb2 import Notice, PayoutNoticeKind, TroubleKind
from tests.fakes.payouts_world import COIN, SETTINGS, SimulatedBench, World

SENT = PayoutNoticeKind.PAYOUT_NOTICE_KIND_SENT
CONFIRMED = PayoutNoticeKind.PAYOUT_NOTICE_KIND_CONFIRMED
REVIEW = PayoutNoticeKind.PAYOUT_NOTICE_KIND_REVIEW
HELD = PayoutNoticeKind.PAYOUT_NOTICE_KIND_HELD


@pytest.fixture
async def bench() -> SimulatedBench:
    return SimulatedBench()


@pytest.fixture
async def world(database: Any, bench: SimulatedBench) -> World:
    return await World.make(database.pool, bench)


async def told(world: World) -> list[Notice]:
    rows = await world.pool.fetch("SELECT payload FROM payouts.outbox ORDER BY outbox_id")
    return [Notice.FromString(row["payload"]) for row in rows]


async def test_payment_is_told_when_it_is_sent_and_when_it_is_confirmed(world):
    accounts = {await world.miner(2_000_000), await world.miner(3_000_000)}
    await world.pay()
    notices = await told(world)
    assert [notice.payout.kind for notice in notices] == [SENT, SENT, CONFIRMED, CONFIRMED]
    assert {notice.account for notice in notices[:2]} == {notice.account for notice in notices[2:]} == accounts
    for notice in notices:
        assert notice.payout.amount_atomic == world.expected[notice.account]
        assert notice.payout.txid_hex == (await world.batch()).txid_hex
    first = notices[0].payout
    assert notices[0].notice_id == f"payout_sent/{first.payout_id}/{first.txid_hex}"
    assert len({notice.notice_id for notice in notices}) == 4


@pytest.mark.parametrize("arrow", [Arrow.SENT, Arrow.MARKING, Arrow.MARKED, Arrow.SETTLING, Arrow.SETTLED])
async def test_crash_at_any_arrow_tells_each_thing_once(world, arrow):
    """P3"""
    await world.miner(2_000_000)
    await world.crash_at(arrow)
    await world.pay()
    notices = await told(world)
    assert [notice.payout.kind for notice in notices] == [SENT, CONFIRMED]


async def test_batch_in_review_is_told_to_its_accounts_and_to_operators(world, bench):
    """P3, P10"""
    account = await world.miner(2_000_000)
    bench.node.faults.fail_next(
        "fundrawtransaction", Fault(kind=FaultKind.ERROR, code=-5, message="Invalid Litecoin address")
    )
    await world.round()
    batch = await world.batch()
    assert batch.status is BatchStatus.REVIEW
    payment, trouble = await told(world)
    assert (payment.payout.kind, payment.account) == (REVIEW, account)
    assert (trouble.trouble.kind, trouble.account) == (TroubleKind.TROUBLE_KIND_BATCH_IN_REVIEW, "")
    assert (trouble.trouble.subject, trouble.trouble.detail) == (str(batch.batch_id), batch.reason)
    await world.round()
    assert len(await told(world)) == 2, "waiting for the review is not told again"
    await world.reviewer().void(batch.batch_id, reason="test", request_id="r")
    assert (await told(world))[-1].payout.kind == HELD


async def test_wallet_without_funds_is_told_once_until_the_cause_changes(database):
    """P8"""
    bench = SimulatedBench()
    world = await World.make(database.pool, bench)
    await world.miner(10**15)
    for _ in range(3):
        await world.round()
    (notice,) = await told(world)
    assert (notice.trouble.kind, notice.trouble.subject) == (TroubleKind.TROUBLE_KIND_PAYOUTS_WAIT, "funds")
    assert notice.notice_id.startswith(f"trouble/payouts_wait/{COIN.coin_id}/funds/")


async def test_node_that_fails_for_a_moment_is_nobodys_trouble(world, bench):
    await world.miner(2_000_000)
    bench.node.faults.fail_next("listunspent", Fault(kind=FaultKind.REFUSE))
    await world.round()
    row = await world.pool.fetchrow("SELECT alarm_cause, is_alarm_told FROM payouts.payer")
    assert tuple(row) == ("node", False)
    assert SETTINGS.interval_s * 1000 < NODE_PATIENCE_MS
    await world.pay()
    assert {notice.payout.kind for notice in await told(world)} == {SENT, CONFIRMED}
