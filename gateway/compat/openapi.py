"""The OpenAPI document of the second face, made from its table of routes."""

from collections.abc import Iterable, Mapping
from re import findall
from types import MappingProxyType
from typing import Any

import msgspec

from gateway.compat.routes import Route

PATH = "/api/compat/openapi.json"
TAG = "compat"
_REF = "#/components/schemas/{name}"
_DESCRIPTION = (
    "What front ends and statistics sites written for Miningcore read. Amounts are in coins, efforts and progress are "
    "ratios, hashrates are hashes a second, times are ISO 8601 in UTC; what is not known is left out. Errors are the "
    "status and a sentence. Nothing here can be changed; the pool's own API is at /api/v1/openapi.json."
)
_PAGE = {"type": "integer", "minimum": 0}
_RANGES = {"type": "string", "enum": ["Hour", "Day", "Month"], "default": "Day"}
_QUERY: Mapping[str, tuple[dict[str, Any], str]] = MappingProxyType(
    {
        "page": (_PAGE | {"default": 0}, "Number of the page, from 0."),
        "pageSize": (
            _PAGE | {"minimum": 1, "default": 15},
            "Items on a page; the pool gives fewer if this is too many.",
        ),
        "topMinersRange": (
            _PAGE | {"default": 24},
            "Hours that count for a rank: up to 1 is the last hour, else a day.",
        ),
        "r": (_RANGES, "How far back."),
        "i": ({"type": "string", "enum": ["Hour", "Day"], "default": "Hour"}, "Length of a sample."),
        "perfMode": (_RANGES, "How far back the samples reach."),
        "mode": (_RANGES, "How far back the samples reach."),
        "state": (
            {"type": "array", "items": {"type": "string", "enum": ["Pending", "Confirmed", "Orphaned"]}},
            "Only blocks of these states.",
        ),
    }
)


def openapi_document(routes: Iterable[Route], *, title: str) -> bytes:
    """Return the document as JSON.

    Args:
        routes: All routes.
        title: The pool's name.
    """
    routes = tuple(routes)
    schemas, components = msgspec.json.schema_components([route.answer for route in routes], ref_template=_REF)
    document = {
        "openapi": "3.1.0",
        "info": {"title": f"{title} API as Miningcore's", "version": "1", "description": _DESCRIPTION},
        "tags": [{"name": TAG}],
        "paths": {
            route.path: {"get": _operation(route, schema)} for route, schema in zip(routes, schemas, strict=True)
        },
        "components": {"schemas": components},
    }
    return msgspec.json.encode(document)


def _operation(route: Route, schema: dict[str, Any]) -> dict[str, Any]:
    problems = {
        "400": "A parameter has a wrong value.",
        "429": "Too many requests of this address.",
        "502": "A service failed.",
        "503": "A service is away.",
    }
    if "{" in route.path:
        problems["404"] = "No such pool here, or nothing to tell."
    return {
        "operationId": route.name,
        "tags": [TAG],
        "summary": route.summary,
        "parameters": [
            *(
                {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
                for name in findall(r"{(\w+)}", route.path)
            ),
            *(
                {
                    "name": name,
                    "in": "query",
                    "required": False,
                    "schema": _QUERY[name][0],
                    "description": _QUERY[name][1],
                }
                for name in route.parameters
            ),
        ],
        "responses": {
            "200": {"description": "The answer.", "content": {"application/json": {"schema": schema}}},
            **{status: {"description": text} for status, text in sorted(problems.items())},
        },
    }
