"""Serve lodepool.payouts.v1.PayoutService."""

import re
from uuid import UUID

from payouts import sends, storage
from payouts.adoption import Adopter
from payouts.domain import Batch, BatchStatus
from payouts.lock import is_locked
from payouts.review import Reviewer
from proto.lodepool.payouts.v1 import payouts_pb2 as pb
from proto.lodepool.payouts.v1 import payouts_pb2_grpc
from runtime.clock import Clock
from runtime.postgres.pool import Connection, Pool, acquired
from runtime.postgres.transactions import transact
from runtime.rpc.access import OPERATOR, Access
from runtime.rpc.errors import InvalidArgument, NotFound
from runtime.rpc.pages import clamp_page_size, decode_page_token, encode_page_token

SERVICE_NAME = "lodepool.payouts.v1.PayoutService"
ACCESS = Access(
    readers=frozenset({"gateway", "notifier"}),
    writers=frozenset({OPERATOR}),
    # Operators may hold payouts from the Telegram bot, which knows their chats.
    special={"HoldPayouts": frozenset({"notifier"}), "ResumePayouts": frozenset({"notifier"})},
)

_STATUS_TO_PROTO = {
    BatchStatus.RESERVED: pb.BATCH_STATUS_RESERVED,
    BatchStatus.SIGNED: pb.BATCH_STATUS_SIGNED,
    BatchStatus.BROADCAST: pb.BATCH_STATUS_BROADCAST,
    BatchStatus.CONFIRMED: pb.BATCH_STATUS_CONFIRMED,
    BatchStatus.REVIEW: pb.BATCH_STATUS_REVIEW,
    BatchStatus.VOIDED: pb.BATCH_STATUS_VOIDED,
}
_STATUS_FROM_PROTO = {number: status for status, number in _STATUS_TO_PROTO.items()}


class PayoutServicer(payouts_pb2_grpc.PayoutServiceServicer):
    """Turns calls into queries and into what the operator may do.

    Args:
        pool: The database.
        reviewer: Gives up batches.
        adopter: Books what the wallet has sent without a batch.
        clock: The time.
        coin_id: The one coin that is paid here.
    """

    def __init__(self, *, pool: Pool, reviewer: Reviewer, adopter: Adopter, clock: Clock, coin_id: str) -> None:
        self._pool = pool
        self._reviewer = reviewer
        self._adopter = adopter
        self._clock = clock
        self._coin_id = coin_id

    async def ListPayouts(self, request: pb.ListPayoutsRequest, context: object) -> pb.ListPayoutsResponse:  # noqa: ARG002, N802  # the names are gRPC's
        """Return a page of payments, newest first."""
        coin_id = _coin(request.coin)
        limit = clamp_page_size(request.page_size)
        before = decode_page_token(request.page_token, int)
        async with acquired(self._pool) as conn:
            rows = await storage.list_payments(
                conn, coin_id, account=request.account, before_number=before, limit=limit + 1
            )
        token = encode_page_token(rows[limit - 1].number) if len(rows) > limit else ""
        return pb.ListPayoutsResponse(payouts=[_payout(row) for row in rows[:limit]], next_page_token=token)

    async def ListBatches(self, request: pb.ListBatchesRequest, context: object) -> pb.ListBatchesResponse:  # noqa: ARG002, N802  # the names are gRPC's
        """Return a page of batches, newest first."""
        coin_id = _coin(request.coin)
        limit = clamp_page_size(request.page_size)
        before = decode_page_token(request.page_token, int)
        if request.status and request.status not in _STATUS_FROM_PROTO:
            raise InvalidArgument("status", "is not a status")
        status = _STATUS_FROM_PROTO.get(request.status)
        async with acquired(self._pool) as conn:
            rows = await storage.list_batches(conn, coin_id, status=status, before_number=before, limit=limit + 1)
        token = encode_page_token(rows[limit - 1][0]) if len(rows) > limit else ""
        return pb.ListBatchesResponse(batches=[_batch(batch) for _, batch in rows[:limit]], next_page_token=token)

    async def GetBatch(self, request: pb.GetBatchRequest, context: object) -> pb.Batch:  # noqa: ARG002, N802  # the names are gRPC's
        """Return one batch with its payments."""
        return await self._whole_batch(_batch_id(request.batch_id))

    async def GetStatus(self, request: pb.GetStatusRequest, context: object) -> pb.PayerStatus:  # noqa: ARG002, N802  # the names are gRPC's
        """Return what the payer is doing and why it waits."""
        return await self._status(_coin(request.coin))

    async def HoldPayouts(self, request: pb.HoldPayoutsRequest, context: object) -> pb.PayerStatus:  # noqa: ARG002, N802  # the names are gRPC's
        """Stop making new batches; what is under way goes on."""
        coin_id = self._own_coin(request.coin)
        if not request.reason:
            raise InvalidArgument("reason", "say why; it is shown to whoever asks")
        await self._set_held(coin_id, is_held=True, reason=request.reason, request_id=request.request_id)
        return await self._status(coin_id)

    async def ResumePayouts(self, request: pb.ResumePayoutsRequest, context: object) -> pb.PayerStatus:  # noqa: ARG002, N802  # the names are gRPC's
        """Let new batches be made again."""
        coin_id = self._own_coin(request.coin)
        await self._set_held(coin_id, is_held=False, reason="", request_id=request.request_id)
        return await self._status(coin_id)

    async def VoidBatch(self, request: pb.VoidBatchRequest, context: object) -> pb.Batch:  # noqa: ARG002, N802  # the names are gRPC's
        """Give up a batch in review and return its reservations."""
        batch_id = _batch_id(request.batch_id)
        await self._reviewer.void(batch_id, reason=request.reason, request_id=request.request_id)
        return await self._whole_batch(batch_id)

    async def AdoptSend(self, request: pb.AdoptSendRequest, context: object) -> pb.Batch:  # noqa: ARG002, N802  # the names are gRPC's
        """Book a transaction of the wallet that no batch knows."""
        self._own_coin(request.coin)
        batch_id = await self._adopter.adopt(_txid_hex(request.txid_hex), request_id=request.request_id)
        return await self._whole_batch(batch_id)

    async def IgnoreSend(self, request: pb.IgnoreSendRequest, context: object) -> pb.PayerStatus:  # noqa: ARG002, N802  # the names are gRPC's
        """Note that a transaction of the wallet was no payout of the pool."""
        coin_id = self._own_coin(request.coin)
        txid_hex = _txid_hex(request.txid_hex)
        await self._adopter.ignore(txid_hex, reason=request.reason, request_id=request.request_id)
        return await self._status(coin_id)

    def _own_coin(self, coin_id: str) -> str:
        if _coin(coin_id) != self._coin_id:
            raise NotFound(f"{coin_id} is not paid here, but {self._coin_id}")
        return coin_id

    async def _set_held(self, coin_id: str, *, is_held: bool, reason: str, request_id: str) -> None:
        if not request_id:
            raise InvalidArgument("request_id", "must not be empty")
        method = "HoldPayouts" if is_held else "ResumePayouts"

        async def change(conn: Connection) -> None:
            now_ms = self._clock.now_ms()
            if await storage.is_new_request(conn, request_id=request_id, method=method, subject=coin_id, now_ms=now_ms):
                await storage.set_held(conn, coin_id, is_held=is_held, reason=reason)

        await transact(self._pool, change)

    async def _whole_batch(self, batch_id: UUID) -> pb.Batch:
        async with acquired(self._pool) as conn:
            batch = await storage.get_batch(conn, batch_id)
            if batch is None:
                raise NotFound(f"there is no batch {batch_id}")
            message = _batch(batch)
            message.payouts.extend(_payout(payment) for payment in await storage.payments_of(conn, batch_id))
        return message

    async def _status(self, coin_id: str) -> pb.PayerStatus:
        async with acquired(self._pool) as conn:
            row = await storage.payer_row(conn, coin_id)
            totals = await storage.totals(conn, coin_id)
            isolated = await storage.list_isolated(conn, coin_id)
            is_active = await is_locked(conn, coin_id)
            unknown = [send for send in await sends.open_sends(conn, coin_id) if send.account_count]
        return pb.PayerStatus(
            is_held=row.is_held,
            reason=row.hold_reason if row.is_held else row.wait_reason,
            is_active=is_active,
            batches_confirmed=totals.batches_confirmed,
            payouts_confirmed=totals.payouts_confirmed,
            paid_atomic=totals.paid_atomic,
            batches_in_review=totals.batches_in_review,
            isolated=[pb.IsolatedAccount(account=entry.account, reason=entry.reason) for entry in isolated],
            unknown_sends=[
                pb.UnknownSend(
                    txid_hex=send.txid_hex,
                    amount_atomic=send.amount_atomic,
                    account_count=send.account_count,
                    create_time_ms=send.create_time_ms,
                )
                for send in unknown
            ],
        )


def _coin(coin_id: str) -> str:
    if not coin_id:
        raise InvalidArgument("coin", "must not be empty")
    return coin_id


def _txid_hex(text: str) -> str:
    if not re.fullmatch(r"[0-9a-f]{64}", text):
        raise InvalidArgument("txid_hex", "must be a transaction id: 64 digits 0-9 a-f")
    return text


def _batch_id(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise InvalidArgument("batch_id", "must be a UUID") from None


def _batch(batch: Batch) -> pb.Batch:
    return pb.Batch(
        batch_id=str(batch.batch_id),
        coin=batch.coin,
        status=_STATUS_TO_PROTO[batch.status],
        txid_hex=batch.txid_hex,
        amount_atomic=batch.amount_atomic,
        fee_atomic=batch.fee_atomic,
        payout_count=batch.payout_count,
        confirmations=batch.confirmations,
        create_time_ms=batch.create_time_ms,
        update_time_ms=batch.update_time_ms,
        reason=batch.reason,
    )


def _payout(payment: storage.Payment) -> pb.Payout:
    return pb.Payout(
        payout_id=str(payment.item.payout_id),
        batch_id=str(payment.batch_id),
        account=payment.item.account,
        amount_atomic=payment.item.amount_atomic,
        status=_STATUS_TO_PROTO[payment.status],
        txid_hex=payment.txid_hex,
        create_time_ms=payment.create_time_ms,
        confirm_time_ms=payment.confirm_time_ms,
    )
