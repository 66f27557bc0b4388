from collections.abc import Sequence
from typing import Final, final

from typing_extensions import Buffer

ALGORITHMS: Final[tuple[str, ...]]
"""Names of the proofs of work that ShareJob and HeaderScanner know."""

LOW: Final[int]
"""Verdict: the hash meets neither target."""
SHARE: Final[int]
"""Verdict: the hash meets the share target only."""
BLOCK: Final[int]
"""Verdict: the hash meets the network target, whatever the share target is."""

BAD_EXTRANONCE2: Final[int]
BAD_NTIME: Final[int]
BAD_NONCE: Final[int]
BAD_VERSION_BITS: Final[int]
NTIME_OUT_OF_RANGE: Final[int]
"""What ShareJob.key answers, all below zero; when several apply, the first in this order."""

EXTRANONCE_BYTES_MAX: Final[int]
"""Largest length of either extranonce that a ShareJob takes."""
MERKLE_DEPTH_MAX: Final[int]
"""Longest merkle branch that a ShareJob takes."""

def sha256d(data: bytes) -> bytes: ...
def sha256_backend() -> str: ...
def select_sha256_backend(name: str) -> None: ...
def scrypt_backend() -> str: ...
def select_scrypt_backend(name: str) -> None: ...
def scrypt_1024_1_1(data: bytes) -> bytes: ...
def crc32c(data: Buffer, value: int = 0) -> int: ...
def crc32c_portable(data: Buffer, value: int = 0) -> int: ...
def target_bytes(target: int) -> bytes: ...

@final
class ShareJob:
    def __new__(
        cls,
        *,
        algorithm: str,
        coinbase1: bytes,
        coinbase2: bytes,
        merkle_branch: Sequence[bytes],
        version: int,
        prev_hash: bytes,
        nbits: int,
        network_target: int,
        extranonce1_bytes: int,
        extranonce2_bytes: int,
        ntime_min: int,
        ntime_max: int,
    ) -> ShareJob: ...
    def key(
        self,
        extranonce1: bytes,
        extranonce2_hex: str,
        ntime_hex: str,
        nonce_hex: str,
        version_bits_hex: str | None,
        version_mask: int,
    ) -> bytes | int: ...
    def verify(self, key: bytes, share_target: bytes) -> tuple[int, bytes]: ...
    def verify_many(self, keys: Sequence[bytes], share_targets: Sequence[bytes]) -> list[tuple[int, bytes]]: ...
    def header(self, key: bytes) -> bytes: ...
    def coinbase(self, key: bytes) -> bytes: ...
    def block_hash(self, key: bytes) -> bytes: ...

@final
class HeaderScanner:
    def __new__(cls, *, algorithm: str, header: bytes) -> HeaderScanner: ...
    def scan(self, *, nonce_start: int, count: int, target: int) -> tuple[int | None, int]: ...
