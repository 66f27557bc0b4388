"""How the pool's parts are doing."""

import asyncio
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version

from gateway import examples, models_status, translation
from gateway.context import Gateway
from gateway.routing import COIN, Route
from proto.lodepool.stratum.v1 import stratum_pb2
from runtime.rpc.errors import RpcError

SERVICES = ("shares", "miners", "rewards", "payouts")


def program_version() -> str:
    """Return the version of the program."""
    try:
        return version("lodepool")
    except PackageNotFoundError:
        return "unknown"


async def get_status(gateway: Gateway, _values: Mapping[str, str]) -> models_status.Status:
    """Answer which services serve, and what the stratum servers see of the nodes."""
    names = gateway.sources.stratum_names()
    services, stratum = await asyncio.gather(
        asyncio.gather(*(_service(gateway, name) for name in SERVICES)),
        asyncio.gather(*(_stratum(gateway, name) for name in names)),
    )
    known = [found for _, found in stratum if found is not None]
    return models_status.Status(
        services=[*services, *(status for status, _ in stratum)],
        nodes=_nodes(known),
        stratum=[
            models_status.StratumStatus(
                instance=found.instance,
                session_count=found.session_count,
                refusing_reason=found.refusing_reason or None,
            )
            for found in known
        ],
        version=program_version(),
    )


async def _service(gateway: Gateway, name: str) -> models_status.ServiceStatus:
    try:
        await gateway.sources.check(name)
    except RpcError:
        return _status(gateway, name, problem="It does not answer.")
    return _status(gateway, name, problem=None)


async def _stratum(gateway: Gateway, name: str) -> tuple[models_status.ServiceStatus, stratum_pb2.StratumStatus | None]:
    try:
        found = await gateway.sources.stratum_status(name)
    except RpcError:
        return _status(gateway, name, problem="It does not answer."), None
    return _status(gateway, name, problem=None), found


def _status(gateway: Gateway, name: str, *, problem: str | None) -> models_status.ServiceStatus:
    since_ms = gateway.watch.note(name, is_up=problem is None, now_ms=gateway.clock.now_ms())
    return models_status.ServiceStatus(
        name=name, is_up=problem is None, since=translation.time_of(since_ms), detail=problem
    )


def _nodes(seen: list[stratum_pb2.StratumStatus]) -> list[models_status.NodeStatus]:
    """Return each node once: up when one of the servers uses it, with the greatest height any has seen.

    What is wrong with a node can hold its address, so it is not told.
    """
    names = dict.fromkeys(node.name for status in seen for node in status.nodes)
    nodes = [[node for status in seen for node in status.nodes if node.name == name] for name in names]
    return [
        models_status.NodeStatus(
            name=views[0].name, is_up=any(view.is_up for view in views), height=max(view.height for view in views)
        )
        for views in nodes
    ]


ROUTES = (
    Route(
        path="/api/v1/status",
        operation_id="getStatus",
        summary="Which parts of the pool are up.",
        handler=get_status,
        answer=models_status.Status,
        example=examples.STATUS,
        parameters=(COIN,),
        is_shared=True,
    ),
)
