"""The miners service on a real PostgreSQL, over a real socket."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace

import pytest

from coins.settings import PoolSettings
from miners.audit import audit
from miners.config import MinersSettings
from miners.main import run
from proto.lodepool.miners.v1 import miners_pb2, miners_pb2_grpc
from runtime.eventlog.interface import OutRecord
from runtime.live import Live
from runtime.platform import Platform
from runtime.rpc.client import call
from runtime.rpc.errors import InvalidArgument, NotFound
from tests.fakes.share_stream import STALE, FakeInstance, FakeShare
from tests.fakes.waiting import eventually

COIN = "litecoin-regtest"
POOL = PoolSettings(coin=COIN, address="rltc1qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqnmxrc5")
SETTINGS = MinersSettings(payout_threshold_atomic_min=1000)


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """The running service and a client of it."""

    platform: Platform
    stub: "miners_pb2_grpc.MinerServiceAsyncStub"

    async def publish(self, *records: OutRecord) -> None:
        """Publish, and wait until the stream is read to its end."""
        await self.platform.eventlog.publish("shares", records)

        async def is_read() -> bool:
            return bool(
                await self.platform.pool.fetchval(
                    """
                    SELECT next_offset = (SELECT next_offset FROM eventlog.topic WHERE topic = 'shares')
                    FROM miners.position WHERE topic = 'shares'
                    """
                )
            )

        await eventually(is_read, what="the end of the stream")

    async def account(self, name: str) -> miners_pb2.Account:
        return await call(self.stub.GetAccount, miners_pb2.GetAccountRequest(coin=COIN, account=name))

    async def update(self, name: str, threshold: int, request_id: str) -> miners_pb2.Account:
        request = miners_pb2.UpdateAccountRequest(
            coin=COIN, account=name, payout_threshold_atomic=threshold, request_id=request_id
        )
        return await call(self.stub.UpdateAccount, request)


def now_ms() -> int:
    return time.time_ns() // 1_000_000


@contextlib.asynccontextmanager
async def running(platform: Platform) -> AsyncIterator[Service]:
    is_ready = asyncio.Event()
    task = asyncio.create_task(run(Live(SETTINGS), POOL, replace(platform, ready=lambda _name: is_ready.set())))
    waiter = asyncio.create_task(is_ready.wait())
    try:
        await asyncio.wait({task, waiter}, return_when=asyncio.FIRST_COMPLETED, timeout=30)
        if task.done():
            await task
        stub = miners_pb2_grpc.MinerServiceStub(platform.clients.channel("miners"))
        yield Service(platform=platform, stub=stub)
    finally:
        waiter.cancel()
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


@pytest.fixture
async def service(platform: Platform) -> AsyncIterator[Service]:
    async with running(platform) as found:
        yield found


async def test_account_and_workers_appear_with_their_first_accepted_share(service):
    time_ms = now_ms()
    await service.publish(
        FakeInstance().batch(
            [
                FakeShare(time_ms=time_ms - 5000),
                FakeShare(time_ms=time_ms, worker="b", scheme="solo"),
                FakeShare(account="never", time_ms=time_ms, outcome=STALE),
            ]
        )
    )
    account = await service.account("alice")
    assert (account.create_time_ms, account.last_share_time_ms) == (time_ms - 5000, time_ms)
    assert (account.worker_count, account.worker_online_count, account.payout_threshold_atomic) == (2, 2, 0)
    page = await call(service.stub.ListWorkers, miners_pb2.ListWorkersRequest(coin=COIN, account="alice"))
    assert [(worker.worker, worker.scheme) for worker in page.workers] == [("b", "solo"), ("rig", "pplns")]
    assert {worker.user_agent for worker in page.workers} == {"cgminer/4.11.1"}
    with pytest.raises(NotFound):
        await service.account("never")
    assert (await audit(service.platform.pool)).is_ok


async def test_silent_worker_is_offline(service):
    time_ms = now_ms()
    slow = [FakeShare(worker="slow", time_ms=time_ms - 200_000 + n * 30_000) for n in range(3)]
    quick = [FakeShare(worker="quick", time_ms=time_ms - 200_000 + n * 1000) for n in range(3)]
    await service.publish(FakeInstance().batch([*slow, *quick]))
    page = await call(service.stub.ListWorkers, miners_pb2.ListWorkersRequest(coin=COIN))
    assert [(worker.worker, worker.presence) for worker in page.workers] == [
        ("quick", miners_pb2.PRESENCE_OFFLINE),
        ("slow", miners_pb2.PRESENCE_ONLINE),
    ]
    assert (await service.account("alice")).worker_online_count == 1


async def test_replay_and_restart_change_nothing(platform):
    """D3, D4."""
    instance, time_ms = FakeInstance(), now_ms()
    shares = [FakeShare(time_ms=time_ms - 8000 + n * 1000) for n in range(8)]
    query = "SELECT worker, recent_times_ms, create_time_ms, last_share_time_ms FROM miners.worker"
    async with running(platform) as service:
        await service.publish(instance.batch(shares))
        before = [tuple(row) for row in await platform.pool.fetch(query)]
        await service.publish(instance.batch_at(1, shares), instance.batch_at(5, shares[4:]))
        assert [tuple(row) for row in await platform.pool.fetch(query)] == before
    async with running(platform) as service:
        await service.publish(instance.batch([FakeShare(time_ms=time_ms)]))
        found = await platform.pool.fetchval("SELECT recent_times_ms FROM miners.worker")
    assert found == [time_ms - 7000 + n * 1000 for n in range(8)]


async def test_malformed_record_is_passed_over(service):
    await service.publish(
        OutRecord(key=b"x", payload=b"\xff"),
        FakeInstance("nul").batch([FakeShare(account="a\x00b")]),
        FakeInstance("huge").batch_at((1 << 63) - 1, [FakeShare(), FakeShare()]),
        FakeInstance().batch([FakeShare()]),
    )
    page = await call(service.stub.ListAccounts, miners_pb2.ListAccountsRequest(coin=COIN))
    assert [account.account for account in page.accounts] == ["alice"]


async def test_threshold_is_set_once_per_request(service):
    await service.publish(FakeInstance().batch([FakeShare()]))
    assert (await service.update("alice", 5000, "first")).payout_threshold_atomic == 5000
    assert (await service.update("alice", 0, "second")).payout_threshold_atomic == 0
    assert (await service.update("alice", 5000, "first")).payout_threshold_atomic == 0
    with pytest.raises(InvalidArgument) as caught:
        await service.update("alice", 6000, "first")
    assert caught.value.field == "request_id"
    assert (await audit(service.platform.pool)).is_ok


@pytest.mark.parametrize(
    ("name", "threshold", "request_id", "field"),
    [
        ("alice", 999, "r", "payout_threshold_atomic"),
        ("alice", -1, "r", "payout_threshold_atomic"),
        ("alice", 1000, "", "request_id"),
        ("", 1000, "r", "account"),
    ],
)
async def test_bad_update_names_its_field(service, name, threshold, request_id, field):
    await service.publish(FakeInstance().batch([FakeShare()]))
    with pytest.raises(InvalidArgument) as caught:
        await service.update(name, threshold, request_id)
    assert caught.value.field == field


async def test_update_of_an_unknown_account_is_refused(service):
    with pytest.raises(NotFound):
        await service.update("nobody", 5000, "r")


async def test_several_accounts_come_in_the_order_asked(service):
    await service.publish(FakeInstance().batch([FakeShare(account=name) for name in "abc"]))
    await service.update("c", 7000, "r")
    request = miners_pb2.BatchGetAccountsRequest(coin=COIN, accounts=["c", "nobody", "a"])
    found = await call(service.stub.BatchGetAccounts, request)
    assert [(entry.account, entry.payout_threshold_atomic) for entry in found.accounts] == [("c", 7000), ("a", 0)]
    with pytest.raises(InvalidArgument):
        await call(service.stub.BatchGetAccounts, miners_pb2.BatchGetAccountsRequest(coin=COIN, accounts=["a"] * 1001))


async def test_lists_are_paged_without_loss(service):
    """R6."""
    shares = [FakeShare(account=account, worker=worker) for account in "abc" for worker in ("x", "y", "")]
    await service.publish(FakeInstance().batch(shares))
    accounts, workers, token = [], [], ""
    while True:
        request = miners_pb2.ListAccountsRequest(coin=COIN, page_size=2, page_token=token)
        page = await call(service.stub.ListAccounts, request)
        accounts += [entry.account for entry in page.accounts]
        if not (token := page.next_page_token):
            break
    while True:
        asked = miners_pb2.ListWorkersRequest(coin=COIN, page_size=2, page_token=token)
        found = await call(service.stub.ListWorkers, asked)
        workers += [entry.worker for entry in found.workers]
        if not (token := found.next_page_token):
            break
    assert accounts == ["a", "b", "c"]
    assert workers == ["", "", "", "x", "x", "x", "y", "y", "y"]
