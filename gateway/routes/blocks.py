"""Blocks the pool found."""

from collections.abc import Mapping
from types import MappingProxyType

from gateway import examples, models, translation
from gateway.context import Gateway
from gateway.panels import need
from gateway.problems import Kind, ProblemFound
from gateway.routing import BLOCK_HASH, COIN, PAGED, Parameter, Route, page_of
from runtime.rpc.errors import NotFound

_HASH_CHARS = 64
_HEX = frozenset("0123456789abcdef")

STATUS = Parameter(
    name="status",
    schema=MappingProxyType({"type": "string", "enum": [status.value for status in models.BlockStatus]}),
    description="Only blocks of this status.",
)


async def list_blocks(gateway: Gateway, values: Mapping[str, str]) -> models.BlockPage:
    """Answer a page of blocks, newest first."""
    page = page_of(values, gateway.settings)
    status = translation.block_status_to_proto(_status(values.get("status")))
    answer = await need("rewards", gateway.sources.blocks(status, page_size=page.size, page_token=page.token))
    return models.BlockPage(
        blocks=[translation.block(block) for block in answer.blocks],
        counts=translation.block_counts(answer.counts),
        next_page_token=answer.next_page_token or None,
    )


async def get_block(gateway: Gateway, values: Mapping[str, str]) -> models.BlockDetail:
    """Answer one block with its distribution."""
    block_hash = values["block_hash"].lower()
    if len(block_hash) != _HASH_CHARS or not _HEX.issuperset(block_hash):
        raise _unknown(values["block_hash"])
    try:
        block = await need("rewards", gateway.sources.block(block_hash))
    except NotFound:
        raise _unknown(block_hash) from None
    return translation.block_detail(block)


def _status(text: str | None) -> models.BlockStatus | None:
    if text is None:
        return None
    try:
        return models.BlockStatus(text)
    except ValueError:
        expected = ", ".join(models.BlockStatus)
        raise ProblemFound(Kind.BAD_PARAMETER, f"status is {text[:40]!r}, expected one of {expected}.") from None


def _unknown(text: str) -> ProblemFound:
    return ProblemFound(
        Kind.UNKNOWN_BLOCK,
        f"{text[: _HASH_CHARS + 1]!r} is not a block of this pool, expected the 64 hex digits of one; /api/v1/blocks "
        "lists them.",
    )


ROUTES = (
    Route(
        path="/api/v1/blocks",
        operation_id="listBlocks",
        summary="Blocks the pool found, newest first.",
        handler=list_blocks,
        answer=models.BlockPage,
        example=examples.BLOCK_PAGE,
        parameters=(STATUS, *PAGED, COIN),
        problems=(Kind.BAD_PARAMETER, Kind.SERVICE_UNAVAILABLE),
        is_shared=True,
    ),
    Route(
        path="/api/v1/blocks/{block_hash}",
        operation_id="getBlock",
        summary="One block with its distribution.",
        handler=get_block,
        answer=models.BlockDetail,
        example=examples.BLOCK_DETAIL,
        parameters=(BLOCK_HASH, COIN),
        problems=(Kind.UNKNOWN_BLOCK, Kind.SERVICE_UNAVAILABLE),
    ),
)
