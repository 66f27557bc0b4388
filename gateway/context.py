"""What every handler of the gateway works with."""

from dataclasses import dataclass

from aiohttp import web

from coins.coin import Coin
from coins.settings import PoolSettings
from gateway.config import GatewayInfo, GatewaySettings
from gateway.sources import Sources
from runtime.clock import Clock


@dataclass(frozen=True, slots=True, kw_only=True)
class Gateway:
    """The surroundings of a request.

    Attributes:
        settings: The `[gateway]` section.
        pool_settings: The `[pool]` section.
        info: The pool's rules.
        coin: The coin that is mined.
        sources: The services that are asked.
        clock: The time, for caching.
    """

    settings: GatewaySettings
    pool_settings: PoolSettings
    info: GatewayInfo
    coin: Coin
    sources: Sources
    clock: Clock


GATEWAY = web.AppKey("gateway", Gateway)
"""Where an application keeps its `Gateway`; handlers added later read `request.app[GATEWAY]`."""
