"""/metrics and /healthz on a real socket, and traces that cost nothing but spans when nobody takes them."""

import asyncio
import contextlib
import json
import logging
from io import StringIO

import aiohttp
import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from prometheus_client.parser import text_string_to_metric_families as plain_families

import runtime.telemetry.server as server_module
from runtime.errors import UserError
from runtime.logs import configure_logging, log_event
from runtime.process import free_port
from runtime.telemetry import Reading, TelemetrySettings
from runtime.telemetry.families import Histogram, counter, gauge, histogram
from runtime.telemetry.parents import context_of, links_to, parent_of
from runtime.telemetry.run import run_telemetry
from runtime.telemetry.settings import metrics_port
from runtime.telemetry.tracing import QUEUE_SPANS_MAX
from tests.fakes.otlp_collector import run_collector
from tests.fakes.waiting import eventually

SETTINGS = TelemetrySettings(metrics_port=0)
SHARES = counter("lodepool_test_shares_total", "Shares", "outcome")
HEIGHT = gauge("lodepool_test_height_blocks", "Height")
DURATION = histogram("lodepool_test_duration_seconds", "Duration")
PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


async def fetch(address: str, path: str = "/metrics", **headers: str) -> tuple[int, str, str]:
    async with aiohttp.ClientSession() as http, http.get(f"http://{address}{path}", headers=headers) as response:
        return response.status, response.headers["Content-Type"], await response.text()


async def test_metrics_are_shown_as_prometheus_text_and_as_openmetrics():
    seen = Histogram((0.1, 1.0))
    for value in (0.05, 0.5, 0.1, 7.0):
        seen.observe(value)
    async with run_telemetry(SETTINGS, "test-0") as telemetry:
        telemetry.register(lambda: (SHARES.by({"accepted": 3, "stale": 1}), HEIGHT.of(7), DURATION.seen(seen)))
        status, kind, text = await fetch(telemetry.metrics_address)
        assert (status, kind.partition(";")[0]) == (200, "text/plain")
        plain = {family.name for family in plain_families(text)}
        _, kind, text = await fetch(telemetry.metrics_address, Accept="application/openmetrics-text; version=1.0.0")
    assert kind.startswith("application/openmetrics-text")
    families = {family.name: family for family in text_string_to_metric_families(text)}
    assert plain >= families.keys() - {"lodepool_build"}
    assert {s.labels["outcome"]: s.value for s in families["lodepool_test_shares"].samples} == {
        "accepted": 3,
        "stale": 1,
    }
    values = {(s.name, s.labels.get("le")): s.value for s in families["lodepool_test_duration_seconds"].samples}
    assert values["lodepool_test_duration_seconds_bucket", "0.1"] == 2
    assert values["lodepool_test_duration_seconds_bucket", "1.0"] == 3
    assert values["lodepool_test_duration_seconds_bucket", "+Inf"] == 4
    assert values["lodepool_test_duration_seconds_count", None] == 4
    assert "lodepool_process_resident_memory_bytes" in families


async def test_healthz_answers_and_other_paths_and_methods_are_refused():
    async with run_telemetry(SETTINGS, "test-0") as telemetry:
        assert (await fetch(telemetry.metrics_address, "/healthz"))[::2] == (200, "test-0 runs\n")
        assert (await fetch(telemetry.metrics_address, "/etc/passwd"))[0] == 404
        async with aiohttp.ClientSession() as http, http.post(f"http://{telemetry.metrics_address}/metrics") as answer:
            assert answer.status == 405


@pytest.mark.parametrize(
    "accepted", ["text/plain ;version=version= ,allow-utf-8", "application/openmetrics-text;version=x", ""]
)
def test_what_a_reader_accepts_can_be_nonsense(accepted):
    """S9."""
    server = server_module.MetricsServer(CollectorRegistry(), process="shares")
    assert server.answer(f"GET /metrics HTTP/1.1\r\nAccept: {accepted}\r\n\r\n".encode()).startswith(b"HTTP/1.1 200")


async def test_peers_that_never_ask_are_cut_off_and_do_not_keep_others_out(monkeypatch):
    monkeypatch.setattr(server_module, "REQUEST_S_MAX", 0.3)
    async with run_telemetry(SETTINGS, "test-0") as telemetry:
        host, port = telemetry.metrics_address.split(":")
        silent = [await asyncio.open_connection(host, int(port)) for _ in range(server_module.CONNECTIONS_MAX)]
        async with asyncio.timeout(5):
            for reader, writer in silent:
                with pytest.raises(ConnectionError):
                    assert await reader.read() == b""
                    raise ConnectionResetError
                writer.close()
        assert (await fetch(telemetry.metrics_address, "/healthz"))[0] == 200


async def test_a_head_that_is_too_long_closes_the_connection():
    async with run_telemetry(SETTINGS, "test-0") as telemetry:
        host, port = telemetry.metrics_address.split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"GET /metrics HTTP/1.1\r\nX: " + b"a" * 3 * server_module.HEAD_BYTES_MAX)
        async with asyncio.timeout(5):
            with contextlib.suppress(ConnectionResetError):
                assert await reader.read() == b""
        writer.close()


async def test_without_a_port_there_is_no_server_and_a_taken_one_is_named():
    async with run_telemetry(TelemetrySettings(), "test-0") as telemetry:
        assert telemetry.metrics_address == ""
    port = free_port()
    async with run_telemetry(TelemetrySettings(metrics_port=port), "test-0"):
        with pytest.raises(UserError, match=str(port)):
            async with run_telemetry(TelemetrySettings(metrics_port=port), "test-1"):
                pass


def test_processes_of_one_machine_get_ports_of_their_own():
    assert [metrics_port(9464, name) for name in ("office", "shipper", "stratum-0", "stratum-3")] == [
        9464,
        9465,
        9470,
        9473,
    ]
    assert metrics_port(0, "shipper") == 0
    assert metrics_port(None, "office") is None
    with pytest.raises(ValueError, match="somebody"):
        metrics_port(9464, "somebody")


async def test_a_reading_shows_what_it_read_last_and_how_old_that_is():
    asked = 0

    async def read() -> int:
        nonlocal asked
        asked += 1
        if asked == 1:
            raise OSError("away")
        return 42

    async with run_telemetry(SETTINGS, "test-0") as telemetry:
        clock = _Clock()
        reading = Reading("test", read=read, families=lambda value: (HEIGHT.of(value),), clock=clock)
        task = asyncio.create_task(telemetry.read(reading))
        await eventually(lambda: reading.age_s is not None)
        clock.now += 90
        text = (await fetch(telemetry.metrics_address))[2]
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        after = (await fetch(telemetry.metrics_address))[2]
    assert "lodepool_test_height_blocks 42.0" in text
    assert 'lodepool_reading_age_seconds{reading="test"} 90.0' in text
    assert "lodepool_test_height_blocks 42.0" not in after


class _Clock:
    """Sleeps once for a short time, then for ever; `now` is set by hand."""

    def __init__(self) -> None:
        self.now = 0.0
        self.slept = 0

    def monotonic_s(self) -> float:
        return self.now

    def now_s(self) -> float:
        return self.now

    def now_ms(self) -> int:
        return int(self.now * 1000)

    async def sleep(self, delay_s: float) -> None:
        self.slept += 1
        await (asyncio.sleep(0) if self.slept == 1 else asyncio.Event().wait())


async def test_spans_reach_the_collector_with_parents_links_and_process():
    async with run_collector() as collector:
        settings = TelemetrySettings(otlp_endpoint=collector.endpoint)
        async with run_telemetry(settings, "test-0") as telemetry:
            with telemetry.span("test.root", links=[PARENT, PARENT, "rubbish"]) as root:
                parent = parent_of(root)
            with telemetry.spans("test.child", [parent, parent, "rubbish"]):
                pass
            await eventually(lambda: len(collector.spans) == 2)
    root, child = collector.named("test.root")[0], collector.named("test.child")[0]
    assert child.parent_id == root.span_id
    assert child.trace_id == root.trace_id
    assert root.links == ("0af7651916cd43dd8448eb211c80319c",)
    assert root.service == "lodepool-test-0"


async def test_a_collector_that_is_away_costs_spans_and_nothing_else():
    """Spans that do not fit into the queue are counted; stopping does not wait for a collector that is away."""
    settings = TelemetrySettings(otlp_endpoint=f"http://127.0.0.1:{free_port()}", metrics_port=0)
    loop = asyncio.get_running_loop()
    async with run_telemetry(settings, "test-0") as telemetry:
        for _ in range(QUEUE_SPANS_MAX * 3):
            with telemetry.span("test.lost"):
                pass
        text = (await fetch(telemetry.metrics_address))[2]
        stop_s = loop.time()
    assert loop.time() - stop_s < 10
    dropped = next(line for line in text.splitlines() if 'spans_total{outcome="dropped"}' in line)
    assert float(dropped.split()[1]) > 0


async def test_where_tracing_is_off_nothing_is_made():
    async with run_telemetry(TelemetrySettings(), "test-0") as telemetry:
        with telemetry.span("test.off") as span:
            assert parent_of(span) == ""
        assert not telemetry.is_tracing
        assert telemetry.trace_sample_per_s == 0


@pytest.mark.parametrize("text", ["", "rubbish", PARENT[:-1], PARENT.upper(), "00-" + "0" * 32 + PARENT[35:]])
def test_what_is_no_traceparent_begins_a_new_trace(text):
    assert context_of(text) is None
    assert links_to([text], links_max=5) == []


def test_links_are_bounded():
    parents = [f"00-{number:032x}-b7ad6b7169203331-01" for number in range(1, 50)]
    assert len(links_to(parents, links_max=32)) == 32


async def test_a_log_line_inside_a_span_names_its_trace():
    stream = StringIO()
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    try:
        configure_logging("test-0", json=True, level="INFO", stream=stream)
        settings = TelemetrySettings(otlp_endpoint=f"http://127.0.0.1:{free_port()}")
        async with run_telemetry(settings, "test-0") as telemetry:
            with telemetry.span("test.logged", PARENT):
                log_event(logging.getLogger("lodepool.test"), logging.INFO, "thing done", number=7)
            log_event(logging.getLogger("lodepool.test"), logging.INFO, "thing done")
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
    inside, outside = [
        line for line in map(json.loads, stream.getvalue().splitlines()) if line["event"] == "thing done"
    ]
    assert list(inside) == ["time", "level", "service", "event", "logger", "trace_id", "number"]
    assert inside["trace_id"] == "0af7651916cd43dd8448eb211c80319c"
    assert "trace_id" not in outside
