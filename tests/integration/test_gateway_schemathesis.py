"""What a machine makes up from the OpenAPI document never gets a 500, and the answers are what the document says."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from gateway.compat.app import add_compat
from gateway.config import GatewaySettings
from tests.fakes.gateway_world import ADDRESS, GatewayWorld
from tests.integration.test_gateway_api import HASH, fill

EXAMPLES_MAX = 15
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]


@pytest.fixture
async def world(short_dir) -> AsyncIterator[GatewayWorld]:
    world = GatewayWorld(short_dir, GatewaySettings(requests_per_second=1_000_000, requests_burst=1_000_000))
    add_compat(world.app)
    fill(world)
    await world.start()
    yield world
    await world.close()


@pytest.mark.timeout(180)
@pytest.mark.parametrize("has_known_names", [True, False])
@pytest.mark.parametrize("path", ["/api/v1/openapi.json", "/api/compat/openapi.json"])
async def test_requests_made_up_from_the_document_are_answered(world, path, has_known_names):
    """P1, P2: with the names of what is there, and with any."""
    document = await world.get(path)
    base_url = f"http://{world.host}:{world.port}"
    counts = await asyncio.to_thread(_ask_everything, document, base_url, has_known_names=has_known_names)
    assert counts
    assert all(counts.values()), counts


def _ask_everything(document: dict, base_url: str, *, has_known_names: bool) -> dict[str, int]:
    schema = schemathesis.openapi.from_dict(document)
    schema.config.update(base_url=base_url)
    counts: dict[str, int] = {}
    for found in schema.get_all_operations():
        operation = found.ok()

        @settings(
            max_examples=EXAMPLES_MAX,
            deadline=None,
            database=None,
            derandomize=True,
            phases=[Phase.explicit, Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy())
        def ask(case: schemathesis.Case) -> None:
            if has_known_names:
                known = {"address": ADDRESS, "block_hash": HASH, "poolId": "rltc1"}
                case.path_parameters = {name: known[name] for name in case.path_parameters or {}}
            case.call_and_validate(base_url=base_url, checks=CHECKS, timeout=10)
            counts[operation.label] = counts.get(operation.label, 0) + 1  # noqa: B023  called before the next turn

        ask()
    return counts
