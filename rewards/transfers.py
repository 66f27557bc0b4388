"""Make a block's ledger transfers. Ids follow from the block, so that making them again makes the same."""

from collections.abc import Iterable, Iterator
from uuid import UUID, uuid5

from ledger import domain as ledger
from ledger.domain import OWNER_POOL_FEE, OWNER_REMAINDER, Code, Phase, Transfer
from rewards.distribution import Distribution

NAMESPACE = UUID("6d2a1c52-7a0e-5c0b-9d5e-3f1b8c0f7e21")


def transfer_id(*, coin: str, block_hash_hex: str, generation: int, step: str, owner: str) -> UUID:
    """Return the id of one transfer; `step` is credit, maturity or reversal."""
    return uuid5(NAMESPACE, f"{coin}/{block_hash_hex}/{generation}/{step}/{owner}")


def credit_transfers(
    distribution: Distribution, *, coin: str, block_hash_hex: str, generation: int
) -> tuple[Transfer, ...]:
    """Return the transfers from the coinbase to miners, fee and remainder; parts of zero make none."""
    return tuple(
        Transfer(
            transfer_id=transfer_id(
                coin=coin, block_hash_hex=block_hash_hex, generation=generation, step="credit", owner=owner
            ),
            debit=ledger.coinbase(coin),
            credit=ledger.immature(coin, owner),
            amount_atomic=amount_atomic,
            phase=Phase.POSTED,
            code=code,
            reference=block_hash_hex,
        )
        for owner, amount_atomic, code in _parts(distribution)
    )


def maturity_transfers(
    credited: Iterable[Transfer], *, generation: int, trace_parent: str = ""
) -> tuple[Transfer, ...]:
    """Return the transfers that make the credits of one generation payable; they carry the block's trace."""
    return tuple(
        ledger.mature(
            transfer_id=transfer_id(
                coin=credit.credit.coin,
                block_hash_hex=credit.reference,
                generation=generation,
                step="maturity",
                owner=credit.credit.owner,
            ),
            coin=credit.credit.coin,
            owner=credit.credit.owner,
            amount_atomic=credit.amount_atomic,
            reference=credit.reference,
            trace_parent=trace_parent,
        )
        for credit in credited
    )


def reversal_transfers(credited: Iterable[Transfer], *, generation: int) -> tuple[Transfer, ...]:
    """Return the transfers that take the credits of one generation back (R5)."""
    return tuple(
        ledger.reverse(
            credit,
            transfer_id=transfer_id(
                coin=credit.credit.coin,
                block_hash_hex=credit.reference,
                generation=generation,
                step="reversal",
                owner=credit.credit.owner,
            ),
        )
        for credit in credited
    )


def _parts(distribution: Distribution) -> Iterator[tuple[str, int, Code]]:
    for credit in distribution.credits:
        if credit.amount_atomic:
            yield credit.account, credit.amount_atomic, Code.BLOCK_CREDIT
    if distribution.pool_fee_atomic:
        yield OWNER_POOL_FEE, distribution.pool_fee_atomic, Code.POOL_FEE
    if distribution.remainder_atomic:
        yield OWNER_REMAINDER, distribution.remainder_atomic, Code.REMAINDER
