"""What owners set for themselves, on a real PostgreSQL over a real socket."""

import asyncpg
import pytest

from miners.service import ACCESS
from proto.lodepool.miners.v1 import miners_pb2
from runtime.rpc.client import call
from runtime.rpc.errors import FailedPrecondition, InvalidArgument, NotFound
from tests.fakes.share_stream import FakeInstance, FakeShare
from tests.integration.test_miners_service import COIN, Service, now_ms, running, service

__all__ = ["running", "service"]


async def change(service: Service, **fields: object) -> miners_pb2.Account:
    defaults = {"coin": COIN, "account": "alice", "revision": 0, "signature": "sig", "request_id": "r0"}
    request = miners_pb2.ChangeSettingsRequest(**(defaults | fields))
    return await call(service.stub.ChangeSettings, request)


async def mined(service: Service) -> None:
    await service.publish(FakeInstance().batch([FakeShare(time_ms=now_ms())]))
    await service.account("alice")


async def test_an_owners_change_is_made_once_and_kept_for_the_audit(service):
    await mined(service)
    changed = await change(service, payout_threshold_atomic=500_000)
    assert (changed.payout_threshold_atomic, changed.is_anonymous, changed.revision) == (500_000, False, 1)
    again = await change(service, payout_threshold_atomic=500_000)
    assert again.revision == 1, "a retry changes nothing"
    changed = await change(service, is_anonymous=True, revision=1, request_id="r1")
    assert (changed.payout_threshold_atomic, changed.is_anonymous, changed.revision) == (500_000, True, 2)
    rows = await service.platform.pool.fetch(
        "SELECT revision, payout_threshold_atomic, is_anonymous, signature FROM miners.settings_change ORDER BY 1"
    )
    assert [tuple(row) for row in rows] == [(0, 500_000, None, "sig"), (1, None, True, "sig")]
    with pytest.raises(asyncpg.RaiseError):
        await service.platform.pool.execute("UPDATE miners.settings_change SET signature = 'x'")


async def test_a_change_made_from_old_settings_is_refused(service):
    await mined(service)
    await change(service, is_anonymous=True)
    with pytest.raises(FailedPrecondition):
        await change(service, is_anonymous=False, request_id="replayed")
    await service.update("alice", 700_000, request_id="operator")
    with pytest.raises(FailedPrecondition):
        await change(service, is_anonymous=False, revision=1, request_id="r2")


async def test_what_is_no_change_is_refused(service):
    await mined(service)
    for fields in (
        {},
        {"payout_threshold_atomic": -1},
        {"payout_threshold_atomic": 1},
        {"is_anonymous": True, "revision": -1},
        {"is_anonymous": True, "signature": ""},
    ):
        with pytest.raises(InvalidArgument):
            await change(service, **fields)
    with pytest.raises(NotFound):
        await change(service, account="nobody", is_anonymous=True)


def test_the_gateway_may_make_owners_changes_and_no_others():
    assert ACCESS.allows("gateway", "ChangeSettings")
    assert not ACCESS.allows("gateway", "UpdateAccount")
    assert not ACCESS.allows("payouts", "ChangeSettings")
