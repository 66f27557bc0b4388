"""What a block may create."""

from coins.coin import Coin

_HALVINGS_MAX = 64


def subsidy_atomic(coin: Coin, height: int) -> int:
    """Answer the new coins a block of this height may create, without fees, in atomic units.

    The initial subsidy is halved every `halving_interval_blocks`, rounding down; after 64 halvings it is nothing.
    Source: Bitcoin Core, GetBlockSubsidy.

    Raises:
        ValueError: If the height is negative.
    """
    if height < 0:
        raise ValueError(f"height {height} is negative")
    halvings = height // coin.halving_interval_blocks
    return 0 if halvings >= _HALVINGS_MAX else coin.subsidy_initial_atomic >> halvings
