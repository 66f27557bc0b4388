"""RewardService: gRPC ↔ storage and ledger, read only."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, TypeAlias

from ledger import storage as ledger
from proto.lodepool.rewards.v1 import rewards_pb2
from proto.lodepool.rewards.v1.rewards_pb2_grpc import RewardServiceServicer
from rewards import storage
from rewards.distribution import Credit
from rewards.domain import Block, Status
from runtime.postgres.pool import Pool, acquired
from runtime.rpc.access import OPERATOR, Access
from runtime.rpc.errors import InvalidArgument, NotFound
from runtime.rpc.pages import clamp_page_size, decode_page_token, encode_page_token

if TYPE_CHECKING:
    import grpc
    from google.protobuf.message import Message

FULL_NAME = "lodepool.rewards.v1.RewardService"
ACCESS = Access(readers=frozenset({"gateway", "notifier", OPERATOR}), writers=frozenset())

_WIRE_STATUS = {
    Status.CANDIDATE: rewards_pb2.BLOCK_STATUS_CANDIDATE,
    Status.IMMATURE: rewards_pb2.BLOCK_STATUS_IMMATURE,
    Status.MATURE: rewards_pb2.BLOCK_STATUS_MATURE,
    Status.ORPHANED: rewards_pb2.BLOCK_STATUS_ORPHANED,
}
_STATUS = {wire: status for status, wire in _WIRE_STATUS.items()}

_Context: TypeAlias = "grpc.aio.ServicerContext[Message, Message]"


class RewardService(RewardServiceServicer):
    """Answers about blocks, credits and balances.

    Args:
        pool: The database.
        maturity_blocks: Coin id → confirmations a block needs.
    """

    def __init__(self, pool: Pool, *, maturity_blocks: Mapping[str, int]) -> None:
        self._pool = pool
        self._maturity_blocks = maturity_blocks

    async def ListBlocks(  # noqa: N802 - the contract's name
        self, request: rewards_pb2.ListBlocksRequest, _context: _Context
    ) -> rewards_pb2.ListBlocksResponse:
        """Return a page of blocks, newest first."""
        coin = _required("coin", request.coin)
        account = _plain("account", request.account)
        limit = clamp_page_size(request.page_size)
        below = _position(request.page_token)
        async with acquired(self._pool) as conn:
            blocks = await storage.list_blocks(
                conn, coin, status=_STATUS.get(request.status), account=account, below=below, limit=limit + 1
            )
            counts = await storage.count_blocks(conn, coin, account=account)
        page, rest = blocks[:limit], blocks[limit:]
        return rewards_pb2.ListBlocksResponse(
            blocks=[self._block(block, ()) for block in page],
            next_page_token=encode_page_token((page[-1].found.height, page[-1].found.block_hash_hex)) if rest else "",
            counts=rewards_pb2.BlockCounts(**{status.value: count for status, count in counts.items()}),
        )

    async def GetBlock(  # noqa: N802 - the contract's name
        self, request: rewards_pb2.GetBlockRequest, _context: _Context
    ) -> rewards_pb2.Block:
        """Return one block with its distribution."""
        coin = _required("coin", request.coin)
        block_hash_hex = _required("block_hash_hex", request.block_hash_hex)
        async with acquired(self._pool) as conn:
            block = await storage.get_block(conn, coin, block_hash_hex)
            if block is None:
                raise NotFound(f"no block {block_hash_hex} of {coin} is known")
            parts = await storage.credits_of(conn, coin, block_hash_hex)
        return self._block(block, parts)

    async def GetBalance(  # noqa: N802 - the contract's name
        self, request: rewards_pb2.GetBalanceRequest, _context: _Context
    ) -> rewards_pb2.Balance:
        """Return what an account has; zeros for an account that never had anything."""
        coin = _required("coin", request.coin)
        account = _required("account", request.account)
        async with acquired(self._pool) as conn:
            balance = await ledger.owner_balance(conn, coin, account)
        return rewards_pb2.Balance(
            immature_atomic=balance.immature_atomic,
            payable_atomic=balance.payable_atomic,
            reserved_atomic=balance.reserved_atomic,
            paid_atomic=balance.paid_atomic,
        )

    async def ListCredits(  # noqa: N802 - the contract's name
        self, request: rewards_pb2.ListCreditsRequest, _context: _Context
    ) -> rewards_pb2.ListCreditsResponse:
        """Return a page of an account's credits, newest first."""
        coin = _required("coin", request.coin)
        account = _required("account", request.account)
        limit = clamp_page_size(request.page_size)
        below = _position(request.page_token)
        async with acquired(self._pool) as conn:
            entries = await storage.list_credits(conn, coin, account, below=below, limit=limit + 1)
        page, rest = entries[:limit], entries[limit:]
        return rewards_pb2.ListCreditsResponse(
            credits=[
                _credit(
                    entry.credit,
                    height=entry.height,
                    block_hash_hex=entry.block_hash_hex,
                    status=entry.status,
                    found_time_ms=entry.found_time_ms,
                )
                for entry in page
            ],
            next_page_token=encode_page_token((page[-1].height, page[-1].block_hash_hex)) if rest else "",
        )

    async def GetLedgerTotals(  # noqa: N802 - the contract's name
        self, request: rewards_pb2.GetLedgerTotalsRequest, _context: _Context
    ) -> rewards_pb2.LedgerTotals:
        """Return the sums over a coin's ledger."""
        async with acquired(self._pool) as conn:
            totals = await ledger.totals(conn, _required("coin", request.coin))
        return rewards_pb2.LedgerTotals(
            coinbase_atomic=totals.coinbase_atomic,
            immature_atomic=totals.immature_atomic,
            payable_atomic=totals.payable_atomic,
            reserved_atomic=totals.reserved_atomic,
            paid_atomic=totals.paid_atomic,
            pool_fee_atomic=totals.pool_fee_atomic,
            remainder_atomic=totals.remainder_atomic,
            network_fee_atomic=totals.network_fee_atomic,
        )

    def _block(self, block: Block, parts: Sequence[Credit]) -> rewards_pb2.Block:
        found = block.found
        return rewards_pb2.Block(
            coin=found.coin,
            height=found.height,
            block_hash_hex=found.block_hash_hex,
            status=_WIRE_STATUS[block.status],
            confirmations=max(0, block.confirmations),
            maturity_blocks=self._maturity_blocks.get(found.coin, 0),
            found_time_ms=found.found_time_ms,
            account=found.account,
            worker=found.worker,
            scheme=found.scheme.value,
            reward_atomic=found.reward_atomic,
            fees_atomic=found.fees_atomic,
            pool_fee_atomic=block.pool_fee_atomic,
            remainder_atomic=block.remainder_atomic,
            coinbase_txid_hex=found.coinbase_txid_hex,
            network_work=str(found.network_work),
            round_work=str(block.round_work),
            window_work=str(block.window_work),
            hold_reason=block.hold_reason,
            credits=[
                _credit(
                    credit,
                    height=found.height,
                    block_hash_hex=found.block_hash_hex,
                    status=block.status,
                    found_time_ms=found.found_time_ms,
                )
                for credit in parts
            ],
        )


def _credit(
    credit: Credit, *, height: int, block_hash_hex: str, status: Status, found_time_ms: int
) -> rewards_pb2.Credit:
    return rewards_pb2.Credit(
        account=credit.account,
        work=str(credit.work),
        amount_atomic=credit.amount_atomic,
        height=height,
        block_hash_hex=block_hash_hex,
        status=_WIRE_STATUS[status],
        found_time_ms=found_time_ms,
    )


def _required(field: str, text: str) -> str:
    if not text:
        raise InvalidArgument(field, "is empty")
    return _plain(field, text)


def _plain(field: str, text: str) -> str:
    if "\x00" in text:
        raise InvalidArgument(field, "has a zero character")
    return text


def _position(page_token: str) -> tuple[int, str] | None:
    position = decode_page_token(page_token, tuple[int, str])
    if position is not None and (not 0 <= position[0] < 2**63 or "\x00" in position[1]):
        raise InvalidArgument("page_token", "is not a token that this method returned")
    return position
