"""What the buttons below the bot's messages do."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Final

from coins.coin import Coin
from notifier import bot_views, subscriptions
from notifier.bot_calls import Call, Keyboard, callback_answer, edited_message
from notifier.bot_domain import Press
from notifier.bot_effects import Finish, Session, chat_changed, ended, just, new_subscription, subscriptions_of
from notifier.bot_sources import Sources
from notifier.bot_storage import Chat
from notifier.bot_views import plain, say
from notifier.domain import Subscription
from notifier.errors import SubscriptionUnknown
from notifier.notices import Kind
from runtime.postgres.pool import Connection
from runtime.rpc.errors import RpcError

Shown = Callable[[str, Chat, str, str], Awaitable[Sequence[Call]]]
"""What, to whom, about which account, and what buttons name it by → the calls that show it."""

CHANGE_VERBS: Final = frozenset({"lang", "unwatch", "kind", "pool", "hash", "rej", "dig", "alerts"})
"""Buttons that in a group only administrators may press."""
_VERBS_OF_ACCOUNTS: Final = frozenset({"stats", "workers", "balance", "payouts", "export"})


class Buttons:
    """Deals with pressed buttons.

    Args:
        coin: The coin that is mined.
        sources: The other services.
        roles: Chats of operators.
        shown: Answers questions about an account.
    """

    def __init__(self, *, coin: Coin, sources: Sources, roles: Mapping[int, str], shown: Shown) -> None:
        self._coin = coin
        self._sources = sources
        self._roles = roles
        self._shown = shown

    async def press(self, press: Press, session: Session) -> Finish:
        """Deal with a button that the person may press."""
        language = session.chat.language
        if press.verb == "lang" and press.values and press.values[0] in bot_views.TEXTS:
            return self._language_chosen(press, session, press.values[0])
        named = press.values[0] if press.values else ""
        watch = next((found for found in session.watches if str(found.subscription_id) == named), None)
        if watch is None:
            return just(answer(press, plain(language, "gone_button")))
        try:
            return await self._pressed(press, session, watch)
        except RpcError:
            return just(answer(press, plain(language, "service_away")))

    async def _pressed(self, press: Press, session: Session, watch: Subscription) -> Finish:
        value = press.values[1] if len(press.values) > 1 else ""
        if press.verb == "unwatch":
            text = say(session.chat.language, "unwatched", account=watch.account)
            return ended(watch, answer(press), edited_message(press.chat_id, press.message_id, text))
        if press.verb == "workers" and value:
            view = await self._sources.account(watch.account)
            page = int(value) if value.isascii() and value.isdigit() and len(value) < 6 else 0
            text, buttons = bot_views.workers_page(session.chat, view, page=page, key=press.values[0])
            return just(answer(press), edited_message(press.chat_id, press.message_id, text, buttons))
        if press.verb in _VERBS_OF_ACCOUNTS:
            shown = await self._shown(press.verb, session.chat, watch.account, press.values[0])
            return just(answer(press), *shown)
        return self._alerts_changed(press, session, watch, value)

    def _language_chosen(self, press: Press, session: Session, language: str) -> Finish:
        wanted = replace(session.chat, language=language)
        return chat_changed(
            session,
            wanted,
            answer(press),
            edited_message(press.chat_id, press.message_id, say(language, "language_set")),
        )

    def _alerts_changed(self, press: Press, session: Session, watch: Subscription, value: str) -> Finish:
        language = session.chat.language

        async def finish(connection: Connection) -> Sequence[Call]:
            try:
                found = await subscriptions.get(connection, watch.subscription_id)
            except SubscriptionUnknown:
                return (answer(press, plain(language, "gone_button")),)
            wanted = _changed(found, press.verb, value)
            if wanted is None:
                return (answer(press, plain(language, "alerts_last")),)
            if wanted != found:
                found = await subscriptions.update(connection, wanted)
            if press.verb == "pool":
                await self._toggle_pool(connection, press, session, value)
            own = await subscriptions_of(connection, press.chat_id)
            pool_watch = next((other for other in own if not other.account), None)
            text, rows = self.alerts_page(session, found, pool_watch)
            return (answer(press), edited_message(press.chat_id, press.message_id, text, rows))

        return finish

    async def _toggle_pool(self, connection: Connection, press: Press, session: Session, value: str) -> None:
        kinds = bot_views.BLOCK_KINDS if value == "blocks" else frozenset({Kind.TROUBLE})
        if value == "trouble" and press.chat_id not in self._roles:
            return
        own = await subscriptions_of(connection, press.chat_id)
        found = next((other for other in own if not other.account), None)
        if found is None:
            wanted = replace(new_subscription(session, self._coin, ""), kinds=kinds)
            request_id = f"bot/{session.update_id}"
            await subscriptions.create(connection, wanted, request_id=request_id, now_ms=session.now_ms)
            return
        left = found.told_kinds - kinds if found.told_kinds & kinds else found.told_kinds | kinds
        if left:
            await subscriptions.update(connection, replace(found, kinds=left))
        else:
            await subscriptions.delete(connection, found.subscription_id)

    def alerts_page(
        self, session: Session, watch: Subscription, pool_watch: Subscription | None
    ) -> tuple[str, Keyboard]:
        """Return the menu of what a chat is told about an address."""
        return bot_views.alerts_page(
            session.chat,
            watch,
            pool_kinds=pool_watch.told_kinds if pool_watch else frozenset(),
            is_admin=session.chat.chat_id in self._roles,
        )


def answer(press: Press, text: str = "") -> Call:
    """Return the call that ends a button's waiting."""
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
