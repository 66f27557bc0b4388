"""The words: every text in every language, exact amounts, right plurals, and nothing injected."""

import re
import string
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier.notices import (
    Block,
    Credit,
    Event,
    HashrateLow,
    Kind,
    Notice,
    Payout,
    RejectsHigh,
    Test,
    Trouble,
    TroubleKind,
    WorkerOffline,
    WorkerOnline,
)
from notifier.rendering import Markup, duration_text, hashrate_text, render, time_text
from notifier.texts import LANGUAGES
from notifier.texts.language import Language, Plural

COIN = "litecoin-regtest"
ATTACK = '<a href="https://evil.example">x</a>&amp;\u202e\x00\r\nBcc: all@x.example'


def events(name: str = "rig1") -> list[Event]:
    found: list[Event] = [
        WorkerOffline(worker=name, last_share_time_ms=1_700_000_000_000, expected_interval_ms=61_000),
        WorkerOnline(worker=name, offline_ms=3_725_000),
        HashrateLow(worker=name, hps=1_234_567, usual_hps=9_876_543),
        HashrateLow(worker=None, hps=1, usual_hps=3),
        RejectsHigh(worker=name, reason="stale", percent_hundredths=756),
        Credit(block_hash_hex="ab" * 32, height=7, amount_atomic=1),
        *(Payout(kind=kind, payout_id="p", amount_atomic=123_456_789, txid_hex="cd" * 32)
          for kind in (Kind.PAYOUT_SENT, Kind.PAYOUT_CONFIRMED, Kind.PAYOUT_DELAYED)),
        Payout(kind=Kind.PAYOUT_DELAYED, is_in_review=True, payout_id="p", amount_atomic=1, txid_hex=""),
        *(Trouble(trouble=kind, subject=name, detail=name) for kind in TroubleKind),
        Test(),
    ]  # fmt: skip
    for kind in (Kind.BLOCK_FOUND, Kind.BLOCK_CONFIRMED, Kind.BLOCK_ORPHANED):
        block = Block(
            kind=kind,
            height=7,
            block_hash_hex="ab" * 32,
            reward_atomic=625_000_000,
            finder="a",
            worker=name,
            effort_hundredths=12_345,
        )
        found.append(block)
    return found


def notice(event: Event, *, account: str = "rltc1qalice") -> Notice:
    return Notice(notice_id="x", coin=COIN, time_ms=1_700_000_000_000, account=account, event=event)


def fields(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name}


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("markup", Markup)
def test_every_notice_has_its_words(language: str, markup: Markup) -> None:
    for event in events():
        found = render([notice(event)], language=language, time_zone="Europe/Moscow", markup=markup)
        assert found.title
        assert not re.search(r"[{}]", found.text)
    assert {notice(event).kind for event in events()} == set(Kind)


def test_languages_have_the_same_texts_with_the_same_places() -> None:
    english, *others = LANGUAGES.values()

    def tables(language: Language) -> list[dict[str, str]]:
        return [dict(language.titles), dict(language.bodies), dict(language.words), dict(language.reasons)]

    for other in others:
        for ours, theirs in zip(tables(english), tables(other), strict=True):
            assert {key: fields(text) for key, text in ours.items()} == {k: fields(text) for k, text in theirs.items()}
        assert english.troubles.keys() == other.troubles.keys() == set(TroubleKind)
        assert english.units.keys() == other.units.keys()
    for language in LANGUAGES.values():
        forms = {language.plural(count) for count in range(200)}
        assert all(set(unit) == forms for unit in language.units.values())


@pytest.mark.parametrize(
    ("count", "form"),
    [(0, "many"), (1, "one"), (2, "few"), (4, "few"), (5, "many"), (11, "many"), (12, "many"), (14, "many"), (21, "one"),
     (22, "few"), (25, "many"), (101, "one"), (111, "many"), (112, "many"), (122, "few")],
)  # fmt: skip
def test_russian_plurals(count: int, form: str) -> None:
    assert LANGUAGES["ru"].plural(count) is Plural(form)


def test_amounts_are_exact() -> None:
    payout = Payout(kind=Kind.PAYOUT_SENT, payout_id="p", amount_atomic=9_007_199_254_740_993, txid_hex="")
    found = render([notice(payout)], language="en", time_zone="UTC", markup=Markup.PLAIN)
    assert "90071992.54740993" in found.title


def test_times_are_those_of_the_zone() -> None:
    assert time_text(1_700_000_000_000, ZoneInfo("Europe/Moscow")) == "2023-11-15 01:13:20 +03:00"
    assert time_text(1_700_000_000_000, ZoneInfo("America/New_York")) == "2023-11-14 17:13:20 -05:00"
    assert time_text(1_700_000_000_000, ZoneInfo("UTC")) == "2023-11-14 22:13:20 UTC"


@pytest.mark.parametrize(
    ("duration_ms", "english", "russian"),
    [
        (0, "0 seconds", "0 секунд"),
        (61_000, "1 minute 1 second", "1 минута 1 секунда"),
        (3_725_000, "1 hour 2 minutes", "1 час 2 минуты"),
        (3_605_000, "1 hour", "1 час"),
        (90_000_000, "1 day 1 hour", "1 день 1 час"),
        (5 * 86_400_000, "5 days", "5 дней"),
    ],
)
def test_lengths_of_time(duration_ms: int, english: str, russian: str) -> None:
    assert duration_text(duration_ms, LANGUAGES["en"]) == english
    assert duration_text(duration_ms, LANGUAGES["ru"]) == russian


def test_hashrates_have_three_digits() -> None:
    assert [hashrate_text(hps) for hps in (0, 999, 1_234_567, 98_765_432_100_000)] == [
        "0 H/s", "999 H/s", "1.23 MH/s", "98.7 TH/s"
    ]  # fmt: skip


@pytest.mark.parametrize("language", LANGUAGES)
def test_names_cannot_inject(language: str) -> None:
    for event in events(ATTACK):
        told = notice(event, account=ATTACK)
        marked = render([told], language=language, time_zone="UTC", markup=Markup.HTML).text
        assert re.findall(r"<[^>]*>", marked) == ["<b>", "</b>"]
        assert "\u202e" not in marked
        plain = render([told], language=language, time_zone="UTC", markup=Markup.PLAIN)
        assert not re.search(r"[\x00-\x1f]", plain.title)
        assert not plain.text.startswith("Bcc")
        assert not any(line.startswith("Bcc") for line in plain.text.splitlines())


@given(name=st.text(max_size=300), count=st.integers(1, 60), chars_max=st.integers(1500, 4096))
def test_any_digest_fits_and_its_markup_is_whole(name: str, count: int, chars_max: int) -> None:
    told = [notice(event) for event in (events(name) * 4)[:count]]
    text = render(told, language="ru", time_zone="UTC", markup=Markup.HTML, chars_max=chars_max).text
    assert len(text) <= chars_max
    assert re.findall(r"<[^>]*>", text) == ["<b>", "</b>"]
    assert re.fullmatch(r"[^&]*(?:&(?:lt|gt|amp|quot|#x27);[^&]*)*", text)


def test_a_digest_says_how_many_it_leaves_out() -> None:
    text = render([notice(events()[0])] * 25, language="en", time_zone="UTC", markup=Markup.PLAIN).text
    assert text.startswith("25 notices\n")
    assert text.endswith("… and 5 more notices")
