"""Where updates come in: Telegram is asked for them, or calls us. Both keep them before they are confirmed.

An update that is kept is dealt with. One that was not is not confirmed either, and Telegram sends it again. One that
comes again is known by its number. Telegram's numbers go up, but not for ever: after a week of silence they may begin
anywhere, so the place to go on from is never kept, only what was taken.
"""

import hashlib
import hmac
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Final
from urllib.parse import urlsplit

from aiohttp import web

from notifier import bot_storage
from notifier.bot_domain import chat_of
from notifier.bot_storage import StoredUpdate
from notifier.telegram_client import Done, Outcome, TelegramClient, Wait
from notifier.telegram_settings import TelegramSettings
from runtime.clock import Clock
from runtime.logs import log_event
from runtime.postgres.pool import DatabaseUnavailable, Pool, acquired

ALLOWED: Final = ("message", "callback_query", "inline_query", "my_chat_member")
"""Kinds of updates that we want."""
LIMIT: Final = 100
MARGIN_S: Final = 10.0
BODY_BYTES_MAX: Final = 1_000_000
SECRET_HEADER: Final = "X-Telegram-Bot-Api-Secret-Token"  # noqa: S105  the name of the header
_RETRY_S_MIN: Final = 0.5
_RETRY_S_MAX: Final = 30.0

_log = logging.getLogger("lodepool.notifier.bot")


def webhook_secret(token: str) -> str:
    """Return what Telegram has to show when it calls us; the same in every process and after each restart."""
    return hmac.new(token.encode(), b"lodepool telegram webhook", hashlib.sha256).hexdigest()


class Inbox:
    """Keeps updates.

    Args:
        pool: The database, migrated.
        clock: The time.
        kept: Called when there are new ones.
    """

    def __init__(self, *, pool: Pool, clock: Clock, kept: Callable[[], None]) -> None:
        self._pool = pool
        self._clock = clock
        self._kept = kept

    async def keep(self, updates: Sequence[object]) -> int | None:
        """Keep updates and return the greatest number; None when nothing has one.

        Raises:
            DatabaseUnavailable: When they are not kept.
        """
        stored = []
        for update in updates:
            number = update.get("update_id") if isinstance(update, Mapping) else None
            if not isinstance(update, Mapping) or not isinstance(number, int) or not 0 <= number < 2**63:
                log_event(_log, logging.WARNING, "update without a number dropped")
                continue
            payload = json.dumps(update, ensure_ascii=True)
            stored.append(StoredUpdate(update_id=number, chat_id=chat_of(update), payload=payload))
        if not stored:
            return None
        async with acquired(self._pool) as connection:
            count = await bot_storage.put_updates(connection, stored, now_ms=self._clock.now_ms())
        if count:
            self._kept()
        return max(update.update_id for update in stored)


class Poller:
    """Asks Telegram for updates.

    Args:
        client: The Bot API.
        clock: The time.
        inbox: Keeps them.
        poll_timeout_s: How long Telegram holds a question.
    """

    def __init__(self, *, client: TelegramClient, clock: Clock, inbox: Inbox, poll_timeout_s: int) -> None:
        self._client = client
        self._clock = clock
        self._inbox = inbox
        self._poll_timeout_s = poll_timeout_s

    async def run(self) -> None:
        """Ask until cancelled; one process at a time may."""
        await _insist(self._client, self._clock, "deleteWebhook", {"drop_pending_updates": False})
        offset: int | None = None
        delay_s = _RETRY_S_MIN
        while True:
            params: dict[str, object] = {
                "timeout": self._poll_timeout_s,
                "limit": LIMIT,
                "allowed_updates": list(ALLOWED),
            }
            if offset is not None:
                params["offset"] = offset
            outcome = await self._client.call("getUpdates", params, timeout_s=self._poll_timeout_s + MARGIN_S)
            if not isinstance(outcome, Done):
                delay_s = await _rest(self._clock, outcome, "getUpdates", delay_s)
                continue
            try:
                last = await self._inbox.keep(outcome.result if isinstance(outcome.result, list | tuple) else ())
            except DatabaseUnavailable as error:
                log_event(_log, logging.WARNING, "database away, updates left with Telegram", error=str(error))
                await self._clock.sleep(delay_s)
                continue
            delay_s = _RETRY_S_MIN
            if last is not None:
                offset = last + 1
            elif outcome.result:
                await self._clock.sleep(_RETRY_S_MAX)  # Nothing of it has a number to go on from.


class Webhook:
    """Is called by Telegram, through a reverse proxy with TLS.

    Args:
        settings: The `[notifier.telegram]` section.
        token: The bot's.
        inbox: Keeps the updates.
    """

    def __init__(self, settings: TelegramSettings, *, token: str, inbox: Inbox) -> None:
        self._settings = settings
        self._secret = webhook_secret(token)
        self._inbox = inbox
        self._runner: web.AppRunner | None = None

    @property
    def port(self) -> int:
        """Return the port that is listened on."""
        assert self._runner is not None
        return int(self._runner.addresses[0][1])

    async def start(self) -> None:
        """Listen.

        Raises:
            OSError: When the address cannot be listened on.
        """
        app = web.Application(client_max_size=BODY_BYTES_MAX)
        app.router.add_post(urlsplit(self._settings.webhook_url).path or "/", self._take)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, self._settings.webhook_host, self._settings.webhook_port).start()

    async def announce(self, client: TelegramClient, clock: Clock) -> None:
        """Tell Telegram where to call; tries until it is told."""
        await _insist(
            client,
            clock,
            "setWebhook",
            {
                "url": self._settings.webhook_url,
                "secret_token": self._secret,
                "allowed_updates": list(ALLOWED),
                "drop_pending_updates": False,
            },
        )

    async def close(self) -> None:
        """Listen no more."""
        if self._runner is not None:
            await self._runner.cleanup()

    async def _take(self, request: web.Request) -> web.Response:
        if not hmac.compare_digest(request.headers.get(SECRET_HEADER, "").encode(), self._secret.encode()):
            return web.Response(status=403)
        try:
            update = json.loads(await request.read())
        except (ValueError, RecursionError):
            return web.Response(status=400)
        try:
            await self._inbox.keep([update])
        except DatabaseUnavailable:
            return web.Response(status=503)
        return web.Response()


async def _insist(client: TelegramClient, clock: Clock, method: str, params: Mapping[str, object]) -> None:
    delay_s = _RETRY_S_MIN
    while not isinstance(outcome := await client.call(method, params), Done):
        delay_s = await _rest(clock, outcome, method, delay_s)


async def _rest(clock: Clock, outcome: Outcome, method: str, delay_s: float) -> float:
    """Wait after a call that brought nothing; return how long to wait next time."""
    if isinstance(outcome, Wait):
        await clock.sleep(outcome.after_s)
        return delay_s
    reason = "" if isinstance(outcome, Done) else outcome.reason
    log_event(_log, logging.WARNING, "Telegram does not answer", method=method, reason=reason)
    await clock.sleep(delay_s)
    return min(delay_s * 2, _RETRY_S_MAX)
