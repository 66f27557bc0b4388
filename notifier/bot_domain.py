"""What people send to the bot, told apart; how much of it is too much. Pure."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from telegram import CallbackQuery, ChatMember, Message, Update, User

from coins.bitcoin.address import decode, describe
from coins.coin import Coin
from coins.errors import AddressError
from coins.registry import all_coins

ARGUMENT_CHARS_MAX: Final = 200
RUSSIAN_CODES: Final = ("ru", "be", "uk", "kk", "ky")
"""Language codes whose speakers are greeted in Russian; anybody may choose the other language."""
_COMMAND: Final = re.compile(r"/([A-Za-z0-9_]{1,32})(?:@([A-Za-z0-9_]{1,64}))?(?:\s+(.*))?", re.DOTALL)
_GONE: Final = frozenset({ChatMember.BANNED, ChatMember.LEFT})


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A command, or in a private chat any text.

    Attributes:
        chat_id: Where it was said.
        user_id: Who said it; 0 for a group's anonymous administrator.
        is_group: Whether others read along.
        language_code: Of the person's program; "" when it does not say.
        name: The command in lower case without its slash; "" for other text.
        argument: What follows, cut to 200 characters.
    """

    chat_id: int
    user_id: int
    is_group: bool
    language_code: str
    name: str
    argument: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Press:
    """A button was pressed.

    Attributes:
        chat_id: Where its message is.
        user_id: Who has pressed it.
        is_group: Whether others see it.
        language_code: Of the person's program.
        message_id: The message with the button.
        callback_id: What the answer names.
        verb: What the button does.
        values: What it does it with.
    """

    chat_id: int
    user_id: int
    is_group: bool
    language_code: str
    message_id: int
    callback_id: str
    verb: str
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Inline:
    """Somebody asks in the middle of another chat.

    Attributes:
        user_id: Who asks.
        language_code: Of the person's program.
        query_id: What the answer names.
        query: What was typed behind the bot's name, cut to 200 characters.
    """

    user_id: int
    language_code: str
    query_id: str
    query: str


@dataclass(frozen=True, slots=True)
class Gone:
    """The bot was blocked, or thrown out of a group.

    Attributes:
        chat_id: Where.
    """

    chat_id: int


@dataclass(frozen=True, slots=True)
class Moved:
    """A group has a new id.

    Attributes:
        old_id: The id it had.
        new_id: The id it has.
    """

    old_id: int
    new_id: int


@dataclass(frozen=True, slots=True)
class Nothing:
    """Nothing for us."""


Incoming: TypeAlias = Command | Press | Inline | Gone | Moved | Nothing


def understood(update: Update, *, bot_name: str) -> Incoming:
    """Tell what an update is.

    Args:
        update: As the library has read it.
        bot_name: The bot's user name; commands to other bots of a group are not ours.
    """
    if update.message is not None:
        return _message(update.message, bot_name=bot_name)
    if update.callback_query is not None:
        return _press(update.callback_query)
    if (inline := update.inline_query) is not None:
        return Inline(
            user_id=inline.from_user.id,
            language_code=_language_code(inline.from_user),
            query_id=inline.id,
            query=inline.query.strip()[:ARGUMENT_CHARS_MAX],
        )
    if update.my_chat_member is not None and update.my_chat_member.new_chat_member.status in _GONE:
        return Gone(update.my_chat_member.chat.id)
    return Nothing()


def chat_of(update: Mapping[str, object]) -> int:
    """Return the chat, or with inline queries the person, whose order an update belongs to; 0 when it has none."""
    for name in ("message", "callback_query", "my_chat_member", "inline_query"):
        body = update.get(name)
        if isinstance(body, Mapping):
            holder = body.get("message") if name == "callback_query" else body
            chat = holder.get("from" if name == "inline_query" else "chat") if isinstance(holder, Mapping) else None
            found = chat.get("id") if isinstance(chat, Mapping) else None
            return found if isinstance(found, int) and -(2**63) <= found < 2**63 else 0
    return 0


def language_for(code: str) -> str:
    """Return the language in which a person is greeted: "ru" or "en"."""
    return "ru" if code.lower().split("-")[0] in RUSSIAN_CODES else "en"


@dataclass(frozen=True, slots=True, kw_only=True)
class WrongAddress:
    """A text that is no address of the coin.

    Attributes:
        kind: "foreign", "mweb", "mistyped" or "unknown": which text explains it.
        looks_like: Coins whose address it is, "litecoin, litecoin-testnet"; "" when it is none's.
        expected: What the coin's addresses look like.
    """

    kind: str
    looks_like: str
    expected: str


def wrong_address(coin: Coin, text: str, error: AddressError) -> WrongAddress:
    """Tell what is wrong with an address, so that it can be said in any language."""
    owners = [other.coin_id for other in all_coins() if _is_address(other, text)]
    if owners:
        kind = "foreign"
    elif "MWEB" in error.reason:
        kind = "mweb"
    else:
        kind = "mistyped" if "checksum" in error.reason or "characters missing" in error.reason else "unknown"
    return WrongAddress(kind=kind, looks_like=", ".join(owners), expected=describe(coin))


@dataclass(slots=True)
class FloodGate:
    """Lets each chat ask so often in a minute, tells it once when that is too much, and then ignores it.

    Attributes:
        per_minute: What one chat may ask; up to a third of it at once.
    """

    per_minute: int
    _chats: dict[int, tuple[float, float, bool]] = field(default_factory=dict)

    def ask(self, chat_id: int, *, now_s: float) -> str:
        """Return "open", "warn" (the first time) or "shut"."""
        burst = max(3.0, self.per_minute / 3)
        tokens, last_s, was_told = self._chats.get(chat_id, (burst, now_s, False))
        tokens = min(burst, tokens + (now_s - last_s) * self.per_minute / 60)
        answer = "open" if tokens >= 1 else "shut" if was_told else "warn"
        self._chats[chat_id] = (tokens - (answer == "open"), now_s, answer != "open")
        if len(self._chats) > 10_000:
            self._forget(now_s)
        return answer

    def _forget(self, now_s: float) -> None:
        self._chats = {chat: state for chat, state in self._chats.items() if now_s - state[1] < 60}


def _is_address(coin: Coin, text: str) -> bool:
    try:
        decode(coin, text)
    except AddressError:
        return False
    return True


def _message(message: Message, *, bot_name: str) -> Incoming:
    chat = message.chat
    if message.migrate_to_chat_id:
        return Moved(chat.id, message.migrate_to_chat_id)
    if message.migrate_from_chat_id:
        return Moved(message.migrate_from_chat_id, chat.id)
    if message.text is None or chat.type == chat.CHANNEL:
        return Nothing()
    is_group = chat.type != chat.PRIVATE
    found = _COMMAND.fullmatch(message.text[: ARGUMENT_CHARS_MAX * 2].strip())
    if found is None and is_group:
        return Nothing()
    name, to, argument = found.groups(default="") if found else ("", "", message.text)
    if to and to.lower() != bot_name.lower():
        return Nothing()
    is_anonymous = message.sender_chat is not None and message.sender_chat.id == chat.id
    user = message.from_user
    return Command(
        chat_id=chat.id,
        user_id=0 if is_anonymous or user is None else user.id,
        is_group=is_group,
        language_code=_language_code(user),
        name=name.lower(),
        argument=argument.strip()[:ARGUMENT_CHARS_MAX],
    )


def _press(query: CallbackQuery) -> Incoming:
    if query.message is None or not query.data:
        return Nothing()
    verb, *values = query.data.split(":")
    return Press(
        chat_id=query.message.chat.id,
        user_id=query.from_user.id,
        is_group=query.message.chat.type != query.message.chat.PRIVATE,
        language_code=_language_code(query.from_user),
        message_id=query.message.message_id,
        callback_id=query.id,
        verb=verb,
        values=tuple(values),
    )


def _language_code(user: User | None) -> str:
    return (user.language_code or "") if user is not None else ""
