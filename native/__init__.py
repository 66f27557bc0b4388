"""Compiled hashing: what is too slow for Python, and nothing else.

Owns SHA-256d, scrypt(1024, 1, 1), CRC-32C, and the way of a submitted share from its text fields to a verdict
(ShareJob), together with its counterpart on the mining side (HeaderScanner). Decides nothing about sessions or money.

Start with the docstrings in _native.pyx (types in _native.pyi); then reference.py, the same in plain Python, the oracle
of the tests and never a fallback; then csrc/share.c, and csrc/sha256.c, sha256_ni.c, scrypt_core.h below it. CPU
features are looked up once at import; select_sha256_backend and select_scrypt_backend serve tests and benchmarks.

Imports nothing of ours.
"""

from native._native import (
    ALGORITHMS,
    BAD_EXTRANONCE2,
    BAD_NONCE,
    BAD_NTIME,
    BAD_VERSION_BITS,
    BLOCK,
    EXTRANONCE_BYTES_MAX,
    LOW,
    MERKLE_DEPTH_MAX,
    NTIME_OUT_OF_RANGE,
    SHARE,
    HeaderScanner,
    ShareJob,
    crc32c,
    crc32c_portable,
    scrypt_1024_1_1,
    scrypt_backend,
    select_scrypt_backend,
    select_sha256_backend,
    sha256_backend,
    sha256d,
    target_bytes,
)

__all__ = [
    "ALGORITHMS",
    "BAD_EXTRANONCE2",
    "BAD_NONCE",
    "BAD_NTIME",
    "BAD_VERSION_BITS",
    "BLOCK",
    "EXTRANONCE_BYTES_MAX",
    "LOW",
    "MERKLE_DEPTH_MAX",
    "NTIME_OUT_OF_RANGE",
    "SHARE",
    "HeaderScanner",
    "ShareJob",
    "crc32c",
    "crc32c_portable",
    "scrypt_1024_1_1",
    "scrypt_backend",
    "select_scrypt_backend",
    "select_sha256_backend",
    "sha256_backend",
    "sha256d",
    "target_bytes",
]
