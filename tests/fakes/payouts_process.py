"""A payer in a process of its own that kills itself at an arrow: `python -m tests.fakes.payouts_process …`.

Arguments: the database's URL, the node's settings as JSON, the arrow.
"""

import asyncio
import os
import signal
import sys

import msgspec

from nodes.bitcoin import BitcoinRpc
from nodes.settings import NodeSettings
from payouts.domain import Arrow
from payouts.payer import Payer
from runtime.clock import SystemClock
from runtime.postgres.pool import open_pool
from tests.fakes.payouts_world import COIN, SETTINGS, FakeThresholds


async def main(dsn: str, node: str, arrow: Arrow) -> None:
    async def checkpoint(passed: Arrow) -> None:
        if passed is arrow:
            os.kill(os.getpid(), signal.SIGKILL)

    fields = {name: getattr(SETTINGS, name) for name in SETTINGS.__struct_fields__}
    payer = Payer(
        coin=COIN,
        settings=type(SETTINGS)(**{**fields, "interval_s": 0.05}),
        pool=await open_pool(dsn),
        wallet=BitcoinRpc(msgspec.json.decode(node, type=NodeSettings), COIN),
        thresholds=FakeThresholds(),
        clock=SystemClock(),
        checkpoint=checkpoint,
    )
    await payer.run()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], Arrow(sys.argv[3])))
