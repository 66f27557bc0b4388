"""A worker process stays small however many miners only wait."""

import asyncio

import pytest

from bench.idle import measure

pytestmark = pytest.mark.e2e

CONNECTIONS = 10_000
WORKER_BYTES_MAX = 150 * 1024 * 1024


async def test_ten_thousand_idle_connections_fit_into_150_megabytes_of_the_worker() -> None:
    figures = await asyncio.to_thread(measure, CONNECTIONS)
    assert figures["connections"] == CONNECTIONS
    assert figures["worker_bytes"] <= WORKER_BYTES_MAX, figures
