"""Fixtures of the integration tests: one Kafka broker for all tests of this pytest process that need one."""

import asyncio
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.kafka_cluster import KafkaCluster, require_kafka


@pytest.fixture(scope="session")
def kafka_server() -> Iterator[KafkaCluster]:
    """Run a cluster of one node; a test that kills it starts it again."""
    require_kafka()
    cluster = KafkaCluster(directory=Path(tempfile.mkdtemp(prefix="lp-kafka-")))
    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        try:
            runner.run(cluster.start())
            yield cluster
        finally:
            runner.run(cluster.stop())
