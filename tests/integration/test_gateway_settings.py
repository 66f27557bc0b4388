"""An owner's settings over HTTP: signed with the address, once, in time; also as litecoind signs."""

import hashlib
from collections.abc import AsyncIterator

import pytest

from coins.bitcoin.address import encode
from coins.bitcoin.message import is_signed_by
from coins.coin import AddressKind
from gateway.app import CHANGES_BURST, CHANGES_PER_S
from gateway.config import GatewaySettings
from nodes.regtest import LitecoindRegtest, find_litecoind
from proto.lodepool.miners.v1 import miners_pb2
from runtime.rpc.errors import FailedPrecondition, NotFound, PermissionDenied
from tests.fakes.address_owner import OWNER, sign
from tests.fakes.gateway_world import COIN, OTHER, GatewayWorld
from tests.integration.test_gateway_api import fill

TIME = "2023-11-14T22:13:25Z"
TAPROOT = encode(COIN, AddressKind.P2TR, bytes(32))


def text_of(*fields: str, revision: int = 3, time: str = TIME, address: str = OWNER) -> str:
    head = ["lodepool settings", "coin=litecoin-regtest", f"address={address}", f"revision={revision}", f"time={time}"]
    return "\n".join([*head, *fields])


def body_of(text: str, **changes: object) -> dict:
    signature = {"kind": "signature", "signature": sign(text)}
    return {"time": TIME, "revision": 3, "proof": signature} | changes


@pytest.fixture
async def world(short_dir) -> AsyncIterator[GatewayWorld]:
    world = GatewayWorld(short_dir, GatewaySettings(timeout_s=0.5))
    fill(world)
    account = miners_pb2.Account(account=OWNER, payout_threshold_atomic=5, is_anonymous=True, revision=3)
    world.services["miners"].answers["GetAccount"] = lambda request: (
        account if request.account == OWNER else NotFound("no")
    )
    world.services["miners"].answers["ChangeSettings"] = lambda request: miners_pb2.Account(
        account=request.account, payout_threshold_atomic=request.payout_threshold_atomic, revision=request.revision + 1
    )
    await world.start()
    yield world
    await world.close()


async def put(world: GatewayWorld, body: object, *, address: str = OWNER) -> tuple[int, dict]:
    async with world.http.put(f"/api/v1/miners/{address}/settings", json=body) as response:
        return response.status, await response.json()


async def test_settings_are_shown_with_how_to_change_them(world):
    assert await world.get(f"/api/v1/miners/{OWNER}/settings") == {
        "payout_threshold_atomic": 5,
        "is_threshold_default": False,
        "scheme": None,
        "is_anonymous": True,
        "revision": 3,
        "can_choose_scheme": False,
        "proof_kinds": ["signature"],
    }
    assert (await world.problem(f"/api/v1/miners/{OTHER}/settings"))["type"] == "urn:lodepool:problem:unknown-miner"


async def test_a_signed_change_is_made(world):
    text = text_of("is_anonymous=false", "payout_threshold_atomic=2000000")
    status, settings = await put(world, body_of(text, is_anonymous=False, payout_threshold_atomic=2_000_000))
    assert (status, settings["payout_threshold_atomic"], settings["revision"]) == (200, 2_000_000, 4)
    (asked,) = world.services["miners"].requests("ChangeSettings")
    assert (asked.coin, asked.account, asked.revision) == ("litecoin-regtest", OWNER, 3)
    assert (asked.is_anonymous, asked.HasField("is_anonymous")) == (False, True)
    assert asked.request_id == hashlib.sha256(text.encode()).hexdigest()
    status, _ = await put(world, body_of(text_of("is_anonymous=true"), is_anonymous=True), address=OWNER.upper())
    assert status == 200
    assert not world.services["miners"].requests("ChangeSettings")[1].HasField("payout_threshold_atomic")


@pytest.mark.parametrize(
    ("text", "changes", "kind"),
    [
        (text_of("is_anonymous=true"), {"is_anonymous": False}, "bad-proof"),
        (text_of("is_anonymous=true"), {"is_anonymous": True, "payout_threshold_atomic": 9}, "bad-proof"),
        (text_of("is_anonymous=true"), {"is_anonymous": True, "revision": 4}, "bad-proof"),
        (text_of("is_anonymous=true"), {"is_anonymous": True, "time": "2023-11-14T22:13:26Z"}, "bad-proof"),
        (text_of("is_anonymous=true", address=OTHER), {"is_anonymous": True}, "bad-proof"),
        (text_of(), {}, "bad-parameter"),
        (text_of("is_anonymous=true", time="x"), {"is_anonymous": True, "time": "x"}, "bad-parameter"),
        (text_of("is_anonymous=true"), {"is_anonymous": True, "time": "2023-11-14T22:13:25"}, "bad-parameter"),
        (text_of("is_anonymous=true"), {"is_anonymous": True, "time": "2023-11-14T22:23:25Z"}, "bad-parameter"),
        (text_of("is_anonymous=true"), {"is_anonymous": True, "time": "0001-01-01T00:00:00+23:59"}, "bad-parameter"),
        (text_of("scheme=solo"), {"scheme": "solo"}, "bad-request"),
        (text_of("is_anonymous=true"), {"is_anonymous": "true"}, "bad-request"),
        (text_of("is_anonymous=true"), {"payout_threshold_atomic": -1}, "bad-request"),
        (text_of("is_anonymous=true"), {"payout_threshold_atomic": 2**53}, "bad-request"),
        (text_of("is_anonymous=true"), {"proof": {"kind": "code", "code": "LP-7F3K9Q2M"}}, "bad-request"),
    ],
)
async def test_what_is_not_signed_as_it_stands_is_refused(world, text, changes, kind):
    _, problem = await put(world, body_of(text, **changes))
    assert problem["type"] == f"urn:lodepool:problem:{kind}"
    assert not world.services["miners"].requests("ChangeSettings")


async def test_a_replayed_change_is_a_conflict(world):
    world.services["miners"].answers["ChangeSettings"] = FailedPrecondition("the settings have revision 4 now")
    status, problem = await put(world, body_of(text_of("is_anonymous=true"), is_anonymous=True))
    assert (status, problem["type"]) == (409, "urn:lodepool:problem:conflict")


async def test_an_address_that_cannot_sign_says_so(world):
    body = body_of(text_of("is_anonymous=true"), is_anonymous=True)
    status, problem = await put(world, body, address=TAPROOT)
    assert (status, problem["type"]) == (403, "urn:lodepool:problem:bad-proof")


async def test_bodies_that_are_none_are_refused(world):
    for data in (b"", b"[]", b"\xff", b"{" * 3000, b"x" * 5000, b'{"time":1}'):
        async with world.http.put(f"/api/v1/miners/{OWNER}/settings", data=data) as response:
            assert response.status in (400, 413)
            assert response.content_type == "application/problem+json"


@pytest.mark.litecoind
@pytest.mark.timeout(120)
async def test_signatures_of_litecoind_are_those_of_their_addresses(short_dir):
    if find_litecoind() is None:
        pytest.skip("missing component: litecoind")
    text = text_of("is_anonymous=true", "payout_threshold_atomic=2000000") + "\nünïcode"
    async with LitecoindRegtest(short_dir / "litecoin") as regtest:
        for _ in range(4):
            address = await regtest.new_address("miner", "legacy")
            signature = await regtest.call("signmessage", address, text, wallet="miner")
            assert is_signed_by(COIN, address=address, message=text, signature=signature)
            assert not is_signed_by(COIN, address=OWNER, message=text, signature=signature)
            assert not is_signed_by(COIN, address=address, message=text + "x", signature=signature)


async def test_signatures_are_looked_at_so_seldom_that_they_keep_nobody_waiting(world):
    """P2: looking at one takes milliseconds, and asking is free."""
    body = body_of(text_of("is_anonymous=true"), is_anonymous=False)
    statuses = [(await put(world, body))[0] for _ in range(CHANGES_BURST + 2)]
    assert statuses == [403] * CHANGES_BURST + [429] * 2
    assert (await world.get(f"/api/v1/miners/{OWNER}/settings"))["revision"] == 3
    world.clock.advance(1 / CHANGES_PER_S)
    assert (await put(world, body))[0] == 403


async def test_a_signature_that_the_service_refuses_is_a_bad_proof(world):
    world.services["miners"].answers["ChangeSettings"] = PermissionDenied("no")
    status, problem = await put(world, body_of(text_of("is_anonymous=true"), is_anonymous=True))
    assert (status, problem["type"]) == (403, "urn:lodepool:problem:bad-proof")
