"""Who wants what, and which subscriptions there can be."""

from dataclasses import replace

import pytest

from notifier.domain import ACCOUNT_KINDS, ChannelKind, Priority, Subscription, checked, fits, priority_of, wants
from notifier.errors import SubscriptionInvalid
from notifier.notices import (
    Block,
    Credit,
    HashrateLow,
    Kind,
    Notice,
    RejectsHigh,
    Trouble,
    TroubleKind,
    WorkerOffline,
)

COIN = "litecoin-regtest"
MINE = Subscription(channel=ChannelKind.TELEGRAM, address="1", account="alice")
POOL = replace(MINE, account="")


def notice(event: object, *, account: str = "alice") -> Notice:
    return Notice(notice_id="x", coin=COIN, time_ms=0, account=account, event=event)  # type: ignore[arg-type]


OFFLINE = notice(WorkerOffline(worker="rig1", last_share_time_ms=0, expected_interval_ms=1))
BLOCK = notice(
    Block(
        kind=Kind.BLOCK_FOUND,
        height=1,
        block_hash_hex="00",
        reward_atomic=1,
        finder="alice",
        worker="",
        effort_hundredths=0,
    ),
    account="",
)
TROUBLE = notice(Trouble(trouble=TroubleKind.NODE_DOWN, subject="a", detail=""), account="")
CREDIT = notice(Credit(block_hash_hex="00", height=1, amount_atomic=1))


@pytest.mark.parametrize(
    ("subscription", "told", "expected"),
    [
        (MINE, OFFLINE, True),
        (replace(MINE, account="bob"), OFFLINE, False),
        (POOL, OFFLINE, False),
        (replace(MINE, is_paused=True), OFFLINE, False),
        (replace(MINE, coin=COIN), OFFLINE, True),
        (replace(MINE, coin="litecoin"), OFFLINE, False),
        (replace(MINE, worker_pattern="rig*"), OFFLINE, True),
        (replace(MINE, worker_pattern="rack*"), OFFLINE, False),
        (replace(MINE, worker_pattern="rack*"), CREDIT, True),
        (replace(MINE, kinds=frozenset({Kind.CREDIT})), OFFLINE, False),
        (MINE, BLOCK, False),
        (replace(MINE, kinds=frozenset({Kind.BLOCK_FOUND})), BLOCK, True),
        (POOL, BLOCK, True),
        (POOL, TROUBLE, True),
        (MINE, TROUBLE, False),
        (MINE, notice(HashrateLow(worker=None, hps=49, usual_hps=100)), True),
        (MINE, notice(HashrateLow(worker=None, hps=50, usual_hps=100)), False),
        (replace(MINE, hashrate_percent=80), notice(HashrateLow(worker="a", hps=79, usual_hps=100)), True),
        (MINE, notice(RejectsHigh(worker="a", reason="stale", percent_hundredths=499)), False),
        (MINE, notice(RejectsHigh(worker="a", reason="stale", percent_hundredths=500)), True),
    ],
)
def test_a_subscription_is_told_what_it_is_about(subscription: Subscription, told: Notice, expected: bool) -> None:
    assert wants(subscription, told) is expected


@pytest.mark.parametrize(
    ("pattern", "worker", "expected"),
    [
        ("rig*", "rig1", True),
        ("rig*", "my rig1", False),
        ("*rig*", "my rig1", True),
        ("rig_1", "rigx1", False),
        ("100%", "100%", True),
        ("100%", "1000", False),
        ("a.c", "abc", False),
        ("a\\b", "a\\b", True),
        ("*", "", True),
    ],
)
def test_an_asterisk_stands_for_any_characters_and_nothing_else_does(pattern: str, worker: str, expected: bool) -> None:
    assert fits(pattern, worker) is expected


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"channel": ChannelKind.EMAIL, "address": "a@b.example\nBcc: all@x.example"}, "address"),
        ({"channel": ChannelKind.EMAIL, "address": "a b@x.example"}, "address"),
        ({"channel": ChannelKind.EMAIL, "address": "<a@x.example>"}, "address"),
        ({"channel": ChannelKind.EMAIL, "address": "a@x.example, b@x.example"}, "address"),
        ({"channel": ChannelKind.EMAIL, "address": "no-at"}, "address"),
        ({"channel": ChannelKind.WEBHOOK, "address": "ftp://x.example"}, "address"),
        ({"channel": ChannelKind.WEBHOOK, "address": "https://u:p@x.example"}, "address"),
        ({"address": "@name"}, "address"),
        ({"address": ""}, "address"),
        ({"language": "de"}, "language"),
        ({"coin": "nocoin"}, "coin"),
        ({"time_zone": "Mars/Olympus"}, "time_zone"),
        ({"time_zone": "../../etc/passwd"}, "time_zone"),
        ({"kinds": frozenset({Kind.TROUBLE})}, "kinds"),
        ({"account": "", "kinds": frozenset({Kind.PAYOUT_SENT})}, "kinds"),
        ({"hashrate_percent": 5}, "hashrate_percent"),
        ({"quiet_end_min": 1440}, "quiet_end_min"),
        ({"digest_min": -1}, "digest_min"),
        ({"worker_pattern": "a\x00b"}, "worker_pattern"),
        ({"worker_pattern": "*" * 9}, "worker_pattern"),
    ],
)
def test_what_cannot_be_is_refused_with_its_field(change: dict[str, object], field: str) -> None:
    with pytest.raises(SubscriptionInvalid) as caught:
        checked(replace(MINE, **change))  # type: ignore[arg-type]
    assert caught.value.field == field


def test_defaults_are_filled_in() -> None:
    found = checked(replace(MINE, language="", time_zone="", hashrate_percent=0, reject_percent=0, address=" 5 "))
    assert (found.language, found.time_zone, found.hashrate_percent, found.reject_percent) == ("en", "UTC", 50, 5)
    assert found.address == "5"
    assert found.told_kinds == ACCOUNT_KINDS


def test_what_is_for_everybody_stands_behind_what_is_urgent() -> None:
    assert priority_of(Kind.WORKER_OFFLINE) < priority_of(Kind.PAYOUT_SENT) < priority_of(Kind.BLOCK_FOUND)
    assert priority_of(Kind.TEST) == Priority.TEST
