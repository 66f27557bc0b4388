"""A whole cluster of processes under load while a schedule kills them: the short run. `make chaos` is the long one."""

import os
import tempfile
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest

from nodes.regtest import find_litecoind
from tests.e2e.chaos import run_chaos, schedule, victims
from tests.fakes.etcd_cluster import etcd_binary
from tests.fakes.kafka_cluster import require_kafka

SEED = int(os.environ.get("LODEPOOL_CHAOS_SEED", "20"))
SECONDS = 45.0


def test_a_schedule_is_made_from_its_seed_and_spares_each_quorum() -> None:
    """Of three brokers or members at most one is down or catching up at any time."""
    strikes = schedule(seconds=600, seed=SEED)
    assert strikes == schedule(seconds=600, seed=SEED)
    assert {strike.victim for strike in strikes} == set(victims())
    for kind, pause_s in (("kafka", 25.0), ("etcd", 6.0)):
        times_s = [(strike.at_s, strike.down_s) for strike in strikes if strike.victim.startswith(kind)]
        for (at_s, down_s), (next_s, _) in pairwise(times_s):
            assert next_s >= at_s + down_s + pause_s - 0.1


@pytest.mark.e2e
@pytest.mark.timeout(600)
async def test_a_cluster_loses_nothing_and_does_nothing_twice_while_its_processes_are_killed() -> None:
    """D1, D3, D4, R2, P2, P3, P4: every share seen accepted is booked once, blocks are credited and payouts made once."""
    require_kafka()
    etcd_binary()
    if find_litecoind() is None:
        pytest.skip("missing component: litecoind")
    folder = Path(tempfile.mkdtemp(prefix="lp-chaos-"))
    folder.chmod(0o755)
    said: list[str] = [f"LODEPOOL_CHAOS_SEED={SEED}; logs in {folder}"]
    report = await run_chaos(folder, seconds=SECONDS, seed=SEED, say=said.append)
    story = "\n".join([*said, str(report)])
    assert report.accepted > 500, story
    assert sum(report.kills.values()) >= 8, story
    assert (report.lost, report.doubled) == (0, 0), story
    assert report.booked == report.accepted + report.answer_cut_off, story
    assert report.blocks_credited > 0, story
    assert report.blocks_credited_twice == 0, story
    assert 0 < report.payouts_confirmed == report.payouts_on_chain, story
    assert report.payouts_doubled == 0, story
    assert report.audit_ok, story
    assert not Counter(report.audit_findings), story
