"""A whole pool, watched from outside: every metric is described, every described one is there; traces are connected."""

import asyncio
import re
import socket
from pathlib import Path

import aiohttp
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from cli.mining.client import Miner, MinerSettings
from coins import registry
from nodes.simulated import SimulatedNode
from nodes.simulated_server import SimulatedServer
from runtime.clock import SystemClock
from runtime.telemetry.settings import metrics_port
from tests.e2e.conftest import StartPool, until
from tests.fakes.otlp_collector import OtlpCollector, run_collector
from tools.gen_metrics_doc import SECTIONS, families

pytestmark = pytest.mark.e2e

COIN = registry.get("bitcoin-regtest")
PROCESSES = ("office", "shipper", "stratum-0")
OF_A_CLUSTER = {
    "lodepool_etcd_calls_total",
    "lodepool_etcd_answer_age_seconds",
    "lodepool_rpc_certificate_expiry_time_seconds",
    "lodepool_stratum_prefix_lease_seconds",
}
OPENMETRICS = {"Accept": "application/openmetrics-text; version=1.0.0"}
PAYOUT_SPANS = ("payouts.reserve", "payouts.sign", "payouts.send", "payouts.confirm", "payouts.settle")


def free_base() -> int:
    """Return a port whose followers are free as well."""
    for base in range(23_000, 30_000, 20):
        with socket.socket() as one, socket.socket() as two, socket.socket() as three:
            try:
                for listener, offset in ((one, 0), (two, 1), (three, 6)):
                    listener.bind(("127.0.0.1", base + offset))
            except OSError:
                continue
            return base
    raise AssertionError("no free ports")


async def scrape(base: int, process: str) -> dict[str, set[str]]:
    """Return family → label names of what a process shows; OpenMetrics, so that the text is checked as well."""
    async with (
        aiohttp.ClientSession() as http,
        http.get(f"http://127.0.0.1:{metrics_port(base, process)}/metrics", headers=OPENMETRICS) as response,
    ):
        assert response.status == 200
        text = await response.text()
    shown: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(text):
        name = f"{family.name}_total" if family.type == "counter" else family.name
        labels = {label for sample in family.samples for label in sample.labels} - {"le"}
        if family.samples:
            shown[name] = labels
    return shown


def is_connected(collector: OtlpCollector) -> bool:
    return (
        any(
            {"stratum.submit", "stratum.journal", "shipper.publish", "shares.book"}
            <= collector.of_trace(s.trace_id).keys()
            for s in collector.named("shares.book")
        )
        and bool(collector.named("rewards.mature"))
        and any(set(PAYOUT_SPANS) <= collector.of_trace(s.trace_id).keys() for s in collector.named("payouts.settle"))
    )


async def test_what_a_pool_shows_is_what_its_page_says_and_its_traces_are_connected(
    start_pool: StartPool, tmp_path: Path
) -> None:
    """DESIGN §7, STYLE 9: metrics of every process against docs/METRICS.md; one share → slice, one block → payout."""
    node = SimulatedNode(COIN, seed="observed", clock=SystemClock())
    address = node.wallet.new_address()
    account = SimulatedNode(COIN, seed="miner", clock=SystemClock()).wallet.new_address()
    base = free_base()
    async with SimulatedServer(node) as server, run_collector() as collector:
        sections: dict[str, dict[str, object]] = {
            "stratum": {"difficulty_start": 2e-10, "difficulty_min": 2e-10, "worker_count": 1},
            "rewards": {"confirmations_poll_s": 0.5, "pplns_window_percent": 2000},
            "payouts": {"threshold_atomic": 100_000, "interval_s": 1, "confirmations": 1},
            "telemetry": {"metrics_port": base, "otlp_endpoint": collector.endpoint, "trace_sample_per_s": 5.0},
        }
        async with start_pool(
            coin=COIN.coin_id, address=address, nodes=[server.settings(name="sim")], sections=sections
        ) as pool:
            miner = Miner(
                MinerSettings(
                    host="127.0.0.1",
                    port=pool.settings.stratum.port,
                    user=f"{account}.rig",
                    algorithm=COIN.algorithm,
                    hashrate_max=20,
                )
            )
            mining = asyncio.create_task(miner.run())
            found = await eventually_spans(collector, "rewards.credit")
            mining.cancel()
            await asyncio.gather(mining, return_exceptions=True)
            for _ in range(COIN.maturity_blocks + 20):
                node.mine_block()
            for _ in range(60):
                if is_connected(collector):
                    break
                node.mine_block()
                await asyncio.sleep(1)
            assert is_connected(collector), sorted({span.name for span in collector.spans})
            check_share_trace(collector)
            check_block_trace(collector, found)

            wanted = {family.name: set(family.labels) for section in SECTIONS for family in families(section)}
            shown: dict[str, set[str]] = {}
            async with aiohttp.ClientSession() as http, asyncio.timeout(40):
                async with http.get(f"http://127.0.0.1:{pool.settings.gateway.port}/api/v1/pool") as response:
                    assert response.status == 200
                while wanted.keys() - OF_A_CLUSTER - shown.keys():
                    for process in PROCESSES:
                        shown |= await scrape(base, process)
                    missing = wanted.keys() - OF_A_CLUSTER - shown.keys()
                    if missing:
                        (tmp_path / "missing").write_text(" ".join(sorted(missing)))
                        await asyncio.sleep(0.5)
            assert shown.keys() <= wanted.keys()
            for name, labels in shown.items():
                assert labels == wanted[name], name
            text = pool.log.read_text()
            assert not re.search(r"task failed|call failed|the process failed", text), text[-3000:]


async def eventually_spans(collector: OtlpCollector, name: str) -> str:
    """Return the trace of the first span of a name."""
    await until(lambda: collector.named(name), timeout_s=90, what=f"a span {name}")
    return collector.named(name)[0].trace_id


def check_share_trace(collector: OtlpCollector) -> None:
    """One share: arrival, journal, event log and books are one trace, through three processes."""
    traces = [collector.of_trace(span.trace_id) for span in collector.named("shares.book")]
    trace = next(trace for trace in traces if {"stratum.submit", "stratum.journal", "shipper.publish"} <= trace.keys())
    submit = trace["stratum.submit"]
    assert submit.parent_id == ""
    for name in ("stratum.journal", "shipper.publish", "shares.book"):
        assert trace[name].parent_id == submit.span_id
    assert submit.start_ns <= trace["stratum.journal"].start_ns
    assert trace["stratum.journal"].end_ns <= submit.end_ns
    services = {trace[name].service for name in ("stratum.submit", "shipper.publish", "shares.book")}
    assert services == {"lodepool-stratum-0", "lodepool-shipper", "lodepool-office"}


def check_block_trace(collector: OtlpCollector, trace_id: str) -> None:
    """One block: its share, its row, its credits and their maturity are one trace; a payout's is linked to it."""
    names = collector.of_trace(trace_id).keys()
    assert {"stratum.submit", "rewards.block_booked", "rewards.credit"} <= names
    matured = {span.trace_id for span in collector.named("rewards.mature")}
    reserve = collector.named("payouts.reserve")[0]
    assert reserve.links
    assert set(reserve.links) <= matured
    assert set(PAYOUT_SPANS) <= collector.of_trace(reserve.trace_id).keys()
