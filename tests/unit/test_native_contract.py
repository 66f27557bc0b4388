"""Published vectors of the algorithms, and what the compiled code refuses."""

import copy
import hashlib
import pickle
from concurrent.futures import ThreadPoolExecutor

import pytest

import native
from native import reference

JOB = {
    "algorithm": "sha256d",
    "coinbase1": b"one",
    "coinbase2": b"two",
    "merkle_branch": [bytes(32)],
    "version": 1,
    "prev_hash": bytes(32),
    "nbits": 0x1D00FFFF,
    "network_target": 1 << 200,
    "extranonce1_bytes": 4,
    "extranonce2_bytes": 4,
    "ntime_min": 0,
    "ntime_max": 2**32 - 1,
}
KEY = bytes(20)
TARGET = bytes(32)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", 0),
        (b"123456789", 0xE3069283),
        (bytes(32), 0x8A9136AA),
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
        (bytes(range(31, -1, -1)), 0x113FDB5C),
    ],
)
def test_crc32c_of_published_vectors(data, expected):
    """Source: RFC 3720, B.4."""
    assert native.crc32c(data) == native.crc32c_portable(data) == reference.crc32c(data) == expected


def test_crc32c_takes_any_contiguous_buffer():
    assert native.crc32c(bytearray(b"123456789")) == 0xE3069283
    assert native.crc32c(memoryview(b"x123456789")[1:]) == 0xE3069283
    with pytest.raises(BufferError):
        native.crc32c(memoryview(b"123456789")[::2])
    with pytest.raises(TypeError):
        native.crc32c("123456789")


@pytest.mark.parametrize("value", [-1, 2**32])
def test_crc32c_refuses_a_start_value_beyond_32_bits(value):
    with pytest.raises(ValueError, match="32 bits"):
        native.crc32c(b"", value)


def test_crc32c_of_a_large_buffer_is_the_same_in_pieces():
    data = hashlib.shake_128(b"crc").digest(300_001)
    for cut in (0, 1, 7, 8, 131_073, 300_001):
        assert native.crc32c(data[cut:], native.crc32c(data[:cut])) == native.crc32c(data)
    assert native.crc32c(data) == native.crc32c_portable(data)


@pytest.mark.parametrize("size", [0, 1, 55, 56, 63, 64, 65, 119, 120, 128, 16_384, 16_385, 100_000])
def test_sha256d_of_every_kind_of_length(size):
    data = hashlib.shake_128(b"sha").digest(size)
    assert native.sha256d(data) == reference.sha256d(data)


def test_backend_that_does_not_exist_is_refused_and_changes_nothing():
    before = native.sha256_backend(), native.scrypt_backend()
    for select in (native.select_sha256_backend, native.select_scrypt_backend):
        with pytest.raises(ValueError, match="'md5'"):
            select("md5")
    assert (native.sha256_backend(), native.scrypt_backend()) == before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"algorithm": "x11"}, "unknown algorithm 'x11'"),
        ({"version": 2**32}, "version"),
        ({"version": -(2**31) - 1}, "version"),
        ({"prev_hash": bytes(31)}, "prev_hash"),
        ({"prev_hash": bytes(33)}, "prev_hash"),
        ({"nbits": -1}, "nbits"),
        ({"nbits": 2**32}, "nbits"),
        ({"network_target": -1}, "target"),
        ({"extranonce1_bytes": -1}, "extranonce1_bytes"),
        ({"extranonce1_bytes": 33}, "extranonce1_bytes"),
        ({"extranonce2_bytes": -1}, "extranonce2_bytes"),
        ({"extranonce2_bytes": 33}, "extranonce2_bytes"),
        ({"ntime_min": -1}, "ntime_min"),
        ({"ntime_max": 2**32}, "ntime_max"),
        ({"merkle_branch": [bytes(31)]}, "merkle_branch"),
        ({"merkle_branch": [bytes(33)]}, "merkle_branch"),
        ({"merkle_branch": ["00" * 32]}, "merkle_branch"),
        ({"merkle_branch": [bytes(32)] * 33}, "merkle_branch"),
    ],
)
def test_job_out_of_range_is_refused_with_the_field_named(change, message):
    with pytest.raises(ValueError, match=message):
        native.ShareJob(**(JOB | change))


@pytest.mark.parametrize("name", JOB)
def test_job_needs_every_field_and_takes_no_none(name):
    with pytest.raises(TypeError):
        native.ShareJob(**{key: value for key, value in JOB.items() if key != name})
    with pytest.raises(TypeError):
        native.ShareJob(**(JOB | {name: None}))


def test_deepest_branch_and_largest_target_are_accepted():
    fields = JOB | {"merkle_branch": [bytes([n]) * 32 for n in range(32)], "network_target": 2**300}
    job = native.ShareJob(**fields)
    assert job.header(KEY) == reference.ShareJob(**fields).header(KEY)
    assert job.verify(KEY, TARGET)[0] == native.BLOCK


@pytest.mark.parametrize("size", [0, 19, 21, 4096])
def test_key_of_a_wrong_length_is_refused(size):
    job, key = native.ShareJob(**JOB), bytes(size)
    for call in (
        lambda: job.verify(key, TARGET),
        lambda: job.verify_many([KEY, key], [TARGET, TARGET]),
        lambda: job.header(key),
        lambda: job.coinbase(key),
        lambda: job.block_hash(key),
    ):
        with pytest.raises(ValueError, match="key must have 20 bytes"):
            call()


@pytest.mark.parametrize("size", [0, 31, 33])
def test_target_of_a_wrong_length_is_refused(size):
    job = native.ShareJob(**JOB)
    with pytest.raises(ValueError, match="share_target must have 32 bytes"):
        job.verify(KEY, bytes(size))
    with pytest.raises(ValueError, match="share_target must have 32 bytes"):
        job.verify_many([KEY], [bytes(size)])


def test_keys_and_targets_that_do_not_pair_are_refused():
    job = native.ShareJob(**JOB)
    with pytest.raises(ValueError, match="equally many"):
        job.verify_many([KEY], [])
    with pytest.raises(TypeError):
        job.verify_many([bytearray(KEY)], [TARGET])
    assert job.verify_many([], []) == []


@pytest.mark.parametrize("extranonce1", [b"", b"123", b"12345"])
def test_extranonce1_of_a_wrong_length_is_our_own_fault_and_raises(extranonce1):
    with pytest.raises(ValueError, match="extranonce1 must have 4 bytes"):
        native.ShareJob(**JOB).key(extranonce1, "00000000", "00000000", "0", None, 0)


@pytest.mark.parametrize("place", range(5))
@pytest.mark.parametrize("value", [7, 1.5, b"00000000", [], object()])
def test_field_that_is_no_text_raises_type_error(place, value):
    fields: list[object] = [b"1234", "00000000", "00000000", "0", "0"]
    fields[place] = value if place else str(value)
    with pytest.raises(TypeError):
        native.ShareJob(**JOB).key(*fields, 0)


@pytest.mark.parametrize("mask", [-1, 2**32])
def test_version_mask_beyond_32_bits_is_refused(mask):
    with pytest.raises(OverflowError):
        native.ShareJob(**JOB).key(b"1234", "00000000", "00000000", "0", None, mask)


def test_job_cannot_be_copied_or_changed():
    job = native.ShareJob(**JOB)
    for attempt in (lambda: copy.copy(job), lambda: copy.deepcopy(job), lambda: pickle.dumps(job)):
        with pytest.raises(TypeError):
            attempt()
    with pytest.raises(AttributeError):
        job.version = 2


def test_verdict_changes_exactly_at_the_targets():
    """S8: the network target is looked at first, whatever the share target is."""
    _, proof = native.ShareJob(**JOB).verify(KEY, TARGET)
    number = int.from_bytes(proof, "little")
    for network, share, expected in (
        (0, 0, native.LOW),
        (number - 1, number - 1, native.LOW),
        (number - 1, number, native.SHARE),
        (number, number - 1, native.BLOCK),
        (number, number, native.BLOCK),
        (number + 1, 0, native.BLOCK),
    ):
        job = native.ShareJob(**(JOB | {"network_target": network}))
        assert job.verify(KEY, native.target_bytes(share)) == (expected, proof)
        assert job.verify_many([KEY] * 3, [native.target_bytes(share)] * 3) == [(expected, proof)] * 3


@pytest.mark.parametrize("target", [0, 1, 2**255, 2**256 - 1])
def test_target_bytes_are_little_endian(target):
    assert native.target_bytes(target) == target.to_bytes(32, "little")


def test_target_beyond_256_bits_becomes_the_largest_and_a_negative_one_is_refused():
    assert native.target_bytes(2**256) == native.target_bytes(2**300) == b"\xff" * 32
    with pytest.raises(ValueError, match="negative"):
        native.target_bytes(-1)


@pytest.mark.parametrize(
    "arguments",
    [
        {"nonce_start": -1, "count": 1, "target": 0},
        {"nonce_start": 2**32, "count": 0, "target": 0},
        {"nonce_start": 2**32 - 1, "count": 2, "target": 0},
        {"nonce_start": 0, "count": -1, "target": 0},
        {"nonce_start": 0, "count": 1, "target": -1},
    ],
)
def test_scan_beyond_the_last_nonce_is_refused(arguments):
    scanner = native.HeaderScanner(algorithm="sha256d", header=bytes(80))
    with pytest.raises(ValueError, match="must"):
        scanner.scan(**arguments)


@pytest.mark.parametrize("algorithm", native.ALGORITHMS)
def test_scan_reaches_the_last_nonce_and_no_further(algorithm):
    scanner = native.HeaderScanner(algorithm=algorithm, header=bytes(80))
    assert scanner.scan(nonce_start=2**32 - 3, count=3, target=0) == (None, 3)
    assert scanner.scan(nonce_start=2**32 - 1, count=1, target=2**256) == (2**32 - 1, 1)
    assert scanner.scan(nonce_start=5, count=0, target=2**256) == (None, 0)


@pytest.mark.parametrize("size", [0, 79, 81])
def test_scanner_refuses_a_header_of_a_wrong_length(size):
    with pytest.raises(ValueError, match="80 bytes"):
        native.HeaderScanner(algorithm="scrypt", header=bytes(size))


def test_threads_hash_scrypt_side_by_side_and_agree():
    """More threads than scratch buffers are kept; none sees another's memory."""
    inputs = [number.to_bytes(80, "little") for number in range(64)]
    with ThreadPoolExecutor(max_workers=12) as pool:
        assert list(pool.map(native.scrypt_1024_1_1, inputs)) == [reference.scrypt_1024_1_1(data) for data in inputs]
