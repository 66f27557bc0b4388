"""The notifier's queue on a real PostgreSQL: who is queued, when it is sent, and what two processes make of it."""

import asyncio
import contextlib
import os
import random
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace

import pytest

from notifier import deliveries, queueing, subscriptions
from notifier.channels.interface import Pace, Refused, RetryAfter, Scope, Sent
from notifier.claims import State
from notifier.config import NotifierSettings
from notifier.consumer import NoticeConsumer
from notifier.domain import ACCOUNT_KINDS, POOL_KINDS, ChannelKind, Subscription, wants
from notifier.metrics import Counters, read_standing
from notifier.notices import Kind
from notifier.records import decode
from notifier.sender import Sender, prune
from proto.lodepool.events.v1 import notices_pb2 as pb
from runtime.clock import ManualClock
from runtime.eventlog.consumer import apply_batch
from runtime.eventlog.interface import Record
from runtime.live import Live
from runtime.postgres.migrations import migrate
from runtime.postgres.pool import Pool
from tests.conftest import TestDatabase
from tests.fakes.notice_stream import (
    ALICE,
    BOB,
    COIN,
    FakeChannel,
    block,
    ids,
    offline,
    online,
    payout,
    records,
    trouble,
)
from tests.fakes.waiting import eventually

TELEGRAM = ChannelKind.TELEGRAM
SETTINGS = NotifierSettings(retry_s_min=1.0, retry_s_max=8.0, attempts_max=3)


@dataclass
class World:
    """A notifier without its sockets: a database, a clock that is moved by hand, a channel that keeps what it gets."""

    pool: Pool
    clock: ManualClock
    channel: FakeChannel
    counters: Counters = field(default_factory=Counters)
    live: Live[NotifierSettings] = field(default_factory=lambda: Live(SETTINGS))
    offset: int = 0

    async def subscribe(self, address: str = "1", **said: object) -> int:
        return (await self.subscribe_whole(address, **said)).subscription_id

    async def subscribe_whole(self, address: str, **said: object) -> Subscription:
        wanted = Subscription(channel=TELEGRAM, address=address, **said)  # type: ignore[arg-type]
        async with self.pool.acquire() as connection, connection.transaction():
            made, _ = await subscriptions.create(
                connection, wanted, request_id=os.urandom(8).hex(), now_ms=self.clock.now_ms()
            )
        return made

    async def publish(self, *notices: pb.Notice) -> None:
        consumer = NoticeConsumer(live=self.live, clock=self.clock, counters=self.counters)
        made = [
            Record(
                topic="notices",
                partition=0,
                offset=self.offset + number,
                key=out.key,
                payload=out.payload,
                append_time_ms=0,
            )
            for number, out in enumerate(records(*notices))
        ]
        self.offset += len(made)
        await apply_batch(self.pool, schema="notifier", records=made, apply=consumer.apply)

    def sender(self, channel: FakeChannel | None = None) -> Sender:
        return Sender(
            TELEGRAM,
            channel or self.channel,
            pool=self.pool,
            clock=self.clock,
            live=self.live,
            counters=self.counters,
        )

    @contextlib.asynccontextmanager
    async def sending(self) -> AsyncIterator[Sender]:
        sender = self.sender()
        task = asyncio.create_task(sender.run())
        try:
            yield sender
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def settle(self) -> None:
        """Send until nothing is due at the clock's time."""
        async with self.sending():
            await eventually(self._is_calm, what="an empty queue")

    async def _is_calm(self) -> bool:
        busy = await self.pool.fetchval(
            """
            SELECT count(*) FROM notifier.delivery
            WHERE state = 'sending' OR (state IN ('queued', 'retry') AND due_ms <= $1)
            """,
            self.clock.now_ms(),
        )
        return not busy

    async def states(self) -> dict[str, int]:
        rows = await self.pool.fetch("SELECT state, count(*) AS number FROM notifier.delivery GROUP BY state")
        return {row["state"]: row["number"] for row in rows}

    def now(self, minus_s: float = 0) -> int:
        return self.clock.now_ms() - round(minus_s * 1000)


@pytest.fixture
async def world(database: TestDatabase) -> World:
    await migrate(database.pool, schema="notifier", package="notifier")
    clock = ManualClock()
    return World(pool=database.pool, clock=clock, channel=FakeChannel(clock))


async def test_a_notice_reaches_those_who_want_it_once(world: World) -> None:
    """W: the same record twice changes nothing; other people's accounts are nobody's business."""
    await world.subscribe("1", account=ALICE)
    await world.subscribe("2", account=BOB)
    await world.subscribe("3")
    notices = [offline(1, time_ms=world.now()), block(7, time_ms=world.now()), payout(1, time_ms=world.now())]

    await world.publish(*notices)
    await world.publish(*notices)
    await world.settle()

    told = sorted(
        (message.subscription.address, n.notice_id) for _, message in world.channel.sent for n in message.notices
    )
    assert told == sorted([("1", notices[0].notice_id), ("1", notices[2].notice_id), ("3", notices[1].notice_id)])
    assert world.counters.repeated_total == 3


async def test_an_account_hears_of_blocks_when_it_asks_for_them(world: World) -> None:
    await world.subscribe("1", account=ALICE, kinds=frozenset({Kind.BLOCK_FOUND}))
    await world.publish(block(7, time_ms=world.now()), payout(1, time_ms=world.now()))
    await world.settle()
    assert world.channel.told() == ids([block(7, time_ms=0)])


async def test_quiet_hours_hold_what_is_not_trouble(world: World) -> None:
    # The clock starts at 2023-11-14 22:13:20 UTC: 23:13 in Berlin.
    quiet = {"quiet_start_min": 23 * 60, "quiet_end_min": 7 * 60, "time_zone": "Europe/Berlin"}
    await world.subscribe("1", account=ALICE, **quiet)
    await world.subscribe("2", **quiet)
    await world.publish(offline(1, time_ms=world.now()), trouble(1, time_ms=world.now()))
    await world.settle()
    assert world.channel.told() == ids([trouble(1, time_ms=0)])

    world.clock.advance(7 * 3600 + 46 * 60)
    await world.settle()
    assert len(world.channel.sent) == 1
    world.clock.advance(60)
    await world.settle()
    assert world.channel.told()[1:] == ids([offline(1, time_ms=0)])


async def test_a_digest_is_one_message(world: World) -> None:
    await world.subscribe("1", account=ALICE, digest_min=60)
    sent = [payout(number, time_ms=world.now()) for number in range(3)]
    await world.publish(*sent)
    await world.settle()
    assert world.channel.sent == []

    world.clock.advance(3600)
    await world.settle()
    assert len(world.channel.sent) == 1
    assert world.channel.told() == ids(sent)


async def test_what_heaps_up_becomes_one_message(world: World) -> None:
    await world.subscribe("1", account=ALICE)
    sent = [offline(number, worker=f"rig{number}", time_ms=world.now()) for number in range(30)]
    await world.publish(*sent)
    await world.settle()
    assert len(world.channel.sent) == 1
    assert world.channel.told() == ids(sent)


async def test_within_the_cooldown_a_flapping_worker_is_told_when_it_stays_away(world: World) -> None:
    await world.subscribe("1", account=ALICE, cooldown_s=600)
    await world.publish(offline(1, time_ms=world.now()))
    await world.settle()
    world.clock.advance(60)
    await world.publish(online(1, time_ms=world.now()))
    await world.settle()
    assert len(world.channel.sent) == 2

    for number in range(2, 5):  # off and on again, three times: nothing to say
        world.clock.advance(20)
        await world.publish(offline(number, time_ms=world.now()))
        await world.settle()
        await world.publish(online(number, time_ms=world.now()))
        await world.settle()
    assert len(world.channel.sent) == 2

    world.clock.advance(20)
    await world.publish(offline(9, time_ms=world.now()))
    await world.settle()
    assert len(world.channel.sent) == 2
    world.clock.advance(600)
    await world.settle()
    assert world.channel.told()[2:] == ids([offline(9, time_ms=0)])


async def test_what_failed_is_tried_again_with_the_same_key_and_then_given_up(world: World) -> None:
    await world.subscribe("1", account=ALICE)
    world.channel.answers = lambda _message: RetryAfter(reason="no")
    await world.publish(payout(1, time_ms=world.now()))
    for _ in range(6):
        await world.settle()
        world.clock.advance(10)

    assert len(world.channel.sent) == 3
    assert len({message.key for _, message in world.channel.sent}) == 1
    assert [message.attempt for _, message in world.channel.sent] == [1, 2, 3]
    assert await world.states() == {"dead": 1}

    world.channel.answers = lambda _message: Sent(reference="42")
    async with world.pool.acquire() as connection:
        found = await deliveries.list_page(connection, states=(State.DEAD,), page_size=10)
        assert found[0].last_error == "no"
        assert await deliveries.replay(connection, found[0].delivery_id, now_ms=world.now())
        assert not await deliveries.replay(connection, found[0].delivery_id, now_ms=world.now())
    await world.settle()
    assert await world.states() == {"sent": 1}


async def test_a_time_that_the_channel_names_holds_everything_and_wears_nothing_out(world: World) -> None:
    await world.subscribe("1", account=ALICE)
    await world.subscribe("2", account=ALICE)
    answers = iter([RetryAfter(after_s=30, reason="429", scope=Scope.CHANNEL)] + [Sent()] * 9)
    world.channel.pace = replace(world.channel.pace, concurrent_max=1)
    world.channel.answers = lambda _message: next(answers)
    await world.publish(payout(1, time_ms=world.now()))
    async with world.sending():
        await eventually(lambda: len(world.channel.sent) == 1)
        await eventually(lambda: world.counters.outcomes["telegram", "retry"] == 1)
    world.clock.advance(29)
    async with world.sending():
        await eventually(lambda: world.clock.sleeper_count)
    assert len(world.channel.sent) == 1
    world.clock.advance(2)
    await world.settle()
    assert await world.states() == {"sent": 2}


async def test_a_chat_that_is_gone_is_paused_with_all_it_waits_for(world: World) -> None:
    first = await world.subscribe("1", account=ALICE)
    await world.subscribe("1", account=BOB)
    world.channel.answers = lambda _message: Refused(reason="blocked by the user", pause_subscription=True)
    world.channel.pace = replace(world.channel.pace, target_interval_ms=lambda _address: 1000)
    await world.publish(payout(1, time_ms=world.now()), payout(2, account=BOB, time_ms=world.now()))
    await world.settle()

    assert len(world.channel.sent) == 1
    assert await world.states() == {"dead": 1, "skipped": 1}
    async with world.pool.acquire() as connection:
        assert (await subscriptions.get(connection, first)).pause_reason == "blocked by the user"
        assert await subscriptions.resume_address(connection, TELEGRAM, "1") == 2
        assert not (await subscriptions.get(connection, first)).is_paused


async def test_two_processes_deliver_nothing_twice(world: World) -> None:
    for number in range(60):
        await world.subscribe(str(number + 1), account=ALICE)
    await world.publish(payout(1, time_ms=world.now()), payout(2, time_ms=world.now()))
    other = FakeChannel(world.clock)
    tasks = [asyncio.create_task(world.sender(channel).run()) for channel in (world.channel, other)]

    async def moving() -> bool:
        world.clock.advance(0.05)
        return await world.states() == {"sent": 120}

    await eventually(moving, what="everything sent")
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    told = [
        (message.subscription.address, notice.notice_id)
        for _, message in world.channel.sent + other.sent
        for notice in message.notices
    ]
    assert len(told) == len(set(told)) == 120
    assert world.counters.claims_lost_total == 0


async def test_what_a_dead_process_was_sending_is_taken_over(world: World) -> None:
    await world.subscribe("1", account=ALICE)
    await world.publish(payout(1, time_ms=world.now()))
    world.channel.gate = asyncio.Event()
    task = asyncio.create_task(world.sender().run())
    await eventually(lambda: world.channel.sent)
    frozen = FakeChannel(world.clock)
    second = asyncio.create_task(world.sender(frozen).run())

    # Within the lease it is the first one's.
    await eventually(lambda: world.clock.sleeper_count >= 2)
    world.clock.advance(SETTINGS.lease_s - 1)
    await eventually(lambda: world.clock.sleeper_count >= 2)
    assert frozen.sent == []

    def taken_over() -> bool:
        world.clock.advance(0 if frozen.sent else 0.5)
        return bool(frozen.sent)

    await eventually(taken_over, what="taken over")

    async def is_sent() -> bool:
        return await world.states() == {"sent": 1}

    await eventually(is_sent, what="written down")
    assert frozen.sent[0][1].key == world.channel.sent[0][1].key
    # The first one wakes up: it cannot speak for the message any more, and says so.
    world.channel.gate.set()
    await eventually(lambda: world.counters.claims_lost_total == 1)
    for each in (task, second):
        each.cancel()
    await asyncio.wait([task, second])


async def test_a_process_that_is_told_to_stop_writes_down_what_is_under_way(world: World) -> None:
    await world.subscribe("1", account=ALICE)
    await world.publish(payout(1, time_ms=world.now()))
    world.channel.gate = asyncio.Event()
    task = asyncio.create_task(world.sender().run())
    await eventually(lambda: world.channel.sent)
    task.cancel()
    world.channel.gate.set()
    await asyncio.wait([task])
    assert await world.states() == {"sent": 1}


async def test_stale_conditions_are_not_told_but_money_is(world: World) -> None:
    await world.subscribe("1", account=ALICE)
    old_ms = world.now(minus_s=SETTINGS.stale_s + 1)
    await world.publish(offline(1, time_ms=old_ms), payout(1, time_ms=old_ms))
    await world.settle()
    assert world.channel.told() == ids([payout(1, time_ms=0)])
    assert world.counters.stale_total == 1


async def test_a_record_that_is_no_notice_is_set_aside(world: World) -> None:
    await world.publish(pb.Notice(notice_id="x", coin="litecoin-regtest", time_ms=1))
    assert world.counters.poison_total == 1
    standing = await read_standing(world.pool, now_ms=world.now())
    assert standing.poison_count == 1


async def test_a_block_for_a_hundred_thousand_is_queued_at_once_and_starves_nobody(
    world: World, record_property: Callable[[str, object], None]
) -> None:
    """A block notice for 100,000 chats is queued within 2 s; urgent notices pass those that wait."""
    count = 100_000
    await world.subscribe("1", account=ALICE, kinds=frozenset({Kind.BLOCK_FOUND, Kind.WORKER_OFFLINE}))
    await world.pool.execute(
        """
        INSERT INTO notifier.subscription (
            request_id, channel, address, language, coin, account, worker_pattern, worker_like, kinds, told_kinds,
            hashrate_percent, reject_percent, quiet_start_min, quiet_end_min, time_zone, digest_min, cooldown_s,
            is_paused, pause_reason, create_time_ms
        )
        SELECT 'r' || n, channel, (1000 + n)::text, language, coin, 'rltc1q' || n, worker_pattern, worker_like, kinds,
            told_kinds, hashrate_percent, reject_percent, (n % 48) * 30, (n % 48) * 30 + (n % 2), 'Europe/Berlin',
            digest_min, cooldown_s, is_paused, pause_reason, create_time_ms
        FROM notifier.subscription, generate_series(1, $1) AS n
        """,
        count - 1,
    )
    await world.pool.execute("ANALYZE notifier.subscription")
    notice = block(7, time_ms=world.now())
    payload = notice.SerializeToString()
    start_s = time.perf_counter()
    async with world.pool.acquire() as connection, connection.transaction():
        number = await queueing.take(connection, decode(payload), payload, now_ms=world.now())
        assert number is not None
        queued = await queueing.queue(connection, decode(payload), number, now_ms=world.now(), breakers=())
    elapsed_s = time.perf_counter() - start_s
    assert queued == count
    record_property("queued_in_s", round(elapsed_s, 2))
    assert elapsed_s < 10  # 1.0 s where it was measured; the bound only catches what is not one statement

    # At Telegram's rate: never more than 30 in a second, and an urgent notice passes all that wait.
    world.channel.pace = Pace(per_s=25, burst=5, target_interval_ms=lambda _address: 1000, concurrent_max=30)
    async with world.sending():

        async def after(seconds: float) -> None:
            end_ms = world.now() + round(seconds * 1000)
            while world.now() < end_ms:
                calls = len(world.channel.sent)
                await eventually(lambda: world.clock.sleeper_count, what="the sender to wait")
                world.clock.advance(0.02)
                await asyncio.sleep(0)
                assert len(world.channel.sent) >= calls

        await after(4)
        await world.publish(offline(1, time_ms=world.now()))
        urgent_ms = world.now()
        await after(3)
    sent_ms = [at_ms for at_ms, _ in world.channel.sent]
    assert all(sum(start <= other < start + 1000 for other in sent_ms) <= 30 for start in sent_ms)
    at_ms = next(at_ms for at_ms, message in world.channel.sent if message.notices[0].kind is Kind.WORKER_OFFLINE)
    assert at_ms - urgent_ms <= 2000
    assert len(sent_ms) >= 100


async def test_old_deliveries_are_pruned_and_what_waits_is_not(world: World) -> None:
    await world.subscribe("1", account=ALICE)
    await world.publish(payout(1, time_ms=world.now()))
    await world.settle()
    world.clock.advance(86_400)
    await world.publish(payout(2, time_ms=world.now()))
    world.clock.advance(29 * 86_400 + 1)
    assert await prune(world.pool, now_ms=world.now(), keep_days=30) == 1
    assert await world.states() == {"queued": 1}
    assert await world.pool.fetchval("SELECT count(*) FROM notifier.notice") == 1


async def test_the_statement_and_the_rule_agree(world: World) -> None:
    """Whom SQL queues is whom domain.wants names, for subscriptions and notices made at random from a seed."""
    rand = random.Random(20261121)
    names = ["", "rig1", "rig_1", "rigx1", "100%", "a\\b", "Риг\n2"]
    patterns = ["", "*", "rig*", "rig_1", "*1", "100%", "a\\b", "Риг*", "x*"]
    kinds = sorted(set(Kind) - {Kind.TEST})
    made: list[Subscription] = []
    for number in range(150):
        account = rand.choice(["", ALICE, BOB])
        fitting = ACCOUNT_KINDS | (POOL_KINDS - {Kind.TROUBLE}) if account else POOL_KINDS
        chosen = frozenset(kind for kind in rand.sample(kinds, rand.randint(0, 4)) if kind in fitting)
        said = {
            "account": account,
            "kinds": chosen,
            "coin": rand.choice(["", COIN, "litecoin"]),
            "worker_pattern": rand.choice(patterns),
            "hashrate_percent": rand.choice([10, 50, 80]),
            "reject_percent": rand.choice([2, 5, 50]),
            "is_paused": rand.random() < 0.1,
        }
        made.append(await world.subscribe_whole(str(number + 1), **said))
    notices = []
    for number in range(120):
        account, name, at_ms = rand.choice([ALICE, BOB]), rand.choice(names), world.now()
        low = pb.HashrateLow(hps=rand.choice([1, 9, 49, 79, 2**62]), usual_hps=rand.choice([10, 100, 2**62]))
        if rand.random() < 0.5:
            low.worker = name
        high = pb.RejectsHigh(worker=name, reason="stale", percent_hundredths=rand.choice([199, 200, 500, 4999]))
        base = pb.Notice(notice_id=f"n{number}", coin=COIN, time_ms=at_ms, account=account)
        notices.append(
            rand.choice(
                [
                    offline(number, account=account, worker=name, time_ms=at_ms),
                    online(number, account=account, worker=name, time_ms=at_ms),
                    block(number, time_ms=at_ms, kind=rand.choice([1, 2, 3])),
                    payout(number, account=account, time_ms=at_ms, kind=rand.choice([1, 2, 3, 4])),
                    trouble(number, time_ms=at_ms),
                    merged(base, pb.Notice(hashrate_low=low)),
                    merged(base, pb.Notice(rejects_high=high)),
                ]
            )
        )
    await world.publish(*notices)
    rows = await world.pool.fetch(
        "SELECT notice_id, subscription_id FROM notifier.delivery JOIN notifier.notice USING (notice_no)"
    )
    queued = {(row["notice_id"], row["subscription_id"]) for row in rows}
    expected = {
        (notice.notice_id, each.subscription_id)
        for notice in notices
        for each in made
        if wants(each, decode(notice.SerializeToString()))
    }
    assert queued == expected
    assert len(expected) > 500


def merged(*parts: pb.Notice) -> pb.Notice:
    whole = pb.Notice()
    for part in parts:
        whole.MergeFrom(part)
    return whole
