"""Settings of the Telegram bot."""

import os
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from runtime.errors import UserError

TOKEN_VARIABLE = "LODEPOOL_TELEGRAM_TOKEN"  # noqa: S105  the name of the variable, not a token
SEND_TIMEOUT_S = 10.0
CHANNEL_TIMEOUT_S = 2 * SEND_TIMEOUT_S + 2
"""How long one notice may take: a group that has moved is tried at its new id as well."""
_TOKEN_CHARS_MAX = 200


class AdminSettings(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """A chat of the pool's operators.

    Attributes:
        chat_id: The chat; a person's own chat has the person's id. In a group only its administrators may command.
        role: "viewer" may look at the pool and its troubles, "operator" may hold and resume payouts as well.
    """

    chat_id: int
    role: Literal["viewer", "operator"] = "viewer"


class TelegramSettings(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """The `[notifier.telegram]` section. The bot runs when a token is given, in the environment or a file.

    Attributes:
        token_file: A file that holds the bot's token and nothing else; the environment comes first.
        mode: "polling" asks Telegram for updates, "webhook" is called by it.
        base_url: Of the Bot API; other than Telegram's for a Bot API server of one's own.
        webhook_url: The public https URL of the reverse proxy in front of webhook_host.
        webhook_host: The address to listen on.
        webhook_port: The port to listen on; 0 takes a free one.
        poll_timeout_s: How long Telegram holds a question for updates that has no answer yet.
        admins: Chats of the operators.
        watches_max: Addresses that one chat may watch.
        updates_per_minute: What one chat may ask in a minute; beyond that it is told once, then ignored.
    """

    token_file: str = ""
    mode: Literal["polling", "webhook"] = "polling"
    base_url: Annotated[str, msgspec.Meta(pattern=r"^https?://[^\s?#]+[^/\s?#]$")] = "https://api.telegram.org/bot"
    webhook_url: Annotated[str, msgspec.Meta(pattern=r"^(https?://[^\s]+)?$")] = ""
    webhook_host: Annotated[str, msgspec.Meta(min_length=1)] = "127.0.0.1"
    webhook_port: Annotated[int, msgspec.Meta(ge=0, le=65_535)] = 8090
    poll_timeout_s: Annotated[int, msgspec.Meta(ge=0, le=50)] = 25
    admins: tuple[AdminSettings, ...] = ()
    watches_max: Annotated[int, msgspec.Meta(ge=1, le=50)] = 20
    updates_per_minute: Annotated[int, msgspec.Meta(ge=1, le=600)] = 30

    def __post_init__(self) -> None:
        if self.mode == "webhook" and not self.webhook_url:
            raise ValueError('webhook_url: is needed with mode "webhook"')


def read_token(settings: TelegramSettings) -> str | None:
    """Return the bot's token; None when there is none and the bot is off.

    Raises:
        UserError: When the file cannot be read or does not hold a token.
    """
    token = os.environ.get(TOKEN_VARIABLE, "").strip()
    if token:
        return _checked(token, where=TOKEN_VARIABLE)
    if not settings.token_file:
        return None
    try:
        text = Path(settings.token_file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"The Telegram bot's token cannot be read from {settings.token_file}: {error}.",
            "set notifier.telegram.token_file to a readable file, or unset it to run without the bot",
        ) from None
    return _checked(text.strip(), where=settings.token_file)


def _checked(token: str, *, where: str) -> str:
    number, colon, secret = token.partition(":")
    is_right = colon and number.isascii() and number.isdigit() and secret and len(token) <= _TOKEN_CHARS_MAX
    if not is_right or not secret.replace("_", "a").replace("-", "a").isalnum():
        raise UserError(
            f"What {where} holds is not a Telegram bot's token.",
            "a token looks like 123456:ABC-DEF…; @BotFather gives one",
        )
    return token
