"""What tests of the miner-facing server share: a template, jobs, sessions, and a miner that finds shares."""

import asyncio
import itertools
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import msgspec

from coins import registry
from coins.bitcoin.address import decode
from coins.bitcoin.template import Template
from coins.coin import Coin
from coins.settings import PoolSettings
from nodes.settings import NodeSettings
from nodes.simulated import SimulatedNode
from runtime.clock import ManualClock
from runtime.live import Live
from stratum.config import ProcessSettings, StratumSettings
from stratum.errors import RejectReason
from stratum.jobs.job import Job, JobRules
from stratum.jobs.store import JobStore
from stratum.protocol.difficulty import ShareTargets
from stratum.protocol.extranonce import EXTRANONCE1_BYTES, EXTRANONCE2_BYTES, ExtranonceSpace
from stratum.protocol.messages import OddSubmit, Submit
from stratum.protocol.session import Event, Session, SessionRules
from stratum.protocol.vardiff import VardiffRules
from stratum.validation import Candidate, decide, examine

HARD_NBITS = 0x1D00FFFF
"""A network target that no test meets by accident."""
EASY_DIFFICULTY = Fraction(1, 2**40)
"""Below one hash: every hash is a share."""
BITCOIN = registry.get("bitcoin-regtest")
LITECOIN = registry.get("litecoin-regtest")


def simulated(coin: Coin = BITCOIN, *, nbits: int = HARD_NBITS, seed: str = "world") -> SimulatedNode:
    return SimulatedNode(coin, seed=seed, clock=ManualClock(), nbits=nbits)


def template_of(node: SimulatedNode) -> Template:
    return asyncio.run(node.block_template())


def address_of(node: SimulatedNode) -> str:
    return node.wallet.new_address()


@dataclass
class World:
    """Jobs of one process and the rules of its sessions; nothing of it does I/O."""

    coin: Coin = BITCOIN
    nbits: int = HARD_NBITS
    difficulty_start: Fraction = Fraction(1)
    difficulty_min: Fraction = EASY_DIFFICULTY
    difficulty_max: Fraction | None = None
    schemes_allowed: tuple[str, ...] = ("pplns", "solo")
    version_mask: int = 0x1FFFE000
    bad_lines_max: int = 4
    line_bytes_max: int = 4096
    has_job: bool = True
    node: SimulatedNode = field(init=False)
    address: str = field(init=False)
    jobs: JobStore = field(init=False)
    rules: SessionRules = field(init=False)

    def __post_init__(self) -> None:
        self.node = simulated(self.coin, nbits=self.nbits)
        self.address = address_of(self.node)
        self.jobs = JobStore(
            JobRules(
                coin=self.coin,
                payout_script=decode(self.coin, self.address).script,
                signature=b"/test/",
                extranonce1_bytes=EXTRANONCE1_BYTES,
                extranonce2_bytes=EXTRANONCE2_BYTES,
                ntime_ahead_s=7200,
            )
        )
        self.rules = SessionRules(
            coin=self.coin,
            version="Lodepool/test",
            targets=ShareTargets(self.coin.diff1_target),
            extranonces=ExtranonceSpace(7),
            active_job=lambda: self.jobs.active,
            vardiff=VardiffRules(share_interval_ms=10_000, retarget_interval_ms=60_000),
            version_mask=self.version_mask,
            difficulty_start=self.difficulty_start,
            difficulty_min=self.difficulty_min,
            difficulty_max=self.difficulty_max,
            schemes_allowed=self.schemes_allowed,
            scheme_default="pplns",
            line_bytes_max=self.line_bytes_max,
            bad_lines_max=self.bad_lines_max,
            idle_timeout_s=600,
            unauthorised_timeout_s=60,
        )
        if self.has_job:
            self.new_job()

    def new_job(self) -> Job:
        return self.jobs.add(template_of(self.node))[0]

    def new_tip(self) -> Job:
        self.node.mine_block()
        return self.new_job()

    def session(self, *, now_s: float = 0) -> Session:
        return Session(self.rules, now_s=now_s)

    def ready_session(self, *, password: str = "x", agent: str = "cgminer/4.12", worker: str = "rig") -> Session:
        session = self.session()
        say(session, "mining.subscribe", [agent])
        say(session, "mining.authorize", [f"{self.address}.{worker}", password])
        return session


_ids = itertools.count(1)


def request(method: str, params: object, request_id: object = None) -> bytes:
    body = {"id": next(_ids) if request_id is None else request_id, "method": method, "params": params}
    return json.dumps(body).encode() + b"\n"


def lines(data: bytes) -> list[dict[str, object]]:
    assert not data or data.endswith(b"\n")
    return [json.loads(line) for line in data.splitlines()]


def say(session: Session, method: str, params: object) -> list[dict[str, object]]:
    session.receive_data(request(method, params))
    return lines(session.data_to_send())


def submits(events: list[Event]) -> list[Submit | OddSubmit]:
    return [event for event in events if isinstance(event, Submit | OddSubmit)]


def submit_fields(world: World, job: Job, *, worker: str = "rig", nonce: int = 0, extranonce2: int = 0) -> list[str]:
    ntime = job.template.curtime
    return [f"{world.address}.{worker}", job.job_id, f"{extranonce2:016x}", f"{ntime:08x}", f"{nonce:08x}"]


def judge(world: World, session: Session, fields: list[str]) -> RejectReason | None:
    """Send a share and decide it as the process would: None is accepted."""
    session.receive_data(request("mining.submit", fields))
    (submit,) = submits(session.events_received())
    examined = examine(session, submit, world.jobs.by_id)
    if not isinstance(examined, Candidate):
        return examined.reason
    verdict, _ = examined.job.native.verify(examined.key, examined.target.target_le)
    return decide(examined, verdict)


def find_nonce(session: Session, job: Job, *, is_good: Callable[[int], bool], extranonce2: int = 0) -> int:
    """Return the first nonce whose hash, a number, is good."""
    ntime = f"{job.template.curtime:08x}"
    for nonce in range(1_000_000):
        key = job.native.key(session.extranonce1, f"{extranonce2:016x}", ntime, f"{nonce:08x}", None, 0)
        assert isinstance(key, bytes)
        _, pow_hash = job.native.verify(key, bytes(32))
        if is_good(int.from_bytes(pow_hash, "little")):
            return nonce
    raise AssertionError("no nonce found")


@dataclass(frozen=True, kw_only=True)
class WorkerSetup:
    """What a worker process is started with."""

    settings: ProcessSettings
    live: Live[StratumSettings]

    def change(self, **stratum: object) -> tuple[str, ...]:
        """Change settings while the worker runs."""
        return self.live.set(msgspec.structs.replace(self.live.value, **stratum))


def process_settings(data_dir: Path, node: SimulatedNode, address: str, **stratum: object) -> WorkerSetup:
    settings = ProcessSettings(
        coin=node.coin,
        data_dir=data_dir,
        pool=PoolSettings(coin=node.coin.coin_id, address=address),
        nodes=(NodeSettings(),),
    )
    values = {"host": "127.0.0.1", "port": 0, **stratum}
    return WorkerSetup(settings=settings, live=Live(msgspec.convert(values, StratumSettings)))
