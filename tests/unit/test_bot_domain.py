"""What the Telegram bot understands and says."""

import random
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st
from telegram import Update

import miners.service
import payouts.service
import rewards.service
import shares.service
from coins import registry
from coins.bitcoin.address import decode
from coins.errors import AddressError
from notifier import bot_views
from notifier.bot_calls import DOUBTFUL_MARK, Button, keyboard, marked, text_message
from notifier.bot_domain import (
    Command,
    FloodGate,
    Gone,
    Inline,
    Moved,
    Nothing,
    Press,
    chat_of,
    language_for,
    understood,
    wrong_address,
)
from notifier.bot_inbox import webhook_secret
from notifier.bot_sources import AccountView, BlockView, MoneyView, Rates, WorkerView
from notifier.bot_storage import Chat
from notifier.chart import nice_top
from notifier.domain import ChannelKind, Subscription
from notifier.notices import Kind
from notifier.telegram_settings import TelegramSettings, read_token
from notifier.texts import bot_en, bot_ru
from runtime.errors import UserError
from tests.fakes.bot_api import CAPTION_MAX, TEXT_MAX, parsed_length

COIN = registry.get("litecoin")
EN, RU = (Chat(chat_id=5, language=language) for language in ("en", "ru"))
USER = {"id": 5, "is_bot": False, "first_name": "A", "language_code": "ru-RU"}
PRIVATE = {"id": 5, "type": "private", "first_name": "A"}
GROUP = {"id": -7, "type": "supergroup", "title": "G"}


def update(**body: object) -> Update:
    return Update.de_json({"update_id": 1, **body}, None)


def message(text: str | None, *, chat: dict = PRIVATE, **more: object) -> dict:
    found = {"message_id": 3, "date": 1, "chat": chat, "from": USER, **more}
    return found if text is None else {**found, "text": text}


@pytest.mark.parametrize(
    ("text", "chat", "expected"),
    [
        ("/watch abc", PRIVATE, ("watch", "abc")),
        ("/WATCH@Our_Bot  abc def ", PRIVATE, ("watch", "abc def")),
        ("/stats\nabc", GROUP, ("stats", "abc")),
        ("  plain text ", PRIVATE, ("", "plain text")),
        ("/", PRIVATE, ("", "/")),
        ("/watch@other_bot abc", GROUP, None),
        ("plain text", GROUP, None),
        ("/watch " + "x" * 5000, PRIVATE, ("watch", "x" * 200)),
    ],
)
def test_commands_are_told_from_talk_and_from_other_bots_commands(
    text: str, chat: dict, expected: tuple[str, str] | None
) -> None:
    """D1: names in any case, with or without the bot's own name; long arguments are cut."""
    found = understood(update(message=message(text, chat=chat)), bot_name="our_bot")
    if expected is None:
        assert found == Nothing()
    else:
        assert isinstance(found, Command)
        assert (found.name, found.argument) == expected
        assert found.is_group == (chat is GROUP)


def test_other_updates_are_told_apart() -> None:
    """D1: buttons, inline questions, blocks, moves; what is nothing for us is nothing."""
    query = {"id": "q", "from": USER, "chat_instance": "1", "data": "workers:7:2", "message": message("x")}
    press = understood(update(callback_query=query), bot_name="b")
    assert isinstance(press, Press)
    assert (press.verb, press.values, press.message_id, press.chat_id) == ("workers", ("7", "2"), 3, 5)
    inline = understood(update(inline_query={"id": "i", "from": USER, "query": " a ", "offset": ""}), bot_name="b")
    assert inline == Inline(user_id=5, language_code="ru-RU", query_id="i", query="a")
    member = {"user": {**USER, "is_bot": True}}
    change = {
        "chat": PRIVATE,
        "from": USER,
        "date": 1,
        "old_chat_member": {**member, "status": "member"},
        "new_chat_member": {**member, "status": "kicked", "until_date": 0},
    }
    assert understood(update(my_chat_member=change), bot_name="b") == Gone(5)
    moved = message(None, chat=GROUP, migrate_to_chat_id=-9)
    assert understood(update(message=moved), bot_name="b") == Moved(-7, -9)
    assert understood(update(message=message(None)), bot_name="b") == Nothing()
    assert understood(update(something={"x": 1}), bot_name="b") == Nothing()


@given(
    st.recursive(
        st.none() | st.integers() | st.text() | st.floats(allow_nan=False),
        lambda inner: (
            st.lists(inner)
            | st.dictionaries(
                st.sampled_from(["message", "chat", "id", "from", "callback_query", "inline_query", "x"]), inner
            )
        ),
    )
)
def test_whose_an_update_is_can_be_asked_of_any_garbage(garbage: object) -> None:
    """D1: updates are kept before they are understood."""
    body = garbage if isinstance(garbage, dict) else {"message": garbage}
    assert -(2**63) <= chat_of(body) < 2**63


def test_an_anonymous_administrator_is_nobody() -> None:
    """D1: a group's anonymous administrator speaks as the group."""
    found = understood(update(message=message("/quiet off", chat=GROUP, sender_chat=GROUP)), bot_name="b")
    assert isinstance(found, Command)
    assert found.user_id == 0


@pytest.mark.parametrize(
    ("code", "language"), [("ru", "ru"), ("uk", "ru"), ("ru-RU", "ru"), ("en", "en"), ("", "en"), ("de", "en")]
)
def test_people_are_greeted_in_a_language_they_can_read(code: str, language: str) -> None:
    """D1: by language_code until they choose."""
    assert language_for(code) == language


@pytest.mark.parametrize(
    ("text", "kind", "looks_like"),
    [
        ("bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4", "foreign", "bitcoin"),
        ("1BvBMSEYstWetqTFn5Au4m4GFg7xJaNVN2", "foreign", "bitcoin"),
        ("ltc1qw508d6qejxtdg4y5r3zarvary0c5xw7kgmn4n8", "mistyped", ""),
        ("ltcmweb1qq", "mweb", ""),
        ("no address", "unknown", ""),
        ("", "unknown", ""),
    ],
)
def test_a_wrong_address_is_explained_by_its_kind(text: str, kind: str, looks_like: str) -> None:
    """D1: which network, or a typing error."""
    with pytest.raises(AddressError) as caught:
        decode(COIN, text)
    wrong = wrong_address(COIN, text, caught.value)
    assert (wrong.kind, wrong.looks_like.split(",")[0]) == (kind, looks_like)
    assert "ltc1" in wrong.expected


def test_both_languages_have_the_same_texts_with_the_same_names_in_them() -> None:
    """D1: no text is missing in a language, and none asks for a value that it is not given."""
    assert bot_en.TEXTS.keys() == bot_ru.TEXTS.keys()

    def names(text: str) -> set[str]:
        return {name for _, name, _, _ in string.Formatter().parse(text) if name}

    for key in bot_en.TEXTS:
        assert names(bot_en.TEXTS[key]) == names(bot_ru.TEXTS[key]), key
        for texts in (bot_en.TEXTS, bot_ru.TEXTS):
            values = dict.fromkeys(names(texts[key]), "<&>")
            assert parsed_length(texts[key].format_map(dict.fromkeys(values, "x")), "HTML", TEXT_MAX), key
    for kind in bot_views.SHOWN_KINDS:
        assert f"kind_{kind.value}" in bot_en.TEXTS
    for name in bot_views.COMMANDS:
        assert f"command_{name}" in bot_en.TEXTS


@given(st.text(max_size=300), st.sampled_from(["en", "ru"]))
def test_whatever_a_name_holds_the_markup_stays_right(name: str, language: str) -> None:
    """D1: hostile names of workers: markup, direction marks, control characters, length."""
    chat = Chat(chat_id=1, language=language)
    worker = WorkerView(name=name, is_online=True, rates=Rates(), last_share_time_ms=1, accepted=1, rejected=0)
    view = AccountView(account="a", rates=Rates(), workers=(worker,), accepted=1, stale=0, refused=0)
    text, _ = bot_views.workers_page(chat, view, page=0, key="1")
    parsed = parsed_length(text, "HTML", TEXT_MAX)
    assert parsed.count("\n") == 1
    assert not set(parsed) & {"\u202e", "\u2066", "\x00", "\x1b"}
    said = bot_views.say(language, "address_unknown", address=name, expected="x")
    parsed_length(said, "HTML", TEXT_MAX)


def test_long_pages_keep_to_telegrams_limits() -> None:
    """D1: 4096 characters a message, 1024 a caption, whole lines."""
    long = "W" * 500
    money = MoneyView(kind="payout", time_ms=1, amount_atomic=10**15, status="confirmed", height=0, reference=long)
    text = bot_views.payouts_text(EN, long, [money] * 100, COIN)
    assert text.endswith("\n…")
    parsed_length(text, "HTML", TEXT_MAX)
    block = BlockView(
        height=10**9, status="mature", found_time_ms=1, reward_atomic=10**15, effort_hundredths=5, block_hash_hex="x"
    )
    parsed_length(bot_views.blocks_text(RU, [block] * 200, COIN), "HTML", TEXT_MAX)
    view = AccountView(account=long, rates=Rates(), workers=(), accepted=1, stale=0, refused=0)
    parsed_length(bot_views.stats_text(RU, view), "HTML", CAPTION_MAX)


def test_a_page_beyond_the_last_one_is_the_last_one() -> None:
    """D1: workers may have gone since the button was made."""
    workers = tuple(
        WorkerView(name=str(n), is_online=n < 3, rates=Rates(hps_1h=n), last_share_time_ms=0, accepted=0, rejected=0)
        for n in range(25)
    )
    view = AccountView(account="a", rates=Rates(), workers=workers, accepted=0, stale=0, refused=0)
    text, rows = bot_views.workers_page(EN, view, page=99, key="1")
    assert "21–25 of 25" in text
    assert [button.data for row in rows for button in row] == ["workers:1:1", "workers:1:2"]
    first, _ = bot_views.workers_page(EN, view, page=0, key="1")
    assert [line[0] for line in first.split("\n")[1:5]] == ["🟢", "🟢", "🟢", "⚪"]
    assert "never" in first


def test_alert_buttons_fit_and_show_what_is_chosen() -> None:
    """D1: 64 bytes of data a button; ticks; troubles only for operators."""
    watch = Subscription(
        subscription_id=2**62,
        channel=ChannelKind.TELEGRAM,
        address="5",
        account="a",
        kinds=frozenset({Kind.CREDIT}),
        hashrate_percent=80,
    )
    for chat, is_admin in ((EN, False), (RU, True)):
        _, rows = bot_views.alerts_page(chat, watch, pool_kinds=frozenset({Kind.TROUBLE}), is_admin=is_admin)
        keyboard(rows)
        texts = [button.text for row in rows for button in row]
        assert sum(text.startswith("✅") for text in texts) == 1 + is_admin
        assert "• ↓80% •" in texts
    with pytest.raises(ValueError, match="65 bytes"):
        keyboard([[Button("x", "y" * 65)]])


def test_a_flood_is_warned_once_and_forgiven_after_a_minute() -> None:
    """D1: one answer for a flood; each chat by itself."""
    gate = FloodGate(30)
    assert [gate.ask(1, now_s=0.0) for _ in range(13)] == ["open"] * 10 + ["warn", "shut", "shut"]
    assert gate.ask(2, now_s=0.0) == "open"
    assert gate.ask(1, now_s=1.0) == "shut"
    assert gate.ask(1, now_s=60.0) == "open"
    for chat in range(20_000):
        gate.ask(chat, now_s=1000.0 + chat)
    assert len(gate._chats) <= 10_001


def test_a_doubtful_text_is_marked_and_an_edit_is_not() -> None:
    """P3: the mark stands where a text can carry it."""
    call = text_message(5, "hello")
    assert marked(call.method, call.params)["text"] == DOUBTFUL_MARK + "hello"
    assert marked("editMessageText", call.params) == call.params
    assert marked("sendPhoto", {"caption": "c"})["caption"] == DOUBTFUL_MARK + "c"
    full = text_message(5, "x" * 4096)
    assert marked(full.method, full.params) == full.params


@pytest.mark.parametrize(
    ("value", "top"), [(0, 1), (1, 1), (3, 5), (10, 10), (130, 200), (999, 1000), (5 * 10**20, 5 * 10**20)]
)
def test_the_charts_upper_edge_is_a_round_number(value: int, top: int) -> None:
    """D1: what stands beside the chart can be read."""
    assert nice_top(value) == top


def test_a_chart_is_drawn_for_any_values() -> None:
    """D1: also for two steps, zeros and hashrates beyond 64 bits."""
    chance = random.Random(7)
    for values in ([0, 0], [10**25] * 3, [chance.randrange(10**13) for _ in range(144)]):
        history = [(step * 600_000, value) for step, value in enumerate(values)]
        picture = bot_views.chart_png(Chat(chat_id=1, language="ru", time_zone="Asia/Kathmandu"), history)
        assert picture is not None
        assert 500 < len(picture) < 60_000
    assert bot_views.chart_png(EN, [(0, 1)]) is None


def test_the_token_comes_from_the_environment_or_a_file_and_never_from_the_settings(
    monkeypatch: pytest.MonkeyPatch, tmp_path
) -> None:
    """D1: secrets are not in lodepool.toml; errors do not show them."""
    monkeypatch.delenv("LODEPOOL_TELEGRAM_TOKEN", raising=False)
    assert read_token(TelegramSettings()) is None
    path = tmp_path / "token"
    path.write_text("123:abc-DEF_1\n")
    assert read_token(TelegramSettings(token_file=str(path))) == "123:abc-DEF_1"
    monkeypatch.setenv("LODEPOOL_TELEGRAM_TOKEN", "9:zz")
    assert read_token(TelegramSettings(token_file=str(path))) == "9:zz"
    monkeypatch.setenv("LODEPOOL_TELEGRAM_TOKEN", "secret words")
    with pytest.raises(UserError) as caught:
        read_token(TelegramSettings())
    assert "secret words" not in str(caught.value)
    monkeypatch.delenv("LODEPOOL_TELEGRAM_TOKEN")
    with pytest.raises(UserError):
        read_token(TelegramSettings(token_file=str(tmp_path / "none")))
    with pytest.raises(ValueError, match="webhook_url"):
        TelegramSettings(mode="webhook")


def test_the_webhooks_secret_is_stable_and_says_nothing_of_the_token() -> None:
    """P3: every process and every restart expects the same one."""
    assert webhook_secret("1:a") == webhook_secret("1:a")
    assert webhook_secret("1:a") != webhook_secret("1:b")
    assert len(webhook_secret("1:a")) == 64


def test_the_bot_may_read_everything_it_shows_and_write_only_what_operators_command() -> None:
    """D1: in a cluster the notifier's certificate opens no more than the bot needs."""
    for access, reads in (
        (shares.service.ACCESS, ("GetAccountStats", "GetHashrateHistory", "GetPoolStats")),
        (miners.service.ACCESS, ("ListWorkers",)),
        (rewards.service.ACCESS, ("GetBalance", "ListBlocks", "ListCredits")),
        (payouts.service.ACCESS, ("ListPayouts", "GetStatus", "HoldPayouts", "ResumePayouts")),
    ):
        assert all(access.allows("notifier", method) for method in reads)
    assert not shares.service.ACCESS.allows("notifier", "FixWindow")
    assert not miners.service.ACCESS.allows("notifier", "UpdateAccount")
    for method in ("VoidBatch", "AdoptSend", "IgnoreSend"):
        assert not payouts.service.ACCESS.allows("notifier", method)
    assert not payouts.service.ACCESS.allows("gateway", "HoldPayouts")
