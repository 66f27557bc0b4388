"""The shapes of how the pool's parts are doing."""

from typing import Annotated

from msgspec import Meta

from gateway.models import Answer, Time


class ServiceStatus(Answer, frozen=True, kw_only=True):
    """A service behind the API."""

    name: str
    is_up: bool
    since: Annotated[Time | None, Meta(description="When it was first seen so; null before it was looked at.")]
    detail: Annotated[str | None, Meta(description="What is wrong; null when nothing is.")]


class NodeStatus(Answer, frozen=True, kw_only=True):
    """A node of the coin, as the stratum servers see it."""

    name: str
    is_up: Annotated[bool, Meta(description="A stratum server uses it.")]
    height: int


class StratumStatus(Answer, frozen=True, kw_only=True):
    """A stratum server."""

    instance: str
    session_count: Annotated[int, Meta(description="Connections.")]
    refusing_reason: Annotated[str | None, Meta(description="Why it refuses shares; null when it does not.")]


class Status(Answer, frozen=True, kw_only=True):
    """How the pool's parts are doing."""

    services: list[ServiceStatus]
    nodes: list[NodeStatus]
    stratum: list[StratumStatus]
    version: str
