# cython: language_level=3, boundscheck=False, wraparound=False, embedsignature=False
"""Python's view of the C kernels; see _native.pyi for what each name promises."""

cimport cython
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy

cdef extern from "Python.h":
    bint PyUnicode_IS_COMPACT_ASCII(object text)
    void *PyUnicode_1BYTE_DATA(object text)
    Py_ssize_t PyUnicode_GET_LENGTH(object text)

cdef extern from "sha256.h":
    ctypedef struct lode_sha256_backend:
        const char *name
    void lode_sha256_setup()
    const lode_sha256_backend *lode_sha256_current() nogil
    int lode_sha256_select(const char *name)
    void lode_sha256d(const lode_sha256_backend *backend, uint8_t *out, const uint8_t *message, size_t length) nogil
    void lode_load_words(uint32_t *words, const uint8_t *data, size_t count) nogil
    void lode_store_words(uint8_t *out, const uint32_t *words, size_t count) nogil

cdef extern from "scrypt.h":
    ctypedef struct lode_scrypt_core:
        const char *name
    void lode_scrypt_setup()
    const lode_scrypt_core *lode_scrypt_current() nogil
    int lode_scrypt_select(const char *name)
    void *lode_scrypt_scratch_take() nogil
    void lode_scrypt_scratch_give(void *scratch) nogil
    void lode_scrypt(const lode_sha256_backend *sha256, const lode_scrypt_core *core, uint8_t *hash,
                     const uint8_t *data, size_t length, void *scratch) nogil

cdef extern from "crc32c.h":
    void lode_crc32c_setup()
    uint32_t lode_crc32c(uint32_t value, const uint8_t *data, size_t length) nogil
    uint32_t lode_crc32c_tables(uint32_t value, const uint8_t *data, size_t length) nogil

cdef extern from "share.h":
    enum:
        LODE_EXTRANONCE_BYTES_MAX
        LODE_KEY_BYTES_MAX
        LODE_BRANCH_DEPTH_MAX
    enum lode_algorithm:
        LODE_SHA256D
        LODE_SCRYPT
    enum lode_verdict:
        LODE_LOW
        LODE_SHARE
        LODE_BLOCK
    enum lode_key_error:
        LODE_BAD_EXTRANONCE2
        LODE_BAD_NTIME
        LODE_BAD_NONCE
        LODE_BAD_VERSION_BITS
        LODE_NTIME_OUT_OF_RANGE
    ctypedef struct lode_job:
        lode_algorithm algorithm
        uint32_t version, nbits, ntime_min, ntime_max
        uint32_t prev_words[8]
        uint8_t network_target[32]
        size_t extranonce1_bytes, extranonce2_bytes, key_bytes
        uint8_t *tail
        uint32_t branch[32][8]
        size_t depth
    ctypedef struct lode_text:
        const uint8_t *text
        size_t bytes
    int lode_job_prepare(lode_job *job, const uint8_t *coinbase1, size_t coinbase1_bytes, const uint8_t *coinbase2,
                         size_t coinbase2_bytes)
    void lode_job_release(lode_job *job)
    int lode_job_key(const lode_job *job, uint8_t *key, const uint8_t *extranonce1, lode_text extranonce2,
                     lode_text ntime, lode_text nonce, lode_text version_bits, uint32_t version_mask)
    void lode_job_header(const lode_job *job, const lode_sha256_backend *sha256, const uint8_t *key, uint32_t *header)
    int lode_job_verify(const lode_job *job, const uint8_t *keys, const uint8_t *targets, size_t count,
                        uint8_t (*hashes)[32], uint8_t *verdicts) nogil
    int lode_scan(lode_algorithm algorithm, const uint8_t *header, uint32_t first, uint64_t count,
                  const uint8_t *target, uint32_t *found, uint64_t *done) nogil

lode_sha256_setup()
lode_scrypt_setup()
lode_crc32c_setup()

ALGORITHMS = ("sha256d", "scrypt")

LOW = LODE_LOW
SHARE = LODE_SHARE
BLOCK = LODE_BLOCK

BAD_EXTRANONCE2 = LODE_BAD_EXTRANONCE2
BAD_NTIME = LODE_BAD_NTIME
BAD_NONCE = LODE_BAD_NONCE
BAD_VERSION_BITS = LODE_BAD_VERSION_BITS
NTIME_OUT_OF_RANGE = LODE_NTIME_OUT_OF_RANGE

EXTRANONCE_BYTES_MAX = LODE_EXTRANONCE_BYTES_MAX
MERKLE_DEPTH_MAX = LODE_BRANCH_DEPTH_MAX

cdef enum:
    # Above this many bytes a hash takes longer than about 20 microseconds, and the GIL is released for it.
    GIL_KEPT_BYTES_MAX = 16384


cdef inline const uint8_t *octets(bytes data) noexcept:
    return <const uint8_t *>PyBytes_AS_STRING(data)


cdef inline lode_text text_of(str field) noexcept:
    cdef lode_text text
    if PyUnicode_IS_COMPACT_ASCII(field):
        text.text = <const uint8_t *>PyUnicode_1BYTE_DATA(field)
        text.bytes = <size_t>PyUnicode_GET_LENGTH(field)
    else:
        text.text = NULL
        text.bytes = 0
    return text


cdef lode_algorithm algorithm_named(str name) except *:
    if name == "sha256d":
        return LODE_SHA256D
    if name == "scrypt":
        return LODE_SCRYPT
    raise ValueError(f"unknown algorithm {name!r}, expected one of {', '.join(ALGORITHMS)}")


cdef uint32_t word(object value, str name) except? 0:
    if not 0 <= value <= 0xFFFFFFFF:
        raise ValueError(f"{name} must fit 32 bits")
    return value


def target_bytes(target):
    """Serialise a target as 32 bytes, little-endian; what is above 2^256 - 1 becomes 2^256 - 1."""
    if target < 0:
        raise ValueError("target must not be negative")
    return min(target, 2**256 - 1).to_bytes(32, "little")


def sha256d(bytes data not None):
    """Hash twice with SHA-256; 32 bytes as hashed, which is header order."""
    cdef uint8_t out[32]
    cdef const uint8_t *message = octets(data)
    cdef size_t length = PyBytes_GET_SIZE(data)
    if length <= GIL_KEPT_BYTES_MAX:
        lode_sha256d(lode_sha256_current(), out, message, length)
    else:
        with nogil:
            lode_sha256d(lode_sha256_current(), out, message, length)
    return PyBytes_FromStringAndSize(<char *>out, 32)


def sha256_backend():
    """Name the SHA-256 code in force: "sha-ni" or "portable"."""
    return lode_sha256_current().name.decode("ascii")


def select_sha256_backend(str name not None):
    """Put another SHA-256 code in force, for the whole process.

    Raises:
        ValueError: The name is unknown, or the CPU lacks it.
    """
    if lode_sha256_select(name.encode()) != 0:
        raise ValueError(f"this CPU or build has no SHA-256 backend {name!r}")


def scrypt_backend():
    """Name the scrypt code in force: "avx512", "avx2", "sse2" or "portable"."""
    return lode_scrypt_current().name.decode("ascii")


def select_scrypt_backend(str name not None):
    """Put another scrypt code in force, for the whole process.

    Raises:
        ValueError: The name is unknown, or the CPU lacks it.
    """
    if lode_scrypt_select(name.encode()) != 0:
        raise ValueError(f"this CPU or build has no scrypt backend {name!r}")


def scrypt_1024_1_1(bytes data not None):
    """Compute scrypt with N = 1024, r = 1, p = 1 and the data as password and salt; 32 bytes. Releases the GIL."""
    cdef uint8_t out[32]
    cdef const uint8_t *message = octets(data)
    cdef size_t length = PyBytes_GET_SIZE(data)
    cdef void *scratch
    with nogil:
        scratch = lode_scrypt_scratch_take()
        if scratch != NULL:
            lode_scrypt(lode_sha256_current(), lode_scrypt_current(), out, message, length, scratch)
            lode_scrypt_scratch_give(scratch)
    if scratch == NULL:
        raise MemoryError
    return PyBytes_FromStringAndSize(<char *>out, 32)


cdef uint32_t crc32c_buffer(object data, uint32_t value, bint tables) except? 0:
    cdef Py_buffer view
    PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
    try:
        if tables:
            return lode_crc32c_tables(value, <const uint8_t *>view.buf, view.len)
        if view.len > 8 * GIL_KEPT_BYTES_MAX:
            with nogil:
                value = lode_crc32c(value, <const uint8_t *>view.buf, view.len)
            return value
        return lode_crc32c(value, <const uint8_t *>view.buf, view.len)
    finally:
        PyBuffer_Release(&view)


def crc32c(data, value=0):
    """Compute the CRC-32C (Castagnoli) of contiguous data, continuing from the CRC of what came before."""
    return crc32c_buffer(data, word(value, "value"), False)


def crc32c_portable(data, value=0):
    """Compute the same from tables, whatever the CPU has; for tests and benchmarks."""
    return crc32c_buffer(data, word(value, "value"), True)


@cython.final
cdef class ShareJob:
    """One job of the Bitcoin family, compiled: parses and verifies the shares found on it. Immutable.

    The hash state after the whole 64-byte blocks of coinbase1 is computed once, when the job is made.

    Args:
        algorithm: One of ALGORITHMS.
        coinbase1: Coinbase transaction without witness, up to the extranonces.
        coinbase2: The rest of it.
        merkle_branch: Siblings of the coinbase from the leaves up, 32 bytes each as hashed.
        version: Block version, 32 bits; a negative one is taken as its two's complement.
        prev_hash: Hash of the block before, 32 bytes in header order.
        nbits: Compact network target as it stands in the header. It is not decoded here.
        network_target: The same target as a number.
        extranonce1_bytes: Length of the extranonce that the pool gives, 0 to EXTRANONCE_BYTES_MAX.
        extranonce2_bytes: Length of the extranonce that the miner chooses, 0 to EXTRANONCE_BYTES_MAX.
        ntime_min: Lowest ntime accepted, seconds since 1970.
        ntime_max: Highest ntime accepted, seconds since 1970.

    Raises:
        ValueError: A length or a number is out of range.
    """

    cdef lode_job job
    cdef bytes coinbase1
    cdef bytes coinbase2

    def __cinit__(self, *, str algorithm not None, bytes coinbase1 not None, bytes coinbase2 not None, merkle_branch,
                  version, bytes prev_hash not None, nbits, network_target, Py_ssize_t extranonce1_bytes,
                  Py_ssize_t extranonce2_bytes, ntime_min, ntime_max):
        cdef size_t depth = 0
        self.job.algorithm = algorithm_named(algorithm)
        if not -0x80000000 <= version <= 0xFFFFFFFF:
            raise ValueError("version must fit 32 bits")
        self.job.version = version & 0xFFFFFFFF
        self.job.nbits = word(nbits, "nbits")
        self.job.ntime_min = word(ntime_min, "ntime_min")
        self.job.ntime_max = word(ntime_max, "ntime_max")
        if PyBytes_GET_SIZE(prev_hash) != 32:
            raise ValueError("prev_hash must have 32 bytes")
        lode_load_words(self.job.prev_words, octets(prev_hash), 8)
        memcpy(self.job.network_target, octets(target_bytes(network_target)), 32)
        if not 0 <= extranonce1_bytes <= LODE_EXTRANONCE_BYTES_MAX:
            raise ValueError(f"extranonce1_bytes must be 0 to {LODE_EXTRANONCE_BYTES_MAX}")
        if not 0 <= extranonce2_bytes <= LODE_EXTRANONCE_BYTES_MAX:
            raise ValueError(f"extranonce2_bytes must be 0 to {LODE_EXTRANONCE_BYTES_MAX}")
        self.job.extranonce1_bytes = extranonce1_bytes
        self.job.extranonce2_bytes = extranonce2_bytes
        for sibling in merkle_branch:
            if depth == LODE_BRANCH_DEPTH_MAX:
                raise ValueError(f"merkle_branch must have at most {LODE_BRANCH_DEPTH_MAX} hashes")
            if not isinstance(sibling, bytes) or len(sibling) != 32:
                raise ValueError("each hash of merkle_branch must be 32 bytes")
            lode_load_words(self.job.branch[depth], octets(sibling), 8)
            depth += 1
        self.job.depth = depth
        self.coinbase1 = coinbase1
        self.coinbase2 = coinbase2
        if lode_job_prepare(&self.job, octets(coinbase1), PyBytes_GET_SIZE(coinbase1), octets(coinbase2),
                            PyBytes_GET_SIZE(coinbase2)) != 0:
            raise MemoryError

    def __dealloc__(self):
        lode_job_release(&self.job)

    def __reduce__(self):
        raise TypeError("a ShareJob cannot be pickled or copied")

    cdef int check_key(self, bytes key) except -1:
        if <size_t>PyBytes_GET_SIZE(key) != self.job.key_bytes:
            raise ValueError(f"key must have {self.job.key_bytes} bytes")
        return 0

    cdef int check_target(self, bytes share_target) except -1:
        if PyBytes_GET_SIZE(share_target) != 32:
            raise ValueError("share_target must have 32 bytes")
        return 0

    def key(self, bytes extranonce1 not None, str extranonce2_hex not None, str ntime_hex not None,
            str nonce_hex not None, str version_bits_hex, uint32_t version_mask):
        """Parse the fields of a submit into the one key that this share can have.

        The key is extranonce1, extranonce2, then ntime, nonce and the final header version with 4 big-endian bytes
        each, so that it reads like the wire. Digits may be upper or lower case; nothing but digits is accepted.

        Args:
            extranonce1: As given to the session; its length is the job's.
            extranonce2_hex: Exactly two digits a byte.
            ntime_hex: Exactly 8 digits.
            nonce_hex: 1 to 8 digits, for firmware that omits leading zeros.
            version_bits_hex: 1 to 8 digits, none of the bits outside the mask; None or "" means the job's version.
            version_mask: Bits of the version that the session may choose (BIP 310).

        Returns:
            The key, or the reason why there is none: BAD_EXTRANONCE2 and so on.

        Raises:
            ValueError: extranonce1 does not have the job's length.
        """
        cdef uint8_t key[LODE_KEY_BYTES_MAX]
        cdef lode_text version_bits
        cdef int error
        if <size_t>PyBytes_GET_SIZE(extranonce1) != self.job.extranonce1_bytes:
            raise ValueError(f"extranonce1 must have {self.job.extranonce1_bytes} bytes")
        if version_bits_hex is None:
            version_bits.text = key
            version_bits.bytes = 0
        else:
            version_bits = text_of(version_bits_hex)
        error = lode_job_key(&self.job, key, octets(extranonce1), text_of(extranonce2_hex), text_of(ntime_hex),
                             text_of(nonce_hex), version_bits, version_mask)
        if error != 0:
            return error
        return PyBytes_FromStringAndSize(<char *>key, self.job.key_bytes)

    def verify(self, bytes key not None, bytes share_target not None):
        """Hash the header of a key and judge it.

        Releases the GIL when the algorithm is slow (scrypt).

        Args:
            key: What key() answered on this job.
            share_target: 32 bytes, little-endian; see target_bytes().

        Returns:
            LOW, SHARE or BLOCK, and the proof-of-work hash: 32 bytes as hashed, a little-endian number.

        Raises:
            ValueError: The key or the target has a wrong length.
        """
        cdef uint8_t hashes[1][32]
        cdef uint8_t verdict = 0
        cdef int failed
        cdef const uint8_t *key_octets = octets(key)
        cdef const uint8_t *target_octets = octets(share_target)
        self.check_key(key)
        self.check_target(share_target)
        if self.job.algorithm == LODE_SHA256D:
            failed = lode_job_verify(&self.job, key_octets, target_octets, 1, hashes, &verdict)
        else:
            with nogil:
                failed = lode_job_verify(&self.job, key_octets, target_octets, 1, hashes, &verdict)
        if failed:
            raise MemoryError
        return verdict, PyBytes_FromStringAndSize(<char *>hashes[0], 32)

    def verify_many(self, keys not None, share_targets not None):
        """Do what verify() does for many keys, side by side where the CPU can; the GIL is released once for all."""
        cdef list key_list = list(keys)
        cdef list target_list = list(share_targets)
        cdef size_t count = len(key_list)
        cdef size_t key_bytes = self.job.key_bytes
        cdef uint8_t *memory
        cdef uint8_t *targets
        cdef uint8_t *verdicts
        cdef uint8_t *key_octets
        cdef uint8_t (*hashes)[32]
        cdef size_t i
        cdef int failed
        cdef bytes key
        cdef bytes share_target
        if <size_t>len(target_list) != count:
            raise ValueError("keys and share_targets must be equally many")
        for i in range(count):
            if not isinstance(key_list[i], bytes) or not isinstance(target_list[i], bytes):
                raise TypeError("keys and share_targets must be bytes")
            self.check_key(<bytes>key_list[i])
            self.check_target(<bytes>target_list[i])
        if count == 0:
            return []
        memory = <uint8_t *>malloc(count * (key_bytes + 65))
        if memory == NULL:
            raise MemoryError
        try:
            hashes = <uint8_t (*)[32]>memory
            targets = memory + 32 * count
            verdicts = memory + 64 * count
            key_octets = memory + 65 * count
            for i in range(count):
                key = key_list[i]
                share_target = target_list[i]
                memcpy(key_octets + i * key_bytes, octets(key), key_bytes)
                memcpy(targets + 32 * i, octets(share_target), 32)
            with nogil:
                failed = lode_job_verify(&self.job, key_octets, targets, count, hashes, verdicts)
            if failed:
                raise MemoryError
            return [
                (verdicts[i], PyBytes_FromStringAndSize(<char *>hashes[i], 32))
                for i in range(count)
            ]
        finally:
            free(memory)

    def header(self, bytes key not None):
        """Build the 80-byte block header of a key."""
        cdef uint32_t words[20]
        cdef uint8_t out[80]
        self.check_key(key)
        lode_job_header(&self.job, lode_sha256_current(), octets(key), words)
        lode_store_words(out, words, 20)
        return PyBytes_FromStringAndSize(<char *>out, 80)

    def coinbase(self, bytes key not None):
        """Build the coinbase transaction of a key, without witness."""
        self.check_key(key)
        return self.coinbase1 + key[:self.job.key_bytes - 12] + self.coinbase2

    def block_hash(self, bytes key not None):
        """Hash the header of a key with SHA-256d; 32 bytes in header order."""
        return sha256d(self.header(key))


@cython.final
cdef class HeaderScanner:
    """Search for nonces of one header; the mining side of verification.

    Args:
        algorithm: One of ALGORITHMS.
        header: 80 bytes; the nonce in the last four is ignored.

    Raises:
        ValueError: The algorithm is unknown or the header has a wrong length.
    """

    cdef lode_algorithm algorithm
    cdef uint8_t octets[80]

    def __cinit__(self, *, str algorithm not None, bytes header not None):
        self.algorithm = algorithm_named(algorithm)
        if PyBytes_GET_SIZE(header) != 80:
            raise ValueError("header must have 80 bytes")
        memcpy(self.octets, octets(header), 80)

    def __reduce__(self):
        raise TypeError("a HeaderScanner cannot be pickled or copied")

    def scan(self, *, nonce_start, count, target):
        """Try nonces in ascending order until one meets the target. Releases the GIL.

        Args:
            nonce_start: First nonce, 32 bits.
            count: How many to try at most; nonce_start + count is at most 2^32.
            target: Highest hash wanted, as a number.

        Returns:
            The nonce or None, and how many nonces were tried, the found one included.

        Raises:
            ValueError: The range leaves 32 bits, or the target is negative.
        """
        cdef uint32_t first = word(nonce_start, "nonce_start")
        cdef uint64_t nonces
        cdef uint8_t wanted[32]
        cdef uint32_t found = 0
        cdef uint64_t done = 0
        cdef int result
        if not 0 <= count <= 0x100000000 - nonce_start:
            raise ValueError("count must not run past the last nonce")
        nonces = count
        memcpy(wanted, octets(target_bytes(target)), 32)
        with nogil:
            result = lode_scan(self.algorithm, self.octets, first, nonces, wanted, &found, &done)
        if result < 0:
            raise MemoryError
        return (found if result else None), done
