"""gRPC to domain and back: lodepool.miners.v1.MinerService."""

from typing import TYPE_CHECKING, TypeAlias

from coins import registry
from coins.errors import UnknownCoin
from coins.owner import is_settings_change_signed, settings_fields
from miners import accounts
from miners.config import MinersSettings
from miners.domain import NAME_CHARS_MAX, threshold_problem
from miners.errors import RequestConflict, RevisionConflict
from miners.metrics import Counters
from miners.owner_settings import SettingsChange, change_settings
from proto.lodepool.miners.v1 import miners_pb2, miners_pb2_grpc
from runtime.postgres.pool import Connection, Pool, acquired
from runtime.postgres.transactions import transact
from runtime.rpc.access import OPERATOR, Access
from runtime.rpc.errors import FailedPrecondition, InvalidArgument, NotFound, PermissionDenied
from runtime.rpc.pages import clamp_page_size, decode_page_token, encode_page_token, token_after

if TYPE_CHECKING:
    import grpc
    from google.protobuf.message import Message

_Context: TypeAlias = "grpc.aio.ServicerContext[Message, Message]"

SERVICE_NAME = "lodepool.miners.v1.MinerService"
ACCESS = Access(
    readers=frozenset({"gateway", "notifier", "payouts"}),
    writers=frozenset({OPERATOR}),
    special={"ChangeSettings": frozenset({"gateway"})},
)
"""A change that the gateway asks for must be signed by the account's own address."""
ACCOUNTS_MAX = 1000


class MinerServicer(miners_pb2_grpc.MinerServiceServicer):
    """Answers from the miners schema.

    Args:
        pool: The database, migrated.
        settings: The `[miners]` section.
        counters: Counted up.
    """

    def __init__(self, *, pool: Pool, settings: MinersSettings, counters: Counters) -> None:
        self._pool = pool
        self._settings = settings
        self._counters = counters

    async def GetAccount(self, request: miners_pb2.GetAccountRequest, context: _Context) -> miners_pb2.Account:  # noqa: N802, ARG002
        """Return one account."""
        _check_text("coin", request.coin)
        _check_text("account", request.account)
        async with acquired(self._pool) as connection:
            return await self._account(connection, coin=request.coin, account=request.account)

    async def ListAccounts(  # noqa: N802
        self,
        request: miners_pb2.ListAccountsRequest,
        context: _Context,  # noqa: ARG002
    ) -> miners_pb2.ListAccountsResponse:
        """Return a page of accounts by address."""
        _check_text("coin", request.coin)
        page_size = clamp_page_size(request.page_size)
        after = decode_page_token(request.page_token, str)
        if after is not None:
            _check_text("page_token", after)
        async with acquired(self._pool) as connection:
            found = await accounts.list_accounts(connection, coin=request.coin, page_size=page_size, after=after or "")
        return miners_pb2.ListAccountsResponse(
            accounts=map(_account, found),
            next_page_token=token_after(found, page_size=page_size, position=lambda last: last.account),
        )

    async def ListWorkers(  # noqa: N802
        self,
        request: miners_pb2.ListWorkersRequest,
        context: _Context,  # noqa: ARG002
    ) -> miners_pb2.ListWorkersResponse:
        """Return a page of workers by name."""
        _check_text("coin", request.coin)
        page_size = clamp_page_size(request.page_size)
        if request.account:
            _check_text("account", request.account)
        after = decode_page_token(request.page_token, tuple[str, str])
        if after is not None:
            for name in filter(None, after):
                _check_text("page_token", name)
        async with acquired(self._pool) as connection:
            found = await accounts.list_workers(
                connection,
                coin=request.coin,
                account=request.account,
                page_size=page_size,
                after=after,
            )
        last = found[-1] if len(found) == page_size else None
        return miners_pb2.ListWorkersResponse(
            workers=map(_worker, found),
            next_page_token="" if last is None else encode_page_token((last.worker, last.account)),
        )

    async def UpdateAccount(self, request: miners_pb2.UpdateAccountRequest, context: _Context) -> miners_pb2.Account:  # noqa: N802, ARG002
        """Set an account's payout threshold."""
        _check_text("coin", request.coin)
        _check_text("account", request.account)
        _check_text("request_id", request.request_id)
        minimum = self._settings.payout_threshold_atomic_min
        problem = threshold_problem(request.payout_threshold_atomic, minimum_atomic=minimum)
        if problem is not None:
            raise InvalidArgument("payout_threshold_atomic", problem)

        async def work(connection: Connection) -> miners_pb2.Account:
            is_known = await accounts.set_threshold(
                connection,
                coin=request.coin,
                account=request.account,
                payout_threshold_atomic=request.payout_threshold_atomic,
                request_id=request.request_id,
            )
            if not is_known:
                raise _not_found(request.coin, request.account)
            return await self._account(connection, coin=request.coin, account=request.account)

        try:
            account = await transact(self._pool, work)
        except RequestConflict as error:
            raise InvalidArgument("request_id", "was used for another change") from error
        self._counters.accounts_updated_total += 1
        return account

    async def ChangeSettings(  # noqa: N802
        self,
        request: miners_pb2.ChangeSettingsRequest,
        context: _Context,  # noqa: ARG002
    ) -> miners_pb2.Account:
        """Change an account's settings for its owner."""
        change = _settings_change(request)
        minimum = self._settings.payout_threshold_atomic_min
        problem = threshold_problem(change.payout_threshold_atomic or 0, minimum_atomic=minimum)
        if problem is not None:
            raise InvalidArgument("payout_threshold_atomic", problem)
        if not _is_signed(change, time=request.signed_time):
            raise PermissionDenied("the change is not signed by the account's address", reason="BAD_SIGNATURE")

        async def work(connection: Connection) -> miners_pb2.Account:
            if not await change_settings(connection, change):
                raise _not_found(change.coin, change.account)
            return await self._account(connection, coin=change.coin, account=change.account)

        try:
            account = await transact(self._pool, work)
        except RequestConflict as error:
            raise InvalidArgument("request_id", "was used for another change") from error
        except RevisionConflict as error:
            raise FailedPrecondition(str(error), reason="REVISION_IS_OLD") from error
        self._counters.accounts_updated_total += 1
        return account

    async def BatchGetAccounts(  # noqa: N802
        self,
        request: miners_pb2.BatchGetAccountsRequest,
        context: _Context,  # noqa: ARG002
    ) -> miners_pb2.BatchGetAccountsResponse:
        """Return those of the accounts that are known, in the order asked."""
        _check_text("coin", request.coin)
        if len(request.accounts) > ACCOUNTS_MAX:
            raise InvalidArgument("accounts", f"must be at most {ACCOUNTS_MAX}")
        for account in request.accounts:
            _check_text("accounts", account)
        async with acquired(self._pool) as connection:
            found = await accounts.get_accounts(connection, coin=request.coin, accounts=list(request.accounts))
        return miners_pb2.BatchGetAccountsResponse(accounts=map(_account, found))

    async def _account(self, connection: Connection, *, coin: str, account: str) -> miners_pb2.Account:
        found = await accounts.get_accounts(connection, coin=coin, accounts=[account])
        if not found:
            raise _not_found(coin, account)
        return _account(found[0])


def _settings_change(request: miners_pb2.ChangeSettingsRequest) -> SettingsChange:
    for field in ("coin", "account", "request_id", "signature", "signed_time"):
        _check_text(field, getattr(request, field))
    has_threshold = request.HasField("payout_threshold_atomic")
    has_anonymous = request.HasField("is_anonymous")
    if not has_threshold and not has_anonymous:
        raise InvalidArgument("", "there is nothing to change")
    if request.revision < 0:
        raise InvalidArgument("revision", "must not be negative")
    return SettingsChange(
        coin=request.coin,
        account=request.account,
        revision=request.revision,
        payout_threshold_atomic=request.payout_threshold_atomic if has_threshold else None,
        is_anonymous=request.is_anonymous if has_anonymous else None,
        signature=request.signature,
        request_id=request.request_id,
    )


def _is_signed(change: SettingsChange, *, time: str) -> bool:
    """Return whether the owner wants the change: who asks for it can only hand it on."""
    try:
        coin = registry.get(change.coin)
    except UnknownCoin:
        return False
    return is_settings_change_signed(
        coin,
        address=change.account,
        revision=change.revision,
        time=time,
        fields=settings_fields(
            payout_threshold_atomic=change.payout_threshold_atomic, is_anonymous=change.is_anonymous
        ),
        signature=change.signature,
    )


def _not_found(coin: str, account: str) -> NotFound:
    return NotFound(f"{account} has not mined {coin} here")


def _check_text(field: str, text: str) -> None:
    if not text:
        raise InvalidArgument(field, "must not be empty")
    if len(text) > NAME_CHARS_MAX or "\x00" in text:
        raise InvalidArgument(field, "is not a name that the pool could know")


def _account(account: accounts.Account) -> miners_pb2.Account:
    return miners_pb2.Account(
        coin=account.coin,
        account=account.account,
        create_time_ms=account.create_time_ms,
        last_share_time_ms=account.last_share_time_ms,
        payout_threshold_atomic=account.payout_threshold_atomic,
        worker_count=account.worker_count,
        worker_online_count=account.worker_online_count,
        is_anonymous=account.is_anonymous,
        revision=account.revision,
    )


def _worker(worker: accounts.Worker) -> miners_pb2.Worker:
    presence = miners_pb2.PRESENCE_ONLINE if worker.is_online else miners_pb2.PRESENCE_OFFLINE
    return miners_pb2.Worker(
        worker=worker.worker,
        create_time_ms=worker.create_time_ms,
        last_share_time_ms=worker.last_share_time_ms,
        presence=presence,
        scheme=worker.scheme,
        user_agent=worker.user_agent,
    )
