"""Metric families: declared once with name, labels and meaning; docs/METRICS.md is made from the declarations."""

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, TypeVar

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

L = TypeVar("L", bound=str | tuple[str, ...])
"""The value of a family's one label, or one value for each of its labels."""

QUICK_S: Final = (0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)
"""Upper bounds for what takes microseconds to milliseconds."""
CALLS_S: Final = (0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
"""Upper bounds for calls over the network."""


class Kind(StrEnum):
    """How a family's values move."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


class Histogram:
    """Counts observations by size; an observation costs a bisection and two additions.

    Args:
        bounds: Upper bounds of the buckets, ascending; what is above the last one is counted as well.
    """

    __slots__ = ("_bounds", "_counts", "_sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = tuple(bounds)
        self._counts = [0] * (len(self._bounds) + 1)
        self._sum = 0.0

    def observe(self, value: float) -> None:
        """Count one observation."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    @property
    def sum(self) -> float:
        """Return the sum of all observations."""
        return self._sum

    def buckets(self) -> list[tuple[str, float]]:
        """Return (upper bound, observations up to it), the last one being +Inf."""
        total = 0
        buckets: list[tuple[str, float]] = []
        for bound, count in zip((*map(str, self._bounds), "+Inf"), self._counts, strict=True):
            total += count
            buckets.append((bound, total))
        return buckets


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """The declaration of a metric.

    Attributes:
        name: lodepool_<service>_<noun>_<unit>; a counter's ends in _total.
        kind: How it moves.
        meaning: One sentence without a full stop.
        labels: Names of its labels; their values come from closed sets.
    """

    name: str
    kind: Kind
    meaning: str
    labels: tuple[str, ...] = ()

    def of(self, value: float) -> Metric:
        """Return the family with the value of one without labels."""
        return self.by({(): value})

    def by(self, values: Mapping[L, float]) -> Metric:
        """Return the family with a value for each set of label values."""
        make = CounterMetricFamily if self.kind is Kind.COUNTER else GaugeMetricFamily
        family = make(self.name, self.meaning, labels=self.labels)
        for labels, value in values.items():
            family.add_metric((labels,) if isinstance(labels, str) else labels, value)
        return family

    def seen(self, histogram: Histogram) -> Metric:
        """Return the family of one histogram without labels."""
        return self.seen_by({(): histogram})

    def seen_by(self, histograms: Mapping[L, Histogram]) -> Metric:
        """Return the family with a histogram for each set of label values."""
        family = HistogramMetricFamily(self.name, self.meaning, labels=self.labels)
        for labels, histogram in histograms.items():
            family.add_metric(
                (labels,) if isinstance(labels, str) else labels, histogram.buckets(), sum_value=histogram.sum
            )
        return family


def counter(name: str, meaning: str, *labels: str) -> Family:
    """Declare what only grows."""
    return Family(name=name, kind=Kind.COUNTER, meaning=meaning, labels=labels)


def gauge(name: str, meaning: str, *labels: str) -> Family:
    """Declare what goes up and down."""
    return Family(name=name, kind=Kind.GAUGE, meaning=meaning, labels=labels)


def histogram(name: str, meaning: str, *labels: str) -> Family:
    """Declare a distribution."""
    return Family(name=name, kind=Kind.HISTOGRAM, meaning=meaning, labels=labels)


def declared(namespace: Mapping[str, object]) -> tuple[Family, ...]:
    """Return the families that a module declares, in its order.

    Args:
        namespace: `vars(module)`.
    """
    return tuple(value for value in namespace.values() if isinstance(value, Family))


def names(families: Iterable[Family]) -> tuple[str, ...]:
    """Return the names of families."""
    return tuple(family.name for family in families)
