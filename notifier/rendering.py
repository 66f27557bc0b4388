"""Notices as people read them: in their language, with the times of their zone. Pure.

`render` gives plain text or HTML; whatever comes from outside (names of workers, addresses, details) is made harmless
first: control characters and marks that turn the direction of writing are dropped, long names are cut, and in HTML
everything is escaped. Only the headline's <b> is markup.
"""

import html
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from typing import Final
from zoneinfo import ZoneInfo

from coins import registry
from coins.errors import UnknownCoin
from notifier.notices import (
    Block,
    Credit,
    HashrateLow,
    Kind,
    Notice,
    Payout,
    RejectsHigh,
    Test,
    Trouble,
    WorkerOffline,
    WorkerOnline,
)
from notifier.texts import LANGUAGES
from notifier.texts.language import Language

NAME_CHARS_MAX: Final = 64
DETAIL_CHARS_MAX: Final = 500
LINES_MAX: Final = 20
"""So many notices of a digest are told one by one."""
_UNITS: Final = ("", "k", "M", "G", "T", "P", "E", "Z")


class Markup(Enum):
    """How a text is written."""

    PLAIN = "plain"
    HTML = "html"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendered:
    """A message in words.

    Attributes:
        title: One plain line, never escaped: a mail's subject.
        text: The whole in the markup asked for, headline included.
    """

    title: str
    text: str


def render(
    notices: Sequence[Notice], *, language: str, time_zone: str, markup: Markup, chars_max: int = 3500
) -> Rendered:
    """Return a message that tells the notices.

    One notice is told in full. Of several each has its headline with its time, at most `LINES_MAX` and as many as
    fit into `chars_max` characters of the finished text; of the others the number is told.
    """
    words = LANGUAGES[language]
    zone = ZoneInfo(time_zone)
    if len(notices) == 1:
        title, body = _told(notices[0], words, zone)
        return Rendered(title=title, text=_cut(_bold(title, markup) + "\n" + _escaped(body, markup), chars_max))
    count = len(notices)
    title = words.words["digest"].format(count=count, unit=words.units["notice"][words.plural(count)])
    text = _bold(title, markup)
    for number, notice in enumerate(notices):
        headline, _ = _told(notice, words, zone)
        line = "\n" + _escaped(f"{time_text(notice.time_ms, zone)}  {headline}", markup)
        rest = count - number
        more = words.words["more"].format(count=rest, unit=words.units["notice"][words.plural(rest)])
        if number == LINES_MAX or len(text) + len(line) + len(more) + 40 > chars_max:
            return Rendered(title=title, text=f"{text}\n{_escaped(more, markup)}")
        text += line
    return Rendered(title=title, text=text)


def amount_text(coin_id: str, amount_atomic: int) -> str:
    """Return an exact amount with its unit; of an unknown coin the atomic units."""
    try:
        return registry.get(coin_id).format_amount(amount_atomic)
    except UnknownCoin:
        return f"{amount_atomic} ({coin_id})"


def time_text(time_ms: int, zone: ZoneInfo) -> str:
    """Return a time as a clock of the zone shows it, with the zone's offset: "2026-03-29 14:05:09 +02:00"."""
    moment = datetime.fromtimestamp(time_ms / 1000, UTC).astimezone(zone)
    offset = moment.isoformat(timespec="seconds")[19:]
    return f"{moment:%Y-%m-%d %H:%M:%S} {'UTC' if offset == '+00:00' else offset}"


def duration_text(duration_ms: int, language: Language) -> str:
    """Return a length of time in its two greatest units, cut off: "2 hours 5 minutes"."""
    seconds = max(0, duration_ms) // 1000
    parts: list[tuple[str, int]] = []
    for unit, size in (("day", 86_400), ("hour", 3600), ("minute", 60), ("second", 1)):
        count, seconds = divmod(seconds, size)
        if count or (unit == "second" and not parts):
            parts.append((unit, count))
        elif parts:
            break
    return " ".join(f"{count} {language.units[unit][language.plural(count)]}" for unit, count in parts[:2])


def hashrate_text(hps: int) -> str:
    """Return a hashrate with three digits and its unit, cut off: 1234567 is "1.23 MH/s"."""
    value = max(0, hps)
    power = min(max((len(str(value)) - 1) // 3, 0), len(_UNITS) - 1)
    whole, part = divmod(value, 1000**power)
    digits = 3 - len(str(whole))
    fraction = f".{part * 10**digits // 1000**power:0{digits}d}" if power and digits > 0 else ""
    return f"{whole}{fraction} {_UNITS[power]}H/s"


def harmless(text: str, *, chars_max: int) -> str:
    """Return a text from outside on one line: no control, direction or private characters, and not too long.

    Source: Unicode, general categories Cc, Cf, Co, Cs, Zl and Zp.
    """
    spaced = "".join(" " if char in "\t\n\r\u2028\u2029" else char for char in text[: 4 * chars_max])
    kept = "".join(char for char in spaced if unicodedata.category(char) not in {"Cc", "Cf", "Co", "Cs", "Zl", "Zp"})
    return kept if len(kept) <= chars_max else kept[: chars_max - 1] + "…"


def _told(notice: Notice, language: Language, zone: ZoneInfo) -> tuple[str, str]:
    """Return headline and sentences, plain."""
    key, values = _values(notice, language, zone)
    safe = {
        name: harmless(value, chars_max=DETAIL_CHARS_MAX if name == "detail" else 2 * NAME_CHARS_MAX)
        for name, value in values.items()
    }
    return language.titles[key].format_map(safe), language.bodies[key].format_map(safe).strip()


def _values(notice: Notice, language: Language, zone: ZoneInfo) -> tuple[str, Mapping[str, str]]:
    """Return which text tells the notice, and what is put into it."""
    common = {
        "coin": _coin_name(notice.coin),
        "time": time_text(notice.time_ms, zone),
        "account": notice.account,
    }
    key = notice.kind.value
    match notice.event:
        case WorkerOffline() as event:
            own = {
                "worker": _worker(event.worker, language),
                "last": time_text(event.last_share_time_ms, zone),
                "interval": duration_text(event.expected_interval_ms, language),
            }
        case WorkerOnline() as event:
            own = {
                "worker": _worker(event.worker, language),
                "duration": duration_text(event.offline_ms, language),
            }
        case HashrateLow() as event:
            key = "account_hashrate_low" if event.worker is None else key
            own = {
                "worker": "" if event.worker is None else _worker(event.worker, language),
                "hashrate": hashrate_text(event.hps),
                "usual": hashrate_text(event.usual_hps),
                "percent": percent_text(event.hps * 10_000 // event.usual_hps if event.usual_hps > 0 else 0),
            }
        case RejectsHigh() as event:
            own = {
                "worker": _worker(event.worker, language),
                "percent": percent_text(event.percent_hundredths),
                "reason": language.reasons.get(event.reason, event.reason),
            }
        case Block() as event:
            effort = event.effort_hundredths
            own = {
                "height": str(event.height),
                "amount": amount_text(notice.coin, event.reward_atomic),
                "hash": event.block_hash_hex,
                "effort": language.words["effort"].format(percent=percent_text(effort)) if effort else "",
            }
        case Credit() as event:
            own = {
                "height": str(event.height),
                "amount": amount_text(notice.coin, event.amount_atomic),
                "hash": event.block_hash_hex,
            }
        case Payout() as event:
            if event.kind is Kind.PAYOUT_DELAYED:
                key = "payout_in_review" if event.is_in_review else "payout_given_up"
            own = {"amount": amount_text(notice.coin, event.amount_atomic), "txid": event.txid_hex}
        case Trouble() as event:
            own = {
                "trouble": language.troubles[event.trouble],
                "subject": event.subject,
                "detail": event.detail,
            }
        case Test():
            own = {}
    return key, common | own


def percent_text(hundredths: int) -> str:
    """Return hundredths of a per cent with one decimal, cut off: 756 is "7.5 %"."""
    tenths = hundredths // 10
    return f"{tenths // 10}.{tenths % 10} %"


def _worker(name: str, language: Language) -> str:
    return harmless(name, chars_max=NAME_CHARS_MAX) or language.words["default_worker"]


def _coin_name(coin_id: str) -> str:
    try:
        return registry.get(coin_id).name
    except UnknownCoin:
        return coin_id


def _bold(title: str, markup: Markup) -> str:
    return f"<b>{html.escape(title)}</b>" if markup is Markup.HTML else title


def _escaped(text: str, markup: Markup) -> str:
    return html.escape(text) if markup is Markup.HTML else text


def _cut(text: str, chars_max: int) -> str:
    """Return a text that is short enough, cut where a line ends: markup stands in the first line only."""
    if len(text) <= chars_max:
        return text
    head = text[: chars_max - 2]
    return head[: head.rfind("\n")] + "\n…" if "\n" in head else head[:chars_max]
