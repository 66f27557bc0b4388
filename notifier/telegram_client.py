"""Calls to the Bot API, each with one of five outcomes.

What matters is whether a call may have taken effect. A connection that was never made, and an answer that says no, mean
that it has not. A connection that was cut after the request went out means that nobody knows. The Bot API cannot be
asked afterwards: it shows a bot neither its own messages nor an idempotency key.
"""

import asyncio
import contextlib
import logging
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final, TypeAlias

import httpx
from telegram import Bot, InputFile, error
from telegram.request import HTTPXRequest
from telegram.warnings import PTBDeprecationWarning, PTBUserWarning

CALL_TIMEOUT_S: Final = 20.0
"""A call is over after this time, a file's upload included."""
_CONNECT_S: Final = 5.0
_NOT_MODIFIED: Final = "message is not modified"
_NEVER_SENT: Final = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.UnsupportedProtocol)
_CHAT_GONE: Final = (
    "chat not found",
    "user is deactivated",
    "bot was kicked",
    "bot was blocked",
    "bot is not a member",
    "have no rights to send",
    "not enough rights to send",
    "group chat was deleted",
    "user not found",
    "peer_id_invalid",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """A file that goes with a call.

    Attributes:
        field: The parameter it is: "photo", "document".
        name: Its file name.
        content: Its bytes.
    """

    field: str
    name: str
    content: bytes


@dataclass(frozen=True, slots=True)
class Done:
    """The call took effect.

    Attributes:
        result: What Telegram answered.
    """

    result: object

    @property
    def message_id(self) -> int:
        """Return the id of the message that was sent or edited; 0 when it is none."""
        found = self.result.get("message_id", 0) if isinstance(self.result, Mapping) else 0
        return found if isinstance(found, int) else 0


@dataclass(frozen=True, slots=True)
class Wait:
    """Telegram wants fewer calls; this one took no effect.

    Attributes:
        after_s: When to come back.
    """

    after_s: float


class Doubt(Enum):
    """Whether a call that failed may have taken effect."""

    NOT_SENT = "not sent"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Failed:
    """No answer, or one that says that Telegram itself has failed.

    Attributes:
        doubt: Whether it may have taken effect all the same.
        reason: What went wrong; no secrets.
    """

    doubt: Doubt
    reason: str


@dataclass(frozen=True, slots=True)
class Denied:
    """Telegram will never do it.

    Attributes:
        reason: What Telegram says.
        is_chat_gone: Whether nothing will ever reach this chat.
        new_chat_id: The group's new id where it has become a supergroup; 0 otherwise.
    """

    reason: str
    is_chat_gone: bool = False
    new_chat_id: int = 0


Outcome: TypeAlias = Done | Wait | Failed | Denied


class TelegramClient:
    """The Bot API over HTTP.

    Args:
        token: The bot's; never logged.
        base_url: Of the API, up to the token: "https://api.telegram.org/bot".
        connections: Calls at once.
    """

    def __init__(self, token: str, *, base_url: str, connections: int = 16) -> None:
        # The library wants its typed methods to be used; the queue holds calls as data.
        warnings.filterwarnings("ignore", message=r"Please use 'Bot\.", category=PTBUserWarning)
        # It will be a timedelta one day, which is read as well.
        warnings.filterwarnings("ignore", message=r".*`retry_after` will be of type", category=PTBDeprecationWarning)
        # Its HTTP client logs each URL, and the token is part of it.
        logging.getLogger("httpx").setLevel(logging.WARNING)
        self._token = token
        self._requests = (_request(connections), _request(2))
        calls, polls = self._requests
        self._bot = Bot(token, base_url=base_url, request=calls, get_updates_request=polls)
        self._is_open = False
        self._opening = asyncio.Lock()

    async def call(
        self,
        method: str,
        params: Mapping[str, object],
        *,
        upload: Upload | None = None,
        timeout_s: float = CALL_TIMEOUT_S,
    ) -> Outcome:
        """Call a method of the Bot API.

        Args:
            method: As Telegram names it: "sendMessage".
            params: What it takes; values that are no strings or numbers are sent as JSON.
            upload: A file that goes along.
            timeout_s: After which the outcome is `Failed`.
        """
        await self._open()
        fields: dict[str, object] = dict(params)
        if upload is not None:
            fields[upload.field] = InputFile(upload.content, filename=upload.name, attach=False)
        try:
            async with asyncio.timeout(timeout_s):
                return Done(await self._bot.do_api_request(method, fields, read_timeout=timeout_s))
        except TimeoutError:
            return Failed(Doubt.UNKNOWN, f"no answer within {timeout_s:g} s")
        except error.TelegramError as problem:
            return self._outcome(problem)

    async def close(self) -> None:
        """Close the connections."""
        if self._is_open:
            self._is_open = False
            with contextlib.suppress(error.TelegramError, RuntimeError):
                await asyncio.gather(*(request.shutdown() for request in self._requests))

    async def _open(self) -> None:
        async with self._opening:
            if not self._is_open:
                await asyncio.gather(*(request.initialize() for request in self._requests))
                self._is_open = True

    def _outcome(self, problem: error.TelegramError) -> Outcome:
        reason = str(problem).replace(self._token, "<token>")
        lower = reason.lower()
        match problem:
            case error.RetryAfter():
                after = problem.retry_after
                return Wait(float(after if isinstance(after, int) else after.total_seconds()))
            case error.ChatMigrated():
                return Denied(reason, new_chat_id=problem.new_chat_id)
            case error.Forbidden():
                return Denied(reason, is_chat_gone=True)
            case error.BadRequest() if _NOT_MODIFIED in lower:
                return Done(True)
            case error.BadRequest():
                return Denied(reason, is_chat_gone=any(text in lower for text in _CHAT_GONE))
            case error.InvalidToken() | error.EndPointNotFound() | error.Conflict():
                return Failed(Doubt.NOT_SENT, reason)
            case error.NetworkError():
                return Failed(_doubt(problem), reason)
            case _:
                return Failed(Doubt.UNKNOWN, reason)


def _request(connections: int) -> HTTPXRequest:
    return HTTPXRequest(
        connection_pool_size=connections,
        connect_timeout=_CONNECT_S,
        read_timeout=CALL_TIMEOUT_S,
        write_timeout=CALL_TIMEOUT_S,
        pool_timeout=CALL_TIMEOUT_S,
    )


def _doubt(problem: error.NetworkError) -> Doubt:
    """Tell whether a request that failed may have been obeyed.

    A status of 5xx is Telegram's own front saying that it was not; the library raises it without a cause.
    """
    cause = problem.__cause__
    return Doubt.NOT_SENT if cause is None or isinstance(cause, _NEVER_SENT) else Doubt.UNKNOWN
