"""A database restored from a backup has forgotten payouts; the wallet has not, and nothing is paid twice."""

import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import pytest

from nodes.regtest import LitecoindRegtest, find_litecoind
from payouts.audit import audit
from payouts.domain import PAYING_ARROWS, Arrow, BatchStatus
from payouts.errors import WaitCause
from payouts.metrics import read_families, read_standing
from payouts.sends import open_sends
from payouts.service import PayoutServicer
from proto.lodepool.payouts.v1 import payouts_pb2 as pb
from runtime.postgres.embedded import EmbeddedPostgres
from runtime.postgres.pool import close_pool, open_pool
from runtime.postgres.settings import PostgresSettings
from runtime.rpc.errors import FailedPrecondition, InvalidArgument, NotFound
from tests.fakes.payouts_world import COIN, Bench, LitecoindBench, SimulatedBench, World
from tests.fakes.postgres_tools import dump, restore

pytestmark = pytest.mark.timeout(300)

_numbers = itertools.count(1)


@pytest.fixture(params=["simulated", pytest.param("litecoind", marks=pytest.mark.litecoind)])
async def bench(request: pytest.FixtureRequest, short_dir: Path) -> AsyncIterator[Bench]:
    if request.param == "simulated":
        yield SimulatedBench()
        return
    if find_litecoind() is None:
        pytest.skip("missing component: litecoind")
    async with LitecoindRegtest(short_dir / "litecoin") as regtest:
        made = LitecoindBench(regtest)
        await made.fund(6)
        yield made
        await made.rpc.close()


@pytest.fixture
async def world(database: Any, bench: Bench) -> World:
    made = await World.make(database.pool, bench)
    made.dsn = database.dsn
    return made


@asynccontextmanager
async def restored(world: World, backup: Path, server: EmbeddedPostgres) -> AsyncIterator[World]:
    """Return the world with a database as the backup has it, and the chain and the wallet as they are now."""
    name = f"restored_{next(_numbers)}"
    admin = await asyncpg.connect(server.dsn_of("postgres"))
    await admin.execute(f"CREATE DATABASE {name} TEMPLATE template0")
    dsn = server.dsn_of(name)
    await restore(dsn, backup)
    pool = await open_pool(dsn, PostgresSettings(dsn=dsn))
    again = World(pool, world.bench, settings=world.settings)
    again.expected = dict(world.expected)
    again.clock = world.clock
    try:
        yield again
    finally:
        await close_pool(pool)
        await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
        await admin.close()


async def findings(world: World) -> set[str]:
    report = await audit(world.pool, coin_id=COIN.coin_id, wallet=world.bench.wallet)
    return {finding.check for finding in report.findings}


async def send_by_hand(bench: Bench, account: str, amount_atomic: int) -> str:
    signed = await bench.wallet.build([(account, amount_atomic)], fee_rate_sat_per_kvb=10_000)
    await bench.wallet.broadcast(signed.raw)
    return signed.txid_hex


async def test_what_a_restored_database_has_forgotten_is_not_paid_again_but_adopted(
    world: World, short_dir: Path, postgres_server: EmbeddedPostgres
) -> None:
    """P2 P3: payouts stop with a sentence that names the transaction; adopted, it is followed and the books agree."""
    for amount in (2_000_000, 3_000_000):
        await world.miner(amount)
    await dump(world.dsn, short_dir / "backup")
    await world.pay()
    paid = (await world.batch()).txid_hex
    await world.assert_everybody_paid_once("before the restore")

    async with restored(world, short_dir / "backup", postgres_server) as again:
        payer = again.payer()
        for _ in range(3):
            reason = await again.round(payer)
            await again.bench.mine()
        assert f"the wallet has sent {paid}, " in reason
        assert "to 2 accounts, that the books do not know" in reason
        assert f"lodepool payouts adopt {paid}" in reason
        assert payer.metrics.wait_cause is WaitCause.UNKNOWN_SEND
        assert await again.batches() == []
        assert await findings(again) == {"wallet sends = batches"}
        standing = await read_standing(again.pool, coin_id=COIN.coin_id, now_ms=again.clock.now_ms())
        shown = {sample.name: sample.value for family in read_families(standing) for sample in family.samples}
        assert shown["lodepool_payouts_unknown_sends"] == 1

        first = await again.adopter().adopt(paid, request_id="a")
        assert await again.adopter().adopt(paid, request_id="a") == first
        assert await again.adopter().adopt(paid, request_id="b") == first
        adopted = await again.batch()
        assert (adopted.status, adopted.txid_hex, adopted.payout_count) == (BatchStatus.BROADCAST, paid, 2)
        await again.miner(4_000_000)
        await again.pay()

        await again.assert_everybody_paid_once("after the adoption")
        assert [batch.status for batch in await again.batches()] == [BatchStatus.CONFIRMED] * 2


async def test_backup_from_between_reservation_and_signature_is_not_signed_again(
    world: World, short_dir: Path, postgres_server: EmbeddedPostgres
) -> None:
    """P2: the transaction is adopted by the very batch that it carried out."""
    await world.miner(2_000_000)
    assert await world.crash_at(Arrow.RESERVED)
    await dump(world.dsn, short_dir / "backup")
    await world.pay()
    paid = await world.batch()

    async with restored(world, short_dir / "backup", postgres_server) as again:
        assert (await again.batch()).status is BatchStatus.RESERVED
        assert "that the books do not know" in await again.round()
        assert await again.adopter().adopt(paid.txid_hex, request_id="a") == paid.batch_id
        await again.pay()
        await again.assert_everybody_paid_once()


@pytest.mark.parametrize("arrow", PAYING_ARROWS)
async def test_backup_of_any_moment_of_a_payout_pays_nobody_twice(
    database: Any, short_dir: Path, postgres_server: EmbeddedPostgres, arrow: Arrow
) -> None:
    """P2 P3: from each arrow between two effects the restored pool comes to the same end, with the operator's word."""
    world = await World.make(database.pool, SimulatedBench())
    for amount in (2_000_000, 3_000_000):
        await world.miner(amount)
    assert await world.crash_at(arrow)
    await dump(database.dsn, short_dir / "backup")
    await world.pay()

    async with restored(world, short_dir / "backup", postgres_server) as again:
        for _ in range(4):
            await again.round()
            await again.bench.mine()
        async with again.pool.acquire() as conn:
            unknown = [send.txid_hex for send in await open_sends(conn, COIN.coin_id)]
        for txid in unknown:
            await again.adopter().adopt(txid, request_id=txid)
        await again.pay()
        await again.assert_everybody_paid_once(arrow)


async def test_account_that_rewards_credit_again_later_is_not_paid_again(
    world: World, short_dir: Path, postgres_server: EmbeddedPostgres
) -> None:
    """P2: the ledger has forgotten the account too; others are paid until it comes back, and adopting waits for it."""
    await dump(world.dsn, short_dir / "backup")
    forgotten = await world.miner(2_000_000)
    await world.pay()
    paid = (await world.batch()).txid_hex
    await world.bench.mine(120)

    async with restored(world, short_dir / "backup", postgres_server) as again:
        again.expected = {}
        await again.miner(3_000_000)
        await again.pay()
        await again.assert_everybody_paid_once("others")
        with pytest.raises(FailedPrecondition, match="rewards service is catching up"):
            await again.adopter().adopt(paid, request_id="a")

        await again.credit(forgotten, 2_000_000)
        again.expected[forgotten] = 2_000_000
        assert f"the wallet has sent {paid}" in await again.round()
        await again.adopter().adopt(paid, request_id="b")
        await again.pay()
        await again.assert_everybody_paid_once()


async def test_payment_by_hand_is_ignored_on_the_operators_word_and_the_account_is_paid_as_usual(world: World) -> None:
    account = await world.miner(2_000_000)
    txid = await send_by_hand(world.bench, account, 700_000)
    elsewhere = await send_by_hand(world.bench, await world.bench.new_address(), 800_000)

    assert f"the wallet has sent {txid}" in await world.round()
    with pytest.raises(InvalidArgument, match="reason"):
        await world.adopter().ignore(txid, reason="", request_id="i")
    with pytest.raises(NotFound):
        await world.adopter().ignore("ab" * 32, reason="mine", request_id="j")
    for _ in range(2):
        await world.adopter().ignore(txid, reason="a private payment", request_id="i")
    await world.pay()

    assert (await world.balance(account)).paid_atomic == 2_000_000
    assert await world.bench.received_atomic(account) == 2_700_000
    report = await audit(world.pool, coin_id=COIN.coin_id, wallet=world.bench.wallet)
    assert report.is_ok
    assert [note for note in report.notes if txid in note]
    assert elsewhere not in str(report)


async def test_reserved_batch_makes_room_for_a_payout_of_another_amount(world: World) -> None:
    """P1 P2: the lost history went another way than the reservation; what is left is paid by a new batch."""
    account = await world.miner(2_000_000)
    assert await world.crash_at(Arrow.RESERVED)
    txid = await send_by_hand(world.bench, account, 700_000)
    assert f"the wallet has sent {txid}" in await world.round()

    await world.adopter().adopt(txid, request_id="a")
    await world.credit(account, 500_000)
    await world.pay()

    voided, *others = await world.batches()
    assert voided.status is BatchStatus.VOIDED
    assert [batch.amount_atomic for batch in others] == [700_000, 1_800_000]
    world.expected[account] = 2_500_000
    await world.assert_everybody_paid_once()


async def test_operator_adopts_over_the_api_and_reads_what_waits(world: World) -> None:
    account = await world.miner(2_000_000)
    txid = await send_by_hand(world.bench, account, 2_000_000)
    await world.round()
    servicer = PayoutServicer(
        pool=world.pool, reviewer=world.reviewer(), adopter=world.adopter(), clock=world.clock, coin_id=COIN.coin_id
    )

    status = await servicer.GetStatus(pb.GetStatusRequest(coin=COIN.coin_id), None)
    (unknown,) = status.unknown_sends
    assert (unknown.txid_hex, unknown.amount_atomic, unknown.account_count) == (txid, 2_000_000, 1)
    assert txid in status.reason
    with pytest.raises(InvalidArgument, match="txid_hex"):
        await servicer.AdoptSend(pb.AdoptSendRequest(coin=COIN.coin_id, txid_hex="x", request_id="1"), None)
    request = pb.AdoptSendRequest(coin=COIN.coin_id, txid_hex=txid, request_id=str(uuid4()))
    batch = await servicer.AdoptSend(request, None)

    assert (batch.txid_hex, batch.status, len(batch.payouts)) == (txid, pb.BATCH_STATUS_BROADCAST, 1)
    ignore = pb.IgnoreSendRequest(coin=COIN.coin_id, txid_hex=txid, reason="x", request_id=str(uuid4()))
    with pytest.raises(FailedPrecondition, match="was adopted"):
        await servicer.IgnoreSend(ignore, None)
    assert not (await servicer.GetStatus(pb.GetStatusRequest(coin=COIN.coin_id), None)).unknown_sends
    await world.pay()
    await world.assert_everybody_paid_once()
