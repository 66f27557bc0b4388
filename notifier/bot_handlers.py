"""What the bot does with what people send it.

Each update is dealt with in two steps. The first asks: other services, Telegram about a group's administrators. It
changes nothing that a repetition would change again. What it returns is the second step: called in the transaction that
closes the update, it changes rows and returns the calls that answer.
"""

import re
import zoneinfo
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Final, Protocol, assert_never

from coins.bitcoin.address import describe, payee
from coins.coin import Coin
from coins.errors import AddressError
from notifier import bot_storage, bot_views, subscriptions
from notifier.bot_buttons import CHANGE_VERBS, Buttons, answer
from notifier.bot_calls import (
    Call,
    document_message,
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
from notifier.bot_effects import Finish, Session, chat_changed, ended, just, moved, new_subscription, paused
from notifier.bot_sources import Sources
from notifier.bot_storage import Chat
from notifier.bot_views import plain, say
from notifier.domain import MINUTES_A_DAY, ChannelKind
from notifier.rendering import hashrate_text
from notifier.telegram_settings import TelegramSettings
from runtime.postgres.pool import Connection
from runtime.rpc.errors import RpcError

ROWS: Final = 10
INLINE_CACHE_S: Final = 10
_CHANGES: Final = frozenset({"start", "watch", "unwatch", "quiet", "language", "alerts"})
_QUIET: Final = re.compile(r"([01]?\d|2[0-3]):([0-5]\d)\s*[-–—]\s*([01]?\d|2[0-3]):([0-5]\d)(?:\s+(\S{1,64}))?")


class Administrators(Protocol):
    """Knows who runs a group."""

    async def is_administrator(self, chat_id: int, user_id: int) -> bool:
        """Return whether a person may change what concerns the group."""
        ...


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
        self._buttons = Buttons(coin=coin, sources=sources, roles=self._roles, shown=self._shown)
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
                if incoming.verb in CHANGE_VERBS and not await self._may_change(incoming):
                    return just(answer(incoming, plain(session.chat.language, "group_admins_only")))
                return await self._buttons.press(incoming, session)
            case Inline():
                return await self._inline(incoming, session)
            case Gone(chat_id=chat_id):
                return paused(chat_id)
            case Moved(old_id=old_id, new_id=new_id):
                return moved(old_id, new_id)
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
        """Greet, or with an address behind it (a link of the form t.me/bot?start=ADDRESS) watch that at once."""
        watching = await self._watch(command, session) if self._account(command.argument) else None

        async def finish(connection: Connection) -> Sequence[Call]:
            language = session.chat.language
            if not session.is_known:
                await bot_storage.put_chat(connection, session.chat, now_ms=session.now_ms)
            await subscriptions.resume_address(connection, ChannelKind.TELEGRAM, str(command.chat_id))
            if watching is not None:
                return await watching(connection)
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
                new_subscription(session, self._coin, account),
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
                return ended(found, text_message(chat_id, say(language, "unwatched", account=found.account)))
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
            return just(*await self._shown(command.name, session.chat, account, key))
        if not session.watches:
            return just(text_message(chat_id, say(language, "nothing_watched")))
        if len(session.watches) > 1:
            buttons = bot_views.accounts_keyboard(command.name, session.watches)
            return just(text_message(chat_id, say(language, "choose_account"), buttons))
        watch = session.watches[0]
        return just(*await self._shown(command.name, session.chat, watch.account, str(watch.subscription_id)))

    async def _shown(self, what: str, chat: Chat, account: str, key: str) -> Sequence[Call]:
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
        text, rows = self._buttons.alerts_page(session, session.watches[0], session.pool_watch)
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
        return chat_changed(session, wanted, text_message(chat.chat_id, bot_views.quiet_text(wanted)))

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


def _is_zone(name: str) -> bool:
    try:
        zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        return False
    return True
