"""The OpenAPI 3.1 document, made from the table of routes and the models' own schemas."""

from collections.abc import Iterable, Mapping
from types import MappingProxyType

import msgspec

from gateway.models import Problem
from gateway.problems import CONTENT_TYPE, Kind, problem_of
from gateway.routing import Change, Parameter, Route

PATH = "/api/v1/openapi.json"
VERSION = "1"
_REF = "#/components/schemas/{name}"
_ALWAYS = (Kind.BAD_PARAMETER, Kind.UNKNOWN_COIN, Kind.TOO_MANY, Kind.INTERNAL)
_DESCRIPTION = (
    "Reads a Lodepool mining pool. Amounts are whole atomic units, work is decimal digits in a string, times are ISO "
    "8601 in UTC, nothing is a float. Errors are problem+json (RFC 9457). Answers carry an ETag."
)


def openapi_document(
    routes: Iterable[Route],
    changes: Iterable[Change] = (),
    *,
    title: str,
    others: Mapping[str, dict[str, object]] = MappingProxyType({}),
) -> bytes:
    """Return the document as JSON.

    Args:
        routes: All routes.
        changes: All that can be changed.
        title: The pool's name.
        others: Paths that are described elsewhere.
    """
    routes, changes = tuple(routes), tuple(changes)
    bodies = [change.body for change in changes]
    types = list(
        dict.fromkeys([*(route.answer for route in routes), *(change.answer for change in changes), *bodies, Problem])
    )
    _, schemas = msgspec.json.schema_components(types, ref_template=_REF)
    paths: dict[str, dict[str, object]] = {}
    for route in routes:
        paths.setdefault(route.path, {})["get"] = _operation(route)
    for change in changes:
        paths.setdefault(change.path, {})["put"] = _operation(change) | {"requestBody": _body(change)}
    paths.update(others)
    document = {
        "openapi": "3.1.0",
        "info": {"title": f"{title} API", "version": VERSION, "description": _DESCRIPTION},
        "paths": paths,
        "components": {"schemas": schemas},
    }
    return msgspec.json.encode(document)


def _operation(route: Route | Change) -> dict[str, object]:
    kinds = sorted({*route.problems, *_ALWAYS}, key=lambda kind: kind.status)
    by_status: dict[int, list[Kind]] = {}
    for kind in kinds:
        by_status.setdefault(kind.status, []).append(kind)
    return {
        "operationId": route.operation_id,
        "summary": route.summary,
        "parameters": [_parameter(parameter) for parameter in route.parameters],
        "responses": {
            "200": {
                "description": "The answer.",
                "headers": {"ETag": {"schema": {"type": "string"}, "description": "For If-None-Match."}},
                "content": {
                    "application/json": {
                        "schema": {"$ref": _REF.format(name=route.answer.__name__)},
                        "example": msgspec.to_builtins(route.example),
                    }
                },
            },
            "304": {"description": "As the reader knows it (If-None-Match)."},
            **{str(status): _problem(same) for status, same in by_status.items()},
        },
    }


def _body(change: Change) -> dict[str, object]:
    schema = {"$ref": _REF.format(name=change.body.__name__)}
    example = msgspec.to_builtins(change.body_example)
    return {"required": True, "content": {"application/json": {"schema": schema, "example": example}}}


def _parameter(parameter: Parameter) -> dict[str, object]:
    return {
        "name": parameter.name,
        "in": "path" if parameter.is_in_path else "query",
        "required": parameter.is_in_path,
        "description": parameter.description,
        "schema": dict(parameter.schema),
    }


def _problem(kinds: list[Kind]) -> dict[str, object]:
    examples = {
        kind.urn_name: {"value": msgspec.to_builtins(problem_of(kind, "What is wrong, and what was expected."))}
        for kind in kinds
    }
    return {
        "description": "; ".join(kind.title for kind in kinds) + ".",
        "content": {CONTENT_TYPE: {"schema": {"$ref": _REF.format(name=Problem.__name__)}, "examples": examples}},
    }
