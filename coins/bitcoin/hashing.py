"""The hash functions of the family, in one place."""

import hashlib

from coins.coin import Algorithm

HEADER_BYTES = 80
"""Length of a block header."""


def sha256d(data: bytes) -> bytes:
    """Hash twice with SHA-256; 32 bytes in header order."""
    return hashlib.sha256(hashlib.sha256(data).digest()).digest()


def pow_hash(algorithm: Algorithm, header: bytes) -> bytes:
    """Answer the proof-of-work hash of a header: 32 bytes that, read little-endian, must not exceed the target.

    scrypt has N=1024, r=1, p=1 with the header as password and salt, and costs about 0.3 ms.
    """
    match algorithm:
        case Algorithm.SHA256D:
            return sha256d(header)
        case Algorithm.SCRYPT:
            return hashlib.scrypt(header, salt=header, n=1024, r=1, p=1, dklen=32)
