"""Start the Telegram bot, if there is one."""

from typing import TYPE_CHECKING

from coins.settings import PoolSettings
from notifier.bot_metrics import BotCounters
from notifier.telegram_settings import TelegramSettings, read_token
from runtime.platform import Platform

if TYPE_CHECKING:
    from notifier.bot import TelegramBot


def open_bot(
    settings: TelegramSettings, *, pool_settings: PoolSettings, platform: Platform, counters: BotCounters
) -> "TelegramBot | None":
    """Return the bot; None when no token is given.

    Raises:
        UserError: When the token cannot be read or is none.
    """
    token = read_token(settings)
    if token is None:
        return None
    from notifier.bot import TelegramBot  # noqa: PLC0415  the library takes 20 MB, which pools without a bot can save

    return TelegramBot(token, settings=settings, pool_settings=pool_settings, platform=platform, counters=counters)
