"""`lodepool payouts` as the operator types it, against a running payouts service."""

import asyncio
import sys
from pathlib import Path

import pytest
import tomlkit

from coins.settings import PoolSettings
from payouts import main
from runtime.live import Live
from runtime.platform import Platform
from tests.fakes.payouts_world import COIN, SETTINGS, SimulatedBench, World
from tests.fakes.waiting import eventually

pytestmark = pytest.mark.timeout(180)

ROOT = Path(__file__).parents[2]


async def cli(*arguments: str, config: Path) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", "from cli.main import main; main()", "payouts", "--config", str(config), *arguments,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT, cwd=ROOT,
    )  # fmt: skip
    async with asyncio.timeout(60):
        out, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, " ".join(out.decode().split())


async def test_operator_reads_what_the_wallet_has_sent_and_adopts_or_ignores_it(
    platform: Platform, short_dir: Path
) -> None:
    """P2"""
    bench = SimulatedBench()
    world = await World.make(platform.pool, bench)
    first, second = await world.miner(2_000_000), await world.miner(3_000_000)
    txids = []
    for account, amount in ((first, 2_000_000), (second, 1_000_000)):
        signed = await bench.wallet.build([(account, amount)], fee_rate_sat_per_kvb=10_000)
        await bench.wallet.broadcast(signed.raw)
        txids.append(signed.txid_hex)
    address = bench.node.wallet.new_address()
    config = short_dir / "lodepool.toml"
    config.write_text(
        tomlkit.dumps(
            {
                "pool": {"coin": COIN.coin_id, "address": address, "data_dir": str(short_dir)},
                "nodes": [{"url": "http://127.0.0.1:1"}],
            }
        )
    )
    pool_settings = PoolSettings(coin=COIN.coin_id, address=address)
    serving = asyncio.create_task(main.run(Live(SETTINGS), pool_settings, platform, bench.wallet))
    try:

        async def is_alarmed() -> bool:
            query = "SELECT count(*) = 2 FROM payouts.wallet_send WHERE account_count > 0"
            return bool(await platform.pool.fetchval(query))

        await eventually(is_alarmed, timeout_s=60, what="the payer asking the wallet")
        code, said = await cli(config=config)
        assert code == 0, said
        assert "payouts stand still" in said
        assert "Nothing has been paid yet." in said

        code, said = await cli("adopt", txids[0], config=config)
        assert code == 0, said
        assert "0.02000000 rLTC in 1 payment." in said
        code, said = await cli("ignore", txids[1], "--reason", "a private payment", config=config)
        assert code == 0, said
        code, said = await cli("adopt", "cd" * 32, config=config)
        assert code == 2
        assert "is not among the wallet's sends that no batch knows" in said
        code, said = await cli(config=config)
        assert "payouts stand still" not in said
        assert "broadcast" in said
    finally:
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)
