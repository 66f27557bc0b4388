"""What every process shows about its configuration."""

from collections.abc import Iterator
from dataclasses import dataclass

from prometheus_client import Metric

from runtime.telemetry.families import gauge

REVISION = gauge("lodepool_config_revision", "Revision of the configuration in force; 0 for a file")
REFUSED = gauge("lodepool_config_refused", "1 while the newest configuration is refused and the one before in force")
RESTART = gauge("lodepool_config_restart_fields", "Settings that have changed and wait for a restart of this process")


@dataclass(slots=True, kw_only=True)
class ConfigMetrics:
    """The configuration of this process.

    Attributes:
        revision: Of what is in force; 0 for a file.
        is_refused: Whether there is a newer one that is not right.
        restart_fields: Settings that wait for a restart.
    """

    revision: int = 0
    is_refused: bool = False
    restart_fields: int = 0

    def families(self) -> Iterator[Metric]:
        """Yield the families as they are now; a MetricSource."""
        yield REVISION.of(self.revision)
        yield REFUSED.of(self.is_refused)
        yield RESTART.of(self.restart_fields)
