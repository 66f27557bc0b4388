"""A process that holds a number and says so: lines "held <number> <token> <monotonic seconds>", then "lost"."""

import asyncio
import sys
import time

from runtime.etcd.claims import ClaimTiming
from runtime.etcd.client import EtcdClient
from runtime.etcd.prefix_lease import NumberLeases
from runtime.etcd.settings import EtcdSettings


async def main(endpoint: str, ttl_s: float, margin_s: float) -> None:
    settings = EtcdSettings(endpoints=(endpoint,), attempt_timeout_s=0.3, request_timeout_s=0.6)
    timing = ClaimTiming(ttl_s=ttl_s, margin_s=margin_s)
    async with EtcdClient(settings) as etcd:
        leases = NumberLeases(etcd, prefix="/numbers/", numbers=range(1), owner=str(sys.argv[1:]), timing=timing)
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        while True:
            async with leases.hold() as lease:
                while True:
                    # Read before it is asked: what is claimed is that the number was ours at this moment.
                    now_s = time.monotonic()
                    if not lease.is_held:
                        break
                    sys.stdout.write(f"held {lease.number} {lease.token} {now_s}\n")
                    sys.stdout.flush()
                    await asyncio.sleep(0.01)
            sys.stdout.write("lost\n")
            sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], float(sys.argv[2]), float(sys.argv[3])))
