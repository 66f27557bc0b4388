"""A stratum worker process of a cluster, with an impatient lease; ends as `lodepool` would."""

import sys
from pathlib import Path

import msgspec

from coins import registry
from coins.settings import PoolSettings
from nodes.settings import NodeSettings
from runtime.etcd.claims import ClaimTiming
from runtime.etcd.client import EtcdClient
from runtime.etcd.settings import EtcdSettings
from runtime.live import Live
from runtime.logs import configure_logging
from runtime.process import notify_ready, run_async
from stratum.config import ProcessSettings, StratumSettings
from stratum.lease import EtcdPrefixSource
from stratum.main import run_worker
from tests.fakes.stratum_miner import stratum_platform


class Arguments(msgspec.Struct, kw_only=True):
    """What the test says, as JSON in the first argument."""

    endpoints: tuple[str, ...]
    node_url: str
    coin: str
    address: str
    data_dir: str
    port: int
    prefix_count: int
    ttl_s: float
    margin_s: float


async def serve(arguments: Arguments) -> None:
    data_dir = Path(arguments.data_dir)
    settings = ProcessSettings(
        coin=registry.get(arguments.coin),
        data_dir=data_dir,
        pool=PoolSettings(coin=arguments.coin, address=arguments.address),
        nodes=(NodeSettings(url=arguments.node_url),),
    )
    stratum = StratumSettings(host="127.0.0.1", port=arguments.port, difficulty_start=1e-12, difficulty_min=1e-12)
    etcd_settings = EtcdSettings(
        endpoints=arguments.endpoints, cluster="test", attempt_timeout_s=0.3, request_timeout_s=0.6
    )
    async with EtcdClient(etcd_settings) as etcd:
        prefixes = EtcdPrefixSource(
            etcd,
            slot=0,
            owner=arguments.data_dir,
            timing=ClaimTiming(ttl_s=arguments.ttl_s, margin_s=arguments.margin_s),
            prefixes=range(arguments.prefix_count),
        )
        platform = stratum_platform(data_dir, prefixes=prefixes, ready=notify_ready)
        await run_worker(settings, Live(stratum), platform, slot=0)


if __name__ == "__main__":
    configure_logging("stratum-0", json=False, level="INFO")
    sys.exit(run_async(serve(msgspec.json.decode(sys.argv[1], type=Arguments))))
