"""What the bot does with what people send it.

Each update is dealt with in two steps. The first asks: other services, Telegram about a group's administrators. It
changes nothing that a repetition would change again. What it returns is the second step: called in the transaction that
closes the update, it changes rows and returns the calls that answer.
"""

import re
import zoneinfo
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final, Protocol, TypeAlias, assert_never

from coins.bitcoin.address import describe, payee
from coins.coin import Coin
from coins.errors import AddressError
from notifier import bot_storage, bot_views, subscriptions
from notifier.bot_calls import (
    Call,
    Keyboard,
    callback_answer,
    document_message,
    edited_message,
    photo_message,
    text_message,
)
from notifier.bot_domain import (
    Command,
    Gone,
    Incoming,
    Inline,
    Moved,
    Nothing,
    Press,
    language_for,
    wrong_address,
)
from notifier.bot_sources import Sources
from notifier.bot_storage import Chat
from notifier.bot_views import plain, say
from notifier.domain import MINUTES_A_DAY, ChannelKind, Subscription
from notifier.errors import SubscriptionUnknown
from notifier.notices import Kind
from notifier.rendering import hashrate_text
from notifier.telegram_settings import TelegramSettings
from runtime.postgres.pool import Connection
from runtime.rpc.errors import RpcError

Finish: TypeAlias = Callable[[Connection], Awaitable[Sequence[Call]]]
"""The second step: in the transaction that closes the update."""

ROWS: Final = 10
INLINE_CACHE_S: Final = 10
_CHANGES: Final = frozenset({"start", "watch", "unwatch", "quiet", "language", "alerts"})
_CHANGE_VERBS: Final = frozenset({"lang", "unwatch", "kind", "pool", "hash", "rej", "dig", "alerts"})
_VERBS_OF_ACCOUNTS: Final = frozenset({"stats", "workers", "balance", "payouts", "export"})
_QUIET: Final = re.compile(r"([01]?\d|2[0-3]):([0-5]\d)\s*[-–—]\s*([01]?\d|2[0-3]):([0-5]\d)(?:\s+(\S{1,64}))?")


class Administrators(Protocol):
    """Knows who runs a group."""

    async def is_administrator(self, chat_id: int, user_id: int) -> bool:
        """Return whether a person may change what concerns the group."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """What is known of the chat when an update comes in.

    Attributes:
        update_id: Telegram's number of the update: requests are named by it, so repetitions are harmless.
        chat: The chat; its language is a guess while it is not known.
        is_known: Whether it has said something before.
        subscriptions: All of the chat, those to the pool included.
        now_ms: Milliseconds since the Unix epoch.
    """

    update_id: int
    chat: Chat
    is_known: bool
    subscriptions: tuple[Subscription, ...]
    now_ms: int

    @property
    def watches(self) -> tuple[Subscription, ...]:
        """Return the subscriptions to addresses."""
        return tuple(found for found in self.subscriptions if found.account)

    @property
    def pool_watch(self) -> Subscription | None:
        """Return the subscription to the pool."""
        return next((found for found in self.subscriptions if not found.account), None)


def just(*calls: Call) -> Finish:
    """Return a second step that only answers."""

    async def finish(_connection: Connection) -> Sequence[Call]:
        return calls

    return finish


class Handlers:
    """Deals with updates.

    Args:
        coin: The coin that is mined.
        pool_name: What the pool calls itself.
        bot_name: The bot's user name.
        settings: The `[notifier.telegram]` section.
        sources: The other services.
        administrators: Who runs groups.
    """

    def __init__(
        self,
        *,
        coin: Coin,
        pool_name: str,
        bot_name: str,
        settings: TelegramSettings,
        sources: Sources,
        administrators: Administrators,
    ) -> None:
        self._coin = coin
        self._pool_name = pool_name
        self._bot_name = bot_name
        self._settings = settings
        self._sources = sources
        self._administrators = administrators
        self._roles = {admin.chat_id: admin.role for admin in settings.admins}
        self._commands: dict[str, Callable[[Command, Session], Awaitable[Finish]]] = {
            "": self._watch,
            "start": self._start,
            "help": self._help,
            "language": self._language,
            "watch": self._watch,
            "unwatch": self._unwatch,
            "list": self._list,
            "stats": self._of_account,
            "workers": self._of_account,
            "balance": self._of_account,
            "payouts": self._of_account,
            "export": self._of_account,
            "blocks": self._blocks,
            "alerts": self._alerts,
            "quiet": self._quiet,
            "pool": self._pool,
            "hold": self._hold,
            "resume": self._resume,
        }

    async def handle(self, incoming: Incoming, session: Session) -> Finish:
        """Deal with an update; a service that is away is an answer too."""
        match incoming:
            case Command():
                return await self._command(incoming, session)
            case Press():
                return await self._press(incoming, session)
            case Inline():
                return await self._inline(incoming, session)
            case Gone(chat_id=chat_id):
                return _paused(chat_id)
            case Moved(old_id=old_id, new_id=new_id):
                return _moved(old_id, new_id)
            case Nothing():
                return just()
            case _:
                assert_never(incoming)

    def flooded(self, chat_id: int, language: str) -> Call:
        """Return what a chat is told that asks too much."""
        return text_message(chat_id, say(language, "flood"))

    def failed(self, chat_id: int, language: str) -> Call:
        """Return what a chat is told whose update could not be dealt with."""
        return text_message(chat_id, say(language, "failed"))

    async def _command(self, command: Command, session: Session) -> Finish:
        language, chat_id = session.chat.language, command.chat_id
        handler = self._commands.get(command.name)
        if handler is None:
            return just() if command.is_group else just(text_message(chat_id, say(language, "unknown_command")))
        if command.is_group and command.name in _CHANGES and not await self._may_change(command):
            return just(text_message(chat_id, say(language, "group_admins_only")))
        try:
            return await handler(command, session)
        except RpcError:
            return just(text_message(chat_id, say(language, "service_away")))

    async def _may_change(self, asked: Command | Press) -> bool:
        if not asked.is_group or (isinstance(asked, Command) and asked.user_id == 0):
            return True
        return await self._administrators.is_administrator(asked.chat_id, asked.user_id)

    async def _start(self, command: Command, session: Session) -> Finish:
        async def finish(connection: Connection) -> Sequence[Call]:
            language = session.chat.language
            if not session.is_known:
                await bot_storage.put_chat(connection, session.chat, now_ms=session.now_ms)
            await subscriptions.resume_address(connection, ChannelKind.TELEGRAM, str(command.chat_id))
            choice = text_message(command.chat_id, say(language, "choose_language"), bot_views.language_keyboard())
            if session.watches:
                text = say(language, "welcome_back", pool=self._pool_name, count=len(session.watches))
                return (text_message(command.chat_id, text),)
            return (choice, text_message(command.chat_id, say(language, "hello", pool=self._pool_name)))

        return finish

    async def _help(self, command: Command, session: Session) -> Finish:
        text = say(session.chat.language, "help", pool=self._pool_name, bot=self._bot_name)
        if command.chat_id in self._roles:
            text += say(session.chat.language, "help_admin")
        return just(text_message(command.chat_id, text))

    async def _language(self, command: Command, session: Session) -> Finish:
        text = say(session.chat.language, "choose_language")
        return just(text_message(command.chat_id, text, bot_views.language_keyboard()))

    async def _watch(self, command: Command, session: Session) -> Finish:
        language, chat_id = session.chat.language, command.chat_id
        if not command.argument:
            return just(text_message(chat_id, say(language, "watch_usage", expected=describe(self._coin))))
        try:
            account = payee(self._coin, command.argument).text
        except AddressError as error:
            return just(text_message(chat_id, self._wrong(language, command.argument, error)))
        if any(watch.account == account for watch in session.watches):
            return just(text_message(chat_id, say(language, "already_watched", account=account)))
        if len(session.watches) >= self._settings.watches_max:
            return just(text_message(chat_id, say(language, "watches_full", count=len(session.watches))))
        text = say(language, "watched", account=account)
        try:
            view = await self._sources.account(account)
            text += "" if view.accepted or view.workers else say(language, "watched_unseen")
        except RpcError:
            pass  # Watching does not need an answer; what is not known is not said.

        async def finish(connection: Connection) -> Sequence[Call]:
            await bot_storage.put_chat(connection, session.chat, now_ms=session.now_ms)
            await subscriptions.create(
                connection,
                self._subscription(session, account),
                request_id=f"bot/{session.update_id}",
                now_ms=session.now_ms,
            )
            return (text_message(chat_id, text),)

        return finish

    async def _unwatch(self, command: Command, session: Session) -> Finish:
        language, chat_id = session.chat.language, command.chat_id
        if not session.watches:
            return just(text_message(chat_id, say(language, "nothing_watched")))
        if command.argument:
            found = next((watch for watch in session.watches if watch.account == self._account(command.argument)), None)
            if found is not None:
                return self._ended(found, text_message(chat_id, self._unwatched(session, found)))
        buttons = bot_views.accounts_keyboard("unwatch", session.watches)
        return just(text_message(chat_id, say(language, "unwatch_head"), buttons))

    async def _list(self, command: Command, session: Session) -> Finish:
        if not session.watches:
            return just(text_message(command.chat_id, say(session.chat.language, "nothing_watched")))
        return just(text_message(command.chat_id, bot_views.list_text(session.chat, session.watches)))

    async def _of_account(self, command: Command, session: Session) -> Finish:
        """Answer a command about one address: the one that was said, the only one, or a choice."""
        language, chat_id = session.chat.language, command.chat_id
        if command.argument:
            try:
                account = payee(self._coin, command.argument).text
            except AddressError as error:
                return just(text_message(chat_id, self._wrong(language, command.argument, error)))
            key = next((str(watch.subscription_id) for watch in session.watches if watch.account == account), "")
            return just(*await self._shown(command.name, session.chat, account, key=key))
        if not session.watches:
            return just(text_message(chat_id, say(language, "nothing_watched")))
        if len(session.watches) > 1:
            buttons = bot_views.accounts_keyboard(command.name, session.watches)
            return just(text_message(chat_id, say(language, "choose_account"), buttons))
        watch = session.watches[0]
        return just(*await self._shown(command.name, session.chat, watch.account, key=str(watch.subscription_id)))

    async def _shown(self, what: str, chat: Chat, account: str, *, key: str) -> Sequence[Call]:
        if what == "workers":
            text, buttons = bot_views.workers_page(chat, await self._sources.account(account), page=0, key=key)
            return (text_message(chat.chat_id, text, buttons),)
        if what == "balance":
            text = bot_views.balance_text(chat, account, await self._sources.balance(account), self._coin)
            return (text_message(chat.chat_id, text),)
        if what == "payouts":
            payouts = await self._sources.payouts(account, count=ROWS)
            return (text_message(chat.chat_id, bot_views.payouts_text(chat, account, payouts, self._coin)),)
        if what == "export":
            rows = [row async for row in self._sources.money(account)]
            if not rows:
                return (text_message(chat.chat_id, say(chat.language, "export_none", account=account)),)
            name = plain(chat.language, "export_name", account=account)
            return (document_message(chat.chat_id, name, bot_views.money_csv(rows, self._coin)),)
        view = await self._sources.account(account)
        text = bot_views.stats_text(chat, view)
        picture = bot_views.chart_png(chat, await self._sources.history(account))
        return (photo_message(chat.chat_id, picture, text) if picture else text_message(chat.chat_id, text),)

    async def _blocks(self, command: Command, session: Session) -> Finish:
        blocks = await self._sources.blocks(count=ROWS)
        return just(text_message(command.chat_id, bot_views.blocks_text(session.chat, blocks, self._coin)))

    async def _alerts(self, command: Command, session: Session) -> Finish:
        chat_id = command.chat_id
        if not session.watches:
            return just(text_message(chat_id, say(session.chat.language, "nothing_watched")))
        if len(session.watches) > 1:
            buttons = bot_views.accounts_keyboard("alerts", session.watches)
            return just(text_message(chat_id, say(session.chat.language, "choose_account"), buttons))
        text, rows = self._alerts_page(session, session.watches[0], session.pool_watch)
        return just(text_message(chat_id, text, rows))

    async def _quiet(self, command: Command, session: Session) -> Finish:
        chat, asked = session.chat, command.argument.strip()
        if not asked:
            text = say(chat.language, "quiet_usage", now=bot_views.plain_quiet(chat))
            return just(text_message(chat.chat_id, text))
        if asked.lower() == "off":
            wanted = replace(chat, quiet_start_min=0, quiet_end_min=0)
        else:
            found = _QUIET.fullmatch(asked)
            zone = found and (found[5] or chat.time_zone)
            if not found or not zone or not _is_zone(zone):
                text = say(chat.language, "quiet_usage", now=bot_views.plain_quiet(chat))
                return just(text_message(chat.chat_id, text))
            start, end = (int(found[place]) * 60 + int(found[place + 1]) for place in (1, 3))
            wanted = replace(
                chat, time_zone=zone, quiet_start_min=start % MINUTES_A_DAY, quiet_end_min=end % MINUTES_A_DAY
            )
        return self._chat_changed(session, wanted, text_message(chat.chat_id, bot_views.quiet_text(wanted)))

    async def _pool(self, command: Command, session: Session) -> Finish:
        if command.chat_id not in self._roles:
            return just(text_message(command.chat_id, say(session.chat.language, "not_operator")))
        view = await self._sources.pool()
        text = bot_views.pool_text(session.chat, view, self._coin, pool_name=self._pool_name)
        return just(text_message(command.chat_id, text))

    async def _hold(self, command: Command, session: Session) -> Finish:
        if not await self._is_operator(command):
            return just(text_message(command.chat_id, say(session.chat.language, "not_operator")))
        reason = command.argument or plain(session.chat.language, "hold_reason")
        await self._sources.hold_payouts(reason=reason, request_id=f"bot/{session.update_id}")
        return just(text_message(command.chat_id, say(session.chat.language, "held")))

    async def _resume(self, command: Command, session: Session) -> Finish:
        if not await self._is_operator(command):
            return just(text_message(command.chat_id, say(session.chat.language, "not_operator")))
        await self._sources.resume_payouts(request_id=f"bot/{session.update_id}")
        return just(text_message(command.chat_id, say(session.chat.language, "resumed")))

    async def _is_operator(self, command: Command) -> bool:
        return self._roles.get(command.chat_id) == "operator" and await self._may_change(command)

    async def _press(self, press: Press, session: Session) -> Finish:
        language = session.chat.language
        if press.verb in _CHANGE_VERBS and not await self._may_change(press):
            return just(_answer(press, plain(language, "group_admins_only")))
        if press.verb == "lang" and press.values and press.values[0] in bot_views.TEXTS:
            return self._language_chosen(press, session, press.values[0])
        named = press.values[0] if press.values else ""
        watch = next((found for found in session.watches if str(found.subscription_id) == named), None)
        if watch is None:
            return just(_answer(press, plain(language, "gone_button")))
        try:
            return await self._pressed(press, session, watch)
        except RpcError:
            return just(_answer(press, plain(language, "service_away")))

    async def _pressed(self, press: Press, session: Session, watch: Subscription) -> Finish:
        value = press.values[1] if len(press.values) > 1 else ""
        if press.verb == "unwatch":
            text = self._unwatched(session, watch)
            return self._ended(watch, _answer(press), edited_message(press.chat_id, press.message_id, text))
        if press.verb == "workers" and value:
            view = await self._sources.account(watch.account)
            page = int(value) if value.isascii() and value.isdigit() and len(value) < 6 else 0
            text, buttons = bot_views.workers_page(session.chat, view, page=page, key=press.values[0])
            return just(_answer(press), edited_message(press.chat_id, press.message_id, text, buttons))
        if press.verb in _VERBS_OF_ACCOUNTS:
            shown = await self._shown(press.verb, session.chat, watch.account, key=press.values[0])
            return just(_answer(press), *shown)
        return self._alerts_changed(press, session, watch, value)

    def _language_chosen(self, press: Press, session: Session, language: str) -> Finish:
        wanted = replace(session.chat, language=language)
        return self._chat_changed(
            session,
            wanted,
            _answer(press),
            edited_message(press.chat_id, press.message_id, say(language, "language_set")),
        )

    def _chat_changed(self, session: Session, wanted: Chat, *calls: Call) -> Finish:
        """Return the step that keeps what is known of a chat, and lets its subscriptions follow."""

        async def finish(connection: Connection) -> Sequence[Call]:
            await bot_storage.put_chat(connection, wanted, now_ms=session.now_ms)
            for found in await _subscriptions_of(connection, wanted.chat_id):
                await subscriptions.update(
                    connection,
                    replace(
                        found,
                        language=wanted.language,
                        time_zone=wanted.time_zone,
                        quiet_start_min=wanted.quiet_start_min,
                        quiet_end_min=wanted.quiet_end_min,
                    ),
                )
            return calls

        return finish

    def _alerts_changed(self, press: Press, session: Session, watch: Subscription, value: str) -> Finish:
        language = session.chat.language

        async def finish(connection: Connection) -> Sequence[Call]:
            try:
                found = await subscriptions.get(connection, watch.subscription_id)
            except SubscriptionUnknown:
                return (_answer(press, plain(language, "gone_button")),)
            wanted = _changed(found, press.verb, value)
            if wanted is None:
                return (_answer(press, plain(language, "alerts_last")),)
            if wanted != found:
                found = await subscriptions.update(connection, wanted)
            if press.verb == "pool":
                await self._toggle_pool(connection, press, session, value)
            own = await _subscriptions_of(connection, press.chat_id)
            pool_watch = next((other for other in own if not other.account), None)
            text, rows = self._alerts_page(session, found, pool_watch)
            return (_answer(press), edited_message(press.chat_id, press.message_id, text, rows))

        return finish

    async def _toggle_pool(self, connection: Connection, press: Press, session: Session, value: str) -> None:
        kinds = bot_views.BLOCK_KINDS if value == "blocks" else frozenset({Kind.TROUBLE})
        if value == "trouble" and press.chat_id not in self._roles:
            return
        own = await _subscriptions_of(connection, press.chat_id)
        found = next((other for other in own if not other.account), None)
        if found is None:
            wanted = replace(self._subscription(session, ""), kinds=kinds)
            request_id = f"bot/{session.update_id}"
            await subscriptions.create(connection, wanted, request_id=request_id, now_ms=session.now_ms)
            return
        left = found.told_kinds - kinds if found.told_kinds & kinds else found.told_kinds | kinds
        if left:
            await subscriptions.update(connection, replace(found, kinds=left))
        else:
            await subscriptions.delete(connection, found.subscription_id)

    def _alerts_page(
        self, session: Session, watch: Subscription, pool_watch: Subscription | None
    ) -> tuple[str, Keyboard]:
        return bot_views.alerts_page(
            session.chat,
            watch,
            pool_kinds=pool_watch.told_kinds if pool_watch else frozenset(),
            is_admin=session.chat.chat_id in self._roles,
        )

    async def _inline(self, inline: Inline, session: Session) -> Finish:
        language = language_for(inline.language_code) if not session.is_known else session.chat.language
        asked = [self._account(inline.query)] if inline.query else [watch.account for watch in session.watches]
        results: list[dict[str, object]] = []
        try:
            for number, account in enumerate([account for account in asked if account][:5]):
                view = await self._sources.account(account)
                results.append(
                    {
                        "type": "article",
                        "id": str(number),
                        "title": plain(
                            language,
                            "inline_title",
                            account=bot_views.short(account),
                            hps=hashrate_text(view.rates.hps_5m),
                        ),
                        "input_message_content": {
                            "message_text": bot_views.stats_text(replace(session.chat, language=language), view),
                            "parse_mode": "HTML",
                        },
                    }
                )
        except RpcError:
            results = []
        params: dict[str, object] = {
            "inline_query_id": inline.query_id,
            "results": results,
            "cache_time": INLINE_CACHE_S,
            "is_personal": True,
        }
        if not results:
            params["button"] = {"text": plain(language, "inline_hint"), "start_parameter": "inline"}
        return just(Call(chat_id=inline.user_id, method="answerInlineQuery", params=params))

    def _ended(self, watch: Subscription, *calls: Call) -> Finish:
        async def finish(connection: Connection) -> Sequence[Call]:
            await subscriptions.delete(connection, watch.subscription_id)
            return calls

        return finish

    def _unwatched(self, session: Session, watch: Subscription) -> str:
        return say(session.chat.language, "unwatched", account=watch.account)

    def _subscription(self, session: Session, account: str) -> Subscription:
        chat = session.chat
        return Subscription(
            channel=ChannelKind.TELEGRAM,
            address=str(chat.chat_id),
            language=chat.language,
            coin=self._coin.coin_id,
            account=account,
            time_zone=chat.time_zone,
            quiet_start_min=chat.quiet_start_min,
            quiet_end_min=chat.quiet_end_min,
        )

    def _account(self, text: str) -> str:
        """Return an address in its canonical form; "" when it is none of the coin."""
        try:
            return payee(self._coin, text).text
        except AddressError:
            return ""

    def _wrong(self, language: str, text: str, error: AddressError) -> str:
        wrong = wrong_address(self._coin, text, error)
        return say(
            language, f"address_{wrong.kind}", address=text, looks_like=wrong.looks_like, expected=wrong.expected
        )


def _answer(press: Press, text: str = "") -> Call:
    return callback_answer(press.chat_id, press.callback_id, text)


def _changed(found: Subscription, verb: str, value: str) -> Subscription | None:
    """Return a subscription after a button was pressed; None when nothing would be told any more."""
    if verb == "kind" and value in {kind.value for kind in bot_views.SHOWN_KINDS}:
        kinds = found.told_kinds ^ {Kind(value)}
        return replace(found, kinds=kinds) if kinds else None
    steps = {
        "hash": ("hashrate_percent", bot_views.HASHRATE_STEPS),
        "rej": ("reject_percent", bot_views.REJECT_STEPS),
        "dig": ("digest_min", bot_views.DIGEST_STEPS),
    }
    if verb in steps and value in {str(step) for step in steps[verb][1]}:
        match verb:
            case "hash":
                return replace(found, hashrate_percent=int(value))
            case "rej":
                return replace(found, reject_percent=int(value))
            case _:
                return replace(found, digest_min=int(value))
    return found


def _paused(chat_id: int) -> Finish:
    async def finish(connection: Connection) -> Sequence[Call]:
        await subscriptions.pause_address(connection, ChannelKind.TELEGRAM, str(chat_id), reason="blocked by the user")
        return ()

    return finish


def _moved(old_id: int, new_id: int) -> Finish:
    async def finish(connection: Connection) -> Sequence[Call]:
        await bot_storage.move_chat(connection, old_id, new_id)
        return ()

    return finish


async def _subscriptions_of(connection: Connection, chat_id: int) -> list[Subscription]:
    return await subscriptions.list_page(
        connection,
        channel=ChannelKind.TELEGRAM,
        address=str(chat_id),
        page_size=subscriptions.PER_ADDRESS_MAX,
    )


def _is_zone(name: str) -> bool:
    try:
        zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        return False
    return True
