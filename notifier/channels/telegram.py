"""Notices to Telegram chats.

Telegram takes 30 messages a second from a bot, one a second to a chat and 20 a minute to a group (Source: Bot API, FAQ
"My bot is hitting limits"). The bot's own answers keep the same pace, in the same rows of the database.
"""

from collections import OrderedDict
from typing import Final, assert_never

from notifier.bot_calls import TEXT_CHARS_MAX, marked, text_message
from notifier.channels.interface import Message, Outcome, Pace, Refused, RetryAfter, Scope, Sent
from notifier.rendering import Markup, render
from notifier.telegram_client import Denied, Done, Doubt, Failed, TelegramClient, Wait
from notifier.telegram_settings import CHANNEL_TIMEOUT_S, SEND_TIMEOUT_S
from runtime.clock import Clock

PER_S: Final = 24.0
BURST: Final = 5
CHAT_INTERVAL_MS: Final = 1_050
GROUP_INTERVAL_MS: Final = 3_050
CONCURRENT_MAX: Final = 16
FLOOD_WINDOW_S: Final = 2.0
_CLEAN_MAX: Final = 10_000
_MOVED_MAX: Final = 10_000


def interval_ms(address: str) -> int:
    """Return the least time between two messages to a chat: groups have negative ids, and 20 messages a minute."""
    return GROUP_INTERVAL_MS if address.startswith("-") else CHAT_INTERVAL_MS


class Floods:
    """Tells a chat that has had too much from a bot that has sent too much.

    Telegram's answer is the same for both. One chat alone is held by itself; when a second one is refused within two
    seconds everything is.

    Args:
        clock: The time.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._last: tuple[str, float] | None = None

    def scope(self, address: str) -> Scope:
        """Note that Telegram has refused a message to a chat for now; return what has to wait."""
        now_s = self._clock.monotonic_s()
        last, self._last = self._last, (address, now_s)
        is_all = last is not None and last[0] != address and now_s - last[1] <= FLOOD_WINDOW_S
        return Scope.CHANNEL if is_all else Scope.TARGET


class TelegramChannel:
    """Sends notices as the bot.

    When the answer to a message is lost it may have arrived. It is sent again, since a notice that is read twice does
    less harm than one that is never read, and then it begins with a mark. A try that has certainly failed leaves none.

    Args:
        client: The Bot API.
        clock: The time.
        floods: Shared with the bot's own answers.
    """

    def __init__(self, client: TelegramClient, *, clock: Clock, floods: Floods | None = None) -> None:
        self._client = client
        self._floods = floods or Floods(clock)
        self._clean: OrderedDict[str, None] = OrderedDict()
        self._moved: OrderedDict[str, int] = OrderedDict()
        self._pace = Pace(per_s=PER_S, burst=BURST, target_interval_ms=interval_ms, concurrent_max=CONCURRENT_MAX)

    @property
    def pace(self) -> Pace:
        """Return Telegram's limits, with a little air."""
        return self._pace

    @property
    def timeout_s(self) -> float:
        """Return how long one message may take, the second try to a group that has moved included."""
        return CHANNEL_TIMEOUT_S

    async def send(self, message: Message) -> Outcome:
        """Send one message to its chat."""
        address = message.subscription.address
        chat_id = self._moved.get(address, int(address))
        outcome = await self._call(message, chat_id)
        if isinstance(outcome, Denied) and outcome.new_chat_id:
            self._moved[address] = outcome.new_chat_id
            while len(self._moved) > _MOVED_MAX:
                self._moved.popitem(last=False)
            outcome = await self._call(message, outcome.new_chat_id)
        match outcome:
            case Done():
                return Sent(reference=str(outcome.message_id))
            case Wait(after_s=after_s):
                self._note_clean(message)
                return RetryAfter(
                    after_s=after_s, reason="Telegram asks for fewer messages", scope=self._floods.scope(address)
                )
            case Failed(doubt=doubt, reason=reason):
                if doubt is Doubt.NOT_SENT:
                    self._note_clean(message)
                return RetryAfter(reason=reason)
            case Denied(reason=reason, is_chat_gone=is_gone):
                return Refused(reason=_pause_reason(reason), pause_subscription=is_gone)
            case _:
                assert_never(outcome)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()

    async def _call(self, message: Message, chat_id: int) -> Done | Wait | Failed | Denied:
        subscription = message.subscription
        rendered = render(
            message.notices,
            language=subscription.language,
            time_zone=subscription.time_zone,
            markup=Markup.HTML,
            chars_max=TEXT_CHARS_MAX - 100,
        )
        call = text_message(chat_id, rendered.text)
        is_doubtful = message.attempt > 1 and message.key not in self._clean
        self._clean.pop(message.key, None)
        params = marked(call.method, call.params) if is_doubtful else call.params
        return await self._client.call(call.method, params, timeout_s=SEND_TIMEOUT_S)

    def _note_clean(self, message: Message) -> None:
        """Remember that a try has certainly not arrived."""
        self._clean[message.key] = None
        while len(self._clean) > _CLEAN_MAX:
            self._clean.popitem(last=False)


def _pause_reason(reason: str) -> str:
    return "blocked by the user" if "blocked by the user" in reason.lower() else reason
