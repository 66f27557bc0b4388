"""The whole service over gRPC: a real database, a miner service, a chain."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import pytest

from coins.settings import PoolSettings
from nodes.faults import Fault, FaultKind
from payouts.main import run
from payouts.payer import Payer
from payouts.service import PayoutServicer
from proto.lodepool.miners.v1 import miners_pb2, miners_pb2_grpc
from proto.lodepool.payouts.v1 import payouts_pb2 as pb
from proto.lodepool.payouts.v1.payouts_pb2_grpc import PayoutServiceStub
from runtime.exclusive import Alone
from runtime.live import Live
from runtime.platform import Platform
from runtime.rpc.client import call
from runtime.rpc.errors import FailedPrecondition, InvalidArgument, NotFound
from runtime.rpc.server import RpcServer
from tests.fakes.payouts_world import COIN, SETTINGS, SimulatedBench, World

WAIT_S = 20


class Miners(miners_pb2_grpc.MinerServiceServicer):
    """A miner service that knows the thresholds a test gave it."""

    def __init__(self) -> None:
        self.own: dict[str, int] = {}

    async def BatchGetAccounts(self, request: miners_pb2.BatchGetAccountsRequest, context: object) -> Any:
        return miners_pb2.BatchGetAccountsResponse(
            accounts=[
                miners_pb2.Account(coin=request.coin, account=account, payout_threshold_atomic=self.own[account])
                for account in request.accounts
                if account in self.own
            ]
        )


class Running:
    """The service, and what it runs on."""

    def __init__(self, world: World, bench: SimulatedBench, miners: Miners, stub: Any) -> None:
        self.world = world
        self.bench = bench
        self.miners = miners
        self.stub = stub

    async def status(self) -> pb.PayerStatus:
        return await call(self.stub.GetStatus, pb.GetStatusRequest(coin=COIN.coin_id))

    async def until_confirmed(self, payouts: int) -> None:
        async with asyncio.timeout(WAIT_S):
            while (await self.status()).payouts_confirmed < payouts:
                await self.bench.mine()
                await asyncio.sleep(0.01)

    async def until_waiting(self, word: str) -> None:
        async with asyncio.timeout(WAIT_S):
            while word not in (await self.status()).reason:
                await asyncio.sleep(0.01)


@pytest.fixture
async def service(platform: Platform) -> AsyncIterator[Running]:
    bench = SimulatedBench()
    world = await World.make(platform.pool, bench)
    miners = Miners()
    miner_server = RpcServer(
        platform.directory.target("miners"),
        services=[(miners_pb2_grpc.add_MinerServiceServicer_to_server, miners, "lodepool.miners.v1.MinerService")],
    )
    await miner_server.start()
    is_ready = asyncio.Event()
    patched = Platform.local(
        clock=platform.clock,
        pool=platform.pool,
        eventlog=platform.eventlog,
        directory=platform.directory,
        clients=platform.clients,
        ready=lambda _name: is_ready.set(),
    )
    fields = {name: getattr(SETTINGS, name) for name in SETTINGS.__struct_fields__}
    settings = type(SETTINGS)(**{**fields, "interval_s": 0.02})
    pool_settings = PoolSettings(coin=COIN.coin_id, address=await bench.new_address())
    task = asyncio.create_task(run(Live(settings), pool_settings, patched, bench.wallet))
    async with asyncio.timeout(WAIT_S):
        await is_ready.wait()
    yield Running(world, bench, miners, PayoutServiceStub(platform.clients.channel("payouts")))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await miner_server.stop(0)


async def test_balances_over_their_thresholds_are_paid_and_shown(service: Running) -> None:
    """P5: with the thresholds of the miner service."""
    world = service.world
    eager = await world.miner(60_000, is_due=False)
    patient = await world.miner(5_000_000, is_due=False)
    service.miners.own = {eager: 60_000, patient: 6_000_000}
    world.expected[eager] = 60_000
    usual = await world.miner(1_000_000)

    await service.until_confirmed(2)

    await world.assert_everybody_paid_once()
    status = await service.status()
    assert (status.is_active, status.is_held, status.paid_atomic) == (True, False, 1_060_000)
    listed = await call(service.stub.ListPayouts, pb.ListPayoutsRequest(coin=COIN.coin_id))
    assert {payout.account: payout.amount_atomic for payout in listed.payouts} == {eager: 60_000, usual: 1_000_000}
    assert all(payout.status == pb.BATCH_STATUS_CONFIRMED and payout.confirm_time_ms for payout in listed.payouts)
    mine = await call(service.stub.ListPayouts, pb.ListPayoutsRequest(coin=COIN.coin_id, account=usual))
    assert [payout.account for payout in mine.payouts] == [usual]
    batch = await call(service.stub.GetBatch, pb.GetBatchRequest(batch_id=mine.payouts[0].batch_id))
    assert batch.txid_hex == mine.payouts[0].txid_hex
    assert sum(payout.amount_atomic for payout in batch.payouts) == batch.amount_atomic


async def test_pages_show_every_payment_once_newest_first(service: Running) -> None:
    for number in range(7):
        await service.world.miner(1_000_000 + number)
    await service.until_confirmed(7)

    seen, token = [], ""
    while True:
        request = pb.ListPayoutsRequest(coin=COIN.coin_id, page_size=3, page_token=token)
        page = await call(service.stub.ListPayouts, request)
        seen.extend(payout.account for payout in page.payouts)
        token = page.next_page_token
        if not token:
            break
    whole = await call(service.stub.ListPayouts, pb.ListPayoutsRequest(coin=COIN.coin_id))

    assert seen == [payout.account for payout in whole.payouts]
    assert sorted(seen) == sorted(service.world.expected)


async def test_held_payouts_make_no_batch_until_they_are_resumed(service: Running) -> None:
    hold = pb.HoldPayoutsRequest(coin=COIN.coin_id, reason="moving the wallet", request_id="h1")
    status = await call(service.stub.HoldPayouts, hold)
    assert (status.is_held, status.reason) == (True, "moving the wallet")
    await service.world.miner(2_000_000)
    await service.until_waiting("moving the wallet")
    assert (await call(service.stub.ListBatches, pb.ListBatchesRequest(coin=COIN.coin_id))).batches == []

    resume = pb.ResumePayoutsRequest(coin=COIN.coin_id, request_id="r1")
    assert not (await call(service.stub.ResumePayouts, resume)).is_held
    assert not (await call(service.stub.HoldPayouts, hold)).is_held, "a repeated request is harmless"
    await service.until_confirmed(1)
    await service.world.assert_everybody_paid_once()


async def test_isolated_account_is_reported_and_the_rest_is_paid(service: Running) -> None:
    """P6"""
    await service.world.credit("nonsense", 9_000_000)
    await service.world.miner(2_000_000)

    await service.until_confirmed(1)

    (isolated,) = (await service.status()).isolated
    assert isolated.account == "nonsense"
    assert "not an address" in isolated.reason


async def test_node_that_is_down_is_the_reason_that_the_operator_reads(service: Running) -> None:
    service.bench.node.go_down()
    await service.world.miner(2_000_000)

    await service.until_waiting("cannot be reached")

    service.bench.node.come_up()
    await service.until_confirmed(1)
    assert (await service.status()).reason == ""


async def test_batch_in_review_is_listed_and_voided_over_grpc(service: Running) -> None:
    """P3 P10"""
    node = service.bench.node
    node.faults.fail_next("sendrawtransaction", Fault(kind=FaultKind.DROP_ANSWER))
    await service.world.miner(2_000_000)
    async with asyncio.timeout(WAIT_S):
        while not node.chain.mempool:
            await asyncio.sleep(0.01)
    (txid,) = node.chain.mempool
    node.mine_double_spend(txid[::-1].hex())
    await service.until_waiting("is in review")
    await service.bench.mine(2)
    request = pb.ListBatchesRequest(coin=COIN.coin_id, status=pb.BATCH_STATUS_REVIEW)
    (batch,) = (await call(service.stub.ListBatches, request)).batches
    assert batch.reason

    void = pb.VoidBatchRequest(batch_id=batch.batch_id, reason="double spent", request_id="v1")
    voided = await call(service.stub.VoidBatch, void)

    assert voided.status == pb.BATCH_STATUS_VOIDED
    assert voided.reason == "voided: double spent"
    assert (await call(service.stub.VoidBatch, void)).status == pb.BATCH_STATUS_VOIDED
    await service.until_confirmed(1)
    await service.world.assert_everybody_paid_once()


async def test_bad_requests_are_refused_with_the_field(service: Running) -> None:
    stub = service.stub
    with pytest.raises(InvalidArgument, match="coin"):
        await call(stub.GetStatus, pb.GetStatusRequest())
    with pytest.raises(InvalidArgument, match="batch_id"):
        await call(stub.GetBatch, pb.GetBatchRequest(batch_id="x"))
    with pytest.raises(NotFound):
        await call(stub.GetBatch, pb.GetBatchRequest(batch_id=str(uuid4())))
    with pytest.raises(InvalidArgument, match="page_size"):
        await call(stub.ListPayouts, pb.ListPayoutsRequest(coin=COIN.coin_id, page_size=-1))
    with pytest.raises(InvalidArgument, match="page_token"):
        await call(stub.ListBatches, pb.ListBatchesRequest(coin=COIN.coin_id, page_token="!"))
    with pytest.raises(NotFound, match="is not paid here"):
        await call(stub.HoldPayouts, pb.HoldPayoutsRequest(coin="bitcoin", reason="x", request_id="1"))
    with pytest.raises(InvalidArgument, match="request_id"):
        await call(stub.ResumePayouts, pb.ResumePayoutsRequest(coin=COIN.coin_id))
    with pytest.raises(InvalidArgument, match="another request"):
        await call(stub.ResumePayouts, pb.ResumePayoutsRequest(coin=COIN.coin_id, request_id="1"))
        await call(stub.HoldPayouts, pb.HoldPayoutsRequest(coin=COIN.coin_id, reason="x", request_id="1"))
    with pytest.raises((NotFound, FailedPrecondition)):
        await call(stub.VoidBatch, pb.VoidBatchRequest(batch_id=str(uuid4()), reason="x", request_id="2"))


async def test_every_process_tells_whether_somebody_pays(platform: Platform) -> None:
    """P4: the operator may ask any of them; the one that does not pay answers the same."""
    bench = SimulatedBench()
    world = await World.make(platform.pool, bench)
    servicer = PayoutServicer(
        pool=platform.pool,
        reviewer=world.reviewer(),
        adopter=world.adopter(),
        clock=world.clock,
        coin_id=COIN.coin_id,
    )

    async def is_active(coin_id: str = COIN.coin_id) -> bool:
        return (await servicer.GetStatus(pb.GetStatusRequest(coin=coin_id), None)).is_active

    assert not await is_active()
    async with world.payer().hold(Alone()) as is_held:
        assert is_held
        assert await is_active()
        assert not await is_active("litecoin")
    assert not await is_active()


async def test_payouts_wait_while_the_miner_service_is_away(platform: Platform) -> None:
    from payouts.thresholds import MinerServiceThresholds

    world = await World.make(platform.pool, SimulatedBench())
    await world.miner(2_000_000)
    payer = Payer(
        coin=COIN,
        live=Live(SETTINGS),
        pool=platform.pool,
        wallet=world.bench.wallet,
        thresholds=MinerServiceThresholds(platform.clients, timeout_s=0.5),
        clock=world.clock,
    )

    assert "the miner service does not tell the accounts' thresholds" in await world.round(payer)
    assert await world.batches() == []
