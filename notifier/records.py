"""Read the records of topic `notices`."""

from collections.abc import Callable
from typing import Final

from google.protobuf.message import DecodeError

from notifier.errors import NoticeInvalid
from notifier.notices import (
    Block,
    Credit,
    Event,
    HashrateLow,
    Kind,
    Notice,
    Payout,
    RejectsHigh,
    Test,
    Trouble,
    TroubleKind,
    WorkerOffline,
    WorkerOnline,
)
from proto.lodepool.events.v1 import notices_pb2

ID_CHARS_MAX: Final = 1000
TEXT_CHARS_MAX: Final = 2000
_TIME_MS_MAX: Final = 1 << 50

_BLOCKS: Final = {
    notices_pb2.BLOCK_NOTICE_KIND_FOUND: Kind.BLOCK_FOUND,
    notices_pb2.BLOCK_NOTICE_KIND_CONFIRMED: Kind.BLOCK_CONFIRMED,
    notices_pb2.BLOCK_NOTICE_KIND_ORPHANED: Kind.BLOCK_ORPHANED,
}
_PAYOUTS: Final = {
    notices_pb2.PAYOUT_NOTICE_KIND_SENT: Kind.PAYOUT_SENT,
    notices_pb2.PAYOUT_NOTICE_KIND_CONFIRMED: Kind.PAYOUT_CONFIRMED,
    notices_pb2.PAYOUT_NOTICE_KIND_HELD: Kind.PAYOUT_DELAYED,
    notices_pb2.PAYOUT_NOTICE_KIND_REVIEW: Kind.PAYOUT_DELAYED,
}
_TROUBLES: Final = {
    number: TroubleKind(name.removeprefix("TROUBLE_KIND_").lower())
    for name, number in notices_pb2.TroubleKind.items()
    if number
}


def decode(payload: bytes) -> Notice:
    """Return the notice in a record.

    Raises:
        NoticeInvalid: When it is none, or none that this program can tell.
    """
    try:
        message = notices_pb2.Notice.FromString(payload)
    except DecodeError as error:
        raise NoticeInvalid("is not a Notice") from error
    if not message.notice_id or not message.coin:
        raise NoticeInvalid("has no id or no coin")
    for text in (message.notice_id, message.coin, message.account):
        if len(text) > ID_CHARS_MAX or "\x00" in text:
            raise NoticeInvalid("has an id, a coin or an account that cannot be stored")
    if not 0 <= message.time_ms < _TIME_MS_MAX:
        raise NoticeInvalid("has a time that cannot be")
    return Notice(
        notice_id=message.notice_id,
        coin=message.coin,
        time_ms=message.time_ms,
        account=message.account,
        event=_event(message),
    )


def encode_test(*, notice_id: str, time_ms: int) -> bytes:
    """Return the record of a test notice, which stays inside the notifier: a Notice without an event."""
    return notices_pb2.Notice(notice_id=notice_id, coin=TEST_COIN, time_ms=time_ms).SerializeToString()


TEST_COIN: Final = "test"


def _event(message: notices_pb2.Notice) -> Event:
    name = message.WhichOneof("event")
    if name is None:
        if message.coin == TEST_COIN:
            return Test()
        raise NoticeInvalid("tells nothing that this program knows")
    return _READERS[name](message)


def _offline(message: notices_pb2.Notice) -> WorkerOffline:
    event = message.worker_offline
    return WorkerOffline(
        worker=_text(event.worker),
        last_share_time_ms=event.last_share_time_ms,
        expected_interval_ms=event.expected_interval_ms,
    )


def _online(message: notices_pb2.Notice) -> WorkerOnline:
    return WorkerOnline(worker=_text(message.worker_online.worker), offline_ms=message.worker_online.offline_ms)


def _hashrate(message: notices_pb2.Notice) -> HashrateLow:
    event = message.hashrate_low
    worker = _text(event.worker) if event.HasField("worker") else None
    return HashrateLow(worker=worker, hps=event.hps, usual_hps=event.usual_hps)


def _rejects(message: notices_pb2.Notice) -> RejectsHigh:
    event = message.rejects_high
    return RejectsHigh(
        worker=_text(event.worker), reason=_text(event.reason), percent_hundredths=event.percent_hundredths
    )


def _block(message: notices_pb2.Notice) -> Block:
    event = message.block
    if event.kind not in _BLOCKS:
        raise NoticeInvalid("is about a block of which something unknown became")
    return Block(
        kind=_BLOCKS[event.kind],
        height=event.height,
        block_hash_hex=_text(event.block_hash_hex),
        reward_atomic=event.reward_atomic,
        finder=_text(event.account),
        worker=_text(event.worker),
        effort_hundredths=event.effort_hundredths,
    )


def _credit(message: notices_pb2.Notice) -> Credit:
    event = message.credit
    return Credit(block_hash_hex=_text(event.block_hash_hex), height=event.height, amount_atomic=event.amount_atomic)


def _payout(message: notices_pb2.Notice) -> Payout:
    event = message.payout
    if event.kind not in _PAYOUTS:
        raise NoticeInvalid("is about a payment of which something unknown became")
    return Payout(
        kind=_PAYOUTS[event.kind],
        is_in_review=event.kind == notices_pb2.PAYOUT_NOTICE_KIND_REVIEW,
        payout_id=_text(event.payout_id),
        amount_atomic=event.amount_atomic,
        txid_hex=_text(event.txid_hex),
    )


def _trouble(message: notices_pb2.Notice) -> Trouble:
    event = message.trouble
    if event.kind not in _TROUBLES:
        raise NoticeInvalid("is about unknown trouble")
    return Trouble(trouble=_TROUBLES[event.kind], subject=_text(event.subject), detail=_text(event.detail))


_READERS: Final[dict[str, Callable[[notices_pb2.Notice], Event]]] = {
    "worker_offline": _offline,
    "worker_online": _online,
    "hashrate_low": _hashrate,
    "rejects_high": _rejects,
    "block": _block,
    "credit": _credit,
    "payout": _payout,
    "trouble": _trouble,
}


def _text(text: str) -> str:
    """Return a text that a table can hold and a person can read."""
    return text.replace("\x00", "")[:TEXT_CHARS_MAX]
