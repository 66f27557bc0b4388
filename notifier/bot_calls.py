"""Calls to the Bot API as data, and how they are told apart. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from notifier.telegram_client import Upload

TEXT_CHARS_MAX: Final = 4096
CAPTION_CHARS_MAX: Final = 1024
CALLBACK_BYTES_MAX: Final = 64
UNPACED: Final = frozenset({"answerCallbackQuery", "answerInlineQuery", "sendChatAction", "setMyCommands"})
"""Methods that are no messages and do not count towards Telegram's limits of messages."""
REPEATABLE: Final = UNPACED | {"editMessageText", "editMessageReplyMarkup"}
"""Methods that change nothing when they are called a second time."""
DOUBTFUL_MARK: Final = "\u21bb "
"""Stands before a text that may have arrived already."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A call that answers an update.

    Attributes:
        chat_id: Whose order and pace it keeps; 0 for none.
        method: As Telegram names it.
        params: What it takes; JSON.
        upload: A file that goes along.
    """

    chat_id: int
    method: str
    params: Mapping[str, object] = field(default_factory=dict)
    upload: Upload | None = None


@dataclass(frozen=True, slots=True)
class Button:
    """A button below a message.

    Attributes:
        text: What it says.
        data: What comes back when it is pressed; 64 bytes at most.
    """

    text: str
    data: str


Keyboard = Sequence[Sequence[Button]]


def keyboard(rows: Keyboard) -> dict[str, object]:
    """Return an inline keyboard as the Bot API takes it.

    Raises:
        ValueError: When a button's data is too long.
    """
    for row in rows:
        for button in row:
            if not 1 <= len(button.data.encode()) <= CALLBACK_BYTES_MAX:
                raise ValueError(f"the data of a button has {len(button.data.encode())} bytes")
    return {
        "inline_keyboard": [[{"text": button.text, "callback_data": button.data} for button in row] for row in rows]
    }


def text_message(chat_id: int, text: str, rows: Keyboard = ()) -> Call:
    """Return the call that sends a text in Telegram's HTML."""
    params: dict[str, object] = {
        "chat_id": chat_id,
        "text": text,
        "parse_mode": "HTML",
        "link_preview_options": {"is_disabled": True},
    }
    if rows:
        params["reply_markup"] = keyboard(rows)
    return Call(chat_id=chat_id, method="sendMessage", params=params)


def edited_message(chat_id: int, message_id: int, text: str, rows: Keyboard = ()) -> Call:
    """Return the call that replaces a text and its buttons."""
    params: dict[str, object] = {
        "chat_id": chat_id,
        "message_id": message_id,
        "text": text,
        "parse_mode": "HTML",
        "link_preview_options": {"is_disabled": True},
    }
    if rows:
        params["reply_markup"] = keyboard(rows)
    return Call(chat_id=chat_id, method="editMessageText", params=params)


def photo_message(chat_id: int, png: bytes, caption: str) -> Call:
    """Return the call that sends a picture with a text in Telegram's HTML below it."""
    return Call(
        chat_id=chat_id,
        method="sendPhoto",
        params={"chat_id": chat_id, "caption": caption, "parse_mode": "HTML"},
        upload=Upload(field="photo", name="hashrate.png", content=png),
    )


def document_message(chat_id: int, name: str, content: bytes) -> Call:
    """Return the call that sends a file."""
    return Call(
        chat_id=chat_id,
        method="sendDocument",
        params={"chat_id": chat_id},
        upload=Upload(field="document", name=name, content=content),
    )


def callback_answer(chat_id: int, callback_id: str, text: str = "") -> Call:
    """Return the call that ends the waiting of a button."""
    params: dict[str, object] = {"callback_query_id": callback_id}
    if text:
        params["text"] = text[:200]
    return Call(chat_id=chat_id, method="answerCallbackQuery", params=params)


def marked(method: str, params: Mapping[str, object]) -> dict[str, object]:
    """Return the parameters of a call that may have arrived already, with the mark where a text can carry it."""
    changed = dict(params)
    name, chars_max = ("text", TEXT_CHARS_MAX) if method == "sendMessage" else ("caption", CAPTION_CHARS_MAX)
    text = changed.get(name)
    if method in REPEATABLE or not isinstance(text, str) or len(text) + len(DOUBTFUL_MARK) > chars_max:
        return changed
    return {**changed, name: DOUBTFUL_MARK + text}
