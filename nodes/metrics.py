"""A coin's nodes as metrics; each process that follows them shows what it sees."""

from collections.abc import Callable, Iterator

from prometheus_client import Metric

from nodes.group import NodeGroup
from runtime.telemetry.families import gauge

UP = gauge("lodepool_nodes_up", "1 for a node that answers and may be used", "node")
HEIGHT = gauge("lodepool_nodes_height_blocks", "Height of a node's best block", "node")
LATENCY = gauge("lodepool_nodes_latency_seconds", "How long a node's last answer took", "node")

_MS = 1000


def group_source(group: NodeGroup) -> Callable[[], Iterator[Metric]]:
    """Return what shows the nodes of a group."""

    def families() -> Iterator[Metric]:
        health = group.health
        yield UP.by({node.name: node.is_up for node in health})
        yield HEIGHT.by({node.name: node.height for node in health})
        yield LATENCY.by({node.name: node.latency_ms / _MS for node in health})

    return families
