"""A running pool's file is edited: what may change is in force within two seconds, and nobody is dropped."""

import asyncio
import json
import time
import urllib.request

import pytest

from cli.demo.node import COIN_ID, demo_node
from tests.e2e.conftest import RunningPool, StartPool, until
from tests.fakes.stratum_miner import Miner
from tests.fakes.waiting import eventually

pytestmark = pytest.mark.e2e

LIVE_S_MAX = 2.0
BANNED = "127.0.0.2"


def fee_ppm(pool: RunningPool) -> int:
    url = f"http://127.0.0.1:{pool.settings.gateway.port}/api/v1/pool"
    with urllib.request.urlopen(url, timeout=5) as response:
        return int(json.load(response)["fee_ppm"])


async def test_a_fee_by_hand_and_a_ban_by_command_are_in_force_within_two_seconds(
    start_pool: StartPool, short_dir
) -> None:
    async with demo_node("simulated", short_dir / "chain") as node:
        sections: dict[str, dict[str, object]] = {
            "stratum": {"difficulty_start": 0.000016, "difficulty_min": 0.000016},
            "rewards": {"fee_ppm": 10_000},
        }
        async with start_pool(coin=COIN_ID, address=node.pool_address, nodes=node.settings, sections=sections) as pool:
            port, address = pool.settings.stratum.port, await node.miner_address()
            stays = await Miner.ready(port, f"{address}.stays")
            banned = await Miner.ready(port, f"{address}.banned", local_host=BANNED)
            pids = [pool.pid_of(part) for part in ("office", "worker")]
            assert await asyncio.to_thread(fee_ppm, pool) == 10_000

            text = pool.settings.path.read_text()
            pool.settings.path.write_text(text.replace("fee_ppm = 10000", "fee_ppm = 8000"))
            start_s = time.monotonic()

            async def is_fee() -> bool:
                return await asyncio.to_thread(fee_ppm, pool) == 8_000

            await eventually(is_fee, timeout_s=LIVE_S_MAX, what="the fee")
            assert time.monotonic() - start_s < LIVE_S_MAX

            code, _, err = await pool.run_cli("config", "set", "stratum.bans", json.dumps([BANNED]))
            assert code == 0, err
            async with asyncio.timeout(LIVE_S_MAX):
                assert "operator" in (await banned.wait_pushed("client.show_message"))["params"][0]
                await banned.closed()
            refused = await Miner.connect(port, address, local_host=BANNED)
            assert "operator" in (await refused.line())["params"][0]
            await refused.closed()
            await stays.submit_until_accepted()

            # What is wrong changes nothing, and is said once.
            good = pool.settings.path.read_text()
            pool.settings.path.write_text(good.replace("fee_ppm = 8000", "fee_ppm = -8000"))
            await until(
                lambda: "configuration refused" in pool.log.read_text(), timeout_s=10, what="the file to be refused"
            )
            assert await asyncio.to_thread(fee_ppm, pool) == 8_000
            pool.settings.path.write_text(good)
            assert [pool.pid_of(part) for part in ("office", "worker")] == pids
            code, out, err = await pool.run_cli("eventlog", "show", "--json")
            assert (code, json.loads(out)) == (0, {"bound": "postgres", "configured": "postgres"}), err
            code, _, err = await pool.run_cli("eventlog", "switch")
            assert (code, "The pool runs." in err) == (2, True), err
            await stays.submit_until_accepted()
            for miner in (stays, banned, refused):
                await miner.close()
