"""The pool's newest blocks, for what is told about many of them at once."""

from collections.abc import Sequence

from gateway.context import Gateway
from proto.lodepool.rewards.v1 import rewards_pb2

BLOCKS_MAX = 1_000


async def recent_blocks(gateway: Gateway) -> Sequence[rewards_pb2.Block]:
    """Return the newest blocks whatever became of them, newest first; asked for once in a while for all readers.

    Raises:
        RpcError: When the rewards service does not answer.
    """

    async def make() -> Sequence[rewards_pb2.Block]:
        answer = await gateway.sources.blocks(rewards_pb2.BLOCK_STATUS_UNSPECIFIED, page_size=BLOCKS_MAX, page_token="")
        return list(answer.blocks)

    found: Sequence[rewards_pb2.Block] = await gateway.kept.get("recent_blocks", make)
    return found
