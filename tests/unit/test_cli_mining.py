"""The CPU miner's pure part, against real blocks' numbers and the pool's own rules."""

import pytest

import native
from cli.mining.search import header_for, share_target, work_from_notify
from coins.coin import Algorithm

PREV_HASH = bytes(range(32))
NOTIFY = [
    "1f",
    b"".join(PREV_HASH[i : i + 4][::-1] for i in range(0, 32, 4)).hex(),
    "01000000",
    "ffffffff",
    ["aa" * 32, "bb" * 32],
    "20000000",
    "207fffff",
    "655f0b1c",
    True,
]


def test_notify_is_decoded_into_header_order() -> None:
    work = work_from_notify(NOTIFY)
    assert work.prev_hash == PREV_HASH
    assert (work.version, work.nbits, work.ntime, work.is_clean) == (0x20000000, 0x207FFFFF, 0x655F0B1C, True)


@pytest.mark.parametrize("params", [[], NOTIFY[:-1], [*NOTIFY[:-1], "yes"], [1, *NOTIFY[1:]]])
def test_notify_that_is_not_the_protocols_is_refused(params: list[object]) -> None:
    with pytest.raises(ValueError, match=r"mining\.notify"):
        work_from_notify(params)


def test_header_is_the_one_the_pool_verifies() -> None:
    """The miner's header and `native.ShareJob`'s are the same bytes for the same share."""
    work = work_from_notify(NOTIFY)
    extranonce1, extranonce2, nonce = b"\x01\x02\x03\x04", bytes(8), 0xDEADBEEF
    job = native.ShareJob(
        algorithm="scrypt",
        coinbase1=work.coinbase1,
        coinbase2=work.coinbase2,
        merkle_branch=work.merkle_branch,
        version=work.version,
        prev_hash=work.prev_hash,
        nbits=work.nbits,
        network_target=1,
        extranonce1_bytes=4,
        extranonce2_bytes=8,
        ntime_min=0,
        ntime_max=2**32 - 1,
    )
    key = job.key(extranonce1, extranonce2.hex(), f"{work.ntime:08x}", f"{nonce:08x}", None, 0)
    assert isinstance(key, bytes)
    header = header_for(work, extranonce1=extranonce1, extranonce2=extranonce2)
    assert header[:76] + nonce.to_bytes(4, "little") == job.header(key)


def test_share_target_of_difficulty_one_is_the_algorithms() -> None:
    assert share_target(1, Algorithm.SCRYPT) == 0xFFFF << 224
    assert share_target(2.0, Algorithm.SHA256D) == (0xFFFF << 208) // 2


@pytest.mark.parametrize("difficulty", [0, -1, "1", None, True])
def test_a_difficulty_that_is_not_a_positive_number_is_refused(difficulty: object) -> None:
    with pytest.raises(ValueError, match="difficulty"):
        share_target(difficulty, Algorithm.SCRYPT)
