"""The hash functions of the family, in one place."""

from coins.coin import Algorithm
from native import scrypt_1024_1_1, sha256d

__all__ = ["HEADER_BYTES", "pow_hash", "sha256d"]

HEADER_BYTES = 80
"""Length of a block header."""


def pow_hash(algorithm: Algorithm, header: bytes) -> bytes:
    """Answer the proof-of-work hash of a header: 32 bytes that, read little-endian, must not exceed the target.

    scrypt has N=1024, r=1, p=1 with the header as password and salt, and costs about 0.1 ms.
    """
    match algorithm:
        case Algorithm.SHA256D:
            return sha256d(header)
        case Algorithm.SCRYPT:
            return scrypt_1024_1_1(header)
