"""What chance allows to say: how sure a hashrate is, what a miner can expect, how lucky the pool was. Pure."""

from collections.abc import Iterable
from math import isqrt

DAY_S = 86_400
PPM = 1_000_000
_SCALE = 10**9
_Z_PPM = 1_959_964
"""Quantile of the normal distribution that leaves 2.5 % above it, millionths."""


def hashrate_interval(hps: int, share_count: int) -> tuple[int, int] | None:
    """Return between what the true hashrate lies with 95 % probability; None without a share.

    Shares come as a Poisson process, so the count behind the hashrate tells how sure it is. The bounds of the count are
    Byar's, within 1 % of the exact ones from 5 shares on: low = n (1 - 1/9n - z/3√n)³ and
    high = m (1 - 1/9m + z/3√m)³ with m = n + 1 and z = 1.96. The low bound is rounded down, the high one up.

    Source: Breslow, Day: Statistical Methods in Cancer Research II, 2.3 (equation 2.13).

    Example: 100 H/s from 100 shares lies between 81 and 122 H/s.

    Args:
        hps: The hashrate measured, hashes per second.
        share_count: Accepted shares it was measured by.
    """
    if share_count <= 0:
        return None
    low = max(0, _base(share_count) - _spread(share_count))
    above = share_count + 1
    high = _base(above) + _spread(above)
    return hps * low**3 // _SCALE**3, -(-hps * above * high**3 // (share_count * _SCALE**3))


def expected_atomic_per_day(*, hps: int, network_work: int, reward_atomic: int, fee_ppm: int) -> int:
    """Return what a hashrate can expect of a day's blocks after the pool's fee, atomic units, rounded down.

    Example: 1,000 H/s of a network whose block takes 864,000,000 hashes finds 0.1 blocks a day; of 50 coins and with
    1 % fee that is 4.95 coins.

    Args:
        hps: The miner's hashrate, hashes per second.
        network_work: Hashes the network needs for a block, not 0.
        reward_atomic: A block's reward.
        fee_ppm: The pool's fee, millionths of it.
    """
    return hps * DAY_S * reward_atomic * (PPM - fee_ppm) // (network_work * PPM)


def effort_hundredths(round_work: int, network_work: int) -> int | None:
    """Return an effort in hundredths of a percent, rounded down; None while either is unknown (0)."""
    if not network_work or not round_work:
        return None
    return round_work * 10_000 // network_work


def mean_percent(efforts: Iterable[int | None]) -> str | None:
    """Return the mean of efforts in percent with two decimals, rounded down; None when none is known.

    Args:
        efforts: Hundredths of a percent; None is left out.
    """
    known = [effort for effort in efforts if effort is not None]
    if not known:
        return None
    whole, hundredths = divmod(sum(known) // len(known), 100)
    return f"{whole}.{hundredths:02d}"


def _base(count: int) -> int:
    return _SCALE - _SCALE // (9 * count)


def _spread(count: int) -> int:
    return _Z_PPM * _SCALE * _SCALE // (PPM * 3 * isqrt(count * _SCALE * _SCALE))
