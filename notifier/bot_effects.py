"""What dealing with an update changes: the second steps, called in the transaction that closes it."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from coins.coin import Coin
from notifier import bot_storage, subscriptions
from notifier.bot_calls import Call
from notifier.bot_storage import Chat
from notifier.domain import ChannelKind, Subscription
from runtime.postgres.pool import Connection

Finish: TypeAlias = Callable[[Connection], Awaitable[Sequence[Call]]]
"""The second step: in the transaction that closes the update."""


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


def chat_changed(session: Session, wanted: Chat, *calls: Call) -> Finish:
    """Return the step that keeps what is known of a chat, and lets its subscriptions follow."""

    async def finish(connection: Connection) -> Sequence[Call]:
        await bot_storage.put_chat(connection, wanted, now_ms=session.now_ms)
        for found in await subscriptions_of(connection, wanted.chat_id):
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


def ended(watch: Subscription, *calls: Call) -> Finish:
    """Return the step that ends a subscription."""

    async def finish(connection: Connection) -> Sequence[Call]:
        await subscriptions.delete(connection, watch.subscription_id)
        return calls

    return finish


def paused(chat_id: int) -> Finish:
    """Return the step that pauses what a chat is told: it has blocked the bot."""

    async def finish(connection: Connection) -> Sequence[Call]:
        await subscriptions.pause_address(connection, ChannelKind.TELEGRAM, str(chat_id), reason="blocked by the user")
        return ()

    return finish


def moved(old_id: int, new_id: int) -> Finish:
    """Return the step that gives a group's subscriptions its new id."""

    async def finish(connection: Connection) -> Sequence[Call]:
        await bot_storage.move_chat(connection, old_id, new_id)
        return ()

    return finish


async def subscriptions_of(connection: Connection, chat_id: int) -> list[Subscription]:
    """Return all subscriptions of a chat."""
    return await subscriptions.list_page(
        connection,
        channel=ChannelKind.TELEGRAM,
        address=str(chat_id),
        page_size=subscriptions.PER_ADDRESS_MAX,
    )


def new_subscription(session: Session, coin: Coin, account: str) -> Subscription:
    """Return what a chat is told about an account unless it changes it; "" is the pool."""
    chat = session.chat
    return Subscription(
        channel=ChannelKind.TELEGRAM,
        address=str(chat.chat_id),
        language=chat.language,
        coin=coin.coin_id,
        account=account,
        time_zone=chat.time_zone,
        quiet_start_min=chat.quiet_start_min,
        quiet_end_min=chat.quiet_end_min,
    )
