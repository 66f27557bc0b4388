"""The whole of `lodepool.toml`, decoded and checked."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec

from coins import registry
from coins.coin import Coin
from coins.errors import UnknownCoin
from coins.settings import PoolSettings
from gateway.config import GatewaySettings
from miners.config import MinersSettings
from nodes.settings import NodeSettings
from payouts.config import PayoutSettings
from rewards.config import RewardsSettings
from runtime.config import decode_section, load_toml
from runtime.errors import ConfigError
from runtime.postgres.settings import PostgresSettings
from shares.config import SharesSettings
from stratum.config import StratumSettings

DEFAULT_PATH = Path("lodepool.toml")


class LogSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The `[log]` section.

    Attributes:
        level: The least level that is written.
        json: JSON lines for machines instead of text for people.
    """

    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    json: bool = False


class SettingsFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Every section a file may hold."""

    pool: PoolSettings
    nodes: tuple[NodeSettings, ...]
    postgres: PostgresSettings = PostgresSettings()
    stratum: StratumSettings = StratumSettings()
    shares: SharesSettings = SharesSettings()
    miners: MinersSettings = MinersSettings()
    rewards: RewardsSettings = RewardsSettings()
    payouts: PayoutSettings = PayoutSettings()
    gateway: GatewaySettings = GatewaySettings()
    log: LogSettings = LogSettings()


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the pool was told.

    Attributes:
        path: The file it stands in.
        coin: The coin that `pool.coin` names.
        data_dir: Where the pool keeps its journal, its blocks and the embedded database; absolute.
    """

    path: Path
    coin: Coin
    data_dir: Path
    pool: PoolSettings
    nodes: tuple[NodeSettings, ...]
    postgres: PostgresSettings
    stratum: StratumSettings
    shares: SharesSettings
    miners: MinersSettings
    rewards: RewardsSettings
    payouts: PayoutSettings
    gateway: GatewaySettings
    log: LogSettings


def load_settings(path: Path, *, environment: Mapping[str, str] | None = None) -> Settings:
    """Read and check a configuration file; the environment overrides single values.

    Raises:
        ConfigError: The file, a key or a value is not right; names which and what is expected.
    """
    file = decode_section(load_toml(path), "", SettingsFile, environment=environment)
    if not file.nodes:
        raise ConfigError("nodes", "there is none", "at least one [[nodes]] table with the url of a node")
    try:
        coin = registry.get(file.pool.coin)
    except UnknownCoin as error:
        raise ConfigError("pool.coin", str(error)) from None
    data_dir = (path.absolute().parent / file.pool.data_dir).resolve()
    sections = {name: getattr(file, name) for name in SettingsFile.__struct_fields__}
    return Settings(path=path.absolute(), coin=coin, data_dir=data_dir, **sections)
