"""What was mined over time, and who mined most."""

import asyncio
from collections.abc import Mapping
from types import MappingProxyType

from gateway import examples, models_history, translation
from gateway.context import Gateway
from gateway.expectation import effort_hundredths, mean_percent
from gateway.panels import ask, degraded, need
from gateway.problems import Kind, ProblemFound
from gateway.recent_blocks import recent_blocks
from gateway.routes.miners import MINER_PROBLEMS, address_of, unknown_miner
from gateway.routing import ADDRESS, COIN, Parameter, Route
from proto.lodepool.rewards.v1 import rewards_pb2
from proto.lodepool.shares.v1 import shares_pb2
from runtime.rpc.errors import NotFound

LEADERS_MAX = 100
_WINDOWS = {
    models_history.Window.DAY: (shares_pb2.HISTORY_WINDOW_DAY, 86_400_000),
    models_history.Window.WEEK: (shares_pb2.HISTORY_WINDOW_WEEK, 7 * 86_400_000),
    models_history.Window.QUARTER: (shares_pb2.HISTORY_WINDOW_QUARTER, 90 * 86_400_000),
}

WINDOW = Parameter(
    name="window",
    schema=MappingProxyType({"type": "string", "enum": [window.value for window in _WINDOWS], "default": "24h"}),
    description="How far back: a day in steps of ten minutes, a week in hours, or 90 days in six hours.",
)
DAY_WINDOW = Parameter(
    name="window",
    schema=MappingProxyType({"type": "string", "enum": ["24h"], "default": "24h"}),
    description="How far back; only a day so far.",
)
WORKER = Parameter(
    name="worker",
    schema=MappingProxyType({"type": "string", "maxLength": 255}),
    description="One worker; empty is the one without a name. Left out: all of them.",
)


async def get_pool_history(gateway: Gateway, values: Mapping[str, str]) -> models_history.PoolHistory:
    """Answer the pool over time, with its blocks unless the rewards service is away."""
    window = _window(values)
    wire, window_ms = _WINDOWS[window]
    answer, blocks = await asyncio.gather(
        need("shares", gateway.sources.history(wire)), ask("rewards", recent_blocks(gateway))
    )
    start_ms = gateway.clock.now_ms() - window_ms
    return models_history.PoolHistory(
        window=window,
        interval_s=answer.interval_s,
        points=[
            models_history.PoolPoint(
                time=translation.time_of(point.time_ms),
                hps=translation.hashrate_of(point.hps),
                accepted=point.accepted,
                rejected=point.rejected,
                worker_count=point.worker_count if point.HasField("worker_count") else None,
            )
            for point in answer.points
        ],
        blocks=None
        if blocks.value is None
        else [
            models_history.FoundBlock(
                time=translation.time_of(block.found_time_ms),
                height=block.height,
                effort_percent=mean_percent([effort_hundredths(int(block.round_work), int(block.network_work))]),
            )
            for block in blocks.value
            if block.found_time_ms >= start_ms and block.status != rewards_pb2.BLOCK_STATUS_ORPHANED
        ],
        degraded=degraded(blocks),
    )


async def get_miner_history(gateway: Gateway, values: Mapping[str, str]) -> models_history.MinerHistory:
    """Answer a miner, or one of its workers, over time."""
    address = address_of(gateway, values)
    window = _window(values)
    worker = values.get("worker")
    if worker is not None and (len(worker) > WORKER.schema["maxLength"] or "\x00" in worker):  # type: ignore[operator]  # a number
        raise ProblemFound(Kind.BAD_PARAMETER, "worker is not the name of a worker.")
    question = gateway.sources.history(_WINDOWS[window][0], account=address, worker=worker)
    try:
        answer = await need("shares", question)
    except NotFound:
        raise unknown_miner(address if worker is None else f"{address}.{worker[:40]}") from None
    return models_history.MinerHistory(
        window=window,
        interval_s=answer.interval_s,
        points=[
            models_history.MinerPoint(
                time=translation.time_of(point.time_ms),
                hps=translation.hashrate_of(point.hps),
                accepted=point.accepted,
                rejected=point.rejected,
                work=translation.work_of(point.work),
            )
            for point in answer.points
        ],
    )


async def get_leaderboard(gateway: Gateway, values: Mapping[str, str]) -> models_history.Leaderboard:
    """Answer the miners with the most work of the last day; who wants no name there is asked of the miners service."""
    if values.get("window", models_history.Window.DAY) != models_history.Window.DAY:
        raise ProblemFound(Kind.BAD_PARAMETER, f"window is {values['window'][:40]!r}, expected 24h.")
    answer = await need("shares", gateway.sources.leaders(page_size=LEADERS_MAX))
    accounts = [leader.account for leader in answer.leaders]
    known = await need("miners", gateway.sources.accounts(accounts)) if accounts else None
    anonymous = set() if known is None else {account.account for account in known.accounts if account.is_anonymous}
    return models_history.Leaderboard(
        window=models_history.Window.DAY,
        leaders=[
            models_history.Leader(
                rank=rank,
                address=None if leader.account in anonymous else leader.account,
                hps=translation.hashrate_of(leader.hps),
                work=translation.work_of(leader.work),
                worker_count=leader.worker_count,
            )
            for rank, leader in enumerate(answer.leaders, start=1)
        ],
    )


def _window(values: Mapping[str, str]) -> models_history.Window:
    text = values.get("window", models_history.Window.DAY)
    try:
        return models_history.Window(text)
    except ValueError:
        expected = ", ".join(_WINDOWS)
        raise ProblemFound(Kind.BAD_PARAMETER, f"window is {text[:40]!r}, expected one of {expected}.") from None


ROUTES = (
    Route(
        path="/api/v1/pool/history",
        operation_id="getPoolHistory",
        summary="The pool's hashrate and blocks over time.",
        handler=get_pool_history,
        answer=models_history.PoolHistory,
        example=examples.POOL_HISTORY,
        parameters=(WINDOW, COIN),
        problems=(Kind.SERVICE_UNAVAILABLE,),
        max_age_s=10,
        is_shared=True,
    ),
    Route(
        path="/api/v1/miners/{address}/history",
        operation_id="getMinerHistory",
        summary="A miner's, or a worker's, hashrate and shares over time.",
        handler=get_miner_history,
        answer=models_history.MinerHistory,
        example=examples.MINER_HISTORY,
        parameters=(ADDRESS, WINDOW, WORKER, COIN),
        problems=MINER_PROBLEMS,
        max_age_s=10,
    ),
    Route(
        path="/api/v1/leaderboard",
        operation_id="getLeaderboard",
        summary="The 100 miners with the most work of the last day.",
        handler=get_leaderboard,
        answer=models_history.Leaderboard,
        example=examples.LEADERBOARD,
        parameters=(DAY_WINDOW, COIN),
        problems=(Kind.SERVICE_UNAVAILABLE,),
        max_age_s=10,
        is_shared=True,
    ),
)
