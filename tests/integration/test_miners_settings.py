"""What owners set for themselves, on a real PostgreSQL over a real socket."""

import asyncpg
import pytest

from coins.owner import settings_fields, settings_text
from miners.service import ACCESS
from proto.lodepool.miners.v1 import miners_pb2
from runtime.rpc.client import call
from runtime.rpc.errors import FailedPrecondition, InvalidArgument, NotFound, PermissionDenied
from tests.fakes.address_owner import OWNER, sign
from tests.fakes.share_stream import FakeInstance, FakeShare
from tests.integration.test_miners_service import COIN, Service, now_ms, running, service

__all__ = ["running", "service"]


SIGNATURE_CHARS = 88
TIME = "2026-01-02T03:04:05Z"


async def change(service: Service, **fields: object) -> miners_pb2.Account:
    """Ask for a change that the owner has signed, unless another signature is given."""
    defaults = {"coin": COIN, "account": OWNER, "revision": 0, "request_id": "r0", "signed_time": TIME}
    wanted = defaults | fields
    if "signature" not in wanted:
        text = settings_text(
            coin_id=str(wanted["coin"]),
            address=str(wanted["account"]),
            revision=int(str(wanted["revision"])),
            time=TIME,
            fields=settings_fields(
                payout_threshold_atomic=fields.get("payout_threshold_atomic"), is_anonymous=fields.get("is_anonymous")
            ),
        )
        wanted["signature"] = sign(text)
    return await call(service.stub.ChangeSettings, miners_pb2.ChangeSettingsRequest(**wanted))


async def mined(service: Service) -> None:
    await service.publish(FakeInstance().batch([FakeShare(account=OWNER, time_ms=now_ms())]))
    await service.account(OWNER)


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
    assert [tuple(row)[:3] for row in rows] == [(0, 500_000, None), (1, None, True)]
    assert all(len(row["signature"]) == SIGNATURE_CHARS for row in rows)
    with pytest.raises(asyncpg.RaiseError):
        await service.platform.pool.execute("UPDATE miners.settings_change SET signature = 'x'")


async def test_a_change_made_from_old_settings_is_refused(service):
    await mined(service)
    await change(service, is_anonymous=True)
    with pytest.raises(FailedPrecondition):
        await change(service, is_anonymous=False, request_id="replayed")
    await service.update(OWNER, 700_000, request_id="operator")
    with pytest.raises(FailedPrecondition):
        await change(service, is_anonymous=False, revision=1, request_id="r2")


async def test_what_is_no_change_is_refused(service):
    with pytest.raises(NotFound):
        await change(service, is_anonymous=True)
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


@pytest.mark.parametrize(
    "forged",
    [
        {"payout_threshold_atomic": 600_000, "is_anonymous": True},
        {"signed_time": "2026-01-02T03:04:06Z"},
        {"signed_time": f"{TIME}\nis_anonymous=true"},
        {"signed_time": ""},
        {"coin": "litecoin"},
        {"coin": "nothing"},
        {"account": "rltc1qqyqszqgpqyqszqgpqyqszqgpqyqszqgpjt8zj4"},
        {"account": "alice"},
        {"signature": "sig"},
    ],
)
async def test_who_hands_a_change_on_cannot_make_one(service, forged):
    """P2: a gateway that somebody has taken over has no owner's key."""
    text = settings_text(
        coin_id=COIN, address=OWNER, revision=0, time=TIME, fields={"payout_threshold_atomic": "500000"}
    )
    await mined(service)
    with pytest.raises((PermissionDenied, InvalidArgument)):
        await change(service, **({"payout_threshold_atomic": 500_000, "signature": sign(text)} | forged))
    assert (await service.account(OWNER)).revision == 0


def test_the_gateway_may_make_owners_changes_and_no_others():
    assert ACCESS.allows("gateway", "ChangeSettings")
    assert not ACCESS.allows("gateway", "UpdateAccount")
    assert not ACCESS.allows("payouts", "ChangeSettings")
