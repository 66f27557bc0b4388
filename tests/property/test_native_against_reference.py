"""The compiled code and its readable twin agree on whatever can be submitted."""

import string
from collections.abc import Iterator
from contextlib import contextmanager

from hypothesis import given, settings
from hypothesis import strategies as st

import native
from native import reference

UINT32 = st.integers(0, 2**32 - 1)
SHA256D = st.just("sha256d")
HEX = st.sampled_from(string.hexdigits)


def backends_of(select, current, names: list[str]) -> list[str]:
    before, found = current(), []
    for name in names:
        try:
            select(name)
            found.append(name)
        except ValueError:
            continue
    select(before)
    return found


SHA256_BACKENDS = backends_of(native.select_sha256_backend, native.sha256_backend, ["sha-ni", "portable"])
SCRYPT_BACKENDS = backends_of(
    native.select_scrypt_backend, native.scrypt_backend, ["avx512", "avx2", "sse2", "portable"]
)


@contextmanager
def each(select, current, name: str) -> Iterator[None]:
    before = current()
    select(name)
    try:
        yield
    finally:
        select(before)


def in_sha256_backends() -> Iterator[None]:
    """Run the loop's body once per SHA-256 backend of this CPU."""
    for name in SHA256_BACKENDS:
        with each(native.select_sha256_backend, native.sha256_backend, name):
            yield


def in_scrypt_backends() -> Iterator[None]:
    """Run the loop's body once per scrypt backend of this CPU."""
    for name in SCRYPT_BACKENDS:
        with each(native.select_scrypt_backend, native.scrypt_backend, name):
            yield


@st.composite
def jobs(draw, algorithm: st.SearchStrategy[str] = SHA256D) -> dict:
    """Draw the fields of a job; coinbase lengths cover every place in a 64-byte block."""
    times = sorted((draw(UINT32), draw(UINT32)))
    return {
        "algorithm": draw(algorithm),
        "coinbase1": draw(st.binary(max_size=200)),
        "coinbase2": draw(st.binary(max_size=300)),
        "merkle_branch": draw(st.lists(st.binary(min_size=32, max_size=32), max_size=12)),
        "version": draw(st.integers(-(2**31), 2**32 - 1)),
        "prev_hash": draw(st.binary(min_size=32, max_size=32)),
        "nbits": draw(UINT32),
        "network_target": 2 ** draw(st.integers(0, 260)) - 1,
        "extranonce1_bytes": draw(st.integers(0, 32)),
        "extranonce2_bytes": draw(st.integers(0, 32)),
        "ntime_min": times[0],
        "ntime_max": times[1],
    }


@st.composite
def submits(draw, job: dict) -> tuple:
    """Draw the fields of a submit, each either well-formed or any text."""
    digits = 2 * job["extranonce2_bytes"]
    anything = st.text(max_size=12) | st.text(alphabet=HEX, max_size=12)
    inside = st.integers(job["ntime_min"], job["ntime_max"]).map("{:08x}".format)
    mask = draw(UINT32)
    return (
        draw(st.binary(min_size=job["extranonce1_bytes"], max_size=job["extranonce1_bytes"])),
        draw(st.text(alphabet=HEX, min_size=digits, max_size=digits) | anything),
        draw(inside | st.text(alphabet=HEX, min_size=8, max_size=8) | anything),
        draw(st.text(alphabet=HEX, min_size=1, max_size=8) | anything),
        draw(st.none() | UINT32.map(lambda bits: f"{bits & mask:08x}") | anything),
        mask,
    )


@given(st.data())
@settings(max_examples=400, deadline=None)
def test_any_submit_has_the_same_key_or_error_in_both(data):
    """S1, S2, S7."""
    fields = data.draw(jobs())
    submit = data.draw(submits(fields))
    key = native.ShareJob(**fields).key(*submit)
    assert key == reference.ShareJob(**fields).key(*submit)
    if isinstance(key, bytes):
        assert len(key) == fields["extranonce1_bytes"] + fields["extranonce2_bytes"] + 12


@st.composite
def jobs_and_keys(draw, **arguments) -> tuple[dict, list[bytes], list[bytes]]:
    job = draw(jobs(**arguments))
    size = job["extranonce1_bytes"] + job["extranonce2_bytes"] + 12
    keys = draw(st.lists(st.binary(min_size=size, max_size=size), max_size=11))
    targets = [native.target_bytes(2 ** draw(st.integers(0, 256)) - 1) for _ in keys]
    return job, keys, targets


@given(jobs_and_keys())
@settings(max_examples=200, deadline=None)
def test_any_share_is_built_and_judged_the_same_in_both(drawn):
    fields, keys, targets = drawn
    oracle = reference.ShareJob(**fields)
    expected = [oracle.verify(key, target) for key, target in zip(keys, targets, strict=True)]
    for _ in in_sha256_backends():
        job = native.ShareJob(**fields)
        assert [job.verify(key, target) for key, target in zip(keys, targets, strict=True)] == expected
        assert job.verify_many(keys, targets) == expected
        for key in keys:
            assert job.header(key) == oracle.header(key)
            assert job.coinbase(key) == oracle.coinbase(key)
            assert job.block_hash(key) == oracle.block_hash(key)


@given(jobs_and_keys(algorithm=st.just("scrypt")))
@settings(max_examples=25, deadline=None)
def test_any_scrypt_share_is_judged_the_same_in_both(drawn):
    fields, keys, targets = drawn
    oracle, job = reference.ShareJob(**fields), native.ShareJob(**fields)
    expected = [oracle.verify(key, target) for key, target in zip(keys, targets, strict=True)]
    for _ in in_scrypt_backends():
        assert job.verify_many(keys, targets) == expected
        assert [job.verify(key, target) for key, target in zip(keys[:2], targets[:2], strict=True)] == expected[:2]


@given(st.binary(max_size=300))
@settings(max_examples=60, deadline=None)
def test_any_bytes_hash_the_same_in_both(data):
    for _ in in_sha256_backends():
        assert native.sha256d(data) == reference.sha256d(data)
        for _ in in_scrypt_backends():
            assert native.scrypt_1024_1_1(data) == reference.scrypt_1024_1_1(data)


@given(st.binary(max_size=100), st.binary(max_size=100), UINT32)
def test_any_bytes_have_the_same_crc_in_both_and_in_pieces(first, second, value):
    for crc32c in (native.crc32c, native.crc32c_portable):
        assert crc32c(first + second, value) == reference.crc32c(first + second, value)
        assert crc32c(second, crc32c(first, value)) == reference.crc32c(first + second, value)


@given(
    header=st.binary(min_size=80, max_size=80),
    nonce_start=st.integers(0, 2**32 - 64),
    count=st.integers(0, 64),
    bits=st.integers(246, 256),
)
@settings(max_examples=100, deadline=None)
def test_any_scan_finds_the_same_nonce_in_both(header, nonce_start, count, bits):
    search = {"nonce_start": nonce_start, "count": count, "target": 2**bits - 1}
    expected = reference.scan(algorithm="sha256d", header=header, **search)
    for _ in in_sha256_backends():
        assert native.HeaderScanner(algorithm="sha256d", header=header).scan(**search) == expected


@given(
    header=st.binary(min_size=80, max_size=80),
    nonce_start=st.integers(0, 2**32 - 32),
    count=st.integers(0, 20),
    bits=st.integers(249, 256),
)
@settings(max_examples=15, deadline=None)
def test_any_scrypt_scan_finds_the_same_nonce_in_both(header, nonce_start, count, bits):
    search = {"nonce_start": nonce_start, "count": count, "target": 2**bits - 1}
    expected = reference.scan(algorithm="scrypt", header=header, **search)
    for _ in in_scrypt_backends():
        assert native.HeaderScanner(algorithm="scrypt", header=header).scan(**search) == expected
