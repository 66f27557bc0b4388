"""What every handler of the gateway works with."""

from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from coins.coin import Coin
from coins.settings import PoolSettings
from gateway.cache import RecentAnswers
from gateway.config import GatewayInfo, GatewaySettings
from gateway.metrics import GatewayMetrics
from gateway.sources import Sources
from gateway.watch import ServiceWatch
from runtime.clock import Clock, SystemClock
from runtime.live import Live

KEEP_S = 15.0
KEPT_MAX = 64


def _kept_answers() -> RecentAnswers[Any]:
    return RecentAnswers(clock=SystemClock(), keep_s=KEEP_S, entries_max=KEPT_MAX)


@dataclass(frozen=True, slots=True, kw_only=True)
class Gateway:
    """The surroundings of a request.

    Attributes:
        settings: The `[gateway]` section.
        pool_settings: The `[pool]` section.
        live_info: The pool's rules, which may change.
        coin: The coin that is mined.
        sources: The services that are asked.
        clock: The time.
        kept: Answers of services that many readers want and that change slowly.
        watch: Since when each service is up or down.
        metrics: Counted into.
    """

    settings: GatewaySettings
    pool_settings: PoolSettings
    live_info: Live[GatewayInfo]
    coin: Coin
    sources: Sources
    clock: Clock
    kept: RecentAnswers[Any] = field(default_factory=_kept_answers)
    watch: ServiceWatch = field(default_factory=ServiceWatch)
    metrics: GatewayMetrics = field(default_factory=GatewayMetrics)

    @property
    def info(self) -> GatewayInfo:
        """Return the pool's rules as they are now."""
        return self.live_info.value


GATEWAY = web.AppKey("gateway", Gateway)
"""Where an application keeps its `Gateway`; handlers added later read `request.app[GATEWAY]`."""
