"""The `[kafka]` section: what it refuses, and what it makes of itself."""

from pathlib import Path

import pytest
from aiokafka.partitioner import DefaultPartitioner
from hypothesis import given
from hypothesis import strategies as st

from runtime.config import decode_section
from runtime.errors import ConfigError
from runtime.eventlog.kafka_publisher import partition_of
from runtime.eventlog.kafka_settings import KafkaSettings, SaslSettings, TlsSettings, TopicSettings


def decoded(**section: object) -> KafkaSettings:
    return decode_section({"kafka": section}, "kafka", KafkaSettings, environment={})


def test_the_defaults_are_three_copies_of_which_two_acknowledge() -> None:
    """D1: a broker can be lost without losing what was acknowledged."""
    topic = decoded().settings_of("anything")
    assert (topic.replication_factor, topic.min_insync_replicas) == (3, 2)
    configs = topic.configs(batch_bytes_max=4_000_000)
    assert configs["min.insync.replicas"] == "2"
    assert configs["unclean.leader.election.enable"] == "false"
    assert "flush.messages" not in configs


def test_a_single_copy_is_synced_before_it_is_acknowledged() -> None:
    """D1: what survives only in memory is not durable."""
    topic = TopicSettings(replication_factor=1, min_insync_replicas=1)
    assert topic.configs(batch_bytes_max=4_000_000)["flush.messages"] == "1"


def test_retention_of_zero_hours_means_for_ever() -> None:
    assert TopicSettings(retention_hours=0).configs(batch_bytes_max=1)["retention.ms"] == "-1"
    assert TopicSettings(retention_hours=2).configs(batch_bytes_max=1)["retention.ms"] == "7200000"


def test_a_topic_has_its_own_settings_or_the_common_ones() -> None:
    settings = decoded(topic={"partitions": 12}, topics={"blocks": {"partitions": 1}})
    assert [settings.settings_of(name).partitions for name in ("shares", "blocks")] == [12, 1]


def test_names_on_the_cluster_carry_the_prefix() -> None:
    settings = decoded(prefix="pool-a.")
    assert (settings.name_of("shares"), settings.group_of("slices")) == ("pool-a.shares", "pool-a.slices")


@pytest.mark.parametrize(
    ("section", "problem"),
    [
        ({"bootstrap_server": ["a:1"]}, "did you mean bootstrap_servers"),
        ({"bootstrap_servers": []}, "length"),
        ({"topic": {"min_insync_replicas": 4}}, "more than replication_factor"),
        ({"prefix": "pool/"}, "kafka.prefix"),
        ({"sasl": {"username": "u", "mechanism": "PLAIN"}}, "needs"),
        ({"sasl": {"username": "u", "password": "secret"}}, "unknown key"),
        ({"publish_timeout_s": 0}, "kafka.publish_timeout_s"),
    ],
)
def test_what_is_wrong_is_refused_with_its_place(section: dict[str, object], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem) as refused:
        decoded(**section)
    assert "secret" not in str(refused.value)


def test_the_password_comes_from_a_file_or_the_environment(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("from the file\n")
    by_file = KafkaSettings(sasl=SaslSettings(username="u", password_file=str(tmp_path / "password")))
    by_environment = KafkaSettings(sasl=SaslSettings(username="u"))
    variables = {"LODEPOOL_KAFKA_SASL_PASSWORD": "from the environment"}
    assert by_file.client_options(variables)["sasl_plain_password"] == "from the file"
    assert by_environment.client_options(variables)["sasl_plain_password"] == "from the environment"
    assert by_environment.security_protocol == "SASL_PLAINTEXT"
    with pytest.raises(ConfigError, match="there is no password"):
        by_environment.client_options({})


@pytest.mark.parametrize("field", ["ca_file", "certificate_file"])
def test_a_certificate_that_cannot_be_read_is_named(tmp_path: Path, field: str) -> None:
    path = tmp_path / "nothing.pem"
    with pytest.raises(ConfigError, match=f"kafka.tls.{field}.*nothing.pem"):
        KafkaSettings(tls=TlsSettings(**{field: str(path)})).client_options({})


@given(st.binary(max_size=64), st.integers(min_value=1, max_value=64))
def test_a_key_goes_where_every_client_of_kafka_sends_it(key: bytes, partition_count: int) -> None:
    if key:
        partitions = list(range(partition_count))
        assert partition_of(key, partition_count) == DefaultPartitioner()(key, partitions, partitions)
    assert 0 <= partition_of(key, partition_count) < partition_count
