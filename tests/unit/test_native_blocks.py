"""Real blocks of the main chains, through every backend."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

import native
from native import reference

VECTORS = Path(__file__).parent.parent / "vectors" / "blocks"
BLOCKS = [json.loads(path.read_text()) for path in sorted(VECTORS.glob("*.json"))]
MINED_HERE = [block for block in BLOCKS if "coinbase" in block]
JOBS = [native.ShareJob, reference.ShareJob]


def available_backends() -> list[tuple[str, str]]:
    """Every pair of a SHA-256 and a scrypt backend in which each this CPU has occurs."""
    sha256, scrypt = native.sha256_backend(), native.scrypt_backend()
    pairs = [(sha256, scrypt)]
    for name in ("sha-ni", "portable"):
        try:
            native.select_sha256_backend(name)
            pairs.append((name, scrypt))
        except ValueError:
            continue
    for name in ("avx512", "avx2", "sse2", "portable"):
        try:
            native.select_scrypt_backend(name)
            pairs.append((sha256, name))
        except ValueError:
            continue
    native.select_sha256_backend(sha256)
    native.select_scrypt_backend(scrypt)
    return sorted(set(pairs))


@pytest.fixture(params=available_backends(), ids="/".join)
def backends(request: pytest.FixtureRequest) -> Iterator[tuple[str, str]]:
    before = native.sha256_backend(), native.scrypt_backend()
    native.select_sha256_backend(request.param[0])
    native.select_scrypt_backend(request.param[1])
    yield request.param
    native.select_sha256_backend(before[0])
    native.select_scrypt_backend(before[1])


def target_of(nbits: int) -> int:
    return (nbits & 0xFFFFFF) << (8 * ((nbits >> 24) - 3))


def block_name(block: dict) -> str:
    return f"{block['coin']}-{block['height']}"


def cut(block: dict) -> tuple[bytes, bytes, str, bytes]:
    """Cut a coinbase into coinbase1, extranonce1, extranonce2 in hex and coinbase2."""
    coinbase, where = bytes.fromhex(block["coinbase"]), block["extranonce"]
    start = where["offset"]
    middle = start + where["extranonce1_bytes"]
    end = middle + where["extranonce2_bytes"]
    return coinbase[:start], coinbase[start:middle], coinbase[middle:end].hex(), coinbase[end:]


def job_of(block: dict, job_class: type, *, version_mask: int = 0):
    """Rebuild the job the block was found on; a version mask clears those bits in the job's version."""
    coinbase1, extranonce1, extranonce2_hex, coinbase2 = cut(block)
    nbits = int(block["nbits_hex"], 16)
    return job_class(
        algorithm=block["algorithm"],
        coinbase1=coinbase1,
        coinbase2=coinbase2,
        merkle_branch=[bytes.fromhex(sibling) for sibling in block["merkle_branch"]],
        version=int(block["version_hex"], 16) & ~version_mask,
        prev_hash=bytes.fromhex(block["prev_hash_hex"])[::-1],
        nbits=nbits,
        network_target=target_of(nbits),
        extranonce1_bytes=len(extranonce1),
        extranonce2_bytes=len(extranonce2_hex) // 2,
        ntime_min=block["ntime"] - 600,
        ntime_max=block["ntime"] + 7200,
    )


@pytest.mark.parametrize("block", BLOCKS, ids=block_name)
def test_header_of_a_real_block_hashes_to_its_name_and_meets_its_nbits(block, backends):
    header = bytes.fromhex(block["header"])
    proof = native.sha256d(header) if block["algorithm"] == "sha256d" else native.scrypt_1024_1_1(header)
    assert native.sha256d(header)[::-1].hex() == block["block_hash_hex"]
    assert proof[::-1].hex() == block["pow_hash_hex"]
    assert int.from_bytes(proof, "little") <= target_of(int(block["nbits_hex"], 16))


@pytest.mark.parametrize("block", BLOCKS, ids=block_name)
def test_scanner_finds_the_nonce_of_a_real_block(block, backends):
    header = bytes.fromhex(block["header"])
    scanner = native.HeaderScanner(algorithm=block["algorithm"], header=header[:76] + b"\xff\xff\xff\xff")
    target = target_of(int(block["nbits_hex"], 16))
    for before in range(11):
        found, hashes = scanner.scan(nonce_start=block["nonce"] - before, count=before + 3, target=target)
        assert (found, hashes) == (block["nonce"], before + 1)
        missed, hashes = scanner.scan(nonce_start=block["nonce"] - before, count=before, target=target)
        assert (missed, hashes) == (None, before)


@pytest.mark.parametrize("job_class", JOBS, ids=["native", "reference"])
@pytest.mark.parametrize("block", MINED_HERE, ids=block_name)
def test_submit_that_found_a_real_block_is_judged_a_block(block, job_class, backends):
    """S8."""
    job = job_of(block, job_class)
    _, extranonce1, extranonce2_hex, _ = cut(block)
    key = job.key(extranonce1, extranonce2_hex, f"{block['ntime']:08x}", f"{block['nonce']:x}", None, 0)
    assert job.header(key).hex() == block["header"]
    assert job.coinbase(key).hex() == block["coinbase"]
    assert job.block_hash(key)[::-1].hex() == block["block_hash_hex"]
    proof = bytes.fromhex(block["pow_hash_hex"])[::-1]
    assert job.verify(key, native.target_bytes(0)) == (native.BLOCK, proof)


@pytest.mark.parametrize("job_class", JOBS, ids=["native", "reference"])
def test_version_bits_of_a_real_block_are_rolled_into_the_header(job_class, backends):
    """S7: block 881,423 was found with version 2e596000 on a job of version 20000000."""
    block = next(block for block in MINED_HERE if block["height"] == 881423)
    mask = 0x1FFFE000
    job = job_of(block, job_class, version_mask=mask)
    _, extranonce1, extranonce2_hex, _ = cut(block)
    fields = (extranonce1, extranonce2_hex, f"{block['ntime']:08x}", f"{block['nonce']:08x}")
    key = job.key(*fields, "0e596000", mask)
    assert job.header(key).hex() == block["header"]
    assert job.verify(key, native.target_bytes(0))[0] == native.BLOCK
    unrolled = job.key(*fields, None, mask)
    assert unrolled[-4:].hex() == "20000000"
    assert job.verify(unrolled, native.target_bytes(0))[0] == native.LOW
