"""Webhooks: a signed POST of JSON.

Headers and signature follow the Standard Webhooks specification (https://www.standardwebhooks.com), so receivers can
verify with its libraries: `webhook-id` is the same at every try, `webhook-timestamp` is the time of this one in
seconds, `webhook-signature` is "v1," and the base64 of HMAC-SHA256 over "<id>.<timestamp>.<body>", one for each active
secret.
"""

import asyncio
import base64
import hashlib
import hmac
import logging
import socket
from collections.abc import Mapping, Sequence
from email.utils import parsedate_to_datetime
from typing import Final

import aiohttp
import msgspec
from aiohttp.abc import AbstractResolver, ResolveResult

from notifier.channels.interface import Message, Outcome, Pace, Refused, RetryAfter, Scope, Sent
from notifier.channels.targets import Target, check_addresses, parse_networks, parse_target
from notifier.config import WebhookSettings
from notifier.errors import TargetRefused
from notifier.notices import Notice
from notifier.subscriptions import SECRET_PREFIX
from runtime.clock import Clock
from runtime.logs import log_event

_log = logging.getLogger("lodepool.notifier")

ANSWER_BYTES_MAX: Final = 65_536
"""So much of an answer is read; its text does not matter."""
HEADER_BYTES_MAX: Final = 8_190
RETRY_AFTER_S_MAX: Final = 3600.0
INTERVAL_MS: Final = 50
_SAFE_INTEGER: Final = 2**53 - 1
_USER_AGENT: Final = "lodepool-webhook/1"


class WebhookChannel:
    """Calls people's servers.

    Args:
        settings: The `[notifier.webhook]` section.
        clock: The time.
        resolver: Looks names up; None asks the system. For tests.
    """

    def __init__(self, settings: WebhookSettings, *, clock: Clock, resolver: AbstractResolver | None = None) -> None:
        self._settings = settings
        self._clock = clock
        self._resolver = resolver or _SystemResolver()
        self._allowed = parse_networks(settings.allowed_networks)

    @property
    def pace(self) -> Pace:
        """Return how fast it may be used."""
        return Pace(
            per_s=self._settings.per_s,
            burst=self._settings.concurrent_max,
            target_interval_ms=lambda _address: INTERVAL_MS,
            concurrent_max=self._settings.concurrent_max,
        )

    @property
    def timeout_s(self) -> float:
        """Return how long one call may take."""
        return self._settings.timeout_s

    async def send(self, message: Message) -> Outcome:
        """Call one address."""
        try:
            target = parse_target(
                message.subscription.address,
                ports=self._settings.ports,
                is_http_allowed=self._settings.is_http_allowed,
            )
            found = await self._resolver.resolve(target.host, target.port, family=socket.AF_UNSPEC)
            check_addresses([result["host"] for result in found], self._allowed)
        except TargetRefused as error:
            return Refused(reason=error.problem, pause_subscription=True)
        except OSError:
            return RetryAfter(reason="the name cannot be looked up")
        body = encode_body(message)
        headers = {
            "Content-Type": "application/json",
            "User-Agent": _USER_AGENT,
            **signature_headers(message.key, self._clock.now_ms() // 1000, body, message.secrets),
        }
        try:
            return await self._post(target, found, body, headers)
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return RetryAfter(reason=f"the call failed: {type(error).__name__}")

    async def close(self) -> None:
        """Close the resolver."""
        await self._resolver.close()

    async def _post(
        self, target: Target, found: Sequence[ResolveResult], body: bytes, headers: Mapping[str, str]
    ) -> Outcome:
        connector = aiohttp.TCPConnector(
            resolver=_Pinned(found), use_dns_cache=False, force_close=True, limit=1, family=socket.AF_UNSPEC
        )
        async with (
            aiohttp.ClientSession(
                connector=connector,
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=self._settings.timeout_s),
                auto_decompress=False,
                trust_env=False,
                max_line_size=HEADER_BYTES_MAX,
                max_field_size=HEADER_BYTES_MAX,
            ) as session,
            session.post(target.url, data=body, headers=headers, allow_redirects=False) as answer,
        ):
            read = 0
            async for chunk in answer.content.iter_chunked(4096):
                read += len(chunk)
                if read >= ANSWER_BYTES_MAX:
                    break
            return self._judged(answer.status, answer.headers.get("Retry-After", ""))

    def _judged(self, status: int, retry_after: str) -> Outcome:
        if 200 <= status < 300:
            return Sent(reference=str(status))
        if status == 410:
            return Refused(reason="the receiver answered 410 Gone", pause_subscription=True)
        if status in {429, 503}:
            after_s = _after_s(retry_after, now_s=self._clock.now_s())
            if after_s is not None:
                return RetryAfter(after_s=after_s, reason=f"the receiver answered {status}", scope=Scope.TARGET)
        log_event(_log, logging.DEBUG, "webhook refused", status=status)
        return RetryAfter(reason=f"the receiver answered {status}")


def encode_body(message: Message) -> bytes:
    """Return the JSON that is posted. Numbers above 2^53 - 1 are digits in strings."""
    return msgspec.json.encode(
        {
            "message_id": message.key,
            "subscription_id": str(message.subscription.subscription_id),
            "notices": [notice_fields(notice) for notice in message.notices],
        }
    )


def notice_fields(notice: Notice) -> dict[str, object]:
    """Return a notice as receivers see it."""
    event: dict[str, object] = msgspec.to_builtins(notice.event)
    event.pop("kind", None)
    fields = {name: str(value) if _is_big(value) else value for name, value in event.items() if value is not None}
    return {
        "notice_id": notice.notice_id,
        "kind": notice.kind.value,
        "coin": notice.coin,
        "time_ms": notice.time_ms,
        "account": notice.account,
        **fields,
    }


def signature_headers(key: str, timestamp_s: int, body: bytes, secrets: Sequence[str]) -> dict[str, str]:
    """Return the headers that let the receiver verify a body.

    Args:
        key: The message's id.
        timestamp_s: Now, seconds since the Unix epoch.
        body: What is posted.
        secrets: The active ones, "whsec_" and base64.
    """
    signed = b".".join((key.encode(), str(timestamp_s).encode(), body))
    signatures = [
        base64.b64encode(hmac.digest(base64.b64decode(secret.removeprefix(SECRET_PREFIX)), signed, hashlib.sha256))
        for secret in secrets
    ]
    return {
        "webhook-id": key,
        "webhook-timestamp": str(timestamp_s),
        "webhook-signature": " ".join(f"v1,{signature.decode('ascii')}" for signature in signatures),
    }


class _SystemResolver(AbstractResolver):
    """Asks the system, as any other program does."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Return the addresses of a name."""
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, family=family)
        return [
            ResolveResult(
                hostname=host, host=str(place[0]), port=port, family=kind, proto=proto, flags=socket.AI_NUMERICHOST
            )
            for kind, _, proto, _, place in found
        ]

    async def close(self) -> None:
        """Do nothing."""


class _Pinned(AbstractResolver):
    """Answers with the addresses that were checked, whatever is asked."""

    def __init__(self, found: Sequence[ResolveResult]) -> None:
        self._found = list(found)

    async def resolve(
        self,
        host: str,  # noqa: ARG002  the interface's
        port: int = 0,  # noqa: ARG002  the interface's
        family: socket.AddressFamily = socket.AF_INET,  # noqa: ARG002  the interface's
    ) -> list[ResolveResult]:
        """Return the addresses."""
        return self._found

    async def close(self) -> None:
        """Do nothing."""


def _is_big(value: object) -> bool:
    return isinstance(value, int) and abs(value) > _SAFE_INTEGER


def _after_s(text: str, *, now_s: float) -> float | None:
    """Return the seconds that a Retry-After header asks for, bounded; None when it does not say."""
    if text.isdecimal() and len(text) < 10:
        return min(RETRY_AFTER_S_MAX, max(1.0, float(text)))
    try:
        moment = parsedate_to_datetime(text)
    except (TypeError, ValueError):
        return None
    return min(RETRY_AFTER_S_MAX, max(1.0, moment.timestamp() - now_s))
