"""The messages of the WebSocket, made from what `gateway.live` tells. Pure."""

from collections.abc import Iterable, Mapping

import msgspec

from coins.coin import Coin
from gateway import models as own
from gateway.compat.numbers import Number, money, ratio, whole
from gateway.compat.query import BlockState
from gateway.compat.translation import address_link, block_link, tx_link

_BLOCK_EVENTS: Mapping[str, str] = {
    "block_found": "blockfound",
    "block_progress": "blockunlockprogress",
    "block_mature": "blockunlocked",
    "block_orphaned": "blockunlocked",
}


class Notice(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Base of all messages; unlike answers they tell null."""

    type: str


class Greeting(Notice, frozen=True, kw_only=True):
    """The first message."""

    message: str


class BlockNotice(Notice, frozen=True, kw_only=True):
    """What all messages about blocks say; also that the chain has grown."""

    pool_id: str
    block_height: int
    symbol: str
    name: str


class BlockFound(BlockNotice, frozen=True, kw_only=True):
    """The pool found a block."""

    miner: str
    miner_explorer_link: str | None
    source: str | None


class BlockProgress(BlockNotice, frozen=True, kw_only=True):
    """A block has more confirmations; both numbers are ratios."""

    progress: Number
    effort: Number | None


class BlockUnlocked(BlockNotice, frozen=True, kw_only=True):
    """A block is mature, or orphaned."""

    status: str
    block_type: str | None
    block_hash: str
    reward: Number
    effort: Number | None
    miner: str
    explorer_link: str | None
    miner_explorer_link: str | None


class PaymentNotice(Notice, frozen=True, kw_only=True):
    """Payments went out in one transaction; amounts are in coins."""

    pool_id: str
    tx_fee: Number | None
    tx_ids: list[str]
    tx_explorer_links: list[str] | None
    symbol: str
    recipients_count: int
    amount: Number
    error: str | None


class HashrateNotice(Notice, frozen=True, kw_only=True):
    """The pool's hashrate; a miner's or worker's is never told."""

    pool_id: str
    hashrate: Number
    miner: str | None
    worker: str | None


def greeting(pool_name: str) -> Greeting:
    """Return the first message."""
    return Greeting(type="greeting", message=f"Connected to the notifications of {pool_name}")


def chain_height(height: int, coin: Coin, *, pool_id: str) -> BlockNotice:
    """Return that the chain has grown: the height is that of the block being mined."""
    return BlockNotice(type="newchainheight", pool_id=pool_id, block_height=height, symbol=coin.ticker, name=coin.name)


def block_notice(event: str, block: own.Block, coin: Coin, *, pool_id: str) -> BlockNotice:
    """Return what became of a block.

    Args:
        event: As `gateway.live` names it.
        block: The block.
        coin: The coin.
        pool_id: The pool.

    Raises:
        KeyError: For an event that is none of a block.
    """
    kind = _BLOCK_EVENTS[event]
    round_work, network_work = int(block.round_work), int(block.network_work)
    effort = ratio(round_work, network_work) if round_work and network_work else None
    if kind == "blockfound":
        return BlockFound(
            type=kind,
            pool_id=pool_id,
            block_height=block.height,
            symbol=coin.ticker,
            name=coin.name,
            miner=block.finder,
            miner_explorer_link=address_link(coin, block.finder),
            source=None,
        )
    if kind == "blockunlockprogress":
        return BlockProgress(
            type=kind,
            pool_id=pool_id,
            block_height=block.height,
            symbol=coin.ticker,
            name=coin.name,
            progress=ratio(min(block.confirmations, block.maturity_blocks), block.maturity_blocks),
            effort=effort,
        )
    is_orphaned = event == "block_orphaned"
    return BlockUnlocked(
        type=kind,
        pool_id=pool_id,
        block_height=block.height,
        symbol=coin.ticker,
        name=coin.name,
        status=(BlockState.ORPHANED if is_orphaned else BlockState.CONFIRMED).value,
        block_type=None,
        block_hash=block.block_hash,
        reward=money(0 if is_orphaned else block.reward_atomic, decimals=coin.decimals),
        effort=effort,
        miner=block.finder,
        explorer_link=block_link(coin, block.block_hash),
        miner_explorer_link=address_link(coin, block.finder),
    )


def payment_notices(payouts: Iterable[own.Payout], coin: Coin, *, pool_id: str) -> list[PaymentNotice]:
    """Return a message for each transaction that the payments went out with."""
    by_txid: dict[str, list[own.Payout]] = {}
    for payout in payouts:
        by_txid.setdefault(payout.txid or "", []).append(payout)
    return [
        PaymentNotice(
            type="payment",
            pool_id=pool_id,
            tx_fee=None,
            tx_ids=[txid] if txid else [],
            tx_explorer_links=None if (link := tx_link(coin, txid)) is None else [link],
            symbol=coin.ticker,
            recipients_count=len(paid),
            amount=money(sum(payout.amount_atomic for payout in paid), decimals=coin.decimals),
            error=None,
        )
        for txid, paid in by_txid.items()
    ]


def hashrate(hps: int | str, *, pool_id: str) -> HashrateNotice:
    """Return the pool's hashrate, hashes per second."""
    return HashrateNotice(type="hashrateupdated", pool_id=pool_id, hashrate=whole(hps), miner=None, worker=None)
