"""Chaos: kill -9 and restart every process of a cluster under load, by a schedule made from a seed; then count.

Run as `python -m tests.e2e.chaos --seconds 180 --seed 7` (`make chaos SECONDS=180 SEED=7`): progress goes to stderr, and
one JSON object to stdout. Exit code 1 when a share was lost or doubled, a block was credited twice, a payout is on the
chain twice, or the audit finds a difference.
"""

import argparse
import asyncio
import contextlib
import json
import random
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import asyncpg

from nodes.regtest import MWEB_HEIGHT
from stratum.journal import instance_dirs, summarise
from tests.e2e.cluster import HOSTS, SERVICES, Cluster
from tests.e2e.share_miner import BlockBudget, ShareMiner

MINERS = 8
BLOCKS_MAX = 260
MATURITY_BLOCKS = 100
KILL_INTERVAL_S = (2.0, 5.0)
DOWN_S = (0.2, 4.0)
SETTLE_S_MAX = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Strike:
    """One kill.

    Attributes:
        at_s: When, seconds after the load began.
        victim: What: "stratum-a", "kafka-2", "etcd-1", "postgres", "litecoind-2".
        down_s: How long it stays down.
    """

    at_s: float
    victim: str
    down_s: float


@dataclass(slots=True, kw_only=True)
class Report:
    """What a run came to.

    Attributes:
        seconds: Time under load.
        seed: Of the schedule and the miners.
        accepted: Shares that clients saw accepted.
        booked: Accepted shares in the books.
        answer_cut_off: Booked shares whose answer a kill cut off.
        lost: Shares seen accepted that are not booked.
        doubled: Booked shares beyond every share that was sent.
        rejected: Refusals by text.
        blocks_found: Rows of blocks.
        blocks_credited: Blocks whose miners were credited.
        blocks_credited_twice: Blocks whose credits that stand are not their reward.
        payouts_confirmed: Payments settled in the books.
        payouts_on_chain: Of those, with the right amount to the right address in a transaction of the chain.
        payouts_doubled: Addresses to which the chain paid more than the books say.
        kills: Kills by victim.
        audit_ok: What `lodepool audit` says.
        audit_findings: What it found.
    """

    seconds: float
    seed: int
    accepted: int = 0
    booked: int = 0
    answer_cut_off: int = 0
    lost: int = 0
    doubled: int = 0
    rejected: dict[str, int] = field(default_factory=dict)
    blocks_found: int = 0
    blocks_credited: int = 0
    blocks_credited_twice: int = 0
    payouts_confirmed: int = 0
    payouts_on_chain: int = 0
    payouts_doubled: int = 0
    kills: dict[str, int] = field(default_factory=dict)
    audit_ok: bool = False
    audit_findings: list[str] = field(default_factory=list)

    @property
    def is_good(self) -> bool:
        """Tell whether nothing was lost and nothing happened twice."""
        wrong = self.lost + self.doubled + self.blocks_credited_twice + self.payouts_doubled
        return not wrong and self.audit_ok and self.payouts_on_chain == self.payouts_confirmed


def victims() -> list[str]:
    """Return everything that can be killed."""
    services = [f"{service}-{number}" for service in SERVICES for number in (1, 2)]
    hosts = [f"{kind}-{host}" for kind in ("stratum", "shipper") for host in HOSTS]
    servers = [f"{kind}-{number}" for kind in ("kafka", "etcd") for number in (1, 2, 3)]
    return [*services, *hosts, *servers, "gateway-1", "postgres", "litecoind-1", "litecoind-2"]


def schedule(*, seconds: float, seed: int) -> list[Strike]:
    """Return the kills of a run: each victim once before any comes again, never two of one quorum at a time."""
    chance = random.Random(f"schedule {seed}")
    strikes: list[Strike] = []
    bag: list[str] = []
    busy_until_s: dict[str, float] = {}
    at_s = chance.uniform(*KILL_INTERVAL_S)
    while at_s < seconds - DOWN_S[1]:
        bag = bag or chance.sample(victims(), k=len(victims()))
        quorum_of = {name: name.partition("-")[0] for name in bag}
        free = [name for name in bag if busy_until_s.get(quorum_of[name], 0.0) <= at_s]
        if free:
            victim = free[0]
            bag.remove(victim)
            down_s = chance.uniform(*DOWN_S)
            strikes.append(Strike(at_s=round(at_s, 2), victim=victim, down_s=round(down_s, 2)))
            if quorum_of[victim] in {"kafka", "etcd", "litecoind"}:
                # A broker takes a while to be in step again.
                busy_until_s[quorum_of[victim]] = at_s + down_s + (25.0 if quorum_of[victim] == "kafka" else 6.0)
        at_s += chance.uniform(*KILL_INTERVAL_S)
    return strikes


class Chaos:
    """One run.

    Args:
        cluster: Running.
        seconds: How long the load and the kills last.
        seed: Of everything that is random.
        say: Takes a line of progress.
    """

    def __init__(self, cluster: Cluster, *, seconds: float, seed: int, say: Callable[[str], None]) -> None:
        self._cluster = cluster
        self._say = say
        self._began_s = 0.0
        self._seconds = seconds
        self._seed = seed
        self._miners: list[ShareMiner] = []
        self._down: set[str] = set()
        self.report = Report(seconds=seconds, seed=seed)

    async def run(self) -> Report:
        """Put the cluster under load, kill, settle, count."""
        await self._make_miners()
        mining = [asyncio.create_task(miner.run(), name=miner.tally.worker) for miner in self._miners]
        watching = asyncio.create_task(self._restart_ended())
        self._began_s = time.monotonic()
        try:
            async with asyncio.TaskGroup() as strikes:
                for strike in schedule(seconds=self._seconds, seed=self._seed):
                    await self._sleep_until(strike.at_s)
                    strikes.create_task(self._strike(strike))
                await self._sleep_until(self._seconds)
            self._say(f"load ends with {self._accepted()} shares accepted")
            for miner in self._miners:
                miner.is_stopping = True
            await asyncio.wait_for(asyncio.gather(*mining), 120)
            await self._settle()
        finally:
            watching.cancel()
            for task in mining:
                task.cancel()
            await asyncio.gather(watching, *mining, return_exceptions=True)
        await self._count()
        await self._audit()
        return self.report

    async def _make_miners(self) -> None:
        budget = BlockBudget(interval_s=max(0.5, self._seconds / BLOCKS_MAX), count_max=BLOCKS_MAX)
        addresses = self._cluster.addresses
        for number in range(MINERS):
            account = await self._cluster.litecoind.new_address("miner")
            turned = addresses[number % len(addresses) :] + addresses[: number % len(addresses)]
            self._miners.append(
                ShareMiner(
                    addresses=turned, account=account, worker=f"rig{number}", interval_s=0.1, budget=budget,
                    seed=self._seed * 1000 + number,
                )
            )  # fmt: skip

    def _accepted(self) -> int:
        return sum(miner.tally.accepted for miner in self._miners)

    async def _sleep_until(self, at_s: float) -> None:
        await asyncio.sleep(max(0.0, self._began_s + at_s - time.monotonic()))

    async def _restart_ended(self) -> None:
        while True:
            await asyncio.sleep(0.5)
            for name in self._cluster.restart_ended():
                self._say(f"{name} ended by itself and was started again")

    # --- kills ---

    async def _strike(self, strike: Strike) -> None:
        victim = strike.victim
        self._say(f"{strike.at_s:6.1f} s  kill -9 {victim}, down {strike.down_s} s; {self._accepted()} accepted")
        self.report.kills[victim] = self.report.kills.get(victim, 0) + 1
        kind, _, number = victim.partition("-")
        match kind:
            case "kafka":
                node = self._cluster.kafka.nodes[int(number) - 1]
                await self._down_and_up(lambda: self._cluster.kafka.kill(node), strike, self._up_kafka(int(number) - 1))
            case "etcd":
                member = self._cluster.etcd.members[int(number) - 1]
                await member.kill()
                await asyncio.sleep(strike.down_s)
                await member.start()
            case "postgres":
                await self._cluster.restart_postgres()
            case "litecoind":
                index = int(number) - 1
                await self._cluster.litecoind.kill(index)
                await asyncio.sleep(strike.down_s)
                await self._cluster.litecoind.restart(index)
            case _:
                program = self._cluster.programs[victim]
                await asyncio.to_thread(program.kill)
                await asyncio.sleep(strike.down_s)
                program.start()

    async def _down_and_up(self, kill: Callable[[], None], strike: Strike, up: Awaitable[None]) -> None:
        await asyncio.to_thread(kill)
        await asyncio.sleep(strike.down_s)
        await up

    async def _up_kafka(self, index: int) -> None:
        await self._cluster.kafka.restart(self._cluster.kafka.nodes[index])

    # --- the end ---

    async def _settle(self) -> None:
        """Wait until all is booked and decided; mine until what was found is mature and paid."""
        deadline_s = time.monotonic() + SETTLE_S_MAX
        await self._until(self._is_booked, deadline_s, "every accepted share to be booked")
        # What lost a race is known as an orphan once the chain has grown above it.
        await self._until(self._no_candidates, deadline_s, "every block to be decided", mine=True)
        self._say("all booked; mining the blocks to maturity")
        await self._mine(MATURITY_BLOCKS)
        await self._until(self._nothing_immature, deadline_s, "the credits to mature")
        paid = -1
        while True:
            await self._mine(2)
            await self._until(self._nothing_reserved, deadline_s, "the payouts to confirm", mine=True)
            now = await self._value("SELECT count(*) FROM payouts.item")
            if now == paid:
                return
            paid = now
            await asyncio.sleep(6)

    async def _until(
        self, is_so: Callable[[], Awaitable[bool]], deadline_s: float, what: str, *, mine: bool = False
    ) -> None:
        while True:
            with contextlib.suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
                if await is_so():
                    return
            if time.monotonic() > deadline_s:
                self._say(f"gave up waiting for {what}")
                return
            if mine:
                await self._mine(1)
            await asyncio.sleep(1)

    async def _mine(self, count: int) -> None:
        """Mine on the first node; the block that activates MWEB needs a peg-in in the one before."""
        node = self._cluster.litecoind
        before = MWEB_HEIGHT - 1 - await node.height()
        if 0 <= before < count:
            if before:
                await node.generate(before)
            await node.peg_in()
            count -= before
        await node.generate(count)

    async def _is_booked(self) -> bool:
        booked = await self._booked()
        is_seen = all(booked.get(miner.tally.worker, 0) >= miner.tally.accepted for miner in self._miners)
        return is_seen and not await self._waits_in_journals()

    async def _waits_in_journals(self) -> bool:
        """Tell whether a host has journalled shares that are not in the books yet."""
        rows = await self._rows("SELECT instance, last_seq FROM shares.instance")
        booked = {str(row["instance"]): int(row["last_seq"]) for row in rows}
        for host in HOSTS:
            for folder in instance_dirs(self._cluster.data_dir(host)):
                with contextlib.suppress(FileNotFoundError):
                    if summarise(folder).last_seq > booked.get(folder.name, 0):
                        return True
        return False

    async def _no_candidates(self) -> bool:
        return await self._value("SELECT count(*) FROM rewards.block WHERE status = 'candidate'") == 0

    async def _nothing_immature(self) -> bool:
        return await self._value("SELECT count(*) FROM rewards.block WHERE status = 'immature'") == 0

    async def _nothing_reserved(self) -> bool:
        query = "SELECT count(*) FROM payouts.batch WHERE status NOT IN ('confirmed', 'voided')"
        return await self._value(query) == 0

    async def _booked(self) -> dict[str, int]:
        rows = await self._rows("SELECT worker, accepted_count FROM shares.worker")
        return {str(row["worker"]): int(row["accepted_count"]) for row in rows}

    async def _count(self) -> None:
        report = self.report
        booked = await self._booked()
        for miner in self._miners:
            tally = miner.tally
            count = booked.get(tally.worker, 0)
            report.accepted += tally.accepted
            report.booked += count
            report.lost += max(0, tally.accepted - count)
            report.answer_cut_off += min(max(0, count - tally.accepted), tally.unanswered)
            report.doubled += max(0, count - tally.accepted - tally.unanswered)
            for reason, number in tally.rejected.items():
                report.rejected[reason] = report.rejected.get(reason, 0) + number
        report.blocks_found = await self._value("SELECT count(*) FROM rewards.block")
        report.blocks_credited = await self._value("SELECT count(*) FROM rewards.block WHERE is_credited")
        report.blocks_credited_twice = await self._value(
            """
            SELECT count(*) FROM (
                SELECT block.block_hash_hex,
                    sum(transfer.amount_atomic) FILTER (WHERE transfer.code IN ('block_credit', 'pool_fee', 'remainder'))
                    - coalesce(sum(transfer.amount_atomic) FILTER (WHERE transfer.code = 'reversal'), 0) AS standing,
                    CASE WHEN block.status = 'orphaned' THEN 0 ELSE block.reward_atomic END AS wanted
                FROM rewards.block JOIN ledger.transfer ON transfer.reference LIKE '%' || block.block_hash_hex || '%'
                WHERE block.is_credited
                GROUP BY block.block_hash_hex, block.status, block.reward_atomic
            ) AS credited WHERE standing <> wanted
            """
        )
        await self._count_payouts()

    async def _count_payouts(self) -> None:
        """Compare what the chain paid each address with what the books say it was paid."""
        rows = await self._rows(
            """
            SELECT item.account, item.amount_atomic, batch.txid_hex
            FROM payouts.item JOIN payouts.batch USING (batch_id) WHERE batch.status = 'confirmed'
            """
        )
        self.report.payouts_confirmed = len(rows)
        paid: dict[str, int] = {}
        for row in rows:
            answer = await self._cluster.litecoind.call("gettransaction", row["txid_hex"], wallet="pool")
            assert isinstance(answer, dict)
            amounts = [
                (detail["address"], -round(float(detail["amount"]) * 10**8))
                for detail in answer["details"]
                if detail["category"] == "send"
            ]
            is_there = (row["account"], row["amount_atomic"]) in amounts and int(answer["confirmations"]) > 0
            self.report.payouts_on_chain += is_there
            paid[row["account"]] = paid.get(row["account"], 0) + int(row["amount_atomic"])
        for miner in self._miners:
            account = miner.tally.account
            received = await self._cluster.litecoind.call("getreceivedbyaddress", account, 0, wallet="miner")
            self.report.payouts_doubled += round(float(str(received)) * 10**8) > paid.get(account, 0)

    async def _audit(self) -> None:
        answers = [await self._audit_of(host) for host in HOSTS]
        self.report.audit_ok = all(answer["audit_ok"] is True for answer in answers)
        self.report.audit_findings = [
            json.dumps(finding)
            for answer in answers
            for finding in answer["findings"]  # type: ignore[attr-defined]
        ]

    async def _audit_of(self, host: str) -> dict[str, list[object] | bool]:
        _, out, err = await self._cluster.run_cli("audit", "--json", host=host)
        if not out:
            raise AssertionError(f"the audit says: {err}")
        return dict(json.loads(out))

    async def _value(self, query: str) -> int:
        rows = await self._rows(query)
        return int(rows[0][0])

    async def _rows(self, query: str) -> Sequence[asyncpg.Record]:
        connection = await asyncpg.connect(self._cluster.dsn, timeout=10)
        try:
            return list(await connection.fetch(query))
        finally:
            await connection.close()


async def run_chaos(folder: Path, *, seconds: float, seed: int, say: Callable[[str], None]) -> Report:
    """Start a cluster, run the chaos on it, stop it."""
    say(f"seed {seed}: starting Kafka, etcd, PostgreSQL, litecoind and the services in {folder}")
    async with Cluster(folder) as cluster:
        say(f"running: {', '.join(cluster.programs)}")
        return await Chaos(cluster, seconds=seconds, seed=seed, say=say).run()


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description="Kill -9 everything, lose nothing.")
    parser.add_argument("--seconds", type=float, default=180.0)
    parser.add_argument("--seed", type=int, default=None, help="default: a random one, which is shown")
    parser.add_argument(
        "--folder", type=Path, default=None, help="logs and data; default: a temporary one, removed when all is well"
    )
    options = parser.parse_args()
    seed = random.SystemRandom().randrange(1 << 31) if options.seed is None else options.seed
    folder = options.folder or Path(tempfile.mkdtemp(prefix="lp-chaos-"))
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o755)

    def say(line: str) -> None:
        sys.stderr.write(f"{line}\n")
        sys.stderr.flush()

    report = asyncio.run(run_chaos(folder, seconds=options.seconds, seed=seed, say=say))
    answer = {**asdict(report), "kills": sum(report.kills.values()), "kills_by_victim": report.kills}
    sys.stdout.write(json.dumps(answer) + "\n")
    return 0 if report.is_good else 1


if __name__ == "__main__":
    sys.exit(main())
