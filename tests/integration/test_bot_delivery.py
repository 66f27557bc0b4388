"""The Telegram bot when things go wrong: limits, cut connections, killed processes, blocked chats, webhooks."""

import asyncio
import random
import time

import aiohttp
import pytest

from notifier import bot_storage
from notifier.bot import TelegramBot
from notifier.bot_calls import DOUBTFUL_MARK, text_message
from notifier.bot_inbox import SECRET_HEADER, webhook_secret
from notifier.channels.interface import Message, RetryAfter, Scope
from notifier.domain import ChannelKind, Subscription
from notifier.notices import Notice, WorkerOffline
from runtime.platform import Platform
from runtime.postgres.pool import DatabaseUnavailable
from tests.fakes.bot_api import TOKEN
from tests.fakes.bot_world import ADDRESS, POOL, START_MS, BotWorld, run_world
from tests.fakes.waiting import eventually

CHAT = 4242


def notice(chat_id: int = CHAT, *, key: str = "k1", attempt: int = 1, worker: str = "rig") -> Message:
    event = WorkerOffline(worker=worker, last_share_time_ms=START_MS, expected_interval_ms=15_000)
    told = Notice(notice_id="n1", coin="litecoin-regtest", time_ms=START_MS, account=ADDRESS, event=event)
    subscription = Subscription(channel=ChannelKind.TELEGRAM, address=str(chat_id), account=ADDRESS)
    return Message(key=key, subscription=subscription, notices=(told,), attempt=attempt)


async def test_retry_after_is_kept_to_and_the_answer_comes_once(platform: Platform) -> None:
    """P3: 429 with retry_after holds the chat for that long."""
    async with run_world(platform) as world:
        world.api.fail("429", method="sendMessage", retry_after=2)
        start_s = time.monotonic()
        world.api.user_says(CHAT, "/list")
        await world.told(CHAT, "You watch no address")
        await world.idle()
        assert time.monotonic() - start_s >= 2
        assert len(world.api.texts(CHAT)) == 1
        counters = world.bot._counters
        assert (counters.calls["wait"], counters.calls["sent"], counters.updates["done"]) == (1, 1, 1)


async def test_two_chats_refused_at_once_hold_every_chat(platform: Platform) -> None:
    """P3: a limit that is the bot's, not one chat's, holds notices and answers of all."""
    async with run_world(platform) as world:
        channel = world.bot.channel
        world.api.fail("429", method="sendMessage", retry_after=3, count=2)
        first, second = await channel.send(notice(1)), await channel.send(notice(2))
        assert isinstance(first, RetryAfter)
        assert isinstance(second, RetryAfter)
        assert (first.scope, second.scope) == (Scope.TARGET, Scope.CHANNEL)
        assert (first.after_s, second.after_s) == (3.0, 3.0)


async def test_telegrams_limits_are_never_exceeded(platform: Platform) -> None:
    """P3: 30 a second, one a second to a chat: not a single refusal with 40 chats at once."""
    async with run_world(platform) as world:
        world.api.has_limits = True
        for chat in range(1, 41):
            world.api.user_says(chat, "/list")
            world.api.user_says(chat, "/help")
        await eventually(lambda: len(world.api.messages) == 80, timeout_s=30, what="80 answers")
        assert world.api.refused == []
        for chat in range(1, 41):
            assert "no address" in world.api.texts(chat)[0]


@pytest.mark.parametrize("kind", ["500", "cut before"])
async def test_an_answer_that_failed_is_sent_again(platform: Platform, kind: str) -> None:
    """P3: nothing is lost; a server error says that nothing was sent, so there is no mark."""
    async with run_world(platform) as world:
        world.api.fail(kind, method="sendMessage")
        world.api.user_says(CHAT, "/list")
        await world.told(CHAT, "You watch no address")
        await world.idle()
        (text,) = world.api.texts(CHAT)
        assert text.startswith(DOUBTFUL_MARK) == (kind == "cut before")


async def test_an_answer_whose_receipt_was_lost_comes_once_more_with_a_mark(platform: Platform) -> None:
    """P3: the one case that doubles: Telegram took it and the connection was cut before it said so."""
    async with run_world(platform) as world:
        world.api.fail("cut after", method="sendMessage")
        world.api.user_says(CHAT, "/list")
        await eventually(lambda: len(world.api.texts(CHAT)) == 2)
        await world.idle()
        first, second = world.api.texts(CHAT)
        assert second == DOUBTFUL_MARK + first


async def test_a_notice_carries_the_mark_only_when_it_may_have_arrived(platform: Platform) -> None:
    """P3: the channel of notices tells a failure from a doubt, also after a restart."""
    async with run_world(platform) as world:
        channel = world.bot.channel
        world.api.fail("500", method="sendMessage")
        assert isinstance(await channel.send(notice(key="a")), RetryAfter)
        await world.send(notice(key="a", attempt=2))
        world.api.fail("cut after", method="sendMessage")
        assert isinstance(await channel.send(notice(key="b")), RetryAfter)
        await world.send(notice(key="b", attempt=2))
        await world.send(notice(key="c", attempt=2))
        marks = [text.startswith(DOUBTFUL_MARK) for text in world.api.texts(CHAT)]
        assert marks == [False, False, True, True]


async def test_a_workers_name_in_a_notice_is_escaped(platform: Platform) -> None:
    """P3: HTML in a name is shown, not obeyed."""
    async with run_world(platform) as world:
        await world.send(notice(worker="<a href='x'>&amp;</b>"))
        assert "<a href='x'>&amp;</b>" in world.api.last(CHAT).text


@pytest.mark.parametrize("is_told", [True, False])
async def test_a_chat_that_blocks_the_bot_is_paused_and_resumed_by_start(platform: Platform, is_told: bool) -> None:
    """P3: told by Telegram, or learned from the refusal."""
    async with run_world(platform) as world:
        world.api.user_says(CHAT, f"/watch {ADDRESS}")
        await world.told(CHAT, "I watch")
        world.api.user_blocks(CHAT, is_told=is_told)
        if not is_told:
            world.api.user_says(CHAT, "/list")
        await eventually(lambda: paused(world), what="a pause")
        assert (await world.watches(CHAT))[0]["pause_reason"] == "blocked by the user"
        world.api.blocked.clear()
        world.api.user_says(CHAT, "/start")
        await world.told(CHAT, "Addresses you watch: 1")
        assert not await paused(world)


async def paused(world: BotWorld) -> bool:
    return bool((await world.watches(CHAT))[0]["is_paused"])


async def test_a_notice_to_a_chat_that_is_gone_pauses_its_subscription(platform: Platform) -> None:
    """P3: 403 and chat not found say that nothing will ever arrive; the group's new id is used."""
    async with run_world(platform) as world:
        channel = world.bot.channel
        for kind in ("403", "chat not found"):
            world.api.fail(kind, method="sendMessage")
            outcome = await channel.send(notice())
            assert outcome.pause_subscription


async def test_a_notice_follows_its_group_to_the_new_id(platform: Platform) -> None:
    """P3: a group that has become a supergroup misses nothing, and is not asked at its old id again."""
    async with run_world(platform) as world:
        world.api.fail("moved", method="sendMessage", chat_id=-7, new_chat_id=-1007)
        await world.send(notice(-7))
        await world.send(notice(-7, key="k2"))
        assert [message.chat_id for message in world.api.messages] == [-1007, -1007]


async def test_malformed_updates_are_set_aside_and_the_next_one_is_answered(platform: Platform) -> None:
    """P3: an update that cannot be read stops nobody."""
    async with run_world(platform) as world:
        world.api.malformed({"message": {"chat": {"id": CHAT, "type": "private"}, "text": "no id"}})
        world.api.malformed({"message": "what?"})
        world.api.malformed({"something_new": {"x": 1}})
        world.api.malformed({"callback_query": {"id": 5, "from": []}})
        world.api.user_says(CHAT + 1, "/list")
        await world.told(CHAT + 1, "You watch no address")
        world.api.user_says(CHAT, "/list")
        await world.told(CHAT, "You watch no address", timeout_s=20)
        await world.idle()
        rows = await platform.pool.fetch("SELECT state, error FROM notifier.bot_update ORDER BY update_id")
        assert [row["state"] for row in rows].count("done") >= 3
        assert {row["state"] for row in rows} == {"done", "poison"}
        assert all(row["error"] for row in rows if row["state"] == "poison")


async def test_a_second_process_does_not_deal_with_an_update_again(platform: Platform) -> None:
    """P3: an update that Telegram repeats after a restart is known by its number."""
    async with run_world(platform) as world:
        world.api.user_says(CHAT, f"/watch {ADDRESS}")
        await world.told(CHAT, "I watch")
        await world.idle()
        await world.stop()
        world.api._pending.insert(
            0,
            {
                "update_id": 1000,
                "message": {
                    "message_id": 1,
                    "date": 1,
                    "chat": {"id": CHAT, "type": "private"},
                    "from": {"id": CHAT, "is_bot": False, "first_name": "x"},
                    "text": f"/watch {ADDRESS}",
                },
            },
        )
        world.start()
        world.api.user_says(CHAT, "/list")
        await world.told(CHAT, "You watch")
        await world.idle()
        assert len(await world.watches(CHAT)) == 1
        assert len(world.api.texts(CHAT)) == 2


async def test_an_update_is_kept_before_it_is_confirmed(platform: Platform) -> None:
    """P3: killed in the middle of an update, the next process deals with it."""
    async with run_world(platform) as world:
        world.services["miners"].is_slow = True
        world.api.user_says(CHAT, f"/watch {ADDRESS}")
        await eventually(lambda: world.services["miners"].requests("ListWorkers"), what="the bot in the middle")
        await world.kill()
        assert await world.watches(CHAT) == []
        world.services["miners"].is_slow = False
        world.start()
        await world.told(CHAT, "I watch")
        await world.idle()
        assert len(await world.watches(CHAT)) == 1
        assert len(world.api.texts(CHAT)) == 1


async def test_a_call_cut_off_with_its_process_is_made_again_after_its_lease(platform: Platform) -> None:
    """P3: a lease keeps two processes from sending at once; what it leaves behind is doubtful."""
    async with run_world(platform, start=False) as world:
        call = text_message(CHAT, "hello")
        async with platform.pool.acquire() as connection:
            await bot_storage.put_calls(connection, 7, [call], now_ms=1000)
            (taken,) = await bot_storage.take_calls(connection, not_chats=[], count_max=5, now_ms=1000, lease_ms=500)
            assert not taken.is_doubtful
            assert not await bot_storage.take_calls(connection, not_chats=[], count_max=5, now_ms=1499, lease_ms=500)
        world.start()
        await world.told(CHAT, DOUBTFUL_MARK + "hello")


async def test_webhook_takes_only_what_shows_the_secret(platform: Platform) -> None:
    """P3: the secret header; answers 200 only for what is kept."""
    with_port = await free_port()
    url = f"http://127.0.0.1:{with_port}/telegram"
    settings = {"mode": "webhook", "webhook_url": url, "webhook_port": with_port}
    async with run_world(platform, **settings) as world, aiohttp.ClientSession() as http:
        world.api.user_says(CHAT, "/list")
        await world.told(CHAT, "You watch no address")
        assert world.api.webhook_tries == 1
        update = {"update_id": 5, "message": {}}
        for headers in ({}, {SECRET_HEADER: "wrong"}, {SECRET_HEADER: webhook_secret(TOKEN + "x")}):
            async with http.post(url, json=update, headers=headers) as response:
                assert response.status == 403
        right = {SECRET_HEADER: webhook_secret(TOKEN)}
        async with http.post(url, data=b"{", headers=right) as response:
            assert response.status == 400
        async with http.post(url, data=b"x" * 2_000_000, headers=right) as response:
            assert response.status == 413
        async with http.post(f"http://127.0.0.1:{with_port}/other", json=update, headers=right) as response:
            assert response.status == 404
        assert await world.kept() == {1000}


async def test_polling_ends_a_webhook_that_was_set_before(platform: Platform) -> None:
    """P3: changing the mode is a restart and nothing else."""
    async with run_world(platform, start=False) as world:
        world.api._webhook = {"url": "http://127.0.0.1:1/", "secret": ""}
        world.start()
        world.api.user_says(CHAT, "/list")
        await world.told(CHAT, "You watch no address")


@pytest.mark.parametrize("seed", [20_261_121, 7, 8])
async def test_chaos_loses_nothing_and_doubles_only_what_is_marked(platform: Platform, seed: int) -> None:
    """P3: seeded faults and killed processes; each question is answered, in order, and once but for marked doubts."""
    chance = random.Random(seed)
    chats = range(1, 9)
    async with run_world(platform, updates_per_minute=600) as world:
        asked: dict[int, list[str]] = {chat: [] for chat in chats}
        for round_number in range(12):
            for chat in chats:
                if chance.random() < 0.5:
                    word = f"word{chat}x{round_number}x"
                    asked[chat].append(word)
                    world.api.user_says(chat, f"/watch {word}")
            for _ in range(chance.randrange(3)):
                kind = chance.choice(["429", "500", "cut before", "cut after"])
                world.api.fail(kind, method="sendMessage", retry_after=1)
            await asyncio.sleep(chance.random() * 0.3)
            if round_number % 4 == 3:
                await world.kill()
                world.start()
        await platform.pool.execute("UPDATE notifier.bot_call SET lease_until_ms = 0 WHERE state = 'sending'")
        await eventually(
            lambda: all(words and words[-1] in "".join(world.api.texts(chat)) for chat, words in asked.items()),
            timeout_s=60,
            what="the last answers",
        )
        await world.idle()
        for chat, words in asked.items():
            texts = world.api.texts(chat)
            for word in words:
                found = [text for text in texts if word in text]
                assert found, f"{word} was lost"
                assert all(text.startswith(DOUBTFUL_MARK) for text in found[1:]), found
            firsts = list(dict.fromkeys(word for text in texts for word in words if word in text))
            assert firsts == words
        assert await platform.pool.fetchval("SELECT count(*) FROM notifier.bot_call WHERE state = 'dead'") == 0


async def test_two_processes_that_both_think_they_are_the_one_answer_once_and_in_order(platform: Platform) -> None:
    """P3: a leader that was frozen and one that has taken over: rows decide, not clocks."""
    async with run_world(platform, updates_per_minute=600) as world:
        other = TelegramBot(TOKEN, settings=world.settings, pool_settings=POOL, platform=platform)
        task = asyncio.create_task(other.run())
        try:
            words: dict[int, list[str]] = {chat: [] for chat in range(1, 11)}
            for number in range(4):
                for chat, asked in words.items():
                    asked.append(f"word{chat}x{number}x")
                    world.api.user_says(chat, f"/watch {asked[-1]}")
                await asyncio.sleep(0.05)
            await eventually(lambda: len(world.api.messages) >= 40, timeout_s=60, what="40 answers")
            await world.idle()
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await other.channel.close()
        for chat, asked in words.items():
            found = [next(word for word in asked if word in text) for text in world.api.texts(chat)]
            assert found == asked


async def test_a_webhook_is_refused_while_the_database_is_away_and_repeated_by_telegram(platform: Platform) -> None:
    """P3: 200 only for what is kept."""
    port = await free_port()
    url = f"http://127.0.0.1:{port}/"
    settings = {"mode": "webhook", "webhook_url": url, "webhook_port": port}
    async with run_world(platform, **settings) as world:
        await eventually(lambda: world.api._webhook, what="the webhook to be announced")
        keep, tries = world.bot._inbox.keep, []

        async def away(updates: list[object]) -> int | None:
            tries.append(updates)
            if len(tries) < 3:
                raise DatabaseUnavailable("away")
            return await keep(updates)

        world.bot._inbox.keep = away
        world.api.user_says(CHAT, "/list")
        await world.told(CHAT, "You watch no address")
        await world.idle()
        assert world.api.webhook_tries == 3
        assert len(world.api.texts(CHAT)) == 1


async def free_port() -> int:
    server = await asyncio.start_server(lambda _r, w: w.close(), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    return port
