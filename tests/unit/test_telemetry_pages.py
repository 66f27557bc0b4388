"""The pages and rules that are made of metrics name only metrics that there are."""

import json
import re
import subprocess
from pathlib import Path

import pytest

from runtime.telemetry.families import Kind
from tools.gen_dashboard import TARGET as DASHBOARD
from tools.gen_dashboard import dashboard
from tools.gen_metrics_doc import TARGET as PAGE
from tools.gen_metrics_doc import all_families, lines

ROOT = Path(__file__).parents[2]
PROMETHEUS = ROOT / "deploy" / "prometheus"
ALERTS = PROMETHEUS / "alerts.yml"
NAME = re.compile(r"lodepool_[a-z0-9_]+")
RULE = re.compile(r"- alert: (\w+)\n\s+expr: >-\n\s+(.+)\n")
SERVICES = (
    "process|build|reading|trace|rpc|etcd|postgres|eventlog|config|nodes|stratum|shipper|shares|miners|rewards|ledger"
    "|payouts|notifier|gateway"
)
FORBIDDEN_LABELS = {"worker", "account", "address", "ip", "host", "height", "txid", "block_hash", "batch_id"}


def series() -> set[str]:
    """Return the names of all series that a scrape can show."""
    found: set[str] = set()
    for family in all_families():
        is_histogram = family.kind is Kind.HISTOGRAM
        found |= {f"{family.name}_{part}" for part in ("bucket", "sum", "count")} if is_histogram else {family.name}
    return found


def test_page_of_metrics_is_what_the_code_declares():
    """STYLE 9: the page is made from the declarations."""
    assert PAGE.read_text(encoding="utf-8") == "\n".join(lines()) + "\n"


def test_dashboard_is_what_its_tool_makes():
    assert json.loads(DASHBOARD.read_text(encoding="utf-8")) == dashboard()


def test_each_metric_is_declared_once():
    names = [family.name for family in all_families()]
    assert sorted(names) == sorted(set(names))


@pytest.mark.parametrize("family", all_families(), ids=lambda family: family.name)
def test_name_and_labels_follow_the_rule(family):
    """STYLE 9: lodepool_<service>_<noun>_<unit>, counters end in _total, labels from closed sets."""
    assert re.fullmatch(rf"lodepool_({SERVICES})(_[a-z0-9]+)+", family.name)
    assert (family.kind is Kind.COUNTER) == family.name.endswith("_total")
    assert not set(family.labels) & FORBIDDEN_LABELS
    assert family.meaning
    assert not family.meaning.endswith(".")


def test_every_metric_of_an_alert_is_described():
    rules = RULE.findall(ALERTS.read_text(encoding="utf-8"))
    assert len(rules) > 30
    for name, expression in rules:
        assert set(NAME.findall(expression)) <= series(), name


def test_every_metric_of_the_dashboard_is_described():
    queries = " ".join(target["expr"] for panel in dashboard()["panels"] for target in panel.get("targets", ()))
    assert set(NAME.findall(queries)) <= series()


def test_every_alert_says_what_to_do():
    """Each alert names a heading of docs/OPERATING.md, and each such heading is an alert."""
    text = ALERTS.read_text(encoding="utf-8")
    named = re.findall(r"what_to_do: docs/OPERATING.md#(\w+)", text)
    headings = re.findall(
        r"^### (Lodepool\w+)$", (ROOT / "docs" / "OPERATING.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert named == [name.lower() for name, _ in RULE.findall(text)]
    assert sorted(named) == sorted(heading.lower() for heading in headings)


@pytest.mark.parametrize(
    "arguments",
    [("check", "rules", "alerts.yml"), ("test", "rules", "alerts.test.yml"), ("check", "config", "prometheus.yml")],
)
def test_prometheus_own_tool_accepts(arguments):
    fetched = subprocess.run(
        [ROOT / "tools" / "fetch_promtool"], capture_output=True, text=True, check=False, timeout=120
    )
    if fetched.returncode != 0:
        pytest.skip(f"missing component: promtool ({' '.join(fetched.stderr.split())})")
    promtool = fetched.stdout.strip()
    done = subprocess.run(
        [promtool, *arguments], cwd=PROMETHEUS, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr
