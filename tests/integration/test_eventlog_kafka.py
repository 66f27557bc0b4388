"""What only Kafka has: brokers that fail one by one, groups that share partitions, TLS and SASL, retention, topics."""

import asyncio
import itertools
import random
import subprocess
import tempfile
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from runtime.clock import SystemClock
from runtime.errors import UserError
from runtime.eventlog.consumer import consume
from runtime.eventlog.interface import EventLogUnavailable, OutRecord, Record, Subscription
from runtime.eventlog.kafka import KafkaEventLog
from runtime.eventlog.kafka_publisher import RecordTooBig
from runtime.eventlog.kafka_settings import KafkaSettings, SaslSettings, TlsSettings, TopicSettings
from runtime.eventlog.kafka_subscription import PositionOutOfRange
from runtime.eventlog.positions import POSITION_TABLE
from runtime.postgres.pool import Pool, acquired
from runtime.process import free_port, keep_running
from tests.fakes.kafka_cluster import KafkaCluster, quick_settings, require_kafka
from tests.fakes.waiting import eventually

TOPIC = "letters"
SCHEMA = "reader"
LIMIT_S = 40.0


@pytest.fixture
async def books(database) -> Pool:
    """The consumer's own database: its position and its effects."""
    async with acquired(database.pool) as connection:
        await connection.execute(f"CREATE SCHEMA {SCHEMA}")
        await connection.execute(POSITION_TABLE.format(schema=SCHEMA))
        await connection.execute(f"CREATE TABLE {SCHEMA}.effect (place bigserial, log_partition int, log_offset bigint,"
                                 " key bytea, payload bytea, reader text)")  # fmt: skip
    return database.pool


@pytest.fixture
def settings(kafka_server: KafkaCluster) -> KafkaSettings:
    assert kafka_server.nodes[0].process is not None
    return quick_settings(kafka_server, prefix=f"t.{uuid.uuid4().hex}.")


@asynccontextmanager
async def opened(settings: KafkaSettings) -> AsyncIterator[KafkaEventLog]:
    log = KafkaEventLog(settings)
    try:
        yield log
    finally:
        await log.close()


async def from_start(_partition: int) -> int:
    return 0


async def end_offsets(settings: KafkaSettings) -> dict[int, int]:
    """Return where each partition ends, as the broker tells."""
    places = [TopicPartition(settings.name_of(TOPIC), number) for number in range(settings.topic.partitions)]
    consumer = AIOKafkaConsumer(**settings.client_options())
    await consumer.start()
    try:
        ends = await consumer.end_offsets(places)
    finally:
        await consumer.stop()
    return {place.partition: ends[place] for place in places}


async def read(subscription: Subscription, count: int) -> list[Record]:
    records: list[Record] = []
    async with asyncio.timeout(LIMIT_S):
        while len(records) < count:
            records += await subscription.poll(records_max=100, timeout_s=1)
    return records


class Load:
    """Publishers, each with a key and numbers of its own, that go on until `stop`; a failed publish is tried again."""

    def __init__(self, log: KafkaEventLog, *, publisher_count: int, seed: int) -> None:
        self.acknowledged = [0] * publisher_count
        self.failure_count = 0
        self._log = log
        self._randomness = random.Random(seed)
        self._stopping = False
        self._tasks = [asyncio.create_task(self._publish(number)) for number in range(publisher_count)]

    async def _publish(self, publisher: int) -> None:
        key = f"key {publisher}".encode()
        number = 0
        while not self._stopping:
            size = self._randomness.randint(1, 5)
            records = [OutRecord(key=key, payload=str(number + i).encode()) for i in range(size)]
            try:
                await self._log.publish(TOPIC, records)
            except EventLogUnavailable:
                self.failure_count += 1
                await asyncio.sleep(0.02)
            else:
                number += size
                self.acknowledged[publisher] = number

    async def progress(self, count: int = 60) -> None:
        """Return once every publisher has had `count` more records acknowledged."""
        goals = [number + count for number in self.acknowledged]
        await eventually(
            lambda: all(number >= goal for number, goal in zip(self.acknowledged, goals, strict=True)),
            timeout_s=LIMIT_S, what=f"{count} more records of each publisher",
        )  # fmt: skip

    async def stop(self) -> None:
        """Let each publisher end its publish; an unknown outcome is settled by trying again."""
        self._stopping = True
        await asyncio.gather(*self._tasks)


class Readers:
    """Consumers of one group that come and go."""

    def __init__(self, settings: KafkaSettings, books: Pool) -> None:
        self._settings = settings
        self._books = books
        self._running: dict[str, asyncio.Task[None]] = {}

    def join(self, name: str) -> None:
        self._running[name] = asyncio.create_task(
            keep_running(name, lambda: self._consume(name), clock=SystemClock(), backoff_s_min=0.01)
        )

    async def leave(self, name: str) -> None:
        task = self._running.pop(name)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    async def leave_all(self) -> None:
        for name in list(self._running):
            await self.leave(name)

    async def _consume(self, name: str) -> None:
        async def store(connection, records: Sequence[Record]) -> None:
            rows = [(record.partition, record.offset, record.key, record.payload, name) for record in records]
            query = f"INSERT INTO {SCHEMA}.effect (log_partition, log_offset, key, payload, reader) VALUES ($1, $2, $3, $4, $5)"
            await connection.executemany(query, rows)

        async with opened(self._settings) as log:
            await consume(log, self._books, topic=TOPIC, group="g", schema=SCHEMA, apply=store, records_max=20)

    async def applied_by(self, name: str) -> int:
        async with acquired(self._books) as connection:
            return await connection.fetchval(f"SELECT count(*) FROM {SCHEMA}.effect WHERE reader = $1", name)

    async def progress_of(self, name: str, count: int = 20) -> None:
        """Return once a reader has applied `count` more records."""
        goal = await self.applied_by(name) + count

        async def there() -> bool:
            return await self.applied_by(name) >= goal

        await eventually(there, timeout_s=LIMIT_S, what=f"{count} more records applied by {name}")


async def assert_all_applied_once(books: Pool, load: Load) -> None:
    """D1, D3: everything acknowledged is there, each stored record took effect once, in the order of its key."""

    async def stored_to_the_end() -> bool:
        query = f"SELECT key, count(DISTINCT payload) AS payload_count FROM {SCHEMA}.effect GROUP BY key"
        async with acquired(books) as connection:
            counts = {row["key"]: row["payload_count"] for row in await connection.fetch(query)}
        return all(counts.get(f"key {number}".encode(), 0) >= count for number, count in enumerate(load.acknowledged))

    await eventually(stored_to_the_end, timeout_s=LIMIT_S, what="everything acknowledged being applied")
    async with acquired(books) as connection:
        rows = await connection.fetch(f"SELECT * FROM {SCHEMA}.effect ORDER BY place")
    places = [(row["log_partition"], row["log_offset"]) for row in rows]
    assert len(places) == len(set(places)), "a record took effect twice"
    for partition in {partition for partition, _ in places}:
        offsets = [offset for where, offset in places if where == partition]
        assert offsets == list(range(len(offsets))), "a record was left out or came in another order"
    for number, count in enumerate(load.acknowledged):
        own = [int(row["payload"]) for row in rows if row["key"] == f"key {number}".encode()]
        # A publish that failed and was tried again may be there twice; its first places are in order.
        assert list(dict.fromkeys(own)) == list(range(count))
        if not load.failure_count:
            assert own == list(range(count))


async def test_a_broker_killed_under_load_loses_nothing_and_everything_is_applied_once(
    kafka_server: KafkaCluster, settings: KafkaSettings, books: Pool
) -> None:
    """D1, D3: kill -9 of the only broker, several publishers and partitions."""
    readers = Readers(settings, books)
    async with opened(settings) as log:
        load = Load(log, publisher_count=5, seed=1)
        readers.join("one")
        await load.progress()
        kafka_server.kill(kafka_server.nodes[0])
        await eventually(lambda: load.failure_count > 0, timeout_s=LIMIT_S, what="publishers noticing")
        await kafka_server.restart(kafka_server.nodes[0])
        await load.progress()
        await load.stop()
        await assert_all_applied_once(books, load)
    await readers.leave_all()


async def test_two_consumers_that_join_and_leave_under_load_apply_each_record_once(
    settings: KafkaSettings, books: Pool
) -> None:
    """D3: partitions change hands while records are polled, applied and published."""
    readers = Readers(settings, books)
    async with opened(settings) as log:
        load = Load(log, publisher_count=6, seed=2)
        readers.join("one")
        await readers.progress_of("one")
        for _ in range(2):
            readers.join("two")
            await readers.progress_of("two")
            await readers.leave("one")
            await readers.progress_of("two")
            readers.join("one")
            await readers.progress_of("one")
            await readers.leave("two")
            await readers.progress_of("one")
        await load.stop()
        await assert_all_applied_once(books, load)
        assert load.failure_count == 0
    await readers.leave_all()


async def test_polls_of_members_that_come_and_go_neither_repeat_nor_skip_a_record(settings: KafkaSettings) -> None:
    """D3: also without the consumer's transaction, what was polled before a partition was taken away is dropped."""
    settings = msgspec.structs.replace(settings, session_timeout_s=20)
    positions = dict.fromkeys(range(settings.topic.partitions), 0)
    polled_count = {"one": 0, "two": 0}

    async def position(partition: int) -> int:
        await asyncio.sleep(0)
        return positions[partition]

    async def member(name: str, log: KafkaEventLog) -> None:
        subscription = await log.subscribe(TOPIC, group="g", load_position=position)
        try:
            for turn in itertools.count(1):
                try:
                    records = await subscription.poll(records_max=7, timeout_s=1)
                except EventLogUnavailable:
                    continue  # a busy machine: the member begins anew from the positions
                for record in records:
                    assert record.offset == positions[record.partition]
                    positions[record.partition] += 1
                    polled_count[name] += 1
                if turn % 10 == 0:
                    await subscription.rewind()
        finally:
            await subscription.close()

    async def progress_of(name: str) -> None:
        goal = polled_count[name] + 50

        def is_there() -> bool:
            for task in running.values():
                if task.done():
                    task.result()
            return polled_count[name] >= goal

        await eventually(is_there, timeout_s=LIMIT_S, what=f"50 more records polled by {name}")

    async def leave(name: str) -> None:
        task = running.pop(name)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    running: dict[str, asyncio.Task[None]] = {}
    async with opened(settings) as log, opened(settings) as log_of_one, opened(settings) as log_of_two:
        load = Load(log, publisher_count=6, seed=4)
        running["one"] = asyncio.create_task(member("one", log_of_one))
        for _ in range(3):
            running["two"] = asyncio.create_task(member("two", log_of_two))
            await progress_of("two")
            await progress_of("one")
            await leave("two")
            await progress_of("one")
        await load.stop()
        # Not what was acknowledged: a publish that was not acknowledged in time is there all the same, and again.
        ends = await end_offsets(settings)
        await eventually(
            lambda: running["one"].done() or positions == ends,
            timeout_s=LIMIT_S,
            what=f"everything up to {ends} being polled",
        )
        await leave("one")
    assert sum(ends.values()) >= sum(load.acknowledged)
    if not load.failure_count:
        assert sum(ends.values()) == sum(load.acknowledged)


async def test_progress_covers_exactly_the_partitions_a_member_has_now(settings: KafkaSettings) -> None:
    """D3, R3: members join and leave; all partitions are always somebody's, and nobody tells of another's."""
    async with opened(settings) as log_of_one, opened(settings) as log_of_two:
        one = await log_of_one.subscribe(TOPIC, group="g", load_position=from_start)
        two = await log_of_two.subscribe(TOPIC, group="g", load_position=from_start)
        everything = set(range(settings.topic.partitions))

        async def progress(*members: Subscription) -> list[set[int]]:
            await asyncio.gather(*(member.poll(records_max=10, timeout_s=0.05) for member in members))
            return [set(await member.progress()) for member in members]

        async def has_all() -> bool:
            return await progress(one) == [everything]

        async def share_all() -> bool:
            first, second = await progress(one, two)
            return bool(first) and bool(second) and not first & second and first | second == everything

        await eventually(has_all, timeout_s=LIMIT_S, what="one member reading everything")
        await eventually(share_all, timeout_s=LIMIT_S, what="two members sharing the partitions")
        await two.close()
        await eventually(has_all, timeout_s=LIMIT_S, what="one member reading everything again")


async def test_a_partition_whose_position_is_not_loaded_is_not_in_the_progress(settings: KafkaSettings) -> None:
    """D3, R3: the positions come from a database that may be slow."""
    may_load = asyncio.Event()

    async def position(partition: int) -> int:
        if partition == 1:
            await may_load.wait()
        return 0

    async with opened(settings) as log:
        subscription = await log.subscribe(TOPIC, group="g", load_position=position)
        polling = asyncio.create_task(subscription.poll(records_max=10, timeout_s=1))

        async def tells_of_the_first() -> bool:
            return set(await subscription.progress()) == {0}

        await eventually(tells_of_the_first, timeout_s=LIMIT_S, what="the first partition's progress")
        may_load.set()
        await polling

        async def tells_of_all() -> bool:
            return set(await subscription.progress()) == set(range(settings.topic.partitions))

        await eventually(tells_of_all, timeout_s=LIMIT_S, what="the progress of all")


async def test_one_of_three_brokers_killed_leaves_publishing_and_consuming_going_on(
    books: Pool,
) -> None:
    """D1, D3: two copies acknowledge; the third broker comes back and another one goes."""
    require_kafka()
    cluster = KafkaCluster(directory=Path(tempfile.mkdtemp(prefix="lp-kafka-")), node_count=3)
    try:
        await cluster.start()
        settings = quick_settings(cluster, prefix="three.", partitions=6)
        readers = Readers(settings, books)
        async with opened(settings) as log:
            load = Load(log, publisher_count=6, seed=3)
            readers.join("one")
            await load.progress()
            await readers.progress_of("one")
            cluster.kill(cluster.nodes[0])
            await load.progress()
            await cluster.restart(cluster.nodes[0])
            await load.progress()
            cluster.kill(cluster.nodes[1])
            await load.progress()
            await readers.progress_of("one")
            await load.stop()
            await assert_all_applied_once(books, load)
        await readers.leave_all()
    finally:
        await cluster.stop()


async def test_a_publish_to_a_broker_that_never_answers_ends_in_time() -> None:
    """D1: an outage is told, never waited out."""
    silent = await asyncio.start_server(lambda _reader, _writer: asyncio.sleep(3600), "127.0.0.1", 0)
    port = silent.sockets[0].getsockname()[1]
    settings = KafkaSettings(bootstrap_servers=(f"127.0.0.1:{port}",), publish_timeout_s=1, request_timeout_s=1)
    async with opened(settings) as log, asyncio.timeout(8):
        with pytest.raises(EventLogUnavailable):
            await log.publish(TOPIC, [OutRecord(key=b"k", payload=b"p")])
        subscription = await log.subscribe(TOPIC, group="g", load_position=from_start)
        with pytest.raises(EventLogUnavailable):
            await subscription.poll(records_max=1, timeout_s=1)
    silent.close()


async def test_a_refused_connection_is_told_at_once() -> None:
    settings = KafkaSettings(bootstrap_servers=(f"127.0.0.1:{free_port()}",))
    async with opened(settings) as log, asyncio.timeout(5):
        with pytest.raises(EventLogUnavailable):
            await log.publish(TOPIC, [OutRecord(key=b"k", payload=b"p")])


async def test_a_publish_larger_than_a_batch_arrives_whole_and_in_order(settings: KafkaSettings) -> None:
    payloads = [random.Random(seed).randbytes(900_000) for seed in range(12)]
    async with opened(settings) as log:
        await log.publish(TOPIC, [OutRecord(key=b"k", payload=payload) for payload in payloads])
        subscription = await log.subscribe(TOPIC, group="g", load_position=from_start)
        assert [record.payload for record in await read(subscription, 12)] == payloads


async def test_a_record_of_the_largest_size_passes_and_a_larger_one_is_refused(settings: KafkaSettings) -> None:
    async with opened(settings) as log:
        with pytest.raises(RecordTooBig) as refused:
            await log.publish(TOPIC, [OutRecord(key=b"k", payload=bytes(settings.batch_bytes_max))])
        largest = bytes(refused.value.size_bytes_max - 1)
        await log.publish(TOPIC, [OutRecord(key=b"k", payload=largest)])
        subscription = await log.subscribe(TOPIC, group="g", load_position=from_start)
        assert [record.payload for record in await read(subscription, 1)] == [largest]


async def test_a_topic_is_made_with_its_partitions_copies_and_retention(settings: KafkaSettings) -> None:
    special = TopicSettings(partitions=5, replication_factor=1, min_insync_replicas=1, retention_hours=48)
    settings = msgspec.structs.replace(settings, topics={"special": special})
    async with opened(settings) as log:
        await log.publish("special", [OutRecord(key=b"k", payload=b"p")])
        await log.publish("other", [OutRecord(key=b"k", payload=b"p")])
    async with administration(settings) as admin:
        names = [settings.name_of(name) for name in ("special", "other")]
        found = {topic["topic"]: len(topic["partitions"]) for topic in await admin.describe_topics(names)}
        assert found == {names[0]: 5, names[1]: 3}
        (answer,) = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, names[0])])
        configs = {entry[0]: entry[1] for entry in answer.resources[0][4]}
    assert configs["retention.ms"] == str(48 * 3_600_000)
    assert configs["min.insync.replicas"] == "1"
    assert configs["flush.messages"] == "1"
    assert configs["message.timestamp.type"] == "LogAppendTime"


async def test_more_copies_than_brokers_is_the_operators_to_put_right(settings: KafkaSettings) -> None:
    settings = msgspec.structs.replace(settings, topic=TopicSettings())
    async with opened(settings) as log:
        with pytest.raises(UserError, match="3 copies"):
            await log.publish(TOPIC, [OutRecord(key=b"k", payload=b"p")])


async def test_records_deleted_before_they_were_read_stop_the_consumer(settings: KafkaSettings) -> None:
    """D3: nothing is skipped without a word; the beginning is whatever is there."""
    settings = msgspec.structs.replace(settings, topic=msgspec.structs.replace(settings.topic, partitions=1))
    async with opened(settings) as log:
        await log.publish(TOPIC, [OutRecord(key=b"k", payload=str(number).encode()) for number in range(10)])
        async with administration(settings) as admin:
            partition = TopicPartition(settings.name_of(TOPIC), 0)
            await admin.delete_records({partition: RecordsToDelete(before_offset=6)})
        new = await log.subscribe(TOPIC, group="new", load_position=from_start)
        assert [record.offset for record in await read(new, 4)] == [6, 7, 8, 9]

        async def at_three(_partition: int) -> int:
            return 3

        late = await log.subscribe(TOPIC, group="late", load_position=at_three)
        with pytest.raises(PositionOutOfRange) as lost:
            await read(late, 1)
        assert (lost.value.next_offset, lost.value.first_offset, lost.value.end_offset) == (3, 6, 10)


async def test_position_behind_the_end_of_the_topic_does_not_count_as_read(settings: KafkaSettings) -> None:
    """D3, R3: the topic was made anew; a window must not be fixed as if nothing were missing."""
    settings = msgspec.structs.replace(settings, topic=msgspec.structs.replace(settings.topic, partitions=1))
    async with opened(settings) as log:
        await log.publish(TOPIC, [OutRecord(key=b"k", payload=str(number).encode()) for number in range(10)])

        async def at_twelve(_partition: int) -> int:
            return 12

        subscription = await log.subscribe(TOPIC, group="g", load_position=at_twelve)
        with pytest.raises(PositionOutOfRange) as lost:
            await read(subscription, 1)
        assert (lost.value.next_offset, lost.value.end_offset) == (12, 10)
        assert await subscription.progress() == {}


async def test_positions_are_never_committed_to_kafka(settings: KafkaSettings, books: Pool) -> None:
    """D3: the consumer's database alone says what was applied."""
    readers = Readers(settings, books)
    async with opened(settings) as log:
        await log.publish(TOPIC, [OutRecord(key=b"k", payload=str(number).encode()) for number in range(30)])
        readers.join("one")
        await readers.progress_of("one", 30)
    await readers.leave_all()
    async with administration(settings) as admin:
        assert await admin.list_consumer_group_offsets(settings.group_of("g")) == {}


@asynccontextmanager
async def administration(settings: KafkaSettings) -> AsyncIterator[AIOKafkaAdminClient]:
    admin = AIOKafkaAdminClient(**settings.client_options())
    await admin.start()
    try:
        yield admin
    finally:
        await admin.close()


class Certificates:
    """An authority, the broker's certificate and a client's, made with openssl."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        self.ca = self._authority("ca")
        self.other_ca = self._authority("other")
        self.broker = self._signed("broker")
        self.client = self._signed("client")

    def _authority(self, name: str) -> Path:
        certificate = self.directory / f"{name}.crt"
        self._openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={name}",
                      "-keyout", f"{name}.key", "-out", certificate.name)  # fmt: skip
        return certificate

    def _signed(self, name: str) -> Path:
        """Return a file with the private key, its certificate and that of the authority."""
        (self.directory / "extensions").write_text("subjectAltName=IP:127.0.0.1,DNS:localhost\n")
        self._openssl("req", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={name}", "-keyout", f"{name}.key",
                      "-out", f"{name}.csr")  # fmt: skip
        self._openssl("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial",
                      "-days", "2", "-extfile", "extensions", "-out", f"{name}.crt")  # fmt: skip
        bundle = self.directory / f"{name}.pem"
        parts = [f"{name}.key", f"{name}.crt", "ca.crt"]
        bundle.write_text("".join((self.directory / part).read_text() for part in parts))
        return bundle

    def _openssl(self, *arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=self.directory, check=True, capture_output=True)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def guarded_server(certificates: Certificates) -> Iterator[KafkaCluster]:
    """A broker that wants TLS with a client's certificate, and a password by SCRAM or PLAIN."""
    require_kafka()
    modules = "org.apache.kafka.common.security"
    cluster = KafkaCluster(
        directory=Path(tempfile.mkdtemp(prefix="lp-kafka-")),
        protocol="SASL_SSL",
        scram={"shares": "scram secret"},
        listener_settings={
            "listener.name.clients.ssl.keystore.type": "PEM",
            "listener.name.clients.ssl.keystore.location": str(certificates.broker),
            "listener.name.clients.ssl.truststore.type": "PEM",
            "listener.name.clients.ssl.truststore.location": str(certificates.ca),
            "listener.name.clients.ssl.client.auth": "required",
            "listener.name.clients.sasl.enabled.mechanisms": "SCRAM-SHA-512,PLAIN",
            "listener.name.clients.scram-sha-512.sasl.jaas.config": f"{modules}.scram.ScramLoginModule required;",
            "listener.name.clients.plain.sasl.jaas.config": (
                f'{modules}.plain.PlainLoginModule required user_shares="plain secret";'
            ),
        },
    )
    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        try:
            runner.run(cluster.start())
            yield cluster
        finally:
            runner.run(cluster.stop())


@pytest.fixture
def guarded(guarded_server: KafkaCluster, certificates: Certificates, tmp_path: Path) -> Callable[..., KafkaSettings]:
    """Return a function that makes settings for the guarded broker."""

    def make(*, mechanism: str = "SCRAM-SHA-512", password: str = "scram secret", ca: Path = certificates.ca,
             client: str = str(certificates.client)) -> KafkaSettings:  # fmt: skip
        secret = tmp_path / "password"
        secret.write_text(password + "\n")
        return msgspec.structs.replace(
            quick_settings(guarded_server, prefix=f"t.{uuid.uuid4().hex}."),
            tls=TlsSettings(ca_file=str(ca), certificate_file=client),
            sasl=SaslSettings(mechanism=mechanism, username="shares", password_file=str(secret)),
        )

    return make


@pytest.mark.parametrize(("mechanism", "password"), [("SCRAM-SHA-512", "scram secret"), ("PLAIN", "plain secret")])
async def test_records_pass_over_tls_with_a_password(guarded, mechanism: str, password: str) -> None:
    async with opened(guarded(mechanism=mechanism, password=password)) as log:
        await log.publish(TOPIC, [OutRecord(key=b"k", payload=b"guarded")])
        subscription = await log.subscribe(TOPIC, group="g", load_position=from_start)
        assert [record.payload for record in await read(subscription, 1)] == [b"guarded"]


@pytest.mark.parametrize("fault", ["password", "authority", "no certificate", "no tls"])
async def test_who_is_not_known_to_the_broker_or_does_not_know_it_gets_nothing(
    guarded, certificates: Certificates, fault: str
) -> None:
    faulty = {
        "password": lambda: guarded(password="guessed"),
        "authority": lambda: guarded(ca=certificates.other_ca),
        "no certificate": lambda: guarded(client=""),
        "no tls": lambda: msgspec.structs.replace(guarded(), tls=None),
    }[fault]()
    async with opened(faulty) as log, asyncio.timeout(15):
        with pytest.raises(EventLogUnavailable):
            await log.publish(TOPIC, [OutRecord(key=b"k", payload=b"p")])
        subscription = await log.subscribe(TOPIC, group="g", load_position=from_start)
        with pytest.raises(EventLogUnavailable):
            await subscription.poll(records_max=1, timeout_s=1)
