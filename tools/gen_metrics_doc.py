"""Write docs/METRICS.md from the metrics' declarations; --check only compares."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import cli.metrics
import gateway.metrics
import miners.metrics
import nodes.metrics
import notifier.bot_metrics
import notifier.metrics
import payouts.metrics
import rewards.metrics
import runtime.etcd.metrics
import runtime.telemetry.eventlog
import runtime.telemetry.identity
import runtime.telemetry.postgres
import runtime.telemetry.process
import runtime.telemetry.readings
import runtime.telemetry.rpc
import runtime.telemetry.tracing
import shares.metrics
import stratum.metrics
from runtime.telemetry.families import Family, declared

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "docs" / "METRICS.md"
HEAD = """\
# Metrics

Every process answers `GET /metrics` (Prometheus text, or OpenMetrics when asked for) and `GET /healthz` where
`telemetry.metrics_port` says. `lodepool up` gives each of its processes a port of its own: the configured one to the
office, the next to the shipper, six and more above it to the stratum workers (9464, 9465, 9470 …).

Names are `lodepool_<service>_<noun>_<unit>`; what only grows ends in `_total`; labels have few values, never a worker,
an address, an IP or a height. What costs a query is read every 10 s in the background and shown as it was then
(`lodepool_reading_age_seconds`); every process of a service shows the same, so take `max`, not `sum`, of such gauges.
`atomic` is the coin's smallest unit. This page is made from the declarations in the code by
`tools/gen_metrics_doc.py`; alerts on them are in `deploy/prometheus/alerts.yml`, a dashboard in `deploy/grafana/`.
"""
TAIL = """
## Logs

With `log.json` every line is one JSON object. Fixed fields, in this order: `time` (UTC, milliseconds), `level`,
`service` (the process: "office", "stratum-0"), `event` (what has happened, past tense, always the same words for the
same event), `logger`, and `trace_id` where the line was written inside a traced piece of work. Then the event's own
fields, and `traceback` after an exception. An event's field that has a fixed field's name gets an underscore behind it.

## Traces

With `telemetry.otlp_endpoint` spans go to an OpenTelemetry collector (OTLP over HTTP, protobuf), from a thread and a
queue of their own: a collector that is slow or away costs spans (`lodepool_trace_spans_total`), nothing else.

| span | process | from … to |
|---|---|---|
| `stratum.submit` | stratum | a share's line is handled … its answer is written; the root of a share's trace |
| `stratum.journal` | stratum | the turn's shares go to the journal |
| `shipper.publish` | shipper | the record with the share goes to the event log |
| `shares.book` | shares | the record is booked |
| `rewards.block_booked` | rewards | a block's row is written; continues the trace of the share that found it |
| `rewards.credit` | rewards | its distribution is booked |
| `rewards.mature` | rewards | its credits become payable |
| `payouts.reserve` | payouts | a batch is made; linked to the traces of the blocks whose credits it pays |
| `payouts.sign`, `.send`, `.confirm`, `.settle` | payouts | the batch's steps, in its trace also after a restart |

Of shares at most `telemetry.trace_sample_per_s` are traced in a process; blocks and payouts always.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A chapter of the page.

    Attributes:
        title: Its heading.
        processes: Which processes show it, for people.
        modules: Where the families are declared.
        prefix: Only families whose name begins so.
    """

    title: str
    processes: str
    modules: tuple[ModuleType, ...]
    prefix: str = "lodepool_"


SECTIONS = (
    Section(title="The process", processes="every process", modules=(runtime.telemetry.process,)),
    Section(title="Configuration", processes="every process", modules=(cli.metrics,)),
    Section(title="Readings", processes="every process that has some", modules=(runtime.telemetry.readings,)),
    Section(
        title="Traces", processes="every process with telemetry.otlp_endpoint", modules=(runtime.telemetry.tracing,)
    ),
    Section(
        title="gRPC",
        processes="every process but the shipper; the certificate's with TLS",
        modules=(runtime.telemetry.rpc, runtime.telemetry.identity),
    ),
    Section(title="etcd", processes="every process of a cluster", modules=(runtime.etcd.metrics,)),
    Section(
        title="PostgreSQL",
        processes="office, shares, miners, rewards, payouts, notifier; the shipper with eventlog.kind = postgres",
        modules=(runtime.telemetry.postgres,),
    ),
    Section(
        title="Event log",
        processes="office, shares, miners, rewards, notifier, shipper",
        modules=(runtime.telemetry.eventlog,),
    ),
    Section(title="Nodes", processes="office, rewards, payouts", modules=(nodes.metrics,)),
    Section(title="Stratum", processes="stratum", modules=(stratum.metrics,), prefix="lodepool_stratum_"),
    Section(title="Shipper", processes="shipper", modules=(stratum.metrics,), prefix="lodepool_shipper_"),
    Section(title="Shares", processes="office, shares", modules=(shares.metrics,)),
    Section(title="Miners", processes="office, miners", modules=(miners.metrics,)),
    Section(title="Rewards and ledger", processes="office, rewards", modules=(rewards.metrics,)),
    Section(title="Payouts", processes="office, payouts", modules=(payouts.metrics,)),
    Section(title="Notifier", processes="office, notifier", modules=(notifier.metrics, notifier.bot_metrics)),
    Section(title="Gateway", processes="office, gateway", modules=(gateway.metrics,)),
)
UNITS = ("seconds", "bytes", "atomic", "shares", "records", "blocks", "payments", "accounts", "connections", "spans")


def families(section: Section) -> tuple[Family, ...]:
    """Return the families of a section."""
    return tuple(
        family
        for module in section.modules
        for family in declared(vars(module))
        if family.name.startswith(section.prefix)
    )


def all_families() -> tuple[Family, ...]:
    """Return every family of the product."""
    return tuple(family for section in SECTIONS for family in families(section))


def unit_of(family: Family) -> str:
    """Return a family's unit, from its name."""
    words = family.name.removesuffix("_total").split("_")
    return next((unit for unit in UNITS if unit in words[-1:]), "")


def lines() -> Iterator[str]:
    """Yield the lines of the page."""
    yield HEAD
    for section in SECTIONS:
        yield f"## {section.title}"
        yield ""
        yield f"In: {section.processes}."
        yield ""
        yield "| metric | type | labels | unit | meaning |"
        yield "|---|---|---|---|---|"
        for family in families(section):
            labels = ", ".join(f"`{label}`" for label in family.labels)
            yield f"| `{family.name}` | {family.kind} | {labels} | {unit_of(family)} | {family.meaning} |"
        yield ""
    yield TAIL.strip("\n")


def main() -> None:
    text = "\n".join(lines()) + "\n"
    if "--check" in sys.argv:
        if not TARGET.exists() or TARGET.read_text(encoding="utf-8") != text:
            sys.exit("docs/METRICS.md is not what the code declares; run tools/gen_metrics_doc.py")
        return
    TARGET.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
