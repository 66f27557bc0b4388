"""Bring a changed configuration into a running process."""

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from prometheus_client import Metric

from cli.metrics import ConfigMetrics
from cli.settings import Settings
from gateway.config import GatewayInfo
from miners.config import MinersSettings
from notifier.config import NotifierSettings
from payouts.config import PayoutSettings
from rewards.config import RewardsSettings
from runtime.errors import ConfigError
from runtime.etcd.config_source import ConfigSource, Configuration
from runtime.etcd.config_tree import Tree
from runtime.live import Live
from runtime.logs import log_event
from runtime.systemd import Systemd
from shares.config import SharesSettings
from stratum.config import StratumSettings

_log = logging.getLogger("lodepool.config")

_SHARED = ("pool",)
_BOOKS = (*_SHARED, "postgres", "eventlog", "kafka")
_OFFICE = (*_BOOKS, "nodes", "shares", "miners", "rewards", "payouts", "notifier", "gateway")
SECTIONS: Final[Mapping[str, tuple[str, ...]]] = {
    "stratum": (*_SHARED, "nodes", "stratum"),
    "shipper": _BOOKS,
    "shares": (*_BOOKS, "shares"),
    "miners": (*_BOOKS, "miners"),
    "rewards": (*_BOOKS, "nodes", "rewards"),
    "payouts": (*_BOOKS, "nodes", "payouts"),
    "notifier": (*_BOOKS, "notifier"),
    "gateway": (*_SHARED, "gateway"),
    "office": _OFFICE,
}
"""Role of a process → the sections it reads: a change in another one is not its business."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveSections:
    """The sections whose settings may change while a process runs, and what the gateway shows of them."""

    stratum: Live[StratumSettings]
    shares: Live[SharesSettings]
    miners: Live[MinersSettings]
    rewards: Live[RewardsSettings]
    payouts: Live[PayoutSettings]
    notifier: Live[NotifierSettings]
    info: Live[GatewayInfo]

    @classmethod
    def of(cls, settings: Settings) -> "LiveSections":
        """Return the sections as they are at the start."""
        return cls(
            stratum=Live(settings.stratum),
            shares=Live(settings.shares),
            miners=Live(settings.miners),
            rewards=Live(settings.rewards),
            payouts=Live(settings.payouts),
            notifier=Live(settings.notifier),
            info=Live(_info(settings.stratum, settings.rewards, settings.payouts)),
        )

    def put(self, settings: Settings) -> dict[str, tuple[str, ...]]:
        """Put what may change into force.

        Returns:
            Section → fields that differ and have to wait for a restart.
        """
        waiting = {
            "stratum": self.stratum.set(settings.stratum),
            "shares": self.shares.set(settings.shares),
            "miners": self.miners.set(settings.miners),
            "rewards": self.rewards.set(settings.rewards),
            "payouts": self.payouts.set(settings.payouts),
            "notifier": self.notifier.set(settings.notifier),
        }
        self.info.set(_info(self.stratum.value, self.rewards.value, self.payouts.value))
        return waiting


class Following:
    """Follows a configuration: `run` in a task of its own.

    Args:
        source: Where it comes from.
        decode: Makes settings of a tree, the environment's values included.
        role: What the process is, a key of SECTIONS.
        settings: What the process was started with.
        live: Where changes go.
        revision: Revision in etcd of what it was started with.
        manager: Shows the operator a configuration that was refused.
    """

    def __init__(
        self,
        source: ConfigSource,
        *,
        decode: Callable[[Tree], Settings],
        role: str,
        settings: Settings,
        live: LiveSections,
        revision: int,
        manager: Systemd,
    ) -> None:
        self._source = source
        self._decode = decode
        self._sections = SECTIONS[role]
        self._settings = settings
        self._live = live
        self._manager = manager
        self._metrics = ConfigMetrics(revision=revision)
        self._is_own_problem = False
        self._waiting: tuple[str, ...] = ()

    async def run(self) -> None:
        """Follow until cancelled."""
        async for configuration in self._source.watch():
            self._take(configuration)

    def families(self) -> Iterator[Metric]:
        """Yield the metrics."""
        self._metrics.is_refused = self._source.problem is not None or self._is_own_problem
        return self._metrics.families()

    def _take(self, configuration: Configuration) -> None:
        try:
            settings = self._decode(configuration.tree)
        except ConfigError as error:
            # Right by itself, but not together with this process's environment.
            self._is_own_problem = True
            log_event(
                _log, logging.ERROR, "configuration refused", path=error.path, problem=error.problem,
                expected=error.expected,
            )  # fmt: skip
            self._manager.status(f"configuration refused, an earlier one is in force: {error}")
            return
        self._is_own_problem = False
        waiting = self._needing_restart(settings, self._live.put(settings))
        self._metrics.revision = configuration.revision
        self._metrics.restart_fields = len(waiting)
        log_event(_log, logging.INFO, "configuration in force", revision=configuration.revision)
        if waiting and waiting != self._waiting:
            log_event(_log, logging.WARNING, "settings wait for a restart", settings=", ".join(waiting))
        self._waiting = waiting

    def _needing_restart(self, settings: Settings, waiting: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
        names: list[str] = []
        for section in self._sections:
            if section in waiting:
                names += [f"{section}.{field}" for field in waiting[section]]
                continue
            old, new = getattr(self._settings, section), getattr(settings, section)
            if section == "nodes":
                names += ["nodes"] if old != new else []
                continue
            names += [
                f"{section}.{field}" for field in old.__struct_fields__ if getattr(old, field) != getattr(new, field)
            ]
        return tuple(names)


def _info(stratum: StratumSettings, rewards: RewardsSettings, payouts: PayoutSettings) -> GatewayInfo:
    return GatewayInfo(
        scheme_default=stratum.scheme_default,
        fee_ppm=rewards.fee_ppm,
        payout_threshold_atomic=payouts.threshold_atomic,
        stratum_port=stratum.port,
        difficulty_start=stratum.difficulty_start,
        difficulty_min=stratum.difficulty_min,
        difficulty_max=stratum.difficulty_max,
        schemes_allowed=stratum.schemes_allowed,
    )
