"""The OpenAPI document describes what is served."""

import json
import re

import msgspec
import pytest

from gateway.openapi import openapi_document
from gateway.routes import all_routes

ROUTES = all_routes()
DOCUMENT = json.loads(openapi_document(ROUTES, title="Proof"))


def references(node: object) -> list[str]:
    if isinstance(node, dict):
        own = [node["$ref"]] if isinstance(node.get("$ref"), str) else []
        return own + [ref for value in node.values() for ref in references(value)]
    if isinstance(node, list):
        return [ref for value in node for ref in references(value)]
    return []


def floats(node: object) -> list[object]:
    if isinstance(node, dict):
        return [found for value in node.values() for found in floats(value)]
    if isinstance(node, list):
        return [found for value in node for found in floats(value)]
    return [node] if isinstance(node, float) else []


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.operation_id)
def test_every_route_is_described_with_an_example_of_its_answer(route):
    operation = DOCUMENT["paths"][route.path]["get"]
    content = operation["responses"]["200"]["content"]["application/json"]
    name = content["schema"]["$ref"].rpartition("/")[2]
    assert name == route.answer.__name__
    assert type(route.example) is route.answer
    decoded = msgspec.json.decode(json.dumps(content["example"]), type=route.answer, strict=True)
    assert decoded == route.example
    assert set(content["example"]) == set(DOCUMENT["components"]["schemas"][name]["properties"])


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.operation_id)
def test_parameters_in_the_path_are_those_that_are_described(route):
    described = {p["name"] for p in DOCUMENT["paths"][route.path]["get"]["parameters"] if p["in"] == "path"}
    assert described == set(re.findall(r"{(\w+)}", route.path))
    assert all(p["required"] == (p["in"] == "path") for p in DOCUMENT["paths"][route.path]["get"]["parameters"])


def test_every_reference_leads_somewhere():
    schemas = DOCUMENT["components"]["schemas"]
    assert DOCUMENT["openapi"] == "3.1.0"
    refs = references(DOCUMENT)
    assert refs
    assert all(ref.removeprefix("#/components/schemas/") in schemas for ref in refs)


def test_operation_ids_are_unique():
    ids = [path["get"]["operationId"] for path in DOCUMENT["paths"].values()]
    assert len(ids) == len(set(ids)) == len(ROUTES)


def test_nothing_in_any_answer_is_a_float():
    """Money and work are whole numbers or digits, in examples and in schemas."""
    assert floats(DOCUMENT) == []
    assert '"number"' not in json.dumps(DOCUMENT["components"]["schemas"])


def test_money_in_the_examples_adds_up():
    """R1: credits + fee + remainder = reward; the ledger's identity."""
    by_id = {route.operation_id: route.example for route in ROUTES}
    block, ledger = by_id["getBlock"], by_id["getLedger"]
    assert sum(c.amount_atomic for c in block.credits) + block.pool_fee_atomic + block.remainder_atomic == (
        block.reward_atomic
    )
    assert sum(int(c.work) for c in block.credits) == int(block.window_work)
    assert ledger.coinbase_atomic == (
        ledger.immature_atomic
        + ledger.payable_atomic
        + ledger.reserved_atomic
        + ledger.paid_atomic
        + ledger.pool_fee_atomic
        + ledger.remainder_atomic
    )
