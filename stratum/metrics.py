"""Count what the stratum processes do, and say it as metrics."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from prometheus_client import Metric

from runtime.telemetry.families import QUICK_S, Histogram, counter, gauge, histogram
from stratum.errors import Outcome

NOTIFY_S: Final = (0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)


@dataclass(slots=True)
class StratumMetrics:
    """Counters since the process began.

    Attributes:
        shares: Shares by outcome; recorded ones only.
        not_recorded: Good shares that were refused because they could not be recorded (D5); wants an alert.
        unattributed: Submits that are nobody's share: not subscribed, not authorised.
        overloaded: Submits that were refused unseen because too many wait to be hashed.
        blocks_found: Shares that met the network's target.
        connections: Connections accepted.
        connections_refused: Connections turned away at the gate.
        bans: Addresses banned for what they sent.
        jobs: Jobs sent out.
        answer_s: From reading a share to its answer, one in a turn of the event loop or in a chunk.
        notify_s: From a new job to its last write to a connection.
    """

    shares: dict[Outcome, int] = field(default_factory=lambda: dict.fromkeys(Outcome, 0))
    not_recorded: int = 0
    unattributed: int = 0
    overloaded: int = 0
    blocks_found: int = 0
    connections: int = 0
    connections_refused: int = 0
    bans: int = 0
    jobs: int = 0
    answer_s: Histogram = field(default_factory=lambda: Histogram(QUICK_S))
    notify_s: Histogram = field(default_factory=lambda: Histogram(NOTIFY_S))


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerReadings:
    """What a worker is at this moment.

    Attributes:
        session_count: Open connections.
        last_seq: Sequence number of the last recorded share.
        height: Of the block that miners work on; 0 without a job.
        journal_bytes: Journal on disk.
        journal_age_s: Age of the oldest share that is not shipped; 0 when all are.
        is_refusing: Whether shares are refused because they cannot be recorded.
        prefix_left_s: For how long the prefix may be used without etcd; None when it needs no etcd.
        nodes: Whether each node is up, by the name the operator gave it.
    """

    session_count: int
    last_seq: int
    height: int
    journal_bytes: int
    journal_age_s: float
    is_refusing: bool
    prefix_left_s: float | None
    nodes: Mapping[str, bool]


SHARES: Final = counter("lodepool_stratum_shares_total", "Recorded shares by how they were decided", "outcome")
NOT_RECORDED: Final = counter(
    "lodepool_stratum_shares_not_recorded_total", "Good shares refused because they could not be recorded (D5)"
)
UNATTRIBUTED: Final = counter(
    "lodepool_stratum_shares_unattributed_total", "Submits of connections without a subscription or that worker"
)
OVERLOADED: Final = counter(
    "lodepool_stratum_shares_overloaded_total", "Submits refused unseen because too many waited to be hashed"
)
BLOCKS: Final = counter("lodepool_stratum_blocks_found_total", "Shares that met the network's target")
CONNECTIONS: Final = counter("lodepool_stratum_connections_total", "Connections let in")
REFUSED: Final = counter("lodepool_stratum_connections_refused_total", "Connections turned away by a limit or a ban")
BANS: Final = counter("lodepool_stratum_bans_total", "Addresses banned for a while for what they sent")
JOBS: Final = counter("lodepool_stratum_jobs_total", "Jobs sent to the miners")
SESSIONS: Final = gauge("lodepool_stratum_sessions", "Open connections")
LAST_SEQ: Final = gauge("lodepool_stratum_last_seq", "Sequence number of the last share in the journal")
HEIGHT: Final = gauge("lodepool_stratum_job_height", "Height of the block that miners work on, 0 without a job")
JOURNAL_BYTES: Final = gauge("lodepool_stratum_journal_bytes", "Share journal on disk")
JOURNAL_AGE: Final = gauge("lodepool_stratum_journal_age_seconds", "Age of the oldest share that is not shipped")
REFUSING: Final = gauge("lodepool_stratum_refusing", "1 while shares are refused because they cannot be recorded")
PREFIX_LEFT: Final = gauge(
    "lodepool_stratum_prefix_lease_seconds", "How long the worker goes on if etcd does not answer again"
)
NODE_UP: Final = gauge("lodepool_stratum_node_up", "1 while the node can be used", "node")
ANSWER: Final = histogram("lodepool_stratum_answer_seconds", "Time from reading a share to its answer, of a sample")
NOTIFY: Final = histogram("lodepool_stratum_notify_seconds", "Time from a new job to its last write to a connection")

SHIPPED: Final = counter("lodepool_shipper_records_total", "Records that the event log has acknowledged")
LAG_BYTES: Final = gauge("lodepool_shipper_lag_bytes", "Journal of this host that is not shipped")
LAG_S: Final = gauge("lodepool_shipper_lag_seconds", "Time since all of this host's journal was shipped")
LOG_UP: Final = gauge("lodepool_shipper_event_log_up", "0 while the event log does not take records")


def worker_families(metrics: StratumMetrics, readings: WorkerReadings) -> Iterable[Metric]:
    """Yield a worker's metrics."""
    yield SHARES.by({outcome.name.lower(): count for outcome, count in metrics.shares.items()})
    yield NOT_RECORDED.of(metrics.not_recorded)
    yield UNATTRIBUTED.of(metrics.unattributed)
    yield OVERLOADED.of(metrics.overloaded)
    yield BLOCKS.of(metrics.blocks_found)
    yield CONNECTIONS.of(metrics.connections)
    yield REFUSED.of(metrics.connections_refused)
    yield BANS.of(metrics.bans)
    yield JOBS.of(metrics.jobs)
    yield SESSIONS.of(readings.session_count)
    yield LAST_SEQ.of(readings.last_seq)
    yield HEIGHT.of(readings.height)
    yield JOURNAL_BYTES.of(readings.journal_bytes)
    yield JOURNAL_AGE.of(readings.journal_age_s)
    yield REFUSING.of(readings.is_refusing)
    if readings.prefix_left_s is not None:
        yield PREFIX_LEFT.of(readings.prefix_left_s)
    yield NODE_UP.by({name: float(is_up) for name, is_up in readings.nodes.items()})
    yield ANSWER.seen(metrics.answer_s)
    yield NOTIFY.seen(metrics.notify_s)


def shipper_families(*, records: int, lag_bytes: int, lag_s: float, is_log_up: bool) -> Iterable[Metric]:
    """Yield the shipper's metrics."""
    yield SHIPPED.of(records)
    yield LAG_BYTES.of(lag_bytes)
    yield LAG_S.of(lag_s)
    yield LOG_UP.of(is_log_up)
