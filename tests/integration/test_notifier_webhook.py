"""Webhooks against a real server: signatures, refusals, and nobody reached who must not be."""

import asyncio
import socket
from collections.abc import AsyncIterator

import pytest
from aiohttp import web
from aiohttp.abc import AbstractResolver, ResolveResult

from notifier.channels.interface import Message, Outcome, Refused, RetryAfter, Scope, Sent
from notifier.channels.webhook import WebhookChannel
from notifier.config import WebhookSettings
from notifier.domain import ChannelKind, Subscription
from notifier.records import decode
from notifier.subscriptions import new_secret
from runtime.clock import SystemClock
from tests.fakes.notice_stream import ALICE, COIN, payout
from tests.fakes.webhook_receiver import WebhookReceiver


class FakeResolver(AbstractResolver):
    """Answers with one list of addresses after the other, and counts the questions."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers = list(answers)
        self.count = 0

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = self.answers[min(self.count, len(self.answers) - 1)]
        self.count += 1
        return [
            ResolveResult(
                hostname=host,
                host=each,
                port=port,
                family=socket.AF_INET6 if ":" in each else socket.AF_INET,
                proto=0,
                flags=0,
            )
            for each in found
        ]

    async def close(self) -> None:
        pass


@pytest.fixture
async def receiver() -> AsyncIterator[WebhookReceiver]:
    async with WebhookReceiver(secret=new_secret()).running() as running:
        yield running


def settings(receiver: WebhookReceiver, **changes: object) -> WebhookSettings:
    base: dict[str, object] = {
        "is_http_allowed": True,
        "ports": (receiver.port,),
        "allowed_networks": ("127.0.0.0/8",),
        "timeout_s": 5.0,
    }
    return WebhookSettings(**(base | changes))  # type: ignore[arg-type]


def message(url: str, *secrets: str) -> Message:
    return Message(
        key="6a3c6f2e-0000-5000-8000-000000000001",
        subscription=Subscription(subscription_id=7, channel=ChannelKind.WEBHOOK, address=url, account=ALICE),
        notices=(decode(payout(1, time_ms=1_700_000_000_000).SerializeToString()),),
        secrets=secrets,
    )


async def send(
    receiver: WebhookReceiver,
    *,
    url: str = "",
    secrets: tuple[str, ...] = (),
    resolver: FakeResolver | None = None,
    **changes: object,
) -> Outcome:
    channel = WebhookChannel(settings(receiver, **changes), clock=SystemClock(), resolver=resolver)
    return await channel.send(message(url or receiver.url, *(secrets or (receiver.secret,))))


async def test_a_receiver_can_verify_and_read_what_it_is_told(receiver: WebhookReceiver) -> None:
    assert await send(receiver) == Sent(reference="204")
    headers, body = receiver.got[0]
    assert headers["webhook-id"] == body["message_id"] == "6a3c6f2e-0000-5000-8000-000000000001"
    assert body["subscription_id"] == "7"
    assert body["notices"] == [
        {
            "notice_id": "payout/1/1",
            "kind": "payout_sent",
            "coin": COIN,
            "time_ms": 1_700_000_000_000,
            "account": ALICE,
            "is_in_review": False,
            "payout_id": "p1",
            "amount_atomic": 123_456_789,
            "txid_hex": f"{1:064x}",
        }
    ]


async def test_while_a_secret_is_rotated_both_verify(receiver: WebhookReceiver) -> None:
    assert isinstance(await send(receiver, secrets=(new_secret(), receiver.secret)), Sent)
    assert isinstance(await send(receiver, secrets=(receiver.secret, new_secret())), Sent)
    assert await send(receiver, secrets=(new_secret(),)) == RetryAfter(reason="the receiver answered 401")
    assert receiver.bad_count == 1


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "localhost", "127.1", "2130706433", "0x7f000001", "0177.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "0"],
)
async def test_our_own_network_is_refused_however_it_is_written(receiver: WebhookReceiver, host: str) -> None:
    outcome = await send(receiver, url=f"http://{host}:{receiver.port}/hook", allowed_networks=())
    match outcome:
        case Refused(pause_subscription=True):
            pass
        case RetryAfter(reason="the name cannot be looked up"):  # where the system does not read such numbers
            pass
        case other:
            raise AssertionError(other)
    assert receiver.got == []


async def test_a_name_with_one_private_address_is_refused(receiver: WebhookReceiver) -> None:
    resolver = FakeResolver(["8.8.8.8", "127.0.0.1"])
    url = f"http://hook.example:{receiver.port}/"
    outcome = await send(receiver, url=url, resolver=resolver, allowed_networks=())
    assert isinstance(outcome, Refused)
    assert receiver.got == []


async def test_a_name_that_changes_its_meaning_is_looked_up_once(receiver: WebhookReceiver) -> None:
    """The connection goes to the address that was checked, not to what the name means a moment later."""
    resolver = FakeResolver(["127.0.0.1"], ["10.0.0.1"])
    url = f"http://hook.example:{receiver.port}/"
    assert isinstance(await send(receiver, url=url, resolver=resolver), Sent)
    assert resolver.count == 1
    assert receiver.got[0][0]["host"] == f"hook.example:{receiver.port}"


async def test_a_redirect_is_not_followed(receiver: WebhookReceiver) -> None:
    async def redirect(_request: web.Request) -> web.StreamResponse:
        raise web.HTTPTemporaryRedirect("http://169.254.169.254/latest/meta-data/")

    receiver.answer = redirect
    assert await send(receiver) == RetryAfter(reason="the receiver answered 307")
    assert len(receiver.got) == 1


@pytest.mark.parametrize(
    ("status", "headers", "expected"),
    [
        (500, {}, RetryAfter(reason="the receiver answered 500")),
        (404, {}, RetryAfter(reason="the receiver answered 404")),
        (410, {}, Refused(reason="the receiver answered 410 Gone", pause_subscription=True)),
        (429, {"Retry-After": "7"}, RetryAfter(after_s=7.0, reason="the receiver answered 429", scope=Scope.TARGET)),
        (503, {"Retry-After": "999999"}, RetryAfter(after_s=3600.0, reason="the receiver answered 503", scope=Scope.TARGET)),
        (503, {"Retry-After": "soon"}, RetryAfter(reason="the receiver answered 503")),
    ],
)  # fmt: skip
async def test_answers_are_judged(
    receiver: WebhookReceiver, status: int, headers: dict[str, str], expected: Outcome
) -> None:
    async def answer(_request: web.Request) -> web.StreamResponse:
        return web.Response(status=status, headers=headers)

    receiver.answer = answer
    assert await send(receiver) == expected


async def test_an_endless_answer_is_cut_off(receiver: WebhookReceiver) -> None:
    sent = 0

    async def endless(request: web.Request) -> web.StreamResponse:
        nonlocal sent
        response = web.StreamResponse()
        await response.prepare(request)
        try:
            for _ in range(10_000):
                await response.write(b"x" * 65_536)
                sent += 65_536
        except ConnectionError:
            pass
        return response

    receiver.answer = endless
    assert isinstance(await send(receiver), Sent)
    assert sent < 50_000_000


async def test_a_receiver_that_hangs_is_given_up(receiver: WebhookReceiver) -> None:
    async def hang(_request: web.Request) -> web.StreamResponse:
        await asyncio.Event().wait()
        raise AssertionError

    receiver.answer = hang
    assert isinstance(await send(receiver, timeout_s=0.3), RetryAfter)


async def test_huge_headers_and_garbage_are_a_failed_try(receiver: WebhookReceiver) -> None:
    async def huge(_request: web.Request) -> web.StreamResponse:
        return web.Response(headers={"X-Big": "x" * 20_000})

    receiver.answer = huge
    assert isinstance(await send(receiver), RetryAfter)

    async def garbage(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"\x00\xff not http\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(garbage, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    assert isinstance(await send(receiver, url=f"http://127.0.0.1:{port}/", ports=(port,)), RetryAfter)
    server.close()


async def test_http_and_other_ports_are_refused_by_default(receiver: WebhookReceiver) -> None:
    channel = WebhookChannel(WebhookSettings(), clock=SystemClock())
    for url in ("http://example.org/", "https://example.org:22/"):
        assert isinstance(await channel.send(message(url, receiver.secret)), Refused)
