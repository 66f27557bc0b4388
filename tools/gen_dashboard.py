"""Write deploy/grafana/lodepool.json, made of metrics that docs/METRICS.md describes; --check only compares."""

import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "deploy" / "grafana" / "lodepool.json"
WIDTH, HEIGHT, COLUMNS = 8, 7, 3
_P99 = "histogram_quantile(0.99, sum by (le, {by}) (rate({name}_bucket[5m])))"


def p99(name: str, by: str = "instance") -> str:
    """Return the query for the 99th percentile of a histogram."""
    return _P99.format(name=name, by=by)


OUTBOXES = " or ".join(
    f'label_replace(max(lodepool_{service}_outbox_oldest_age_seconds), "service", "{service}", "", "")'
    for service in ("shares", "miners", "rewards", "payouts")
)
ROWS: tuple[tuple[str, tuple[tuple[str, str, str, str], ...]], ...] = (
    (
        "Miners",
        (
            ("Shares a second", "cps", "sum by (outcome) (rate(lodepool_stratum_shares_total[1m]))", "{{outcome}}"),
            (
                "Good shares not recorded",
                "short",
                "increase(lodepool_stratum_shares_not_recorded_total[5m])",
                "{{instance}}",
            ),
            ("Connections", "short", "lodepool_stratum_sessions", "{{instance}}"),
            (
                "Turned away and banned",
                "cps",
                "sum by (instance) (rate(lodepool_stratum_connections_refused_total[5m]))",
                "{{instance}}",
            ),
            ("Answer time, p99", "s", p99("lodepool_stratum_answer_seconds"), "{{instance}}"),
            ("New job to last miner, p99", "s", p99("lodepool_stratum_notify_seconds"), "{{instance}}"),
            ("Workers", "short", "max by (coin, state) (lodepool_miners_workers)", "{{coin}} {{state}}"),
            ("Accounts", "short", "max by (coin) (lodepool_miners_accounts)", "{{coin}}"),
            (
                "Height of jobs and nodes",
                "none",
                "lodepool_stratum_job_height or lodepool_nodes_height_blocks",
                "{{instance}} {{node}}",
            ),
        ),
    ),
    (
        "Stream of shares",
        (
            ("Journal on disk", "bytes", "lodepool_stratum_journal_bytes", "{{instance}}"),
            ("Oldest share not shipped", "s", "lodepool_stratum_journal_age_seconds", "{{instance}}"),
            ("Shipper behind", "s", "lodepool_shipper_lag_seconds", "{{instance}}"),
            ("Shares booked a second", "cps", "sum(rate(lodepool_shares_booked_shares_total[1m]))", "booked"),
            (
                "Consumers behind, records",
                "short",
                "max by (topic, group, partition) (lodepool_eventlog_lag_records)",
                "{{group}} {{topic}}/{{partition}}",
            ),
            ("Books behind", "s", "time() - max(lodepool_shares_booked_time_seconds)", "seconds"),
            ("Late shares", "short", "sum(increase(lodepool_shares_late_shares_total[1h]))", "an hour"),
            (
                "Gaps and records set aside",
                "short",
                "max(lodepool_shares_gaps_kept) or max(lodepool_shares_poison_kept_records)",
                "known",
            ),
            ("Publishing, p99", "s", p99("lodepool_eventlog_publish_duration_seconds", "topic"), "{{topic}}"),
        ),
    ),
    (
        "Money",
        (
            ("Blocks", "short", "max by (coin, status) (lodepool_rewards_blocks)", "{{coin}} {{status}}"),
            ("Blocks that wait for the operator", "short", "max by (coin) (lodepool_rewards_held_blocks)", "{{coin}}"),
            (
                "Oldest block not credited",
                "s",
                "max by (coin) (lodepool_rewards_oldest_candidate_age_seconds)",
                "{{coin}}",
            ),
            ("Ledger", "none", "max by (coin, bucket) (lodepool_ledger_balance_atomic)", "{{coin}} {{bucket}}"),
            ("Ledger out of balance", "none", "max by (coin) (lodepool_ledger_imbalance_atomic)", "{{coin}}"),
            ("Reserved for payouts", "none", "max by (coin) (lodepool_ledger_reserved_atomic)", "{{coin}}"),
            ("Batches", "short", "max by (coin, status) (lodepool_payouts_batches)", "{{coin}} {{status}}"),
            ("What payouts wait for", "short", "max by (cause) (lodepool_payouts_waiting)", "{{cause}}"),
            ("Who pays", "short", "lodepool_payouts_is_payer", "{{instance}}"),
        ),
    ),
    (
        "Notices",
        (
            (
                "Oldest not published",
                "s",
                OUTBOXES,
                "{{service}}",
            ),
            (
                "Messages due and held",
                "short",
                "max by (channel) (lodepool_notifier_waiting_deliveries + lodepool_notifier_held_deliveries)",
                "{{channel}}",
            ),
            ("Oldest due message", "s", "max by (channel) (lodepool_notifier_oldest_due_age_seconds)", "{{channel}}"),
            (
                "Tries",
                "cps",
                "sum by (channel, outcome) (rate(lodepool_notifier_messages_total[5m]))",
                "{{channel}} {{outcome}}",
            ),
            (
                "From queued to taken, p99",
                "s",
                p99("lodepool_notifier_delivery_delay_seconds", "channel"),
                "{{channel}}",
            ),
            ("Given up", "short", "max(lodepool_notifier_dead_deliveries)", "messages"),
            ("Set aside", "short", "max(lodepool_notifier_poison_kept_records)", "records"),
            (
                "Subscriptions",
                "short",
                "max by (channel, state) (lodepool_notifier_subscriptions)",
                "{{channel}} {{state}}",
            ),
            ("Bot", "cps", "sum by (outcome) (rate(lodepool_notifier_bot_updates_total[5m]))", "{{outcome}}"),
        ),
    ),
    (
        "Services",
        (
            ("API requests", "reqps", "sum by (status) (rate(lodepool_gateway_requests_total[5m]))", "{{status}}"),
            ("API answer time, p99", "s", p99("lodepool_gateway_request_duration_seconds", "route"), "{{route}}"),
            (
                "gRPC calls that failed",
                "reqps",
                'sum by (service, code) (rate(lodepool_rpc_server_calls_total{code!="OK"}[5m]))',
                "{{service}} {{code}}",
            ),
            ("gRPC answer time, p99", "s", p99("lodepool_rpc_server_call_duration_seconds", "service"), "{{service}}"),
            ("Database connections in use", "short", 'lodepool_postgres_connections{state="used"}', "{{instance}}"),
            ("Tasks waiting for the database", "short", "lodepool_postgres_waiting", "{{instance}}"),
            ("Nodes up", "short", "lodepool_stratum_node_up", "{{instance}} {{node}}"),
            ("etcd's last answer", "s", "lodepool_etcd_answer_age_seconds", "{{instance}}"),
            ("Configuration refused", "short", "lodepool_config_refused", "{{instance}}"),
        ),
    ),
    (
        "Processes",
        (
            ("CPU", "percentunit", "rate(lodepool_process_cpu_seconds_total[1m])", "{{instance}}"),
            ("Memory", "bytes", "lodepool_process_resident_memory_bytes", "{{instance}}"),
            ("Event loop late, p99", "s", p99("lodepool_process_event_loop_lag_seconds"), "{{instance}}"),
        ),
    ),
)


def panel(number: int, y: int, title: str, unit: str, query: str, legend: str) -> dict[str, object]:
    """Return one time series."""
    place = number % COLUMNS
    return {
        "type": "timeseries",
        "title": title,
        "datasource": {"type": "prometheus", "uid": "${datasource}"},
        "gridPos": {"h": HEIGHT, "w": WIDTH, "x": place * WIDTH, "y": y + number // COLUMNS * HEIGHT},
        "fieldConfig": {"defaults": {"unit": unit, "min": 0}, "overrides": []},
        "targets": [{"refId": "A", "expr": query, "legendFormat": legend}],
    }


def dashboard() -> dict[str, object]:
    """Return the whole dashboard."""
    panels: list[dict[str, object]] = []
    y = 0
    for title, row in ROWS:
        panels.append({"type": "row", "title": title, "gridPos": {"h": 1, "w": COLUMNS * WIDTH, "x": 0, "y": y}})
        panels += [panel(number, y + 1, *entry) for number, entry in enumerate(row)]
        y += 1 + -(-len(row) // COLUMNS) * HEIGHT
    for number, entry in enumerate(panels, start=1):
        entry["id"] = number
    return {
        "uid": "lodepool",
        "title": "Lodepool",
        "schemaVersion": 38,
        "refresh": "15s",
        "time": {"from": "now-6h", "to": "now"},
        "templating": {"list": [{"name": "datasource", "type": "datasource", "query": "prometheus"}]},
        "panels": panels,
    }


def main() -> None:
    text = json.dumps(dashboard(), indent=1) + "\n"
    if "--check" in sys.argv:
        if not TARGET.exists() or TARGET.read_text(encoding="utf-8") != text:
            sys.exit("deploy/grafana/lodepool.json is not what tools/gen_dashboard.py makes; run it")
        return
    TARGET.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
