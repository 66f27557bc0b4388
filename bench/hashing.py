"""What the compiled hashing costs on this machine: `python bench/hashing.py` from the repository's root."""

import hashlib
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import native

BRANCHES = 9
ROUNDS = 5
MASK = 0x1FFFE000
FIELDS = (b"abcd", "0011223344556677", "65a00000", "9546a142", "00002000", MASK)
TARGET = native.target_bytes(1)


def make_job(algorithm: str) -> native.ShareJob:
    """Make a job with a coinbase of usual size and a full block's branch."""
    return native.ShareJob(
        algorithm=algorithm,
        coinbase1=bytes(58),
        coinbase2=bytes(130),
        merkle_branch=[bytes([number]) * 32 for number in range(BRANCHES)],
        version=0x20000000,
        prev_hash=bytes(32),
        nbits=0x1D00FFFF,
        network_target=0,
        extranonce1_bytes=4,
        extranonce2_bytes=8,
        ntime_min=0,
        ntime_max=2**32 - 1,
    )


def best_s(run: Callable[[], object]) -> float:
    """Time a run a few times and keep the quickest, in seconds."""
    times = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return min(times)


def names(select: Callable[[str], None], candidates: tuple[str, ...]) -> list[str]:
    """Tell which backends this CPU has."""
    found = []
    for name in candidates:
        try:
            select(name)
            found.append(name)
        except ValueError:
            continue
    return found


def share_costs_ns(job: native.ShareJob, count: int) -> tuple[float, float, float]:
    """Measure key alone, key and verify, and verify_many, per share in nanoseconds."""

    def keys() -> None:
        key = job.key
        for _ in range(count):
            key(*FIELDS)

    def both() -> None:
        key, verify = job.key, job.verify
        for _ in range(count):
            verify(key(*FIELDS), TARGET)

    batch = [job.key(*FIELDS)] * 64

    def many() -> None:
        for _ in range(count // 64):
            job.verify_many(batch, [TARGET] * 64)

    return best_s(keys) / count * 1e9, best_s(both) / count * 1e9, best_s(many) / (count // 64 * 64) * 1e9


def main() -> None:
    print(f"SHA-256d share, {BRANCHES} branches   key ns  key+verify ns  verify_many ns  scan MH/s")
    scanner = native.HeaderScanner(algorithm="sha256d", header=bytes(80))
    for name in names(native.select_sha256_backend, ("portable", "sha-ni")):
        native.select_sha256_backend(name)
        key, both, many = share_costs_ns(make_job("sha256d"), 64 * 500)
        scan = 10**6 / best_s(lambda: scanner.scan(nonce_start=0, count=10**6, target=0)) / 1e6
        print(f"  {name:28} {key:7.0f} {both:14.0f} {many:15.0f} {scan:10.1f}")

    print("scrypt hashes/s                one a call   key+verify  verify_many       scan")
    scanner = native.HeaderScanner(algorithm="scrypt", header=bytes(80))
    for name in names(native.select_scrypt_backend, ("portable", "sse2", "avx2", "avx512")):
        native.select_scrypt_backend(name)
        one = 300 / best_s(lambda: [native.scrypt_1024_1_1(bytes(80)) for _ in range(300)])
        _, both, many = share_costs_ns(make_job("scrypt"), 320)
        scan = 1600 / best_s(lambda: scanner.scan(nonce_start=0, count=1600, target=0))
        print(f"  {name:28} {one:10.0f} {1e9 / both:12.0f} {1e9 / many:12.0f} {scan:10.0f}")
    openssl = 300 / best_s(
        lambda: [hashlib.scrypt(bytes(80), salt=bytes(80), n=1024, r=1, p=1, dklen=32) for _ in range(300)]
    )
    print(f"  {'hashlib.scrypt':28} {openssl:10.0f}")

    data = bytes(10**6)
    for name, crc32c in (("crc32c", native.crc32c), ("crc32c_portable", native.crc32c_portable)):
        print(f"{name:30} {10**6 / best_s(lambda crc32c=crc32c: crc32c(data)) / 1e9:10.1f} GB/s")


if __name__ == "__main__":
    main()
