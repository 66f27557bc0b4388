"""The main job, end to end: a CPU miner over TCP, litecoind, and a payout that the miner's wallet sees."""

import asyncio
import json
from decimal import Decimal
from pathlib import Path

import asyncpg
import pytest

from cli.mining.client import Miner, MinerSettings
from coins import registry
from nodes.regtest import MINER_WALLET, POOL_WALLET, LitecoindRegtest, find_litecoind
from proto.lodepool.payouts.v1 import payouts_pb2
from proto.lodepool.rewards.v1 import rewards_pb2
from runtime.postgres.embedded import EmbeddedPostgres
from runtime.rpc.client import call
from tests.e2e.conftest import RunningPool, StartPool, asking, run_cli

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.litecoind,
    pytest.mark.skipif(find_litecoind() is None, reason="missing component: litecoind"),
]

COIN = registry.get("litecoin-regtest")
SECTIONS: dict[str, dict[str, object]] = {
    "stratum": {"difficulty_start": 0.00001, "difficulty_min": 0.00001},
    "rewards": {"confirmations_poll_s": 0.5, "pplns_window_percent": 2000},
    "payouts": {"threshold_atomic": 100_000_000, "interval_s": 1, "confirmations": 1},
}


async def paid_atomic(pool: RunningPool, account: str) -> int:
    """Return what the ledger says was paid to an account."""
    async with asking(pool) as stubs:
        request = rewards_pb2.GetBalanceRequest(coin=COIN.coin_id, account=account)
        return int((await call(stubs.rewards.GetBalance, request)).paid_atomic)


async def test_a_cpu_miner_is_paid_on_litecoind_and_wallet_and_ledger_agree_to_the_unit(
    start_pool: StartPool, tmp_path: Path
) -> None:
    """P5, R1, D1: the wallet received what the ledger paid; then the audit proves the books and finds what is tampered with."""
    async with LitecoindRegtest(tmp_path / "chain") as node:
        pool_address = await node.new_address(POOL_WALLET)
        account = await node.new_address(MINER_WALLET)
        async with start_pool(
            coin=COIN.coin_id, address=pool_address, nodes=node.node_settings(), sections=SECTIONS
        ) as pool:
            miner = Miner(
                MinerSettings(
                    host="127.0.0.1",
                    port=pool.settings.stratum.port,
                    user=f"{account}.rig",
                    algorithm=COIN.algorithm,
                    hashrate_max=12,
                )
            )
            mining = asyncio.create_task(miner.run())
            async with asyncio.timeout(240):
                while not await paid_atomic(pool, account):
                    assert not mining.done(), mining
                    await asyncio.sleep(0.5)
            miner.stop()
            await mining
            await settle_payouts(pool, node)

            received = await node.call("getreceivedbyaddress", account, 1, wallet=MINER_WALLET)
            assert Decimal(str(received)) * 100_000_000 == await paid_atomic(pool, account)
            assert all(reason.startswith("stale") for reason in miner.stats.rejected), miner.stats
            report = await pool.audit()
            assert report["audit_ok"], report
            await check_commands(pool, account)
            await check_tampering(pool)


async def settle_payouts(pool: RunningPool, node: LitecoindRegtest) -> None:
    """Hold new payouts, then mine until none is under way."""
    code, _, err = await run_cli("payouts", "--config", str(pool.settings.path), "hold", "--reason", "counting")
    assert code == 0, err
    async with asyncio.timeout(60), asking(pool) as stubs:
        while True:
            batches = await call(stubs.payouts.ListBatches, payouts_pb2.ListBatchesRequest(coin=COIN.coin_id))
            open_states = (
                payouts_pb2.BATCH_STATUS_RESERVED,
                payouts_pb2.BATCH_STATUS_SIGNED,
                payouts_pb2.BATCH_STATUS_BROADCAST,
            )
            if not any(batch.status in open_states for batch in batches.batches):
                return
            await node.generate(1)
            await asyncio.sleep(0.5)


async def check_commands(pool: RunningPool, account: str) -> None:
    """Each read-only command answers, for people and for scripts."""
    for command in (["status"], ["blocks"], ["miners"], ["miners", account], ["payouts"]):
        code, out, err = await pool.run_cli(*command)
        assert (code, err) == (0, ""), (command, err)
        code, out, err = await pool.run_cli(*command, "--json")
        assert code == 0, (command, err)
        assert json.loads(out), command


TAMPERINGS = (
    ("shares.slice", "work", 7),
    ("ledger.transfer", "amount_atomic", 3),
    ("payouts.item", "amount_atomic", 5),
)


async def check_tampering(pool: RunningPool) -> None:
    """The audit names the exact difference when a slice, a transfer or a payout is changed behind the pool's back."""
    embedded = EmbeddedPostgres(pool.settings.data_dir)
    connection = await asyncpg.connect(await embedded.start())
    try:
        await connection.execute("SET session_replication_role = replica")
        for table, column, difference in TAMPERINGS:
            row = await connection.fetchval(f"SELECT min(ctid) FROM {table}")
            change = f"UPDATE {table} SET {column} = {column} + $2 WHERE ctid = $1 RETURNING ctid"
            row = await connection.fetchval(change, row, difference)
            report = await pool.audit()
            assert not report["audit_ok"], table
            findings = report["findings"]
            assert isinstance(findings, list)
            gaps = {abs(int(f["expected"].split()[0]) - int(f["actual"].split()[0])) for f in findings if is_number(f)}
            assert difference in gaps, (table, findings)
            await connection.fetchval(change, row, -difference)
            restored = await pool.audit()
            assert restored["audit_ok"], (table, restored)
    finally:
        await connection.close()
        await embedded.stop()


def is_number(finding: dict[str, str]) -> bool:
    """Tell whether a finding compares two whole numbers."""
    return finding["expected"].split()[0].isdigit() and finding["actual"].split()[0].isdigit()
