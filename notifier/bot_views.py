"""What the bot says, from what it knows. Pure.

Every value that is put into a text is made harmless and escaped here: names of workers and addresses come from people
who may want to write somebody else's message.
"""

import csv
import html
import io
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Final
from zoneinfo import ZoneInfo

from coins.coin import Coin
from notifier.bot_calls import CAPTION_CHARS_MAX, TEXT_CHARS_MAX, Button, Keyboard
from notifier.bot_sources import AccountView, BalanceView, BlockView, MoneyView, PoolView, WorkerView
from notifier.bot_storage import Chat
from notifier.chart import draw_chart, nice_top
from notifier.domain import ACCOUNT_KINDS, POOL_KINDS, Subscription
from notifier.notices import Kind
from notifier.rendering import harmless, hashrate_text, percent_text
from notifier.texts import bot_en, bot_ru

TEXTS: Final[Mapping[str, Mapping[str, str]]] = {"en": bot_en.TEXTS, "ru": bot_ru.TEXTS}
LANGUAGE_NAMES: Final = {"en": "English", "ru": "Русский"}
WORKERS_PAGE: Final = 10
VALUE_CHARS_MAX: Final = 160
WORKER_CHARS_MAX: Final = 40
HASHRATE_STEPS: Final = (80, 50, 30, 10)
REJECT_STEPS: Final = (2, 5, 10, 20, 50)
DIGEST_STEPS: Final = (0, 15, 60)
BLOCK_KINDS: Final = POOL_KINDS - {Kind.TROUBLE}
SHOWN_KINDS: Final = tuple(kind for kind in Kind if kind in ACCOUNT_KINDS)
COMMANDS: Final = (
    "stats",
    "workers",
    "balance",
    "payouts",
    "blocks",
    "watch",
    "list",
    "alerts",
    "quiet",
    "export",
    "help",
)
"""Those that Telegram offers in its menu."""


def say(language: str, key: str, **values: object) -> str:
    """Return a text with its values put in, each on one line, not too long, and escaped."""
    safe = {
        name: html.escape(harmless(str(value), chars_max=VALUE_CHARS_MAX), quote=False)
        for name, value in values.items()
    }
    return TEXTS[language][key].format_map(safe)


def plain(language: str, key: str, **values: object) -> str:
    """Return a text for where there is no markup: buttons, file names, menus."""
    safe = {name: harmless(str(value), chars_max=VALUE_CHARS_MAX) for name, value in values.items()}
    return TEXTS[language][key].format_map(safe)


def fitted(lines: Sequence[str], *, chars_max: int = TEXT_CHARS_MAX) -> str:
    """Return whole lines, as many as fit: markup never goes over a line's end."""
    text, rest = "", chars_max
    for number, line in enumerate(lines):
        if len(line) + 1 > rest - 2:
            return text + "\n…"
        text += ("\n" if number else "") + line
        rest = chars_max - len(text)
    return text


def short(account: str) -> str:
    """Return an address for a button: its beginning and end."""
    return account if len(account) <= 22 else f"{account[:12]}…{account[-8:]}"


def clock_text(time_ms: int, chat: Chat) -> str:
    """Return a time as the chat's zone has it; a word for never."""
    if not time_ms:
        return plain(chat.language, "never")
    moment = datetime.fromtimestamp(time_ms / 1000, UTC).astimezone(ZoneInfo(chat.time_zone))
    return moment.strftime("%Y-%m-%d %H:%M")


def minute_text(minute: int) -> str:
    """Return a minute of the day: 1320 is "22:00"."""
    return f"{minute // 60:02d}:{minute % 60:02d}"


def accounts_keyboard(verb: str, watches: Sequence[Subscription]) -> Keyboard:
    """Return a button an address."""
    return [[Button(short(watch.account), f"{verb}:{watch.subscription_id}")] for watch in watches]


def language_keyboard() -> Keyboard:
    """Return the languages."""
    return [[Button(name, f"lang:{code}") for code, name in LANGUAGE_NAMES.items()]]


def list_text(chat: Chat, watches: Sequence[Subscription]) -> str:
    """Return what a chat watches."""
    rows = [
        say(
            chat.language,
            "list_row",
            account=watch.account,
            state=plain(chat.language, "state_paused") if watch.is_paused else "",
        )
        for watch in watches
    ]
    return fitted([say(chat.language, "list_head"), *rows])


def stats_text(chat: Chat, view: AccountView) -> str:
    """Return an account's numbers, short enough for below a picture."""
    text = say(
        chat.language,
        "stats",
        account=view.account,
        hps_5m=hashrate_text(view.rates.hps_5m),
        hps_1h=hashrate_text(view.rates.hps_1h),
        hps_24h=hashrate_text(view.rates.hps_24h),
        online=sum(worker.is_online for worker in view.workers),
        total=len(view.workers),
        accepted=view.accepted,
        stale=view.stale,
        refused=view.refused,
        last=clock_text(max((worker.last_share_time_ms for worker in view.workers), default=0), chat),
    )
    return fitted(text.split("\n"), chars_max=CAPTION_CHARS_MAX)


def chart_png(chat: Chat, history: Sequence[tuple[int, int]]) -> bytes | None:
    """Return a picture of an account's day; None when it has less than two steps."""
    if len(history) < 2:
        return None
    top = nice_top(max(hps for _, hps in history))
    zone = ZoneInfo(chat.time_zone)
    places = [(len(history) - 1) * part // 6 for part in range(7)]
    labels = [
        datetime.fromtimestamp(history[place][0] / 1000, UTC).astimezone(zone).strftime("%H:%M") for place in places
    ]
    return draw_chart([hps for _, hps in history], labels=labels, top_label=hashrate_text(top), top=top)


def workers_page(chat: Chat, view: AccountView, *, page: int, key: str) -> tuple[str, Keyboard]:
    """Return a page of workers, those that mine first, and the buttons to the others.

    Args:
        chat: Who reads it.
        view: The account.
        page: From 0; beyond the last one is the last one.
        key: What the buttons name the account by.
    """
    language = chat.language
    workers = sorted(view.workers, key=lambda worker: (not worker.is_online, -worker.rates.hps_1h, worker.name))
    if not workers:
        return say(language, "workers_none", account=view.account), ()
    pages = -(-len(workers) // WORKERS_PAGE)
    page = min(max(page, 0), pages - 1)
    first = page * WORKERS_PAGE
    shown = workers[first : first + WORKERS_PAGE]
    head = say(
        language, "workers_head", account=view.account, first=first + 1, last=first + len(shown), total=len(workers)
    )
    buttons = []
    if page:
        buttons.append(Button(plain(language, "page_back"), f"workers:{key}:{page - 1}"))
    buttons.append(Button(plain(language, "refresh"), f"workers:{key}:{page}"))
    if page + 1 < pages:
        buttons.append(Button(plain(language, "page_on"), f"workers:{key}:{page + 1}"))
    return fitted([head, *(_worker_row(chat, worker) for worker in shown)]), [buttons] if key else ()


def balance_text(chat: Chat, account: str, view: BalanceView, coin: Coin) -> str:
    """Return what an account has, exact to the last digit."""
    return say(
        chat.language,
        "balance",
        account=account,
        payable=coin.format_amount(view.payable_atomic),
        immature=coin.format_amount(view.immature_atomic),
        reserved=coin.format_amount(view.reserved_atomic),
        paid=coin.format_amount(view.paid_atomic),
    )


def payouts_text(chat: Chat, account: str, payouts: Sequence[MoneyView], coin: Coin) -> str:
    """Return an account's last payouts."""
    if not payouts:
        return say(chat.language, "payouts_none", account=account)
    rows = [
        say(
            chat.language,
            "payout_row" if payout.reference else "payout_row_unsent",
            time=clock_text(payout.time_ms, chat),
            amount=coin.format_amount(payout.amount_atomic),
            status=plain(chat.language, f"payout_{payout.status}"),
            txid=payout.reference,
        )
        for payout in payouts
    ]
    return fitted([say(chat.language, "payouts_head", account=account), *rows])


def blocks_text(chat: Chat, blocks: Sequence[BlockView], coin: Coin) -> str:
    """Return the pool's last blocks."""
    language = chat.language
    if not blocks:
        return say(language, "blocks_none")
    rows = [
        say(
            language,
            "block_row",
            time=clock_text(block.found_time_ms, chat),
            height=block.height,
            amount=coin.format_amount(block.reward_atomic),
            status=plain(language, f"block_{block.status}"),
            effort=plain(language, "block_effort", percent=percent_text(block.effort_hundredths))
            if block.effort_hundredths
            else "",
        )
        for block in blocks
    ]
    return fitted([say(language, "blocks_head"), *rows])


def alerts_page(
    chat: Chat, watch: Subscription, *, pool_kinds: frozenset[Kind], is_admin: bool
) -> tuple[str, Keyboard]:
    """Return what a chat is told about an address, with the buttons that change it.

    Args:
        chat: Who reads it.
        watch: The subscription to the address.
        pool_kinds: What the chat is told about the whole pool.
        is_admin: Whether troubles may be chosen.
    """
    language, key = chat.language, watch.subscription_id
    text = say(
        language,
        "alerts_head",
        account=watch.account,
        hashrate_percent=watch.hashrate_percent,
        reject_percent=watch.reject_percent,
    )
    kinds = [
        Button(_ticked(kind in watch.told_kinds, plain(language, f"kind_{kind.value}")), f"kind:{key}:{kind.value}")
        for kind in SHOWN_KINDS
    ]
    rows: list[Sequence[Button]] = [kinds[place : place + 2] for place in range(0, len(kinds), 2)]
    pool_row = [Button(_ticked(bool(pool_kinds & BLOCK_KINDS), plain(language, "kind_blocks")), f"pool:{key}:blocks")]
    if is_admin:
        is_told = Kind.TROUBLE in pool_kinds
        pool_row.append(Button(_ticked(is_told, plain(language, "kind_trouble")), f"pool:{key}:trouble"))
    rows.append(pool_row)
    rows.append(
        [Button(_chosen(step == watch.hashrate_percent, f"↓{step}%"), f"hash:{key}:{step}") for step in HASHRATE_STEPS]
    )
    rows.append(
        [Button(_chosen(step == watch.reject_percent, f"✗{step}%"), f"rej:{key}:{step}") for step in REJECT_STEPS]
    )
    rows.append(
        [
            Button(
                _chosen(
                    step == watch.digest_min,
                    plain(language, "digest_min", minutes=step) if step else plain(language, "digest_now"),
                ),
                f"dig:{key}:{step}",
            )
            for step in DIGEST_STEPS
        ]
    )
    return text, rows


def quiet_text(chat: Chat) -> str:
    """Return when a chat has its quiet hours."""
    return html.escape(plain_quiet(chat), quote=False)


def plain_quiet(chat: Chat) -> str:
    """Return the same without markup."""
    if chat.quiet_start_min == chat.quiet_end_min:
        return plain(chat.language, "quiet_off", zone=chat.time_zone)
    return plain(
        chat.language,
        "quiet_set",
        start=minute_text(chat.quiet_start_min),
        end=minute_text(chat.quiet_end_min),
        zone=chat.time_zone,
    )


def pool_text(chat: Chat, view: PoolView, coin: Coin, *, pool_name: str) -> str:
    """Return how the pool is."""
    language = chat.language
    payer = plain(language, "payer_runs")
    if view.is_held:
        payer = plain(language, "payer_held")
    elif view.wait_reason:
        payer = plain(language, "payer_waits", reason=view.wait_reason)
    return say(
        language,
        "pool_view",
        pool=pool_name,
        hps_5m=hashrate_text(view.rates.hps_5m),
        hps_24h=hashrate_text(view.rates.hps_24h),
        accounts=view.account_count,
        workers=view.worker_count,
        payer=payer,
        paid=coin.format_amount(view.paid_atomic),
        review=view.review_count,
    )


def money_csv(rows: Sequence[MoneyView], coin: Coin) -> bytes:
    """Return credits and payouts as a table: UTF-8, CRLF, times in UTC, amounts in whole coins with every digit.

    Nothing in it was written by a miner, so no cell can be taken for a formula.
    """
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(("kind", "time_utc", "amount", "unit", "status", "height", "reference"))
    for row in rows:
        amount, _, unit = coin.format_amount(row.amount_atomic).rpartition(" ")
        time_utc = datetime.fromtimestamp(row.time_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")
        writer.writerow((row.kind, time_utc, amount, unit, row.status, row.height or "", row.reference))
    return text.getvalue().encode()


def _worker_row(chat: Chat, worker: WorkerView) -> str:
    return say(
        chat.language,
        "worker_row",
        mark="🟢" if worker.is_online else "⚪",
        worker=harmless(worker.name, chars_max=WORKER_CHARS_MAX) or plain(chat.language, "default_worker"),
        hps=hashrate_text(worker.rates.hps_1h),
        last=clock_text(worker.last_share_time_ms, chat),
    )


def _ticked(is_on: bool, text: str) -> str:
    return f"{'✅' if is_on else '▫️'} {text}"


def _chosen(is_chosen: bool, text: str) -> str:
    return f"• {text} •" if is_chosen else text
