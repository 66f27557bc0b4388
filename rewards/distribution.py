"""Divide a block's reward: whole atomic units, largest remainders, nothing lost and nothing made up."""

from collections.abc import Mapping
from dataclasses import dataclass

PPM = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Credit:
    """One account's part: its work in the window (0 in a solo block) and its money in atomic units."""

    account: str
    work: int
    amount_atomic: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Distribution:
    """Who gets a reward; Σ credits + pool_fee_atomic + remainder_atomic = reward_atomic (R1).

    `remainder_atomic` is what nobody could be credited with: all of the reward of a block with an empty window.
    """

    reward_atomic: int
    pool_fee_atomic: int
    remainder_atomic: int
    credits: tuple[Credit, ...]

    def __post_init__(self) -> None:
        total = sum(credit.amount_atomic for credit in self.credits) + self.pool_fee_atomic + self.remainder_atomic
        if total != self.reward_atomic or min(self.pool_fee_atomic, self.remainder_atomic) < 0:
            raise ValueError(f"a distribution of {total} does not make a reward of {self.reward_atomic}")

    @property
    def window_work(self) -> int:
        """Return the work of all accounts."""
        return sum(credit.work for credit in self.credits)


def pool_fee(reward_atomic: int, *, fee_ppm: int) -> int:
    """Return the pool's fee: floor(reward × fee_ppm / 1,000,000).

    Example: 10,000 ppm (1 %) of 1,250,000,099 is 12,500,000.99, so 12,500,000.
    """
    return reward_atomic * fee_ppm // PPM


def split(amount_atomic: int, work: Mapping[str, int]) -> dict[str, int]:
    """Divide an amount in proportion to work; the parts sum to the amount exactly.

    Each account gets floor(amount × work / total work). The units left over, fewer than there are accounts, go one
    each to the accounts with the largest remainders of that division; equal remainders are decided by the account's
    name, in ascending order.

    Example: 100 over work a=1, b=1, c=1: each gets 33 (remainder 1/3 each), one unit is left and goes to a.
    Example: 100 over a=5, b=3, c=3 (total 11): 45 + 5/11, 27 + 3/11, 27 + 3/11; one unit is left, a's remainder is the
    largest: 46, 27, 27.

    Args:
        amount_atomic: Not negative.
        work: Account → expected hashes, each greater than zero; not empty.

    Source: Hamilton's method of apportionment.
    """
    if amount_atomic < 0 or not work or min(work.values()) <= 0:
        raise ValueError("an amount is divided over accounts with work")
    total_work = sum(work.values())
    parts: dict[str, int] = {}
    remainders: list[tuple[int, str]] = []
    for account, account_work in work.items():
        parts[account], remainder = divmod(amount_atomic * account_work, total_work)
        remainders.append((-remainder, account))
    left_over = amount_atomic - sum(parts.values())
    for _, account in sorted(remainders)[:left_over]:
        parts[account] += 1
    return parts


def distribute_by_work(reward_atomic: int, work: Mapping[str, int], *, fee_ppm: int) -> Distribution:
    """Pay a window: the fee to the pool, the rest to the accounts by their work (PPLNS and PROP).

    A window that is not full pays all of the rest to those in it (R4). An empty one pays nobody: the whole reward is
    remainder, and no fee is taken.
    """
    work = {account: amount for account, amount in work.items() if amount > 0}
    if not work:
        return Distribution(reward_atomic=reward_atomic, pool_fee_atomic=0, remainder_atomic=reward_atomic, credits=())
    fee_atomic = pool_fee(reward_atomic, fee_ppm=fee_ppm)
    parts = split(reward_atomic - fee_atomic, work)
    return Distribution(
        reward_atomic=reward_atomic,
        pool_fee_atomic=fee_atomic,
        remainder_atomic=0,
        credits=tuple(
            Credit(account=account, work=work[account], amount_atomic=amount)
            for account, amount in sorted(parts.items(), key=lambda part: (-part[1], part[0]))
        ),
    )


def distribute_to_finder(reward_atomic: int, account: str, *, fee_ppm: int) -> Distribution:
    """Pay a solo block: the fee to the pool, the rest to the finder."""
    fee_atomic = pool_fee(reward_atomic, fee_ppm=fee_ppm)
    return Distribution(
        reward_atomic=reward_atomic,
        pool_fee_atomic=fee_atomic,
        remainder_atomic=0,
        credits=(Credit(account=account, work=0, amount_atomic=reward_atomic - fee_atomic),),
    )
