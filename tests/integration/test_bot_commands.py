"""The Telegram bot's commands, in both languages, over a Bot API of our own and a real database."""

import csv
import io
import json
import struct
import zlib

import pytest

from notifier.telegram_settings import AdminSettings
from runtime.platform import Platform
from runtime.rpc.errors import NotFound, Unavailable
from tests.fakes.bot_world import ADDRESS, OTHER, BotWorld, run_world

CHAT = 4242
GROUP = -100_777
ANSWERS = {
    "en": {
        "/start": "Send me the address you mine to.",
        "/help": "watch an address",
        "/list": "You watch",
        "/stats": "Workers online: 25 of 25",
        "/workers": "1–10 of 25",
        "/balance": "Payable: 2.50000000",
        "/payouts": "1.23456789",
        "/blocks": "maturing, effort 150.0 %",
        "/alerts": "Hashrate below 50 %",
        "/quiet": "There are no quiet hours",
        "/quiet 22:00-07:30 Europe/Berlin": "Quiet from 22:00 to 07:30, Europe/Berlin",
        "/quiet 25:00-07:30": "Like this:",
        "/quiet 22:00-07:30 Atlantis/Sea": "Like this:",
        "/quiet off": "There are no quiet hours. Times are those of Europe/Berlin",
        "/language": "Choose your language",
        "/unwatch": "Which address shall I stop watching?",
        "/nonsense": "I do not know this command",
        "/pool": "Only the pool's operators",
        "/hold": "Only the pool's operators",
        "/resume": "Only the pool's operators",
    },
    "ru": {
        "/start": "Пришлите адрес, на который вы майните.",
        "/help": "следить за адресом",
        "/list": "Вы следите",
        "/stats": "Воркеров на связи: 25 из 25",
        "/workers": "1–10 из 25",
        "/balance": "К выплате: 2.50000000",
        "/payouts": "1.23456789",
        "/blocks": "созревает, усилие 150.0 %",
        "/alerts": "Хешрейт ниже 50 %",
        "/quiet": "Тихих часов нет",
        "/quiet 22:00-07:30 Europe/Moscow": "Тихо с 22:00 до 07:30, Europe/Moscow",
        "/quiet off": "Тихих часов нет. Время — по зоне Europe/Moscow",
        "/language": "Выберите язык",
        "/unwatch": "За каким адресом больше не следить?",
        "/nonsense": "Я не знаю такой команды",
        "/pool": "Это могут только операторы",
        "/hold": "Это могут только операторы",
        "/resume": "Это могут только операторы",
    },
}


async def ask(world: BotWorld, text: str, expected: str, *, chat_id: int = CHAT, **more: object):
    await world.rest()
    world.api.user_says(chat_id, text, **more)
    return await world.told(chat_id, expected)


async def watch(world: BotWorld, chat_id: int = CHAT, address: str = ADDRESS, **more: object) -> None:
    await ask(world, f"/watch {address}", address, chat_id=chat_id, **more)
    await world.idle()


@pytest.mark.parametrize("language", ["en", "ru"])
async def test_every_command_is_answered_in_the_language_of_the_chat(platform: Platform, language: str) -> None:
    """D1: a person watches an address and asks everything that can be asked."""
    async with run_world(platform, updates_per_minute=600) as world:
        await ask(world, "/start", ANSWERS[language]["/start"], language_code=language)
        await watch(world, language_code=language)
        for command, expected in ANSWERS[language].items():
            if command != "/start":
                world.api.messages.clear()
                await ask(world, command, expected, language_code=language)
        await world.idle()
        assert world.api.refused == []
        assert {code: len(commands) for code, commands in world.api.commands.items()} == {"": 11, "ru": 11}


async def test_language_is_chosen_by_a_button_and_subscriptions_follow(platform: Platform) -> None:
    """D1: notices come in the language that the person has chosen, not the program's."""
    async with run_world(platform) as world:
        await watch(world, language_code="en")
        message = await ask(world, "/language", "Choose your language")
        world.api.user_presses(message, message.button("Русский"))
        await world.told(CHAT, "Теперь я говорю по-русски")
        assert [row["language"] for row in await world.watches(CHAT)] == ["ru"]
        assert len(world.api.answers) == 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ltc1qw508d6qejxtdg4y5r3zarvary0c5xw7kgmn4n9", "another network: litecoin"),
        ("tb1qw508d6qejxtdg4y5r3zarvary0c5xw7kxpjzsx", "another network: bitcoin-testnet"),
        (ADDRESS[:-1] + "q", "has a typing error"),
        ("ltcmweb1qq0", "MWEB"),
        ("hello <b>there</b>", "hello <b>there</b> is not an address"),
        ("", "Which address?"),
    ],
)
async def test_a_wrong_address_is_explained_with_the_network_it_belongs_to(
    platform: Platform, text: str, expected: str
) -> None:
    """D1: which coin it looks like, what was expected."""
    async with run_world(platform) as world:
        message = await ask(world, f"/watch {text}", expected)
        assert "rltc1…" in message.text
        assert await world.watches(CHAT) == []


async def test_an_address_as_plain_text_is_watched_once(platform: Platform) -> None:
    """D1: what people send first is their address."""
    async with run_world(platform) as world:
        await ask(world, ADDRESS, "I watch")
        await ask(world, ADDRESS.upper(), "already")
        (row,) = await world.watches(CHAT)
        assert (row["account"], row["coin"], row["channel"]) == (ADDRESS, "litecoin-regtest", "telegram")


async def test_a_link_with_an_address_watches_it_at_once(platform: Platform) -> None:
    """D1: t.me/bot?start=ADDRESS from the pool's page; also after the bot was blocked."""
    async with run_world(platform) as world:
        await ask(world, f"/start {ADDRESS}", "I watch")
        assert [row["account"] for row in await world.watches(CHAT)] == [ADDRESS]
        await ask(world, "/start inline", "Addresses you watch: 1")


async def test_workers_are_turned_page_by_page_and_a_hostile_name_stays_text(platform: Platform) -> None:
    """D1: pages by buttons; markup and direction marks in a worker's name do nothing."""
    async with run_world(platform) as world:
        await watch(world)
        page = await ask(world, "/workers", "1–10 of 25")
        assert "<b>evil</b>&@admin" in page.text
        for expected in ("11–20 of 25", "21–25 of 25"):
            await world.rest()
            world.api.user_presses(page, page.button("→"))
            await world.told(CHAT, expected)
        await world.rest()
        world.api.user_presses(page, page.button("←"))
        await world.told(CHAT, "11–20 of 25")
        await world.rest()
        world.api.user_presses(page, page.button("⟳"))
        await world.idle()
        assert page.edits == 3
        assert len(world.api.answers) == 4
        assert world.api.refused[-1].startswith("Bad Request: message is not modified")


async def test_stats_come_with_a_picture_of_the_day(platform: Platform) -> None:
    """D1: the chart is a PNG that any reader takes."""
    async with run_world(platform) as world:
        await watch(world)
        message = await ask(world, "/stats", "1.23 MH/s")
        assert (message.method, message.file_name) == ("sendPhoto", "hashrate.png")
        assert struct.unpack(">II", message.file[16:24]) == (800, 320)
        start = message.file.index(b"IDAT") + 4
        size = struct.unpack(">I", message.file[start - 8 : start - 4])[0]
        pixels = zlib.decompress(message.file[start : start + size])
        assert len(pixels) == 801 * 320
        assert set(pixels) == {0, 1, 2, 3, 4}


async def test_an_account_without_history_has_numbers_and_no_picture(platform: Platform) -> None:
    """D1: an address nobody has mined to is no error."""
    async with run_world(platform) as world:
        for name in ("shares", "miners", "rewards"):
            for method in list(world.services[name].answers):
                world.services[name].answers[method] = NotFound("nobody")
        await ask(world, ADDRESS, "Nobody has mined")
        assert (await ask(world, "/stats", "0 H/s")).method == "sendMessage"
        await ask(world, "/workers", "No worker has mined")
        await ask(world, "/balance", "Payable: 0.00000000")


async def test_export_is_a_table_with_exact_amounts(platform: Platform) -> None:
    """D1: credits and payouts as CSV, every digit."""
    async with run_world(platform) as world:
        await watch(world)
        await world.rest()
        world.api.user_says(CHAT, "/export")
        await world.idle()
        message = world.api.last(CHAT)
        assert (message.method, message.file_name) == ("sendDocument", f"lodepool-{ADDRESS}.csv")
        rows = list(csv.DictReader(io.StringIO(message.file.decode())))
        assert [(row["kind"], row["amount"], row["unit"]) for row in rows] == [
            ("credit", "6.17283945", "rLTC"),
            ("payout", "1.23456789", "rLTC"),
            ("payout", "0.00000001", "rLTC"),
        ]


async def test_alerts_are_changed_by_buttons(platform: Platform) -> None:
    """D1: kinds, thresholds, digest, and the pool's blocks."""
    async with run_world(platform, updates_per_minute=600) as world:
        await watch(world)
        menu = await ask(world, "/alerts", "What I tell you")
        for button in ("credits", "↓80%", "✗10%", "every 15 min", "the pool's blocks"):
            await world.rest()
            world.api.user_presses(menu, menu.button(button))
            await world.idle()
        own, pool = await world.watches(CHAT)
        assert "credit" not in own["told_kinds"]
        assert (own["hashrate_percent"], own["reject_percent"], own["digest_min"]) == (80, 10, 15)
        assert (pool["account"], set(pool["kinds"])) == ("", {"block_found", "block_confirmed", "block_orphaned"})
        assert "below 80 %" in menu.text
        assert menu.button("• ↓80% •")
        await world.rest()
        world.api.user_presses(menu, menu.button("the pool's blocks"))
        await world.idle()
        assert len(await world.watches(CHAT)) == 1


async def test_several_addresses_are_chosen_between_and_ended(platform: Platform) -> None:
    """D1: with more than one address the bot asks which."""
    async with run_world(platform, updates_per_minute=600) as world:
        await watch(world)
        await watch(world, address=OTHER)
        choice = await ask(world, "/balance", "Which address?")
        await world.rest()
        world.api.user_presses(choice, choice.button(ADDRESS[:12]))
        await world.told(CHAT, "2.50000000")
        choice = await ask(world, "/unwatch", "Which address shall")
        await world.rest()
        world.api.user_presses(choice, choice.button(OTHER[:12]))
        await world.told(CHAT, "any more")
        assert [row["account"] for row in await world.watches(CHAT)] == [ADDRESS]
        await world.rest()
        world.api.user_presses(choice, choice.buttons[0][0]["callback_data"] if choice.buttons else "unwatch:999")
        await world.idle()
        assert world.api.answers[-1][1] == "This is not watched any more."


async def test_quiet_hours_reach_the_subscriptions(platform: Platform) -> None:
    """D1: /quiet is for what is watched already and later."""
    async with run_world(platform) as world:
        await watch(world)
        await ask(world, "/quiet 22:00-7:30 Europe/Berlin", "Quiet from 22:00")
        await watch(world, address=OTHER)
        for row in await world.watches(CHAT):
            assert (row["quiet_start_min"], row["quiet_end_min"], row["time_zone"]) == (1320, 450, "Europe/Berlin")


async def test_in_a_group_only_administrators_change_and_other_bots_are_not_answered(platform: Platform) -> None:
    """D1: group chats."""
    async with run_world(platform, updates_per_minute=600) as world:
        world.api.admins.add((GROUP, 7))
        world.api.user_says(GROUP, "hello everybody", user_id=8)
        world.api.user_says(GROUP, "/watch@other_bot x", user_id=8)
        await ask(world, f"/watch@lode_test_bot {ADDRESS}", "Only administrators", chat_id=GROUP, user_id=8)
        await ask(world, f"/watch@Lode_Test_Bot {ADDRESS}", "I watch", chat_id=GROUP, user_id=7)
        menu = await ask(world, "/alerts", "What I tell you", chat_id=GROUP, user_id=7)
        await world.rest()
        world.api.user_presses(menu, menu.button("credits"), user_id=8)
        await world.idle()
        assert world.api.answers[-1][1].startswith("Only administrators")
        assert len(world.api.texts(GROUP)) == 3
        await ask(world, "/balance@lode_test_bot", "Payable", chat_id=GROUP, user_id=8)
        world.api.group_moves(GROUP, GROUP - 1)
        await world.idle()
        assert len(await world.watches(GROUP - 1)) == 1


async def test_inline_gives_a_quick_look(platform: Platform) -> None:
    """D1: in any chat."""
    async with run_world(platform) as world:
        world.api.user_asks_inline(CHAT, ADDRESS)
        world.api.user_asks_inline(CHAT, "rubbish", language_code="ru")
        await world.idle()
        first, second = world.api.inline
        assert "1.23 MH/s" in first["results"][0]["title"]
        assert second["results"] == []
        assert "Введите адрес" in json.loads(second["button"])["text"]


async def test_operators_look_and_hold_by_role(platform: Platform) -> None:
    """D1: /pool for viewers, /hold and /resume for operators, nothing for others."""
    admins = (AdminSettings(chat_id=1, role="viewer"), AdminSettings(chat_id=2, role="operator"))
    async with run_world(platform, admins=admins) as world:
        await ask(world, "/pool", "wait: no node <answers>", chat_id=1)
        await ask(world, "/hold now", "Only the pool's operators", chat_id=1)
        assert world.services["payouts"].requests("HoldPayouts") == []
        await ask(world, "/hold <b>wallet</b> check", "Payouts are held", chat_id=2)
        await ask(world, "/resume", "Payouts are made again", chat_id=2)
        (held,) = world.services["payouts"].requests("HoldPayouts")
        assert (held.reason, held.coin) == ("<b>wallet</b> check", "litecoin-regtest")
        assert held.request_id.startswith("bot/")
        await watch(world, chat_id=2)
        menu = await ask(world, "/alerts", "What I tell you", chat_id=2)
        await world.rest()
        world.api.user_presses(menu, menu.button("troubles"))
        await world.idle()
        assert [row["kinds"] for row in await world.watches(2)][1] == ["trouble"]


async def test_a_forged_button_cannot_reach_another_chats_subscription_or_troubles(platform: Platform) -> None:
    """D1: buttons name what belongs to the chat, and roles are checked again."""
    async with run_world(platform, updates_per_minute=600) as world:
        await watch(world)
        await watch(world, chat_id=99)
        message = await ask(world, "/list", "You watch", chat_id=99)
        foreign = (await world.watches(CHAT))[0]["subscription_id"]
        own = (await world.watches(99))[0]["subscription_id"]
        for data in (
            f"unwatch:{foreign}", f"pool:{own}:trouble", "kind:x:y", "::", "workers", f"kind:{own}:test",
            f"hash:{own}:99", f"dig:{own}:-5", f"workers:{own}:99999999999", "lang:xx", "é" * 30,
        ):  # fmt: skip
            await world.rest()
            world.api.user_presses(message, data)
        await world.idle()
        assert len(await world.watches(CHAT)) == 1
        (row,) = await world.watches(99)
        assert (row["hashrate_percent"], row["digest_min"], row["kinds"]) == (50, 0, [])
        assert (
            await world.platform.pool.fetchval("SELECT count(*) FROM notifier.bot_update WHERE state = 'poison'") == 0
        )


async def test_a_flood_is_told_once_and_then_ignored(platform: Platform) -> None:
    """D1: per-chat limit with one answer; other chats are not touched."""
    async with run_world(platform, updates_per_minute=12) as world:
        for _ in range(40):
            world.api.user_says(CHAT, "/list")
        await world.rest()
        world.api.user_says(CHAT + 1, "/list")
        await world.told(CHAT + 1, "You watch no address")
        await world.told(CHAT, "That was too much at once", timeout_s=20)
        await world.idle()
        texts = world.api.texts(CHAT)
        assert sum("too much" in text for text in texts) == 1
        assert len(texts) <= 7


async def test_a_service_that_is_away_is_said(platform: Platform) -> None:
    """D1: no silence, no trace of the inside."""
    async with run_world(platform) as world:
        await watch(world)
        world.services["rewards"].answers["GetBalance"] = Unavailable("10.1.2.3 refused")
        message = await ask(world, "/balance", "does not answer right now")
        assert "10.1.2.3" not in message.text


async def test_an_enormous_message_is_cut_and_answered(platform: Platform) -> None:
    """D1: 4096 characters of markup do no harm."""
    async with run_world(platform) as world:
        message = await ask(world, "/watch " + "<a href='tg://user?id=1'>&" * 150, "is not an address")
        assert len(message.text) < 500
        assert world.api.refused == []
