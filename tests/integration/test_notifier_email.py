"""Mail against a real SMTP server: what arrives, refusals for a while and for good, and a server that hangs."""

import asyncio
from collections.abc import AsyncIterator
from email.headerregistry import Address

import pytest

from notifier.channels.email import EmailChannel
from notifier.channels.interface import Message, Outcome, Refused, RetryAfter, Scope, Sent
from notifier.config import EmailSettings
from notifier.domain import ChannelKind, Subscription
from notifier.records import decode
from runtime.clock import ManualClock
from runtime.errors import ConfigError
from tests.fakes.mail_server import MailServer
from tests.fakes.notice_stream import ALICE, offline, payout

TOKEN = "0f0e0d0c-0b0a-4908-8706-050403020100"
KEY = "6a3c6f2e-0000-5000-8000-000000000001"


@pytest.fixture
async def server() -> AsyncIterator[MailServer]:
    async with MailServer().running() as running:
        yield running


def channel(server: MailServer, **changes: object) -> EmailChannel:
    base: dict[str, object] = {
        "host": "127.0.0.1",
        "port": server.port,
        "security": "none",
        "sender": "pool@pool.example",
        "sender_name": "The Pool, Ltd\r\nBcc: all@x.example",
        "timeout_s": 5.0,
    }
    settings = EmailSettings(**(base | changes))  # type: ignore[arg-type]
    return EmailChannel(settings, public_url="https://pool.example/notify/", clock=ManualClock())


def message(address: str = "alice@home.example", *, worker: str = "rig1", language: str = "ru") -> Message:
    now_ms = 1_700_000_000_000
    return Message(
        key=KEY,
        subscription=Subscription(
            channel=ChannelKind.EMAIL, address=address, account=ALICE, language=language, time_zone="Europe/Moscow"
        ),
        notices=(decode(offline(1, worker=worker, time_ms=now_ms).SerializeToString()),),
        unsubscribe_token=TOKEN,
    )


async def test_a_mail_has_both_texts_and_can_be_ended_with_a_click(server: MailServer) -> None:
    assert isinstance(await channel(server).send(message()), Sent)
    mail = server.mails[0]
    assert server.recipients == [["alice@home.example"]]
    assert mail["Message-ID"] == f"<{KEY}@pool.example>"
    assert mail["Subject"] == "rig1 не отвечает"
    assert mail["List-Unsubscribe"] == f"<https://pool.example/notify/unsubscribe/{TOKEN}>"
    assert mail["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert mail["Auto-Submitted"] == "auto-generated"
    assert mail["Bcc"] is None
    sender = mail["From"].addresses[0]
    assert isinstance(sender, Address)
    assert sender.addr_spec == "pool@pool.example"
    plain, marked = mail.get_body(("plain",)), mail.get_body(("html",))
    assert plain is not None
    assert marked is not None
    assert "Последняя шара: 2023-11-15 01:12:20 +03:00" in plain.get_content()
    assert "<b>rig1 не отвечает</b>" in marked.get_content()


@pytest.mark.parametrize("language", ["en", "ru"])
async def test_a_worker_cannot_write_headers_or_markup(server: MailServer, language: str) -> None:
    attack = "x\r\nBcc: victim@x.example\r\n\r\n<script>alert(1)</script>"
    assert isinstance(await channel(server).send(message(worker=attack, language=language)), Sent)
    mail = server.mails[0]
    assert mail["Bcc"] is None
    assert "\n" not in mail["Subject"]
    marked = mail.get_body(("html",))
    assert marked is not None
    assert "<script>" not in marked.get_content()
    assert server.recipients == [["alice@home.example"]]


@pytest.mark.parametrize("address", ["a@x.example\r\nRCPT TO:<b@x.example>", "a@x.example> <b@x.example", "a", "a@@b"])
async def test_an_address_that_is_none_never_reaches_the_server(server: MailServer, address: str) -> None:
    outcome = await channel(server).send(message(address))
    assert isinstance(outcome, Refused)
    assert outcome.pause_subscription
    assert server.mails == []


@pytest.mark.parametrize(
    ("command", "answer", "kind", "is_paused"),
    [
        ("RCPT", "550 no such user", Refused, True),
        ("RCPT", "552 mailbox full", Refused, False),
        ("RCPT", "450 greylisted", RetryAfter, None),
        ("DATA", "451 try later", RetryAfter, None),
        ("DATA", "554 looks like spam", Refused, False),
    ],
)
async def test_refusals_are_judged(
    server: MailServer, command: str, answer: str, kind: type[Outcome], is_paused: bool | None
) -> None:
    server.answers[command] = answer
    outcome = await channel(server).send(message())
    assert isinstance(outcome, kind)
    match outcome:
        case Refused(pause_subscription=found):
            assert found is is_paused
        case RetryAfter(scope=scope):
            assert scope is Scope.MESSAGE
    assert answer in getattr(outcome, "reason", "")


async def test_a_server_that_refuses_us_holds_the_channel_and_wears_nothing_out(server: MailServer) -> None:
    server.answers["MAIL"] = "550 we do not know you"
    outcome = await channel(server).send(message())
    assert isinstance(outcome, RetryAfter)
    assert outcome.scope is Scope.CHANNEL
    assert outcome.after_s is not None


async def test_a_server_that_is_away_or_hangs_is_tried_later(server: MailServer) -> None:
    async def mute(_reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(60)

    silent = await asyncio.start_server(mute, "127.0.0.1", 0)
    port = silent.sockets[0].getsockname()[1]
    hanging = await channel(server, port=port, timeout_s=0.6).send(message())
    assert isinstance(hanging, RetryAfter)
    assert hanging.scope is Scope.CHANNEL
    silent.close()

    server.answers["RCPT"] = ""
    assert isinstance(await channel(server, timeout_s=0.6).send(message()), RetryAfter)

    closed = await asyncio.start_server(mute, "127.0.0.1", 0)
    port = closed.sockets[0].getsockname()[1]
    closed.close()
    away = await channel(server, port=port).send(message())
    assert isinstance(away, RetryAfter)
    assert away.scope is Scope.CHANNEL


async def test_without_tls_where_it_is_asked_for_nothing_is_sent(server: MailServer) -> None:
    outcome = await channel(server, security="starttls").send(message())
    assert isinstance(outcome, RetryAfter)
    assert outcome.scope is Scope.CHANNEL
    assert server.mails == []


async def test_a_sender_that_is_no_address_is_a_mistake_in_the_configuration(server: MailServer) -> None:
    with pytest.raises(ConfigError):
        channel(server, sender="pool")
    with pytest.raises(ConfigError):
        channel(server, password_file="/nonexistent")


async def test_every_language_and_notice_makes_a_mail(server: MailServer) -> None:
    mail = channel(server).compose(
        Message(
            key=KEY,
            subscription=Subscription(channel=ChannelKind.EMAIL, address="a@b.example"),
            notices=tuple(decode(payout(n, time_ms=0).SerializeToString()) for n in range(30)),
        )
    )
    assert mail["Subject"] == "30 notices"
    assert mail["List-Unsubscribe"] is None
