"""The notifier as a whole: its sockets, its event log, a real mail server and a real receiver; and its commands."""

import asyncio
import contextlib
import json
import os
import socket
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path

import aiohttp
import pytest
from click.testing import CliRunner, Result

import cli.notify
from cli.reading import Services
from coins.settings import PoolSettings
from notifier.config import EmailSettings, NotifierSettings, WebhookSettings
from notifier.main import run
from proto.lodepool.notifier.v1 import notifier_pb2 as pb
from proto.lodepool.notifier.v1 import notifier_pb2_grpc
from runtime.live import Live
from runtime.platform import Platform
from runtime.rpc.client import RpcClients, StaticDirectory, call
from runtime.rpc.errors import FailedPrecondition, InvalidArgument, NotFound
from tests.fakes.mail_server import MailServer
from tests.fakes.notice_stream import ALICE, COIN, block, offline, payout, records
from tests.fakes.waiting import eventually
from tests.fakes.webhook_receiver import WebhookReceiver

POOL = PoolSettings(coin=COIN, address="rltc1qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqnmxrc5")


@dataclass
class World:
    """A running notifier with what it talks to."""

    platform: Platform
    stub: "notifier_pb2_grpc.NotifierServiceAsyncStub"
    mail: MailServer
    hook: WebhookReceiver
    page_url: str

    async def subscribe(self, **said: object) -> pb.Subscription:
        request = pb.CreateSubscriptionRequest(
            subscription=pb.Subscription(**said),  # type: ignore[arg-type]
            request_id=os.urandom(8).hex(),
        )
        return await call(self.stub.CreateSubscription, request)

    async def notices(self, **said: object) -> list[pb.Delivery]:
        answer = await call(self.stub.ListNotices, pb.ListNoticesRequest(**said))  # type: ignore[arg-type]
        return list(answer.deliveries)


@pytest.fixture
async def world(platform: Platform) -> AsyncIterator[World]:
    async with contextlib.AsyncExitStack() as stack:
        mail = await stack.enter_async_context(MailServer().running())
        hook = await stack.enter_async_context(WebhookReceiver(secret="").running())
        port = free_port()
        settings = NotifierSettings(
            public_url="https://pool.example/n",
            listen_port=port,
            retry_s_min=0.05,
            attempts_max=2,
            email=EmailSettings(
                host="127.0.0.1", port=mail.port, security="none", sender="pool@pool.example", timeout_s=5.0
            ),
            webhook=WebhookSettings(
                is_http_allowed=True, ports=(hook.port,), allowed_networks=("127.0.0.0/8",), timeout_s=5.0
            ),
        )
        is_ready = asyncio.Event()
        around = replace(platform, ready=lambda _name: is_ready.set())
        task = asyncio.create_task(run(Live(settings), POOL, around))
        try:
            waiter = asyncio.create_task(is_ready.wait())
            await asyncio.wait({task, waiter}, return_when=asyncio.FIRST_COMPLETED, timeout=30)
            if task.done():
                await task
            stub = notifier_pb2_grpc.NotifierServiceStub(platform.clients.channel("notifier"))
            yield World(platform=platform, stub=stub, mail=mail, hook=hook, page_url=f"http://127.0.0.1:{port}")
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def now_ms() -> int:
    return time.time_ns() // 1_000_000


async def test_a_notice_travels_from_the_event_log_to_people(world: World) -> None:
    hooked = await world.subscribe(channel=pb.CHANNEL_WEBHOOK, address=world.hook.url, account=ALICE, coin=COIN)
    world.hook.secret = hooked.webhook_secret
    await world.subscribe(channel=pb.CHANNEL_EMAIL, address="alice@home.example", account=ALICE, language="ru")
    notice = payout(1, time_ms=now_ms())
    await world.platform.eventlog.publish(
        "notices", records(notice, notice, offline(1, account="bob", time_ms=now_ms()))
    )

    await eventually(lambda: world.hook.got and world.mail.mails, what="both are told")
    assert world.hook.got[0][1]["notices"][0]["amount_atomic"] == 123_456_789
    assert world.mail.mails[0]["Subject"] == "Отправлено 1.23456789 rLTC"

    async def all_delivered() -> bool:
        found = await world.notices()
        return [each.status for each in found] == [pb.DELIVERY_STATUS_DELIVERED] * 2

    await eventually(all_delivered, what="both are written down")
    assert len(world.hook.got) == len(world.mail.mails) == 1
    assert (await world.notices())[0].text.startswith("Отправлено")


async def test_a_test_arrives_and_a_dead_one_can_be_replayed(world: World) -> None:
    world.mail.answers["DATA"] = "554 looks like spam"
    made = await world.subscribe(
        channel=pb.CHANNEL_EMAIL, address="op@home.example", quiet_start_min=0, quiet_end_min=1439, digest_min=60
    )
    request = pb.SendTestNoticeRequest(subscription_id=made.subscription_id, request_id="once")
    first = await call(world.stub.SendTestNotice, request)
    again = await call(world.stub.SendTestNotice, request)
    assert first.delivery_id == again.delivery_id

    async def is_dead() -> bool:
        return len(await world.notices(status=pb.DELIVERY_STATUS_DEAD)) == 1

    await eventually(is_dead, what="given up")
    world.mail.answers.clear()
    replay = pb.ReplayNoticeRequest(delivery_id=first.delivery_id, request_id="r1")
    assert (await call(world.stub.ReplayNotice, replay)).status == pb.DELIVERY_STATUS_PENDING
    await eventually(lambda: world.mail.mails, what="the mail")
    assert world.mail.mails[0]["Subject"] == "A test"

    async def is_sent() -> bool:
        return len(await world.notices(status=pb.DELIVERY_STATUS_DELIVERED)) == 1

    await eventually(is_sent, what="written down")
    with pytest.raises(FailedPrecondition):
        await call(world.stub.ReplayNotice, replay)


async def test_subscriptions_are_kept_as_they_are_asked_for(world: World) -> None:
    wanted = pb.Subscription(
        channel=pb.CHANNEL_TELEGRAM,
        address="-100123",
        language="ru",
        coin=COIN,
        account=ALICE,
        worker_pattern="rig*",
        kinds=[pb.NOTICE_KIND_WORKER_OFFLINE, pb.NOTICE_KIND_CREDIT],
        hashrate_percent=30,
        reject_percent=10,
        quiet_start_min=60,
        quiet_end_min=120,
        time_zone="Asia/Tokyo",
        digest_min=5,
        cooldown_s=30,
    )
    create = pb.CreateSubscriptionRequest(subscription=wanted, request_id="same")
    made = await call(world.stub.CreateSubscription, create)
    assert made == await call(world.stub.CreateSubscription, create)
    wanted.subscription_id, wanted.create_time_ms = made.subscription_id, made.create_time_ms
    assert made == wanted

    made.is_paused = True
    changed = await call(world.stub.UpdateSubscription, pb.UpdateSubscriptionRequest(subscription=made, request_id="u"))
    assert changed == made
    test = pb.SendTestNoticeRequest(subscription_id=made.subscription_id, request_id="t")
    with pytest.raises(FailedPrecondition):
        await call(world.stub.SendTestNotice, test)
    listed = await call(world.stub.ListSubscriptions, pb.ListSubscriptionsRequest(account=ALICE, address="-100123"))
    assert list(listed.subscriptions) == [made]

    end = pb.DeleteSubscriptionRequest(subscription_id=made.subscription_id, request_id="d")
    await call(world.stub.DeleteSubscription, end)
    await call(world.stub.DeleteSubscription, end)
    with pytest.raises(NotFound):
        await call(world.stub.SendTestNotice, test)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"channel": pb.CHANNEL_UNSPECIFIED}, "subscription.channel"),
        ({"address": "x"}, "subscription.address"),
        ({"kinds": [99]}, "subscription.kinds"),
        ({"time_zone": "Nowhere"}, "subscription.time_zone"),
        ({"subscription_id": "-1"}, "subscription.subscription_id"),
    ],
)
async def test_a_wrong_subscription_is_refused_with_its_field(
    world: World, change: dict[str, object], field: str
) -> None:
    base: dict[str, object] = {"channel": pb.CHANNEL_TELEGRAM, "address": "1", "account": ALICE}
    with pytest.raises(InvalidArgument) as caught:
        await world.subscribe(**(base | change))
    assert caught.value.field == field


async def test_pages_go_through_everything(world: World) -> None:
    for number in range(5):
        await world.subscribe(channel=pb.CHANNEL_TELEGRAM, address=str(number + 1))
    await world.platform.eventlog.publish("notices", records(block(1, time_ms=now_ms()), block(2, time_ms=now_ms())))

    async def is_queued() -> bool:
        return len(await world.notices()) == 10

    await eventually(is_queued, what="queued")
    seen: list[str] = []
    token = ""
    while True:
        answer = await call(world.stub.ListNotices, pb.ListNoticesRequest(page_size=3, page_token=token))
        seen += [each.delivery_id for each in answer.deliveries]
        token = answer.next_page_token
        if not token:
            break
    assert len(seen) == len(set(seen)) == 10
    pages = await call(world.stub.ListSubscriptions, pb.ListSubscriptionsRequest(page_size=3))
    rest = pb.ListSubscriptionsRequest(page_size=3, page_token=pages.next_page_token)
    assert len((await call(world.stub.ListSubscriptions, rest)).subscriptions) == 2


async def test_a_secret_is_rotated_with_an_overlap_and_once_per_request(world: World) -> None:
    made = await world.subscribe(channel=pb.CHANNEL_WEBHOOK, address=world.hook.url, account=ALICE)
    world.hook.secret = made.webhook_secret
    request = pb.RotateSecretRequest(subscription_id=made.subscription_id, request_id="r")
    rotated = await call(world.stub.RotateSecret, request)
    assert rotated.webhook_secret != made.webhook_secret
    assert (await call(world.stub.RotateSecret, request)).webhook_secret == rotated.webhook_secret
    for secret in (made.webhook_secret, rotated.webhook_secret):
        world.hook.secret = secret
        count = len(world.hook.got)
        test = pb.SendTestNoticeRequest(subscription_id=made.subscription_id, request_id=secret)
        await call(world.stub.SendTestNotice, test)
        await eventually(lambda count=count: len(world.hook.got) == count + 1, what="a message it can verify")
    assert world.hook.bad_count == 0


async def test_the_link_in_a_mail_ends_the_subscription_only_when_it_is_meant(world: World) -> None:
    made = await world.subscribe(channel=pb.CHANNEL_EMAIL, address="op@home.example")
    test = pb.SendTestNoticeRequest(subscription_id=made.subscription_id, request_id="t")
    await call(world.stub.SendTestNotice, test)
    await eventually(lambda: world.mail.mails, what="the mail")
    link = world.mail.mails[0]["List-Unsubscribe"].strip(" <>")
    path = link.removeprefix("https://pool.example/n")
    async with aiohttp.ClientSession() as session:
        async with session.get(world.page_url + path) as answer:  # a scanner looks at it
            assert answer.status == 200
        assert len((await call(world.stub.ListSubscriptions, pb.ListSubscriptionsRequest())).subscriptions) == 1
        for _ in range(2):
            async with session.post(world.page_url + path, data={"List-Unsubscribe": "One-Click"}) as answer:
                assert answer.status == 200
        async with session.get(world.page_url + "/unsubscribe/../etc") as answer:
            assert answer.status == 404
    assert not (await call(world.stub.ListSubscriptions, pb.ListSubscriptionsRequest())).subscriptions


async def test_the_operators_commands(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """P: lodepool notify add, test, list, pause, resume, secret, replay, remove."""
    config = tmp_path / "lodepool.toml"
    config.write_text(
        f'[pool]\ncoin = "{COIN}"\naddress = "{POOL.address}"\n[[nodes]]\nurl = "http://127.0.0.1:1"\n',
        encoding="utf-8",
    )

    @contextlib.asynccontextmanager
    async def reach(_settings: object) -> AsyncIterator[Services]:
        directory = StaticDirectory({"notifier": world.platform.directory.target("notifier")})
        clients = RpcClients(directory)
        stubs = Services.__new__(Services)
        stubs.notifier = notifier_pb2_grpc.NotifierServiceStub(clients.channel("notifier"))
        yield stubs
        await clients.close()

    monkeypatch.setattr("cli.reading.services", reach)

    async def lodepool(*arguments: str) -> Result:
        return await asyncio.to_thread(
            CliRunner().invoke, cli.notify.notify, ["--config", str(config), *arguments], catch_exceptions=False
        )

    made = await lodepool(
        "add",
        "webhook",
        world.hook.url,
        "--account",
        ALICE,
        "--kind",
        "payout-sent",
        "--quiet",
        "23:00-07:30",
        "--json",
    )
    subscription = json.loads(made.output)
    assert subscription["quiet_end_min"] == 450
    world.hook.secret = subscription["webhook_secret"]
    own = subscription["subscription_id"]
    assert "queued" in (await lodepool("test", own)).output
    await eventually(lambda: world.hook.got, what="the test")
    listed = json.loads((await lodepool("list", "--json")).output)
    assert listed[0]["text"].startswith("A test")
    assert "paused" in (await lodepool("pause", own)).output
    assert json.loads((await lodepool("--json")).output)[0]["is_paused"]
    assert "active" in (await lodepool("resume", own)).output
    assert "whsec_" in (await lodepool("secret", own)).output
    assert json.loads((await lodepool("replay", "--all", "--json")).output) == []
    assert "ended" in (await lodepool("remove", own)).output
    assert "Nobody" in (await lodepool()).output
