"""Topic `blocks` → rows of `rewards.block`."""

import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

from google.protobuf.message import DecodeError

from coins.work import work_from_target
from proto.lodepool.events.v1 import events_pb2
from rewards import notices, storage
from rewards.domain import FoundBlock, check_found, parse_scheme
from rewards.errors import BlockInvalid
from rewards.metrics import Counters
from runtime.eventlog.consumer import consume
from runtime.eventlog.interface import EventLog, Record
from runtime.logs import log_event
from runtime.postgres.pool import Connection, Pool
from runtime.telemetry import Telemetry
from runtime.telemetry.parents import parent_of

_log = logging.getLogger("lodepool.rewards")

TOPIC = "blocks"
GROUP = "rewards"
RECORDS_MAX = 50


class BlockConsumer:
    """Writes each found block at once, as candidate; a record that is no block is set aside.

    Args:
        fee_ppm: Tells the pool's fee that blocks found now are paid with, millionths of the reward.
        counters: Counted into.
        telemetry: For traces; None makes none.
    """

    def __init__(self, *, fee_ppm: Callable[[], int], counters: Counters, telemetry: Telemetry | None = None) -> None:
        self._telemetry = telemetry or Telemetry.off()
        self._fee_ppm = fee_ppm
        self._counters = counters

    async def run(self, eventlog: EventLog, pool: Pool, *, after_commit: Callable[[], None]) -> None:
        """Consume for ever; `after_commit` is called after each transaction."""
        await consume(
            eventlog,
            pool,
            topic=TOPIC,
            group=GROUP,
            schema="rewards",
            apply=self.apply,
            records_max=RECORDS_MAX,
            after_commit=_ignoring_records(after_commit),
        )

    async def apply(self, conn: Connection, records: Sequence[Record]) -> None:
        """Book records inside the caller's transaction (D3); idempotent by coin and block hash."""
        for record in records:
            try:
                found = parse_found(record.payload, fee_ppm=self._fee_ppm())
            except BlockInvalid as error:
                await storage.insert_poison(conn, record, str(error))
                await notices.tell_poison(conn, record, str(error))
                self._counters.blocks_poison_total += 1
                log_event(_log, logging.ERROR, "block record set aside", offset=record.offset, error=str(error))
                continue
            with self._telemetry.span("rewards.block_booked", found.trace_parent) as span:
                traced = replace(found, trace_parent=parent_of(span) or found.trace_parent)
                is_new = await storage.insert_found(conn, traced)
                if is_new:
                    await notices.tell_found(conn, traced)
            if is_new:
                self._counters.blocks_found_total += 1
                log_event(
                    _log, logging.INFO, "block found", coin=found.coin, block=found.block_hash_hex, height=found.height
                )
            else:
                self._counters.blocks_repeated_total += 1


def parse_found(payload: bytes, *, fee_ppm: int) -> FoundBlock:
    """Return the block in a record.

    Raises:
        BlockInvalid: When it is none that can be booked.
    """
    try:
        message = events_pb2.BlockFound.FromString(payload)
    except DecodeError as error:
        raise BlockInvalid("payload", "is not a BlockFound") from error
    target = int.from_bytes(message.network_target, "big")
    if len(message.network_target) != 32 or target == 0:
        raise BlockInvalid("network_target", "is not 32 bytes above zero")
    found = FoundBlock(
        coin=message.coin,
        block_hash_hex=message.block_hash_hex,
        height=message.height,
        found_time_ms=message.time_ms,
        account=message.account,
        worker=message.worker,
        scheme=parse_scheme(message.scheme),
        reward_atomic=message.coinbase_value_atomic,
        fees_atomic=message.fees_atomic,
        network_work=work_from_target(target),
        coinbase_txid_hex=message.coinbase_txid_hex,
        instance=message.instance,
        fee_ppm=fee_ppm,
        trace_parent=message.trace_parent,
    )
    check_found(found)
    return found


def _ignoring_records(after_commit: Callable[[], None]) -> Callable[[Sequence[Record]], Awaitable[None]]:
    async def call(_records: Sequence[Record]) -> None:
        after_commit()

    return call
