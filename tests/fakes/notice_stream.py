"""Notices as their publishers would write them, and a channel that keeps what it is given."""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from notifier.channels.interface import Message, Outcome, Pace, Sent
from proto.lodepool.events.v1 import notices_pb2 as pb
from runtime.clock import Clock
from runtime.eventlog.interface import OutRecord

COIN = "litecoin-regtest"
ALICE = "rltc1qalice"
BOB = "rltc1qbob"


def offline(number: int, *, account: str = ALICE, worker: str = "rig1", time_ms: int) -> pb.Notice:
    event = pb.WorkerOffline(worker=worker, last_share_time_ms=time_ms - 60_000, expected_interval_ms=3000)
    return pb.Notice(
        notice_id=f"worker_offline/{COIN}/{account}/{worker}/{number}",
        coin=COIN,
        time_ms=time_ms,
        account=account,
        worker_offline=event,
    )


def online(number: int, *, account: str = ALICE, worker: str = "rig1", time_ms: int) -> pb.Notice:
    return pb.Notice(
        notice_id=f"worker_online/{COIN}/{account}/{worker}/{number}",
        coin=COIN,
        time_ms=time_ms,
        account=account,
        worker_online=pb.WorkerOnline(worker=worker, offline_ms=125_000),
    )


def block(number: int, *, time_ms: int, kind: pb.BlockNoticeKind.ValueType = pb.BLOCK_NOTICE_KIND_FOUND) -> pb.Notice:
    event = pb.BlockNotice(
        kind=kind, height=number, block_hash_hex=f"{number:064x}", reward_atomic=625_000_001, account=ALICE
    )
    return pb.Notice(notice_id=f"block/{kind}/{COIN}/{number}", coin=COIN, time_ms=time_ms, block=event)


def payout(
    number: int, *, account: str = ALICE, time_ms: int, kind: pb.PayoutNoticeKind.ValueType = pb.PAYOUT_NOTICE_KIND_SENT
) -> pb.Notice:
    event = pb.PayoutNotice(kind=kind, payout_id=f"p{number}", amount_atomic=123_456_789, txid_hex=f"{number:064x}")
    return pb.Notice(notice_id=f"payout/{kind}/{number}", coin=COIN, time_ms=time_ms, account=account, payout=event)


def trouble(number: int, *, time_ms: int, kind: pb.TroubleKind.ValueType = pb.TROUBLE_KIND_NODE_DOWN) -> pb.Notice:
    event = pb.TroubleNotice(kind=kind, subject="node-a", detail="connection refused")
    return pb.Notice(notice_id=f"trouble/{kind}/{number}", coin=COIN, time_ms=time_ms, trouble=event)


def records(*notices: pb.Notice) -> list[OutRecord]:
    return [
        OutRecord(key=f"{notice.coin}/{notice.account}".encode(), payload=notice.SerializeToString())
        for notice in notices
    ]


@dataclass
class FakeChannel:
    """A channel that keeps what it is given, with the time, and answers as it is told.

    Attributes:
        clock: For the times.
        answers: Called with each message for the outcome.
        sent: (time in milliseconds, message) of each call.
        gate: While it is set, `send` waits for it.
    """

    clock: Clock
    answers: Callable[[Message], Outcome] = lambda _message: Sent()
    sent: list[tuple[int, Message]] = field(default_factory=list)
    gate: asyncio.Event | None = None
    pace: Pace = field(
        default_factory=lambda: Pace(per_s=1000, burst=100, target_interval_ms=lambda _address: 0, concurrent_max=50)
    )
    timeout_s: float = 5.0

    async def send(self, message: Message) -> Outcome:
        self.sent.append((self.clock.now_ms(), message))
        if self.gate is not None:
            await self.gate.wait()
        return self.answers(message)

    async def close(self) -> None:
        pass

    def told(self) -> list[str]:
        """Return the ids of the notices in the order in which they were told."""
        return [notice.notice_id for _, message in self.sent for notice in message.notices]


def ids(notices: Iterable[pb.Notice]) -> list[str]:
    return [notice.notice_id for notice in notices]
