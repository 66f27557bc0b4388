"""Who wants to be told what. Pure; `queueing.py` has the same rule in SQL, and a test that they agree."""

import re
import zoneinfo
from dataclasses import dataclass, replace
from enum import IntEnum, StrEnum
from typing import Final
from urllib.parse import urlsplit

from coins import registry
from coins.errors import UnknownCoin
from notifier.errors import SubscriptionInvalid
from notifier.notices import HashrateLow, Kind, Notice, RejectsHigh

LANGUAGES: Final = ("en", "ru")
NAME_CHARS_MAX: Final = 200
ADDRESS_CHARS_MAX: Final = 500
MINUTES_A_DAY: Final = 1440
DIGEST_MIN_MAX: Final = 7 * MINUTES_A_DAY
COOLDOWN_S_MAX: Final = 86_400
HASHRATE_PERCENT: Final = 50
REJECT_PERCENT: Final = 5

ACCOUNT_KINDS: Final = frozenset(Kind) - {
    Kind.BLOCK_FOUND,
    Kind.BLOCK_CONFIRMED,
    Kind.BLOCK_ORPHANED,
    Kind.TROUBLE,
    Kind.TEST,
}
"""What a subscription to an account is told when it does not choose."""
POOL_KINDS: Final = frozenset({Kind.BLOCK_FOUND, Kind.BLOCK_CONFIRMED, Kind.BLOCK_ORPHANED, Kind.TROUBLE})
"""What a subscription to the pool is told when it does not choose."""


class ChannelKind(StrEnum):
    """How somebody is reached."""

    TELEGRAM = "telegram"
    EMAIL = "email"
    WEBHOOK = "webhook"


class Priority(IntEnum):
    """Which delivery goes first when there are more than a channel takes."""

    TEST = 0
    URGENT = 1
    NORMAL = 2
    BULK = 3


_PRIORITIES: Final = {
    Kind.TEST: Priority.TEST,
    Kind.TROUBLE: Priority.URGENT,
    Kind.WORKER_OFFLINE: Priority.URGENT,
    Kind.PAYOUT_DELAYED: Priority.URGENT,
    Kind.BLOCK_FOUND: Priority.BULK,
    Kind.BLOCK_CONFIRMED: Priority.BULK,
    Kind.BLOCK_ORPHANED: Priority.BULK,
    Kind.CREDIT: Priority.BULK,
}


def priority_of(kind: Kind) -> Priority:
    """Return how a kind stands in the queue: what can be for everybody comes last."""
    return _PRIORITIES.get(kind, Priority.NORMAL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscription:
    """What one person wants to be told, and where.

    Attributes:
        subscription_id: Given by the database; 0 before.
        channel: How the person is reached.
        address: A chat id, an address of mail, or a URL.
        language: "en" or "ru".
        coin: Coin id; "" for every coin.
        account: The account it is about; "" for the pool.
        worker_pattern: A name with * for any characters; "" for all workers.
        kinds: What was chosen; empty for what fits.
        hashrate_percent: A hashrate is told below this part of the usual one.
        reject_percent: Refused shares are told from this part on.
        quiet_start_min: Minutes after midnight at which the quiet hours begin; equal to the end: none.
        quiet_end_min: At which they end.
        time_zone: IANA name.
        digest_min: Notices are collected for so many minutes; 0: each at once.
        cooldown_s: Between two notices about one subject.
        is_paused: Whether nothing is sent.
        pause_reason: Why the notifier has paused it; "" when the person has.
        create_time_ms: When it was made, milliseconds since the Unix epoch.
    """

    subscription_id: int = 0
    channel: ChannelKind
    address: str
    language: str = "en"
    coin: str = ""
    account: str = ""
    worker_pattern: str = ""
    kinds: frozenset[Kind] = frozenset()
    hashrate_percent: int = HASHRATE_PERCENT
    reject_percent: int = REJECT_PERCENT
    quiet_start_min: int = 0
    quiet_end_min: int = 0
    time_zone: str = "UTC"
    digest_min: int = 0
    cooldown_s: int = 0
    is_paused: bool = False
    pause_reason: str = ""
    create_time_ms: int = 0

    @property
    def told_kinds(self) -> frozenset[Kind]:
        """Return what it is told: what was chosen, or what fits."""
        if self.kinds:
            return self.kinds
        return ACCOUNT_KINDS if self.account else POOL_KINDS


def wants(subscription: Subscription, notice: Notice) -> bool:
    """Tell whether a subscription is told a notice.

    A subscription to an account is told what concerns the account; what concerns the whole pool too, when it chose the
    kind. One to the pool is told only what concerns the whole pool: other people's accounts are not its business.
    """
    if subscription.is_paused or subscription.coin not in ("", notice.coin):
        return False
    if notice.account and notice.account != subscription.account:
        return False
    if notice.kind not in subscription.told_kinds:
        return False
    worker = notice.worker
    if worker is not None and subscription.worker_pattern and not fits(subscription.worker_pattern, worker):
        return False
    match notice.event:
        case HashrateLow(hps=hps, usual_hps=usual_hps):
            return hps * 100 < usual_hps * subscription.hashrate_percent
        case RejectsHigh(percent_hundredths=hundredths):
            return hundredths >= subscription.reject_percent * 100
        case _:
            return True


def fits(pattern: str, worker: str) -> bool:
    """Tell whether a worker's name fits a pattern in which * stands for any characters."""
    return re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), worker, re.DOTALL) is not None


def like_pattern(pattern: str) -> str:
    r"""Return the SQL LIKE pattern that says the same: "rig_*" is "rig\_%"; "" is "%"."""
    escaped = re.sub(r"([\\%_])", r"\\\1", pattern)
    return escaped.replace("*", "%") or "%"


def checked(subscription: Subscription) -> Subscription:
    """Return the subscription in its usual form: trimmed, defaults filled in.

    Raises:
        SubscriptionInvalid: When it says something that cannot be; names the field.
    """
    found = replace(
        subscription,
        address=subscription.address.strip(),
        account=subscription.account.strip(),
        language=subscription.language or "en",
        time_zone=subscription.time_zone or "UTC",
        hashrate_percent=subscription.hashrate_percent or HASHRATE_PERCENT,
        reject_percent=subscription.reject_percent or REJECT_PERCENT,
    )
    _check_names(found)
    _check_address(found)
    _check_numbers(found)
    return found


def _check_names(found: Subscription) -> None:
    if found.language not in LANGUAGES:
        raise SubscriptionInvalid("language", "is not one of " + ", ".join(LANGUAGES))
    if found.coin:
        try:
            registry.get(found.coin)
        except UnknownCoin as error:
            raise SubscriptionInvalid("coin", str(error)) from None
    for field in ("account", "worker_pattern"):
        text = getattr(found, field)
        if len(text) > NAME_CHARS_MAX or _has_controls(text):
            raise SubscriptionInvalid(field, "is too long or has control characters")
    if found.worker_pattern.count("*") > 8:
        raise SubscriptionInvalid("worker_pattern", "has more than 8 asterisks")
    if found.account and Kind.TROUBLE in found.kinds:
        raise SubscriptionInvalid("kinds", "trouble is for the operator, whose subscription has no account")
    if not found.account and found.kinds - POOL_KINDS:
        raise SubscriptionInvalid("kinds", "needs an account: " + ", ".join(sorted(found.kinds - POOL_KINDS)))
    try:
        zoneinfo.ZoneInfo(found.time_zone)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        raise SubscriptionInvalid("time_zone", "is not an IANA time zone such as Europe/Berlin") from None


def _check_address(found: Subscription) -> None:
    address = found.address
    if not address or len(address) > ADDRESS_CHARS_MAX or _has_controls(address):
        raise SubscriptionInvalid("address", "is empty, too long or has control characters")
    match found.channel:
        case ChannelKind.TELEGRAM:
            if re.fullmatch(r"-?[0-9]{1,20}", address) is None:
                raise SubscriptionInvalid("address", "is not a chat id, a whole number")
        case ChannelKind.EMAIL:
            if mail_problem(address):
                raise SubscriptionInvalid("address", mail_problem(address))
        case ChannelKind.WEBHOOK:
            try:
                parts = urlsplit(address)
                is_right = parts.scheme in {"https", "http"} and bool(parts.hostname) and parts.port != 0
            except ValueError:
                is_right = False
            if not is_right or parts.username is not None or parts.fragment or not address.isascii():
                raise SubscriptionInvalid("address", "is not an http(s) URL without user and fragment")


def mail_problem(address: str) -> str:
    """Return what is wrong with an address of mail, "" when nothing is: one plain local@domain, nothing around it."""
    local, at, domain = address.rpartition("@")
    if not at or len(address) > 254 or re.fullmatch(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}", local) is None:
        return "is not an address of mail"
    label = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
    if re.fullmatch(rf"{label}(?:\.{label})*", domain) is None:
        return "is not an address of mail"
    return ""


def _check_numbers(found: Subscription) -> None:
    bounds = (
        ("hashrate_percent", 10, 80),
        ("reject_percent", 2, 100),
        ("quiet_start_min", 0, MINUTES_A_DAY - 1),
        ("quiet_end_min", 0, MINUTES_A_DAY - 1),
        ("digest_min", 0, DIGEST_MIN_MAX),
        ("cooldown_s", 0, COOLDOWN_S_MAX),
    )
    for field, low, high in bounds:
        if not low <= getattr(found, field) <= high:
            raise SubscriptionInvalid(field, f"is not from {low} to {high}")


def _has_controls(text: str) -> bool:
    return re.search(r"[\x00-\x1f\x7f\u2028\u2029]", text) is not None
