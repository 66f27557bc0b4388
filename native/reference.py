"""The readable twin of the compiled code: the oracle of its tests, never a fallback.

Written from the specifications with hashlib, integers and slices, and sharing nothing with the C code.
"""

import hashlib
import string
from collections.abc import Sequence
from dataclasses import dataclass

LOW, SHARE, BLOCK = 0, 1, 2
BAD_EXTRANONCE2, BAD_NTIME, BAD_NONCE, BAD_VERSION_BITS, NTIME_OUT_OF_RANGE = -1, -2, -3, -4, -5


def sha256d(data: bytes) -> bytes:
    """Hash twice with SHA-256; 32 bytes as hashed."""
    return hashlib.sha256(hashlib.sha256(data).digest()).digest()


def scrypt_1024_1_1(data: bytes) -> bytes:
    """Compute scrypt with N = 1024, r = 1, p = 1 and the data as password and salt; 32 bytes."""
    return hashlib.scrypt(data, salt=data, n=1024, r=1, p=1, dklen=32)


PROOF_OF_WORK = {"sha256d": sha256d, "scrypt": scrypt_1024_1_1}


def crc32c(data: bytes, value: int = 0) -> int:
    """Divide bit by bit by the Castagnoli polynomial. Source: RFC 3720, B.4."""
    crc = value ^ 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def target_bytes(target: int) -> bytes:
    """Serialise a target as 32 bytes, little-endian; what is above 2^256 - 1 becomes 2^256 - 1."""
    return min(target, 2**256 - 1).to_bytes(32, "little")


def merkle_root(coinbase_hash: bytes, branch: Sequence[bytes]) -> bytes:
    """Climb from the coinbase, always the left child, to the root; all hashes as hashed."""
    root = coinbase_hash
    for sibling in branch:
        root = sha256d(root + sibling)
    return root


def header(*, version: int, prev_hash: bytes, root: bytes, ntime: int, nbits: int, nonce: int) -> bytes:
    """Serialise the 80 bytes of a header: numbers little-endian, hashes as hashed."""
    numbers = [number.to_bytes(4, "little") for number in (version, ntime, nbits, nonce)]
    return numbers[0] + prev_hash + root + numbers[1] + numbers[2] + numbers[3]


def _hex_number(text: str, *, digits_min: int, digits_max: int) -> int | None:
    """Read a number of so many hexadecimal digits; None when it is anything else."""
    if not digits_min <= len(text) <= digits_max or not set(text) <= set(string.hexdigits):
        return None
    return int(text, 16) if text else 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ShareJob:
    """One job of the Bitcoin family; fields and methods as the compiled class of the same name."""

    algorithm: str
    coinbase1: bytes
    coinbase2: bytes
    merkle_branch: Sequence[bytes]
    version: int
    prev_hash: bytes
    nbits: int
    network_target: int
    extranonce1_bytes: int
    extranonce2_bytes: int
    ntime_min: int
    ntime_max: int

    def key(
        self,
        extranonce1: bytes,
        extranonce2_hex: str,
        ntime_hex: str,
        nonce_hex: str,
        version_bits_hex: str | None,
        version_mask: int,
    ) -> bytes | int:
        """Parse the fields of a submit into the share's key, or say which field is wrong."""
        digits = 2 * self.extranonce2_bytes
        extranonce2 = _hex_number(extranonce2_hex, digits_min=digits, digits_max=digits)
        if extranonce2 is None:
            return BAD_EXTRANONCE2
        ntime = _hex_number(ntime_hex, digits_min=8, digits_max=8)
        if ntime is None:
            return BAD_NTIME
        nonce = _hex_number(nonce_hex, digits_min=1, digits_max=8)
        if nonce is None:
            return BAD_NONCE
        version = self.version % 2**32
        if version_bits_hex:
            bits = _hex_number(version_bits_hex, digits_min=1, digits_max=8)
            if bits is None or bits | version_mask != version_mask:
                return BAD_VERSION_BITS
            version = version - (version & version_mask) + bits
        if ntime not in range(self.ntime_min, self.ntime_max + 1):
            return NTIME_OUT_OF_RANGE
        numbers = [number.to_bytes(4, "big") for number in (ntime, nonce, version)]
        return extranonce1 + extranonce2.to_bytes(self.extranonce2_bytes, "big") + b"".join(numbers)

    def coinbase(self, key: bytes) -> bytes:
        """Put the extranonces between the two parts."""
        return self.coinbase1 + key[:-12] + self.coinbase2

    def header(self, key: bytes) -> bytes:
        """Build the header that the key stands for."""
        ntime, nonce, version = (
            int.from_bytes(key[start : start + 4], "big") for start in range(len(key) - 12, len(key), 4)
        )
        root = merkle_root(sha256d(self.coinbase(key)), self.merkle_branch)
        return header(version=version, prev_hash=self.prev_hash, root=root, ntime=ntime, nbits=self.nbits, nonce=nonce)

    def block_hash(self, key: bytes) -> bytes:
        """Hash the header with SHA-256d, whatever the proof of work is."""
        return sha256d(self.header(key))

    def verify(self, key: bytes, share_target: bytes) -> tuple[int, bytes]:
        """Judge the proof of work of a key: BLOCK before SHARE before LOW."""
        proof = PROOF_OF_WORK[self.algorithm](self.header(key))
        number = int.from_bytes(proof, "little")
        if number <= self.network_target:
            return BLOCK, proof
        if number <= int.from_bytes(share_target, "little"):
            return SHARE, proof
        return LOW, proof


def scan(*, algorithm: str, header: bytes, nonce_start: int, count: int, target: int) -> tuple[int | None, int]:
    """Try nonces one after the other; the nonce found or None, and how many were tried."""
    for done in range(count):
        nonce = nonce_start + done
        proof = PROOF_OF_WORK[algorithm](header[:76] + nonce.to_bytes(4, "little"))
        if int.from_bytes(proof, "little") <= target:
            return nonce, done + 1
    return None, count
