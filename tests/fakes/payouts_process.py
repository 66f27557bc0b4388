"""A payer in a process of its own: `python -m tests.fakes.payouts_process DSN NODE ARROW [ETCD OWNER]`.

NODE and ETCD are settings as JSON. The process kills itself at ARROW; "none" never comes; at "freeze:ARROW" it stops
once, until somebody lets it go on. With ETCD it pays only while it is elected. Each call of the wallet is a line "<method> <seconds>" of the machine's monotonic clock, written before
the call; what is logged goes to stderr.
"""

import os
import signal
import sys
import time
from typing import Any

import msgspec

from nodes.bitcoin import BitcoinRpc
from nodes.settings import NodeSettings
from payouts.domain import Arrow
from payouts.payer import Payer
from runtime.clock import SystemClock
from runtime.etcd.claims import ClaimTiming
from runtime.etcd.client import EtcdClient
from runtime.etcd.exclusive import EtcdExclusive
from runtime.etcd.settings import EtcdSettings
from runtime.exclusive import Alone, Exclusive
from runtime.live import Live
from runtime.logs import configure_logging
from runtime.postgres.pool import check_database, open_pool
from runtime.postgres.settings import PostgresSettings
from runtime.process import keep_running, run_async
from tests.fakes.payouts_world import COIN, SETTINGS, FakeThresholds

TIMING = ClaimTiming(ttl_s=2.0, margin_s=0.5)
NAME = f"payouts/{COIN.coin_id}"


class Told:
    """A wallet whose calls are told before they are made."""

    def __init__(self, wallet: BitcoinRpc) -> None:
        self._wallet = wallet

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._wallet, name)

        async def call(*arguments: Any, **named: Any) -> Any:
            sys.stdout.write(f"{name} {time.monotonic()}\n")
            sys.stdout.flush()
            return await method(*arguments, **named)

        return call


async def main(dsn: str, node: str, arrow: str, etcd: str = "", owner: str = "") -> None:
    frozen: list[Arrow] = []

    async def checkpoint(passed: Arrow) -> None:
        if passed == arrow:
            os.kill(os.getpid(), signal.SIGKILL)
        if f"freeze:{passed}" == arrow and not frozen:
            frozen.append(passed)
            os.kill(os.getpid(), signal.SIGSTOP)

    clock = SystemClock()
    pool = await open_pool(dsn, PostgresSettings(dsn=dsn, statement_timeout_s=5))
    fields = {name: getattr(SETTINGS, name) for name in SETTINGS.__struct_fields__}
    payer = Payer(
        coin=COIN,
        live=Live(type(SETTINGS)(**{**fields, "interval_s": 0.05, "lock_retry_s": 0.05})),
        pool=pool,
        wallet=Told(BitcoinRpc(msgspec.json.decode(node, type=NodeSettings), COIN)),
        thresholds=FakeThresholds(),
        clock=clock,
        checkpoint=checkpoint,
    )
    exclusive: Exclusive = Alone()
    if etcd:
        client = EtcdClient(msgspec.json.decode(etcd, type=EtcdSettings))
        exclusive = EtcdExclusive(client, owner, timing=TIMING)

    async def pay() -> None:
        await check_database(pool)
        await exclusive.run(NAME, payer.run)

    await keep_running("payer", pay, clock=clock, backoff_s_max=0.5)


if __name__ == "__main__":
    configure_logging(sys.argv[5] if len(sys.argv) > 5 else "payouts", json=False, level="INFO")
    sys.exit(run_async(main(*sys.argv[1:])))
