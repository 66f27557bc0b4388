"""Whether the gateway serves."""

from collections.abc import Mapping

from gateway import models
from gateway.context import Gateway
from gateway.routing import Route

_OK = models.Health(status="ok")


async def get_health(_gateway: Gateway, _values: Mapping[str, str]) -> models.Health:
    """Answer that this process serves, whatever the services behind it do."""
    return _OK


ROUTES = (
    Route(
        path="/healthz",
        operation_id="getHealth",
        summary="The gateway serves; says nothing of the services behind it.",
        handler=get_health,
        answer=models.Health,
        example=_OK,
        max_age_s=None,
    ),
)
