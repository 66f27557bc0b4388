"""What the miners service tells people, as records of topic `notices`."""

from typing import Final

from proto.lodepool.events.v1 import notices_pb2
from runtime.eventlog.interface import OutRecord

TOPIC: Final = "notices"


def offline(
    *, coin: str, account: str, worker: str, time_ms: int, last_share_time_ms: int, expected_interval_ms: int
) -> OutRecord:
    """Say that a worker has stopped."""
    return _record(
        notices_pb2.Notice(
            notice_id=f"worker_offline/{coin}/{account}/{worker}/{last_share_time_ms}",
            coin=coin,
            time_ms=time_ms,
            account=account,
            worker_offline=notices_pb2.WorkerOffline(
                worker=worker, last_share_time_ms=last_share_time_ms, expected_interval_ms=expected_interval_ms
            ),
        )
    )


def online(*, coin: str, account: str, worker: str, since_ms: int, return_ms: int) -> OutRecord:
    """Say that a worker which was reported as offline mines again."""
    return _record(
        notices_pb2.Notice(
            notice_id=f"worker_online/{coin}/{account}/{worker}/{since_ms}",
            coin=coin,
            time_ms=return_ms,
            account=account,
            worker_online=notices_pb2.WorkerOnline(worker=worker, offline_ms=return_ms - since_ms),
        )
    )


def hashrate_low(
    *, coin: str, account: str, worker: str | None, time_ms: int, hps: int, usual_hps: int, step_percent: int
) -> OutRecord:
    """Say that a hashrate has sunk; `worker` None is the whole account."""
    subject = f"account/{coin}/{account}" if worker is None else f"worker/{coin}/{account}/{worker}"
    return _record(
        notices_pb2.Notice(
            notice_id=f"hashrate_low/{subject}/{step_percent}/{time_ms}",
            coin=coin,
            time_ms=time_ms,
            account=account,
            hashrate_low=notices_pb2.HashrateLow(
                worker=worker, hps=hps, usual_hps=usual_hps, step_percent=step_percent
            ),
        )
    )


def rejects_high(
    *,
    coin: str,
    account: str,
    worker: str,
    time_ms: int,
    reason: str,
    percent_hundredths: int,
    share_count: int,
    step_percent: int,
) -> OutRecord:
    """Say that many of a worker's shares do not count."""
    return _record(
        notices_pb2.Notice(
            notice_id=f"rejects_high/{coin}/{account}/{worker}/{step_percent}/{time_ms}",
            coin=coin,
            time_ms=time_ms,
            account=account,
            rejects_high=notices_pb2.RejectsHigh(
                worker=worker,
                reason=reason,
                percent_hundredths=percent_hundredths,
                share_count=share_count,
                step_percent=step_percent,
            ),
        )
    )


def _record(notice: notices_pb2.Notice) -> OutRecord:
    return OutRecord(key=f"{notice.coin}/{notice.account}".encode(), payload=notice.SerializeToString())
