"""What ShareJob.key makes of the fields of a submit: tables of good and bad ones, the same for the reference."""

import pytest

import native
from native import reference

EXTRANONCE1 = bytes.fromhex("f000000a")
NTIME, NTIME_MIN, NTIME_MAX = "65a00000", 0x659FFF00, 0x65A01C20
MASK = 0x1FFFE000
GOOD = ("00112233445566ff", NTIME, "9546a142", None)

JOBS = pytest.mark.parametrize("job_class", [native.ShareJob, reference.ShareJob], ids=["native", "reference"])


def make_job(job_class=native.ShareJob, **changes):
    fields = {
        "algorithm": "sha256d",
        "coinbase1": bytes(range(90)),
        "coinbase2": bytes(range(100)),
        "merkle_branch": [bytes([number]) * 32 for number in range(3)],
        "version": 0x20000002,
        "prev_hash": bytes(range(32)),
        "nbits": 0x1D00FFFF,
        "network_target": 0xFFFF << 208,
        "extranonce1_bytes": 4,
        "extranonce2_bytes": 8,
        "ntime_min": NTIME_MIN,
        "ntime_max": NTIME_MAX,
    }
    return job_class(**(fields | changes))


BAD_FIELDS = {
    "extranonce2 empty": (("", NTIME, "0", None), native.BAD_EXTRANONCE2),
    "extranonce2 of the 4 bytes old ESP-Miner sends": (("00112233", NTIME, "0", None), native.BAD_EXTRANONCE2),
    "extranonce2 a digit short": (("00112233445566f", NTIME, "0", None), native.BAD_EXTRANONCE2),
    "extranonce2 a digit long": (("00112233445566ff0", NTIME, "0", None), native.BAD_EXTRANONCE2),
    "extranonce2 a byte long": (("00112233445566ff00", NTIME, "0", None), native.BAD_EXTRANONCE2),
    "extranonce2 with 0x": (("0x112233445566ff", NTIME, "0", None), native.BAD_EXTRANONCE2),
    "extranonce2 with a space": ((" 0112233445566ff", NTIME, "0", None), native.BAD_EXTRANONCE2),
    "extranonce2 with a sign": (("+0112233445566ff", NTIME, "0", None), native.BAD_EXTRANONCE2),
    "extranonce2 with an underscore": (("0_11223344556600", NTIME, "0", None), native.BAD_EXTRANONCE2),
    "extranonce2 with a NUL": (("00112233445566f\0", NTIME, "0", None), native.BAD_EXTRANONCE2),
    "extranonce2 with g": (("00112233445566fg", NTIME, "0", None), native.BAD_EXTRANONCE2),
    "extranonce2 with other digits": (("0011223344556\u0666\u0666\u0666", NTIME, "0", None), native.BAD_EXTRANONCE2),
    "extranonce2 with full-width letters": (("00112233445566f\uff46", NTIME, "0", None), native.BAD_EXTRANONCE2),
    "extranonce2 with latin-1": (("00112233445566f\xe9", NTIME, "0", None), native.BAD_EXTRANONCE2),
    "extranonce2 with a newline": (("00112233445566f\n", NTIME, "0", None), native.BAD_EXTRANONCE2),
    "ntime empty": ((GOOD[0], "", "0", None), native.BAD_NTIME),
    "ntime of 7 digits": ((GOOD[0], "5a00000", "0", None), native.BAD_NTIME),
    "ntime of 9 digits": ((GOOD[0], "065a00000", "0", None), native.BAD_NTIME),
    "ntime with 0x": ((GOOD[0], "0x65a000", "0", None), native.BAD_NTIME),
    "ntime with a minus": ((GOOD[0], "-5a00000", "0", None), native.BAD_NTIME),
    "ntime with trailing space": ((GOOD[0], "65a0000 ", "0", None), native.BAD_NTIME),
    "ntime with other digits": ((GOOD[0], "65a0000\u0660", "0", None), native.BAD_NTIME),
    "nonce empty": ((GOOD[0], NTIME, "", None), native.BAD_NONCE),
    "nonce of 9 digits": ((GOOD[0], NTIME, "000000001", None), native.BAD_NONCE),
    "nonce with 0x": ((GOOD[0], NTIME, "0x1", None), native.BAD_NONCE),
    "nonce with a space": ((GOOD[0], NTIME, " 1", None), native.BAD_NONCE),
    "nonce with a sign": ((GOOD[0], NTIME, "-1", None), native.BAD_NONCE),
    "nonce with a colon": ((GOOD[0], NTIME, "1:", None), native.BAD_NONCE),
    "nonce with a slash": ((GOOD[0], NTIME, "/1", None), native.BAD_NONCE),
    "nonce with an at sign": ((GOOD[0], NTIME, "@1", None), native.BAD_NONCE),
    "nonce with a backtick": ((GOOD[0], NTIME, "`1", None), native.BAD_NONCE),
    "nonce beyond the basic plane": ((GOOD[0], NTIME, "\U0001d7ce", None), native.BAD_NONCE),
    "version bits of 9 digits": ((*GOOD[:3], "000002000"), native.BAD_VERSION_BITS),
    "version bits with 0x": ((*GOOD[:3], "0x2000"), native.BAD_VERSION_BITS),
    "version bits a space": ((*GOOD[:3], " "), native.BAD_VERSION_BITS),
    "version bits not ASCII": ((*GOOD[:3], "\xb2000"), native.BAD_VERSION_BITS),
    "version bits below the mask": ((*GOOD[:3], "00001000"), native.BAD_VERSION_BITS),
    "version bits above the mask": ((*GOOD[:3], "20000000"), native.BAD_VERSION_BITS),
    "version bits with the whole version": ((*GOOD[:3], "20002002"), native.BAD_VERSION_BITS),
    "ntime before the window": ((GOOD[0], f"{NTIME_MIN - 1:08x}", "0", None), native.NTIME_OUT_OF_RANGE),
    "ntime after the window": ((GOOD[0], f"{NTIME_MAX + 1:08x}", "0", None), native.NTIME_OUT_OF_RANGE),
    "ntime zero": ((GOOD[0], "00000000", "0", None), native.NTIME_OUT_OF_RANGE),
    "ntime at the end of time": ((GOOD[0], "ffffffff", "0", None), native.NTIME_OUT_OF_RANGE),
    "everything wrong": (("", "", "", "x"), native.BAD_EXTRANONCE2),
    "all but extranonce2 wrong": ((GOOD[0], "", "", "x"), native.BAD_NTIME),
    "nonce and version bits wrong": ((GOOD[0], "00000000", "", "x"), native.BAD_NONCE),
    "version bits wrong and ntime out of range": ((GOOD[0], "00000000", "0", "x"), native.BAD_VERSION_BITS),
}


@JOBS
@pytest.mark.parametrize(("fields", "expected"), BAD_FIELDS.values(), ids=BAD_FIELDS)
def test_malformed_field_is_named_and_has_no_key(fields, expected, job_class):
    """S1, S2, S7."""
    assert make_job(job_class).key(EXTRANONCE1, *fields, MASK) == expected


SPELLINGS = {
    "upper case": ("00112233445566FF", NTIME.upper(), "9546A142", None),
    "empty version bits": (GOOD[0], NTIME, "9546a142", ""),
    "version bits of the job": (GOOD[0], NTIME, "9546a142", "00000000"),
    "one zero of version bits": (GOOD[0], NTIME, "9546a142", "0"),
}


@JOBS
@pytest.mark.parametrize("fields", SPELLINGS.values(), ids=SPELLINGS)
def test_each_spelling_of_one_share_has_the_same_key(fields, job_class):
    """S1."""
    job = make_job(job_class)
    expected = EXTRANONCE1 + bytes.fromhex("00112233445566ff" + NTIME + "9546a142" + "20000002")
    assert job.key(EXTRANONCE1, *GOOD, MASK) == expected
    assert job.key(EXTRANONCE1, *fields, MASK) == expected


@JOBS
@pytest.mark.parametrize("nonce_hex", ["7", "07", "007", "0000007", "00000007"])
def test_nonce_without_leading_zeros_is_the_same_nonce(nonce_hex, job_class):
    """S1: NerdMiner omits leading zeros."""
    key = make_job(job_class).key(EXTRANONCE1, GOOD[0], NTIME, nonce_hex, None, MASK)
    assert key[-8:-4] == bytes([0, 0, 0, 7])


VERSIONS = [
    (0x20000002, None, MASK, 0x20000002),
    (0x20000002, "", MASK, 0x20000002),
    (0x20000002, "00002000", MASK, 0x20002002),
    (0x20000002, "2000", MASK, 0x20002002),
    (0x20000002, "1fffe000", MASK, 0x3FFFE002),
    (0x20006002, "00002000", MASK, 0x20002002),
    (0x20006002, "00000000", MASK, 0x20000002),
    (0x20006002, None, MASK, 0x20006002),
    (0x20000002, "00000000", 0, 0x20000002),
    (0xFFFFFFFF, "00000000", 0xFFFFFFFF, 0),
    (0, "ffffffff", 0xFFFFFFFF, 0xFFFFFFFF),
    (-1, None, 0, 0xFFFFFFFF),
]


@JOBS
@pytest.mark.parametrize(("version", "bits_hex", "mask", "expected"), VERSIONS)
def test_version_is_the_jobs_with_the_masked_bits_replaced(version, bits_hex, mask, expected, job_class):
    """S7. Source: BIP 310."""
    key = make_job(job_class, version=version).key(EXTRANONCE1, *GOOD[:3], bits_hex, mask)
    assert int.from_bytes(key[-4:], "big") == expected


@JOBS
@pytest.mark.parametrize("ntime", [NTIME_MIN, NTIME_MIN + 1, NTIME_MAX])
def test_edges_of_the_time_window_are_accepted(ntime, job_class):
    """S2."""
    key = make_job(job_class).key(EXTRANONCE1, GOOD[0], f"{ntime:08x}", "0", None, MASK)
    assert int.from_bytes(key[-12:-8], "big") == ntime


@JOBS
@pytest.mark.parametrize("sizes", [(0, 0), (0, 8), (4, 0), (1, 2), (32, 32)])
def test_key_has_one_length_for_a_job(sizes, job_class):
    """S1."""
    job = make_job(job_class, extranonce1_bytes=sizes[0], extranonce2_bytes=sizes[1])
    key = job.key(b"\xaa" * sizes[0], "bb" * sizes[1], NTIME, "1", None, MASK)
    assert key == b"\xaa" * sizes[0] + b"\xbb" * sizes[1] + bytes.fromhex(NTIME + "00000001" + "20000002")
    assert job.header(key) == make_job(
        reference.ShareJob, extranonce1_bytes=sizes[0], extranonce2_bytes=sizes[1]
    ).header(key)
