"""What a route is: the one table that the application serves and the OpenAPI document describes."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import msgspec

from gateway.config import GatewaySettings
from gateway.context import Gateway
from gateway.problems import Kind, ProblemFound

PAGE_SIZE_DEFAULT = 100
PAGE_TOKEN_CHARS_MAX = 1_000

Handler = Callable[[Gateway, Mapping[str, str]], Awaitable[msgspec.Struct]]
"""Takes the request's path and query parameters, which are all declared; raises ProblemFound."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """A parameter of a route.

    Attributes:
        name: As it stands in the path or the query.
        is_in_path: In the path, otherwise optional in the query.
        schema: Its JSON schema.
        description: One sentence.
    """

    name: str
    is_in_path: bool = False
    schema: Mapping[str, object]
    description: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """A path that answers GET.

    Attributes:
        path: With {parameters}.
        operation_id: Its name in generated clients.
        summary: One line for people.
        handler: Makes the answer.
        answer: The type of the answer.
        example: An answer.
        parameters: All it takes.
        problems: What else can go wrong than `Kind.INTERNAL`.
        max_age_s: How long a reader may keep the answer; None forbids it.
        is_shared: Readers within a second of each other get the same answer.
    """

    path: str
    operation_id: str
    summary: str
    handler: Handler
    answer: type[msgspec.Struct]
    example: msgspec.Struct
    parameters: tuple[Parameter, ...] = ()
    problems: tuple[Kind, ...] = ()
    max_age_s: int | None = 1
    is_shared: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A path that answers PUT: a change that its body describes and proves.

    Attributes:
        path: With {parameters}.
        operation_id: Its name in generated clients.
        summary: One line for people.
        handler: Makes the change; is given the body.
        body: The type of the body.
        body_example: A body.
        answer: The type of the answer.
        example: An answer.
        parameters: All it takes beside the body.
        problems: What else can go wrong than `Kind.INTERNAL`.
    """

    path: str
    operation_id: str
    summary: str
    handler: Callable[[Gateway, Mapping[str, str], Any], Awaitable[msgspec.Struct]]
    body: type[msgspec.Struct]
    body_example: msgspec.Struct
    answer: type[msgspec.Struct]
    example: msgspec.Struct
    parameters: tuple[Parameter, ...] = ()
    problems: tuple[Kind, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """The part of a list that is asked for.

    Attributes:
        size: Items at most.
        token: From the page before; empty for the first.
    """

    size: int
    token: str


COIN = Parameter(
    name="coin",
    schema=MappingProxyType({"type": "string"}),
    description="The coin's id, for readers of several pools: anything but this pool's coin is a 404.",
)
ADDRESS = Parameter(
    name="address",
    is_in_path=True,
    schema=MappingProxyType({"type": "string"}),
    description="The miner's payout address; any form that means the same.",
)
BLOCK_HASH = Parameter(
    name="block_hash",
    is_in_path=True,
    schema=MappingProxyType({"type": "string", "pattern": "^[0-9a-fA-F]{64}$"}),
    description="The block's hash as people read it, 64 hex digits.",
)
PAGE_SIZE = Parameter(
    name="page_size",
    schema=MappingProxyType({"type": "integer", "minimum": 1, "maximum": 1_000, "default": PAGE_SIZE_DEFAULT}),
    description="Items at most; the pool may allow fewer than 1000.",
)
PAGE_TOKEN = Parameter(
    name="page_token",
    schema=MappingProxyType({"type": "string", "maxLength": PAGE_TOKEN_CHARS_MAX}),
    description="The next_page_token of the page before.",
)
PAGED = (PAGE_SIZE, PAGE_TOKEN)


def page_of(values: Mapping[str, str], settings: GatewaySettings) -> Page:
    """Return the page that is asked for.

    Raises:
        ProblemFound: When the size is no number or out of range, or the token cannot be one.
    """
    text = values.get("page_size")
    maximum = settings.page_size_max
    size = min(PAGE_SIZE_DEFAULT, maximum)
    if text is not None:
        is_number = text.isascii() and text.isdigit() and len(text) <= len(str(maximum))
        size = int(text) if is_number else 0
        if not 1 <= size <= maximum:
            raise ProblemFound(
                Kind.BAD_PARAMETER, f"page_size is {text[:40]!r}, expected a number from 1 to {maximum}."
            )
    token = values.get("page_token", "")
    if len(token) > PAGE_TOKEN_CHARS_MAX:
        raise ProblemFound(Kind.BAD_PARAMETER, "page_token is not the next_page_token of a page before.")
    return Page(size=size, token=token)
