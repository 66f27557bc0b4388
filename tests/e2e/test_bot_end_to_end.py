"""From a share, a block and a payment to a chat: a whole pool, a miner that is killed, and a Bot API of our own."""

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import pytest

from coins import registry
from nodes.simulated import SimulatedNode
from nodes.simulated_server import SimulatedServer
from notifier.telegram_settings import TOKEN_VARIABLE
from runtime.clock import SystemClock
from runtime.postgres.embedded import EmbeddedPostgres
from tests.e2e.conftest import ROOT, StartPool, until
from tests.fakes.bot_api import TOKEN, BotApi

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(420)]

COIN = registry.get("litecoin-regtest")
CHAT = 4242
LIMIT_S = 66.0
"""How long a worker with a share a second may be silent: docs/NOTICES.md, never sooner than 60 s."""
WITHIN_S = 60.0
MINER = """
import asyncio, sys
from tests.e2e.share_miner import BlockBudget, ShareMiner
port, account, blocks = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
budget = BlockBudget(interval_s=1.0, count_max=blocks)
miner = ShareMiner(
    addresses=[("127.0.0.1", port)], account=account, worker="rig<1>", interval_s=0.5, budget=budget, seed=1
)
asyncio.run(miner.run())
"""


@asynccontextmanager
async def mining(port: int, account: str, *, blocks: int) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a miner as a process of its own; it is killed at the end."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", MINER, str(port), account, str(blocks), cwd=ROOT
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            os.kill(process.pid, signal.SIGKILL)
        await process.wait()


async def test_a_chat_is_told_of_a_block_a_payment_and_a_killed_rig_once_each(
    start_pool: StartPool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """D1, P3: "offline" within a minute of what the rig's own shares allow, "online" when it is back; exact amounts."""
    monkeypatch.setenv(TOKEN_VARIABLE, TOKEN)
    node = SimulatedNode(COIN, seed="bot", clock=SystemClock())
    address = node.wallet.new_address()
    account = SimulatedNode(COIN, seed="miner", clock=SystemClock()).wallet.new_address()
    async with SimulatedServer(node) as server, BotApi() as api:
        sections: dict[str, dict[str, object]] = {
            "stratum": {
                "difficulty_start": 1.6e-5,
                "difficulty_min": 1.6e-5,
                "difficulty_max": 1.6e-5,
                "worker_count": 1,
            },
            "rewards": {"confirmations_poll_s": 0.5, "pplns_window_percent": 2000},
            "payouts": {"threshold_atomic": 100_000, "interval_s": 1, "confirmations": 1},
            "notifier.telegram": {"base_url": api.base_url, "poll_timeout_s": 5},
        }
        async with start_pool(
            coin=COIN.coin_id, address=address, nodes=[server.settings(name="sim")], sections=sections
        ) as pool:
            await subscribe(api, account)
            port = pool.settings.stratum.port
            async with mining(port, account, blocks=1):
                await until(lambda: told(api, "Block 1 found") or told(api, "found"), timeout_s=60, what="the block")
                started_s = time.monotonic()
                for _ in range(COIN.maturity_blocks + 5):
                    node.mine_block()
                await paid(api, node)
                # 48 intervals are what the limit is reckoned by.
                await asyncio.sleep(max(0.0, 60 - (time.monotonic() - started_s)))
                assert not told(api, "rig<1>")
            killed_s = time.monotonic()
            await until(lambda: told(api, "rig<1>"), timeout_s=LIMIT_S + WITHIN_S, what="the rig to be missed")
            offline_s = time.monotonic() - killed_s
            assert offline_s >= 30, offline_s
            async with mining(port, account, blocks=0):
                await until(lambda: len(told(api, "rig<1>")) == 2, timeout_s=WITHIN_S, what="the rig to be back")
            await check_amounts(api, pool.settings.data_dir, account)
            assert [text for text in api.refused if "retry after" not in text] == []
            (tmp_path / "offline_s").write_text(f"{offline_s:.1f}")
            print(f"offline told {offline_s:.1f} s after the kill")  # noqa: T201  the figure of docs/BOT.md


async def subscribe(api: BotApi, account: str) -> None:
    """Watch the account and choose the pool's blocks."""
    api.user_says(CHAT, f"/watch {account}")
    await until(lambda: told(api, "I watch"), timeout_s=30, what="the bot's answer")
    api.user_says(CHAT, "/alerts")
    await until(lambda: told(api, "What I tell you"), timeout_s=10, what="the menu")
    menu = api.last(CHAT)
    api.user_presses(menu, menu.button("the pool's blocks"))
    await until(lambda: menu.edits == 1, timeout_s=10, what="the menu to change")


async def paid(api: BotApi, node: SimulatedNode) -> None:
    """Let blocks be mined until the chat has heard that the payment is confirmed."""
    async with asyncio.timeout(90):
        while not told(api, "confirmed") and not told(api, "Received"):
            node.mine_block()
            await asyncio.sleep(1)


async def check_amounts(api: BotApi, data_dir: Path, account: str) -> None:
    """Every notice of money came once, with what the books say to the last digit."""
    embedded = EmbeddedPostgres(data_dir)
    connection = await asyncpg.connect(await embedded.start())
    try:
        rows = await connection.fetch(
            "SELECT kind, count(*) AS count FROM notifier.delivery WHERE state = 'sent' GROUP BY kind"
        )
        counts = {row["kind"]: row["count"] for row in rows}
        amount = await connection.fetchval("SELECT amount_atomic FROM payouts.item LIMIT 1")
        reward = await connection.fetchval("SELECT reward_atomic FROM rewards.block LIMIT 1")
    finally:
        await connection.close()
        await embedded.stop()
    once = ("block_found", "block_confirmed", "credit", "payout_sent", "payout_confirmed", "worker_offline")
    assert {kind: counts.get(kind) for kind in once} == dict.fromkeys(once, 1)
    assert counts.get("worker_online") == 1
    texts = api.texts(CHAT)
    assert sum(COIN.format_amount(reward) in text for text in texts) >= 1
    assert sum(COIN.format_amount(amount) in text for text in texts) >= 3
    assert len(texts) == len(set(texts))
    assert any(account in text for text in texts)


def told(api: BotApi, part: str) -> list[str]:
    """Return what the chat has received with a part."""
    return [text for text in api.texts(CHAT) if part in text]
