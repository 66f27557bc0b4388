"""gRPC to domain and back: lodepool.notifier.v1.NotifierService."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Final, TypeAlias

from notifier import deliveries, subscriptions
from notifier.claims import State
from notifier.config import NotifierSettings
from notifier.deliveries import Delivery
from notifier.domain import ChannelKind, Subscription
from notifier.errors import SubscriptionInvalid, SubscriptionUnknown, TooManySubscriptions
from notifier.notices import Kind
from notifier.rendering import Markup, render
from proto.lodepool.notifier.v1 import notifier_pb2, notifier_pb2_grpc
from runtime.clock import Clock
from runtime.live import Live
from runtime.postgres.pool import Connection, Pool, acquired
from runtime.postgres.transactions import transact
from runtime.rpc.access import OPERATOR, Access
from runtime.rpc.errors import FailedPrecondition, InvalidArgument, NotFound
from runtime.rpc.pages import clamp_page_size, decode_page_token, token_after

if TYPE_CHECKING:
    import grpc
    from google.protobuf.message import Message

_Context: TypeAlias = "grpc.aio.ServicerContext[Message, Message]"

SERVICE_NAME: Final = "lodepool.notifier.v1.NotifierService"
ACCESS: Final = Access(readers=frozenset(), writers=frozenset({OPERATOR}))
_ID_MAX: Final = (1 << 63) - 1
_TEXT_CHARS_MAX: Final = 1000

_CHANNELS: Final = {
    notifier_pb2.CHANNEL_TELEGRAM: ChannelKind.TELEGRAM,
    notifier_pb2.CHANNEL_EMAIL: ChannelKind.EMAIL,
    notifier_pb2.CHANNEL_WEBHOOK: ChannelKind.WEBHOOK,
}
_CHANNEL_NUMBERS: Final = {kind: number for number, kind in _CHANNELS.items()}
_KINDS: Final = {
    number: Kind(name.removeprefix("NOTICE_KIND_").lower())
    for name, number in notifier_pb2.NoticeKind.items()
    if number
}
_KIND_NUMBERS: Final = {kind: number for number, kind in _KINDS.items()}
_STATES: Final = {
    notifier_pb2.DELIVERY_STATUS_PENDING: (State.QUEUED, State.SENDING, State.RETRY),
    notifier_pb2.DELIVERY_STATUS_DELIVERED: (State.SENT,),
    notifier_pb2.DELIVERY_STATUS_DEAD: (State.DEAD,),
    notifier_pb2.DELIVERY_STATUS_SKIPPED: (State.SKIPPED,),
}
_STATUSES: Final = {state: status for status, states in _STATES.items() for state in states}


class NotifierServicer(notifier_pb2_grpc.NotifierServiceServicer):
    """Answers from the notifier schema.

    Args:
        pool: The database, migrated.
        clock: The time.
        live: The `[notifier]` section.
        wake: Called when something was queued.
    """

    def __init__(self, *, pool: Pool, clock: Clock, live: Live[NotifierSettings], wake: Callable[[], None]) -> None:
        self._pool = pool
        self._clock = clock
        self._live = live
        self._wake = wake

    async def CreateSubscription(  # noqa: N802
        self,
        request: notifier_pb2.CreateSubscriptionRequest,
        context: _Context,  # noqa: ARG002
    ) -> notifier_pb2.Subscription:
        """Make a subscription."""
        _check_request(request.request_id)
        wanted = _subscription(request.subscription)

        async def work(connection: Connection) -> tuple[Subscription, str]:
            return await subscriptions.create(
                connection, wanted, request_id=request.request_id, now_ms=self._clock.now_ms()
            )

        try:
            made, secret = await transact(self._pool, work)
        except SubscriptionInvalid as error:
            raise InvalidArgument(f"subscription.{error.field}", error.problem) from None
        except TooManySubscriptions as error:
            raise FailedPrecondition(str(error)) from None
        return _message(made, secret=secret)

    async def ListSubscriptions(  # noqa: N802
        self,
        request: notifier_pb2.ListSubscriptionsRequest,
        context: _Context,  # noqa: ARG002
    ) -> notifier_pb2.ListSubscriptionsResponse:
        """Return a page of subscriptions by id."""
        page_size = clamp_page_size(request.page_size)
        after = decode_page_token(request.page_token, int) or 0
        for field in ("coin", "account", "address"):
            _check_text(field, getattr(request, field))
        _check_position(after)
        async with acquired(self._pool) as connection:
            found = await subscriptions.list_page(
                connection,
                coin=request.coin,
                account=request.account,
                channel=_CHANNELS.get(request.channel),
                address=request.address,
                after=after,
                page_size=page_size,
            )
        return notifier_pb2.ListSubscriptionsResponse(
            subscriptions=map(_message, found),
            next_page_token=token_after(found, page_size=page_size, position=lambda last: last.subscription_id),
        )

    async def UpdateSubscription(  # noqa: N802
        self,
        request: notifier_pb2.UpdateSubscriptionRequest,
        context: _Context,  # noqa: ARG002
    ) -> notifier_pb2.Subscription:
        """Replace what a subscription says; the same again changes nothing."""
        _check_request(request.request_id)
        wanted = _subscription(request.subscription)

        async def work(connection: Connection) -> Subscription:
            return await subscriptions.update(connection, wanted)

        try:
            return _message(await transact(self._pool, work))
        except SubscriptionInvalid as error:
            raise InvalidArgument(f"subscription.{error.field}", error.problem) from None
        except SubscriptionUnknown as error:
            raise NotFound(str(error)) from None

    async def DeleteSubscription(  # noqa: N802
        self,
        request: notifier_pb2.DeleteSubscriptionRequest,
        context: _Context,  # noqa: ARG002
    ) -> notifier_pb2.DeleteSubscriptionResponse:
        """End a subscription; one that is not there is ended already."""
        _check_request(request.request_id)
        subscription_id = _id("subscription_id", request.subscription_id)

        async def work(connection: Connection) -> bool:
            return await subscriptions.delete(connection, subscription_id)

        await transact(self._pool, work)
        return notifier_pb2.DeleteSubscriptionResponse()

    async def ListNotices(  # noqa: N802
        self,
        request: notifier_pb2.ListNoticesRequest,
        context: _Context,  # noqa: ARG002
    ) -> notifier_pb2.ListNoticesResponse:
        """Return a page of deliveries, newest first."""
        page_size = clamp_page_size(request.page_size)
        before = decode_page_token(request.page_token, int)
        _check_position(before or 0)
        async with acquired(self._pool) as connection:
            found = await deliveries.list_page(
                connection,
                subscription_id=_id("subscription_id", request.subscription_id) if request.subscription_id else 0,
                states=_STATES.get(request.status, ()),
                before=before,
                page_size=page_size,
            )
        return notifier_pb2.ListNoticesResponse(
            deliveries=map(_delivery, found),
            next_page_token=token_after(found, page_size=page_size, position=lambda last: last.delivery_id),
        )

    async def ReplayNotice(  # noqa: N802
        self,
        request: notifier_pb2.ReplayNoticeRequest,
        context: _Context,  # noqa: ARG002
    ) -> notifier_pb2.Delivery:
        """Queue what was given up again; what is queued already is left as it is."""
        _check_request(request.request_id)
        delivery_id = _id("delivery_id", request.delivery_id)

        async def work(connection: Connection) -> Delivery:
            await deliveries.replay(connection, delivery_id, now_ms=self._clock.now_ms())
            found = await deliveries.get(connection, delivery_id)
            if found is None:
                raise NotFound(f"there is no delivery {delivery_id}")
            if found.state in {State.SENT, State.SKIPPED}:
                raise FailedPrecondition(f"delivery {delivery_id} was not given up: it is {found.state}")
            return found

        found = await transact(self._pool, work)
        self._wake()
        return _delivery(found)

    async def SendTestNotice(  # noqa: N802
        self,
        request: notifier_pb2.SendTestNoticeRequest,
        context: _Context,  # noqa: ARG002
    ) -> notifier_pb2.Delivery:
        """Queue a test before everything else."""
        _check_request(request.request_id)
        subscription_id = _id("subscription_id", request.subscription_id)

        async def work(connection: Connection) -> Delivery:
            subscription = await subscriptions.get(connection, subscription_id)
            if subscription.is_paused:
                raise FailedPrecondition(
                    f"subscription {subscription_id} is paused"
                    + (f": {subscription.pause_reason}" if subscription.pause_reason else "")
                )
            delivery_id = await deliveries.queue_test(
                connection, subscription, request_id=request.request_id, now_ms=self._clock.now_ms()
            )
            found = await deliveries.get(connection, delivery_id)
            assert found is not None  # queued in this transaction
            return found

        try:
            found = await transact(self._pool, work)
        except SubscriptionUnknown as error:
            raise NotFound(str(error)) from None
        self._wake()
        return _delivery(found)

    async def RotateSecret(  # noqa: N802
        self,
        request: notifier_pb2.RotateSecretRequest,
        context: _Context,  # noqa: ARG002
    ) -> notifier_pb2.Subscription:
        """Give a webhook a new secret."""
        _check_request(request.request_id)
        subscription_id = _id("subscription_id", request.subscription_id)
        expire_time_ms = self._clock.now_ms() + self._live.value.webhook.secret_overlap_h * 3_600_000

        async def work(connection: Connection) -> tuple[Subscription, str]:
            return await subscriptions.rotate_secret(
                connection, subscription_id, request_id=request.request_id, expire_time_ms=expire_time_ms
            )

        try:
            found, secret = await transact(self._pool, work)
        except SubscriptionUnknown:
            raise NotFound(f"there is no webhook {subscription_id}") from None
        return _message(found, secret=secret)


def _subscription(message: notifier_pb2.Subscription) -> Subscription:
    if message.channel not in _CHANNELS:
        raise InvalidArgument("subscription.channel", "is needed")
    if any(number not in _KINDS for number in message.kinds):
        raise InvalidArgument("subscription.kinds", "has one that is unknown")
    for field in ("address", "language", "coin", "account", "worker_pattern", "time_zone"):
        _check_text(f"subscription.{field}", getattr(message, field))
    return Subscription(
        subscription_id=_id("subscription.subscription_id", message.subscription_id) if message.subscription_id else 0,
        channel=_CHANNELS[message.channel],
        address=message.address,
        language=message.language,
        coin=message.coin,
        account=message.account,
        worker_pattern=message.worker_pattern,
        kinds=frozenset(_KINDS[number] for number in message.kinds),
        hashrate_percent=message.hashrate_percent,
        reject_percent=message.reject_percent,
        quiet_start_min=message.quiet_start_min,
        quiet_end_min=message.quiet_end_min,
        time_zone=message.time_zone,
        digest_min=message.digest_min,
        cooldown_s=message.cooldown_s,
        is_paused=message.is_paused,
    )


def _message(subscription: Subscription, *, secret: str = "") -> notifier_pb2.Subscription:
    return notifier_pb2.Subscription(
        subscription_id=str(subscription.subscription_id),
        channel=_CHANNEL_NUMBERS[subscription.channel],
        address=subscription.address,
        language=subscription.language,
        coin=subscription.coin,
        account=subscription.account,
        worker_pattern=subscription.worker_pattern,
        kinds=sorted(_KIND_NUMBERS[kind] for kind in subscription.kinds),
        hashrate_percent=subscription.hashrate_percent,
        reject_percent=subscription.reject_percent,
        quiet_start_min=subscription.quiet_start_min,
        quiet_end_min=subscription.quiet_end_min,
        time_zone=subscription.time_zone,
        digest_min=subscription.digest_min,
        cooldown_s=subscription.cooldown_s,
        is_paused=subscription.is_paused,
        pause_reason=subscription.pause_reason,
        create_time_ms=subscription.create_time_ms,
        webhook_secret=secret,
    )


def _delivery(delivery: Delivery) -> notifier_pb2.Delivery:
    subscription = delivery.subscription
    rendered = render(
        [delivery.notice],
        language=subscription.language,
        time_zone=subscription.time_zone,
        markup=Markup.PLAIN,
    )
    return notifier_pb2.Delivery(
        delivery_id=str(delivery.delivery_id),
        subscription_id=str(subscription.subscription_id),
        notice_id=delivery.notice.notice_id,
        kind=_KIND_NUMBERS.get(delivery.notice.kind, notifier_pb2.NOTICE_KIND_UNSPECIFIED),
        status=_STATUSES[delivery.state],
        attempt_count=delivery.attempt_count,
        last_error=delivery.last_error,
        create_time_ms=delivery.create_time_ms,
        next_attempt_time_ms=delivery.next_attempt_time_ms,
        deliver_time_ms=delivery.deliver_time_ms,
        text=rendered.text,
    )


def _check_request(request_id: str) -> None:
    if not request_id:
        raise InvalidArgument("request_id", "must not be empty")
    _check_text("request_id", request_id)


def _check_text(field: str, text: str) -> None:
    if len(text) > _TEXT_CHARS_MAX or "\x00" in text:
        raise InvalidArgument(field, "is too long or has a NUL character")


def _check_position(position: int) -> None:
    if not 0 <= position <= _ID_MAX:
        raise InvalidArgument("page_token", "is not a token that this method returned")


def _id(field: str, text: str) -> int:
    if not text.isascii() or not text.isdecimal() or len(text) > 19 or not 0 < int(text) <= _ID_MAX:
        raise InvalidArgument(field, "is not an id that this service gives")
    return int(text)
