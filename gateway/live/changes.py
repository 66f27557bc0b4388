"""What has happened between two looks at the same lists. Pure."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from gateway.models import Block, BlockStatus, Payout, PayoutStatus

REMEMBERED_MAX = 2_000
T = TypeVar("T")

_SENT = frozenset({PayoutStatus.BROADCAST, PayoutStatus.CONFIRMED})


@dataclass(slots=True)
class BlockChanges:
    """Tells what became of blocks.

    Attributes:
        known: Block hash → the block when last seen, oldest look first; None before the first look.
    """

    known: dict[str, Block] | None = None

    def look(self, blocks: Sequence[Block]) -> Iterator[tuple[str, Block]]:
        """Yield events with their blocks, oldest block first; the first look only takes note.

        Args:
            blocks: The newest blocks, newest first.
        """
        known = self.known
        self.known = _remembered(known, {block.block_hash: block for block in reversed(blocks)})
        if known is None:
            return
        for block in reversed(blocks):
            before = known.get(block.block_hash)
            if before is None:
                yield "block_found", block
            elif before != block:
                yield _block_event(before, block), block


def _block_event(before: Block, now: Block) -> str:
    if before.status != now.status:
        match now.status:
            case BlockStatus.MATURE:
                return "block_mature"
            case BlockStatus.ORPHANED:
                return "block_orphaned"
            case BlockStatus.CANDIDATE | BlockStatus.IMMATURE:
                return "block_progress"
    return "block_progress"


@dataclass(slots=True)
class PayoutChanges:
    """Tells what became of payments.

    Attributes:
        known: Payout id → its status when last seen; None before the first look.
    """

    known: dict[str, PayoutStatus | None] | None = None

    def look(self, payouts: Sequence[Payout]) -> Iterator[tuple[str, Payout]]:
        """Yield events with their payments, oldest first; the first look only takes note.

        Args:
            payouts: The newest payments, newest first.
        """
        known = self.known
        self.known = _remembered(known, {payout.payout_id: payout.status for payout in reversed(payouts)})
        if known is None:
            return
        for payout in reversed(payouts):
            before = known.get(payout.payout_id)
            if payout.status in _SENT and before not in _SENT:
                yield "payout_sent", payout
            if payout.status == PayoutStatus.CONFIRMED and before != PayoutStatus.CONFIRMED:
                yield "payout_confirmed", payout


def _remembered(known: dict[str, T] | None, seen: dict[str, T]) -> dict[str, T]:
    """Return what is known now; what was not seen for longest is forgotten first."""
    merged = {key: value for key, value in (known or {}).items() if key not in seen} | seen
    for key in list(merged)[: max(0, len(merged) - REMEMBERED_MAX)]:
        del merged[key]
    return merged
