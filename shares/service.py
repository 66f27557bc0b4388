"""gRPC to domain and back: lodepool.shares.v1.ShareService."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, TypeAlias

from proto.lodepool.shares.v1 import shares_pb2, shares_pb2_grpc
from runtime.clock import Clock
from runtime.postgres.pool import Connection, Pool, acquired
from runtime.postgres.transactions import transact
from runtime.rpc.access import OPERATOR, Access
from runtime.rpc.errors import FailedPrecondition, InvalidArgument, NotFound
from runtime.rpc.pages import clamp_page_size, decode_page_token, encode_page_token, token_after
from shares import history, listing, stats
from shares.accounts import AccountStats, WorkerStats, account_stats, ranked_accounts
from shares.config import SharesSettings
from shares.consumer import TOPIC
from shares.domain import NAME_CHARS_MAX, InstanceState
from shares.errors import WindowConflict, WindowNotReady
from shares.hashrate import HOUR_WINDOW, WINDOWS
from shares.history_span import STEPS
from shares.history_span import Window as HistoryWindow
from shares.leaders import Ranked, Ranking
from shares.metrics import Counters
from shares.storage import list_instances
from shares.window import WaitRules, Window, WindowKind, WindowRequest
from shares.window_storage import fix_window

if TYPE_CHECKING:
    import grpc
    from google.protobuf.message import Message

_Context: TypeAlias = "grpc.aio.ServicerContext[Message, Message]"

SERVICE_NAME = "lodepool.shares.v1.ShareService"
ACCESS = Access(readers=frozenset({OPERATOR, "gateway", "notifier"}), writers=frozenset({"rewards"}))
"""Fixing a window is part of crediting a block."""
SLICES_DEFAULT = 1000
SLICES_MAX = 10_000
RANKING_KEEP_S = 5.0
"""How old the order of the accounts by hashrate may be."""
LEADERS_KEEP_S = 30.0
_DAY_WINDOW = WINDOWS[-1]
_HEIGHT_MAX = (1 << 63) - 1
_MINUTE_MAX = (1 << 31) - 1
_WORK_DIGITS_MAX = 40


class ShareServicer(shares_pb2_grpc.ShareServiceServicer):
    """Answers from the shares schema.

    Args:
        pool: The database, migrated.
        clock: The time.
        settings: The `[shares]` section.
        counters: Counted up.
    """

    def __init__(self, *, pool: Pool, clock: Clock, settings: SharesSettings, counters: Counters) -> None:
        self._pool = pool
        self._clock = clock
        self._counters = counters
        self._ranking = Ranking(pool=pool, clock=clock, window=HOUR_WINDOW, keep_s=RANKING_KEEP_S)
        self._leaders = Ranking(pool=pool, clock=clock, window=_DAY_WINDOW, keep_s=LEADERS_KEEP_S)
        self._rules = WaitRules(
            window_wait_ms=settings.window_wait_s * 1000,
            instance_dead_ms=settings.instance_dead_s * 1000,
            instance_forgotten_ms=settings.instance_forgotten_s * 1000,
            clock_skew_ms_max=settings.clock_skew_ms_max,
        )

    async def FixWindow(self, request: shares_pb2.FixWindowRequest, context: _Context) -> shares_pb2.Window:  # noqa: N802, ARG002
        """Fix the window of a block."""
        wanted = _window_request(request)

        async def work(connection: Connection) -> Window:
            return await fix_window(connection, wanted, rules=self._rules, topic=TOPIC)

        try:
            window = await transact(self._pool, work)
        except WindowNotReady as error:
            raise FailedPrecondition(f"the window is not complete: {error}") from error
        except WindowConflict as error:
            raise InvalidArgument("request_id", "was used for another window") from error
        self._counters.windows_fixed_total += 1
        return shares_pb2.Window(
            accounts=[
                shares_pb2.AccountWork(account=entry.account, work=str(entry.work), share_count=entry.share_count)
                for entry in window.accounts
            ],
            total_work=str(window.total_work),
            start_height=window.start_height,
            start_minute=window.start_minute,
            end_height=window.end_height,
            instances_missing=window.instances_missing,
        )

    async def GetPoolStats(self, request: shares_pb2.GetPoolStatsRequest, context: _Context) -> shares_pb2.PoolStats:  # noqa: N802, ARG002
        """Return the pool's statistics."""
        _check_text("coin", request.coin)
        async with acquired(self._pool) as connection:
            pool = await stats.pool_stats(
                connection,
                coin=request.coin,
                round_start_height=request.round_start_height,
                now_ms=self._clock.now_ms(),
            )
        return shares_pb2.PoolStats(
            hashrates=_hashrates(pool.rates),
            counts=_counts(pool.counts),
            round_work=str(pool.round_work),
            best_hash_work=pool.best_hash_work,
            best_account=pool.best_account,
            account_count=pool.account_count,
            worker_count=pool.worker_count,
            last_share_time_ms=pool.last_share_time_ms,
        )

    async def GetAccountStats(  # noqa: N802
        self,
        request: shares_pb2.GetAccountStatsRequest,
        context: _Context,  # noqa: ARG002
    ) -> shares_pb2.AccountStats:
        """Return one account with its workers."""
        _check_text("coin", request.coin)
        _check_text("account", request.account)
        async with acquired(self._pool) as connection:
            account = await account_stats(
                connection, coin=request.coin, account=request.account, now_ms=self._clock.now_ms()
            )
        if account is None:
            raise NotFound(f"{request.account} has not mined {request.coin} here")
        return _account(account)

    async def ListAccounts(  # noqa: N802
        self,
        request: shares_pb2.ListAccountsRequest,
        context: _Context,  # noqa: ARG002
    ) -> shares_pb2.ListAccountsResponse:
        """Return a page of accounts by hashrate."""
        _check_text("coin", request.coin)
        page_size = clamp_page_size(request.page_size)
        order = await self._ranking.order(request.coin)
        page = order.page(after=_after(request.page_token), size=page_size)
        async with acquired(self._pool) as connection:
            accounts = await ranked_accounts(connection, order, page)
        return shares_pb2.ListAccountsResponse(
            accounts=map(_account, accounts),
            next_page_token=_ranked_token(page, page_size),
        )

    async def ListLeaders(  # noqa: N802
        self,
        request: shares_pb2.ListLeadersRequest,
        context: _Context,  # noqa: ARG002
    ) -> shares_pb2.ListLeadersResponse:
        """Return a page of accounts by their work of the last day."""
        _check_text("coin", request.coin)
        page_size = clamp_page_size(request.page_size)
        order = await self._leaders.order(request.coin)
        page = order.page(after=_after(request.page_token), size=page_size)
        leaders = [entry for entry in page if entry.work]
        return shares_pb2.ListLeadersResponse(
            leaders=[
                shares_pb2.Leader(
                    account=entry.account,
                    work=str(entry.work),
                    hps=str(
                        _DAY_WINDOW.hashrate_hps(entry.work, now_ms=order.made_ms, first_share_ms=order.first_share_ms)
                    ),
                    worker_count=entry.worker_count,
                )
                for entry in leaders
            ],
            next_page_token=_ranked_token(leaders, page_size),
        )

    async def GetHashrateHistory(  # noqa: N802
        self,
        request: shares_pb2.GetHashrateHistoryRequest,
        context: _Context,  # noqa: ARG002
    ) -> shares_pb2.HashrateHistory:
        """Return what the pool, an account or a worker has mined over time."""
        _check_text("coin", request.coin)
        if request.account:
            _check_text("account", request.account)
        worker = request.worker if request.HasField("worker") else None
        if worker is not None and not request.account:
            raise InvalidArgument("worker", "needs an account")
        if worker:
            _check_text("worker", worker)
        try:
            window = HistoryWindow(request.window)
        except ValueError:
            raise InvalidArgument("window", "is not one of the windows") from None
        async with acquired(self._pool) as connection:
            subject = await history.find_subject(connection, coin=request.coin, account=request.account, worker=worker)
            if subject is None:
                raise NotFound(f"{request.account} {worker or ''} has not mined {request.coin} here")
            points = await history.read(connection, subject, window=window, now_ms=self._clock.now_ms())
        return shares_pb2.HashrateHistory(interval_s=STEPS[window].span_min * 60, points=map(_point, points))

    async def ListSlices(  # noqa: N802
        self,
        request: shares_pb2.ListSlicesRequest,
        context: _Context,  # noqa: ARG002
    ) -> shares_pb2.ListSlicesResponse:
        """Return a page of slices, oldest first."""
        _check_text("coin", request.coin)
        page_size = clamp_page_size(request.page_size, default=SLICES_DEFAULT, maximum=SLICES_MAX)
        wanted = listing.SliceFilter(
            coin=request.coin,
            account=request.account,
            start_height=request.start_height,
            end_height=request.end_height,
            start_minute=request.start_minute,
            end_minute=request.end_minute,
        )
        for field in ("start_minute", "end_minute"):
            if not 0 <= getattr(request, field) <= _MINUTE_MAX:
                raise InvalidArgument(field, "is out of range")
        if request.account:
            _check_text("account", request.account)
        after = decode_page_token(request.page_token, tuple[int, int, str, str, str])
        if after is not None:
            _check_place(after)
        async with acquired(self._pool) as connection:
            slices = await listing.list_slices(connection, wanted, page_size=page_size, after=after)
        return shares_pb2.ListSlicesResponse(
            slices=map(_slice, slices),
            next_page_token=token_after(slices, page_size=page_size, position=lambda last: last.place),
        )

    async def GetTotals(self, request: shares_pb2.GetTotalsRequest, context: _Context) -> shares_pb2.Totals:  # noqa: N802, ARG002
        """Return the sums of one moment."""
        _check_text("coin", request.coin)

        async def work(connection: Connection) -> stats.Totals:
            return await stats.totals(connection, coin=request.coin)

        totals = await transact(self._pool, work, isolation="repeatable_read")
        return shares_pb2.Totals(
            slices=_counts(totals.slices),
            slices_work=str(totals.slices_work),
            instances=_counts(totals.instances),
            instances_work=str(totals.instances_work),
            late_share_count=totals.late_share_count,
        )

    async def ListInstances(  # noqa: N802
        self,
        request: shares_pb2.ListInstancesRequest,
        context: _Context,  # noqa: ARG002
    ) -> shares_pb2.ListInstancesResponse:
        """Return a page of the coin's instances by name."""
        _check_text("coin", request.coin)
        after = decode_page_token(request.page_token, str) or ""
        if after:
            _check_text("page_token", after)
        size = clamp_page_size(request.page_size)
        async with acquired(self._pool) as connection:
            found = await list_instances(connection, request.coin, after=after, limit=size + 1)
        page = found[:size]
        return shares_pb2.ListInstancesResponse(
            instances=map(_instance, page),
            next_page_token=encode_page_token(page[-1].instance) if len(found) > size else "",
        )


def _window_request(request: shares_pb2.FixWindowRequest) -> WindowRequest:
    _check_text("coin", request.coin)
    _check_text("request_id", request.request_id)
    try:
        kind = WindowKind(request.scheme)
    except ValueError:
        raise InvalidArgument("scheme", f"must be one of {', '.join(WindowKind)}") from None
    if not 0 <= request.end_height < _HEIGHT_MAX:
        raise InvalidArgument("end_height", "is out of range")
    if not 0 <= request.start_height <= request.end_height:
        raise InvalidArgument("start_height", "must lie between 0 and end_height")
    if kind == WindowKind.PPLNS and request.start_height:
        raise InvalidArgument("start_height", "must be 0 for pplns")
    if kind == WindowKind.PROP and request.window_work:
        raise InvalidArgument("window_work", "must be empty for prop")
    if request.found_time_ms <= 0:
        raise InvalidArgument("found_time_ms", "must be the time the block was found")
    return WindowRequest(
        request_id=request.request_id,
        coin=request.coin,
        kind=kind,
        end_height=request.end_height,
        start_height=request.start_height,
        window_work=_digits("window_work", request.window_work) if request.window_work else None,
        found_time_ms=request.found_time_ms,
    )


def _check_text(field: str, text: str) -> None:
    if not text:
        raise InvalidArgument(field, "must not be empty")
    if len(text) > NAME_CHARS_MAX or "\x00" in text:
        raise InvalidArgument(field, "is not a name that the pool could know")


def _check_place(place: listing.Place) -> None:
    height, minute, *names = place
    if not 0 <= height < _HEIGHT_MAX or not 0 <= minute <= _MINUTE_MAX or any("\x00" in name for name in names):
        raise InvalidArgument("page_token", "is not a token that this method returned")


def _digits(field: str, text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= _WORK_DIGITS_MAX):
        raise InvalidArgument(field, f"must be up to {_WORK_DIGITS_MAX} decimal digits")
    return int(text)


def _hashrates(rates: Iterable[int]) -> shares_pb2.Hashrates:
    hps_1m, hps_5m, hps_15m, hps_1h, hps_24h = map(str, rates)
    return shares_pb2.Hashrates(hps_1m=hps_1m, hps_5m=hps_5m, hps_15m=hps_15m, hps_1h=hps_1h, hps_24h=hps_24h)


def _counts(counts: stats.Counts) -> shares_pb2.ShareCounts:
    return shares_pb2.ShareCounts(
        accepted=counts.accepted,
        stale=counts.stale,
        duplicate=counts.duplicate,
        low_difficulty=counts.low_difficulty,
        invalid=counts.invalid,
    )


def _account(account: AccountStats) -> shares_pb2.AccountStats:
    return shares_pb2.AccountStats(
        account=account.account,
        hashrates=_hashrates(account.rates),
        counts=_counts(account.counts),
        best_hash_work=account.best_hash_work,
        workers=map(_worker, account.workers),
        total_work=str(account.total_work),
        accepted_count_1h=account.accepted_1h,
    )


def _worker(worker: WorkerStats) -> shares_pb2.WorkerStats:
    reject = worker.last_reject
    return shares_pb2.WorkerStats(
        worker=worker.worker,
        hashrates=_hashrates(worker.rates),
        counts=_counts(worker.counts),
        last_share_time_ms=worker.last_share_time_ms,
        best_hash_work=worker.best_hash_work,
        last_reject_time_ms=0 if reject is None else reject.time_ms,
        last_reject_reason="" if reject is None else reject.reason,
    )


def _after(page_token: str) -> tuple[int, str] | None:
    """Return the work and the account of the last entry of the page before."""
    token = decode_page_token(page_token, tuple[str, str])
    if token is None:
        return None
    _check_text("page_token", token[1])
    return _digits("page_token", token[0]), token[1]


def _ranked_token(page: Sequence[Ranked], page_size: int) -> str:
    return token_after(page, page_size=page_size, position=lambda last: (str(last.work), last.account))


def _point(point: history.Point) -> shares_pb2.HistoryPoint:
    return shares_pb2.HistoryPoint(
        time_ms=point.time_ms,
        work=str(point.work),
        hps=str(point.hps),
        accepted=point.accepted,
        rejected=point.rejected,
        worker_count=point.worker_count,
    )


def _slice(entry: listing.Slice) -> shares_pb2.Slice:
    return shares_pb2.Slice(
        scheme=entry.scheme,
        account=entry.account,
        worker=entry.worker,
        height=entry.height,
        minute=entry.minute,
        work=str(entry.work),
        counts=_counts(entry.counts),
        best_hash_work=entry.best_hash_work,
    )


def _instance(state: InstanceState) -> shares_pb2.Instance:
    accepted, stale, duplicate, low_difficulty, invalid = state.counts
    return shares_pb2.Instance(
        instance=state.instance,
        last_seq=state.last_seq,
        height=state.mark_height,
        time_ms=state.mark_time_ms,
        is_closed=state.is_closed,
        counts=shares_pb2.ShareCounts(
            accepted=accepted, stale=stale, duplicate=duplicate, low_difficulty=low_difficulty, invalid=invalid
        ),
        work=str(state.work),
    )
