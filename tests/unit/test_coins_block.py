"""Blocks and transactions: real ones taken apart, and every rule of a checked block broken once."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from coins import registry
from coins.bitcoin.block import (
    BlockHeader,
    assemble_block,
    check_block,
    parse_block,
    parse_header,
    parse_transaction,
)
from coins.bitcoin.coinbase import CoinbaseOutput, build_coinbase, with_witness
from coins.bitcoin.hashing import pow_hash, sha256d
from coins.bitcoin.merkle import merkle_branch, merkle_root, merkle_root_from_branch, witness_commitment
from coins.bitcoin.subsidy import subsidy_atomic
from coins.bitcoin.template import parse_template
from coins.bitcoin.wire import Reader, compact_size, height_push, script_push
from coins.coin import Algorithm
from coins.errors import BlockError

VECTORS = Path(__file__).parents[1] / "vectors"
RECORDED = {row["name"]: row for row in json.loads((VECTORS / "litecoin_regtest_blocks.json").read_text())["blocks"]}
REGTEST = registry.get("litecoin-regtest")

GENESIS_TIMES = b"The Times 03/Jan/2009 Chancellor on brink of second bailout for banks"
GENESIS_NY_TIMES = "NY Times 05/Oct/2011 Steve Jobs, Apple’s Visionary, Dies at 56".encode()
BITCOIN_GENESIS_KEY = (
    "04678afdb0fe5548271967f1a67130b7105cd6a828e03909a67962e0ea1f61deb6"
    "49f6bc3f4cef38c4f35504e51ec112de5c384df7ba0b8d578a4c702b6bf11d5f"
)
LITECOIN_GENESIS_KEY = (
    "040184710fa689ad5023690c80f3a49c8f13f8d45b8c857fbcbc8bc4a8e4d3eb4b"
    "10f4d4604fa08dce601aaf0f470216fe1b51850b4acf21b179c45070ac7b03a9"
)
FIRST_PAYMENT = (
    "0100000001c997a5e56e104102fa209c6a852dd90660a20b2d9c352423edce25857fcd3704000000004847304402204e45e16932b8af514961a1"
    "d3a1a25fdf3f4f7732e9d624c6c61548ab5fb8cd410220181522ec8eca07de4860a4acdd12909d831cc56cbbac4622082221a8768d1d0901ffff"
    "ffff0200ca9a3b00000000434104ae1a62fe09c5f51b13905f07f06b99a2f7159b2225f374cd378d71302fa28414e7aab37397f554a7df5f142c"
    "21c1b7303b8a0626f1baded5c72a704f7e6cd84cac00286bee0000000043410411db93e1dcdb8a016b49840f8c53bc1eb68a382e97b1482ecad7"
    "b148a6909a5cb2e0eaddfb84ccf9744464f82e160bfa9b8b64f9d4c03f999b8643f656b412a3ac00000000"
)


def internal(hash_hex: str) -> bytes:
    return bytes.fromhex(hash_hex)[::-1]


def genesis(*, text: bytes, key_hex: str, time_s: int, nbits: int, nonce: int) -> bytes:
    script = script_push(bytes.fromhex("ffff001d")) + script_push(b"\x04") + script_push(text)
    output = script_push(bytes.fromhex(key_hex)) + b"\xac"
    coinbase = (
        bytes.fromhex("01000000" + "01" + "00" * 32 + "ffffffff")
        + compact_size(len(script))
        + script
        + bytes.fromhex("ffffffff" + "01")
        + (50 * 10**8).to_bytes(8, "little")
        + compact_size(len(output))
        + output
        + bytes(4)
    )
    header = (
        bytes.fromhex("01000000" + "00" * 32)
        + sha256d(coinbase)
        + b"".join(value.to_bytes(4, "little") for value in (time_s, nbits, nonce))
    )
    return header + b"\x01" + coinbase


@pytest.mark.parametrize(
    ("raw", "algorithm", "block_hash_hex", "merkle_root_hex"),
    [
        (
            genesis(
                text=GENESIS_TIMES, key_hex=BITCOIN_GENESIS_KEY, time_s=1231006505, nbits=0x1D00FFFF, nonce=2083236893
            ),
            Algorithm.SHA256D,
            "000000000019d6689c085ae165831e934ff763ae46a2a6c172b3f1b60a8ce26f",
            "4a5e1e4baab89f3a32518a88c31bc87f618f76673e2cc77ab2127b7afdeda33b",
        ),
        (
            genesis(
                text=GENESIS_NY_TIMES,
                key_hex=LITECOIN_GENESIS_KEY,
                time_s=1317972665,
                nbits=0x1E0FFFF0,
                nonce=2084524493,
            ),
            Algorithm.SCRYPT,
            "12a765e31ffd4059bada1e25190f6e98c99d9714d334efa41a195a7e7e04bfe2",
            "97ddfbbae6be97fd6cdf3e7ca13232a3afff2353e29badfab7f73011edd4ced9",
        ),
    ],
    ids=["bitcoin", "litecoin"],
)
def test_genesis_blocks_have_their_hash_root_and_proof_of_work(raw, algorithm, block_hash_hex, merkle_root_hex):
    block = parse_block(raw)
    assert block.header.block_hash_hex == block_hash_hex
    assert block.merkle_root == block.header.merkle_root == internal(merkle_root_hex)
    assert block.header.meets_target(algorithm)
    assert block.coinbase.is_coinbase
    assert block.coinbase.amount_atomic == 50 * 10**8
    assert (block.size, block.weight) == (len(raw), 4 * len(raw))


def test_header_of_bitcoin_block_100000_is_rebuilt_from_its_transactions():
    txids = [
        internal(txid)
        for txid in (
            "8c14f0db3df150123e6f3dbbf30f8b955a8249b62ac1d1ff16284aefa3d06d87",
            "fff2525b8931402dd09222c50775608f75787bd2b87e56995a7bdd30f79702c4",
            "6359f0868171b1d194cbee1af2f16ea598ae8fad666d9b012c8ed2b79a236ec4",
            "e9a66845e05d5abc0ad04ec80f774a7e585c6e8db975962d069a522137b80c1d",
        )
    ]
    root = merkle_root(txids)
    assert root == internal("f3e94742aca4b5ef85488dc37c06c3282295ffec960994b2c0d5ac2a25a95766")
    assert merkle_root_from_branch(txids[0], merkle_branch(txids[1:])) == root
    header = parse_header(
        (1).to_bytes(4, "little")
        + internal("000000000002d01c1fccc21636b607dfd930d31d01c3a62104612a1719011250")
        + root
        + b"".join(value.to_bytes(4, "little") for value in (1293623863, 0x1B04864C, 274148111))
    )
    assert header.block_hash_hex == "000000000003ba27aa200b1cecaad478d2b00432346c3f1f3986da1afd33e506"
    assert header.meets_target(Algorithm.SHA256D)
    assert not header.meets_target(Algorithm.SCRYPT)


def test_first_payment_of_bitcoin_is_read():
    """Source: Bitcoin block 170, from Satoshi Nakamoto to Hal Finney."""
    transaction = parse_transaction(bytes.fromhex(FIRST_PAYMENT))
    assert transaction.txid == internal("f4184fc596403b9d638783cf57adfe4c75c605f6356fbc91338530e9831e9e16")
    assert transaction.wtxid == transaction.txid
    assert [output.amount_atomic for output in transaction.outputs] == [10 * 10**8, 40 * 10**8]
    assert (transaction.version, transaction.locktime, transaction.size) == (1, 0, 275)
    assert transaction.weight == 4 * 275
    assert not transaction.is_coinbase
    assert not transaction.has_witness


@pytest.mark.parametrize("row", RECORDED.values(), ids=RECORDED)
def test_blocks_a_real_node_accepted_are_taken_apart_as_the_node_does(row):
    raw = bytes.fromhex(row["block"])
    block = parse_block(raw)
    assert block.header.block_hash_hex == row["block_hash"]
    assert block.txids == tuple(map(internal, row["txids"]))
    assert [transaction.wtxid for transaction in block.transactions] == [internal(wtxid) for wtxid in row["wtxids"]]
    assert (block.weight, block.size) == (row["weight"], len(raw))
    template = row["template"]
    check_block(
        block,
        algorithm=Algorithm.SCRYPT,
        height=template["height"],
        reward_max_atomic=subsidy_atomic(REGTEST, template["height"])
        + sum(entry["fee"] for entry in template["transactions"]),
    )


@pytest.mark.parametrize("row", RECORDED.values(), ids=RECORDED)
def test_blocks_a_real_node_accepted_are_put_together_from_its_template(row):
    raw = bytes.fromhex(row["block"])
    template = parse_template(REGTEST, row["template"])
    outputs = tuple(
        CoinbaseOutput(script=output.script, amount_atomic=output.amount_atomic)
        for output in parse_block(raw).coinbase.outputs[:-1]
    )
    parts = build_coinbase(template, outputs=outputs, signature=b"/lodepool/", extranonce_bytes=12)
    at = raw.index(parts.coinbase2[:11])
    coinbase = parts.coinbase1 + raw[at - 12 : at] + parts.coinbase2
    assert parts.outputs == outputs
    assert assemble_block(template, header=raw[:80], coinbase=coinbase) == raw
    root = merkle_root_from_branch(sha256d(coinbase), merkle_branch([entry.txid for entry in template.transactions]))
    assert root == raw[36:68]


def test_extension_block_and_hogex_are_recognised():
    row = RECORDED["mweb_with_transactions"]
    block = parse_block(bytes.fromhex(row["block"]))
    assert block.mweb == bytes.fromhex(row["template"]["mweb"])
    assert [transaction.is_hogex for transaction in block.transactions] == [False, False, False, False, True]
    assert not block.transactions[-1].has_witness
    assert parse_block(bytes.fromhex(RECORDED["last_before_mweb"]["block"])).mweb is None


SEGWIT_BLOCK = bytes.fromhex(RECORDED["segwit_transactions"]["block"])
SEGWIT_VALUE_ATOMIC = RECORDED["segwit_transactions"]["template"]["coinbasevalue"]


def mined(raw: bytes, *, meets: bool = True) -> bytes:
    """Put the root of the transactions into the header and a nonce that makes the proof of work right, or wrong."""
    root = parse_block(raw).merkle_root
    for nonce in range(256):
        header = raw[:36] + root + raw[68:76] + nonce.to_bytes(4, "little")
        if parse_header(header).meets_target(Algorithm.SCRYPT) == meets:
            return header + raw[80:]
    raise AssertionError("no nonce in 256")


def judge(raw: bytes, *, height: int = 128, reward_max_atomic: int = SEGWIT_VALUE_ATOMIC) -> None:
    check_block(parse_block(raw), algorithm=Algorithm.SCRYPT, height=height, reward_max_atomic=reward_max_atomic)


def test_good_block_passes_and_stays_good_when_mined_again():
    judge(SEGWIT_BLOCK)
    judge(mined(SEGWIT_BLOCK))


@pytest.mark.parametrize(
    ("change", "limits", "word"),
    [
        (lambda raw: mined(raw, meets=False), {}, "high-hash"),
        (lambda raw: raw[:72] + bytes(4) + raw[76:], {}, "high-hash"),
        (lambda raw: raw, {"height": 129}, "bad-cb-height"),
        (lambda raw: raw, {"reward_max_atomic": SEGWIT_VALUE_ATOMIC - 1}, "bad-cb-amount"),
        (lambda raw: mined(raw.replace(b"\xaa\x21\xa9\xed", b"\xaa\x21\xa9\xee")), {}, "unexpected-witness"),
        (lambda raw: mined(raw.replace(b"\x01\x20" + bytes(32), b"\x01\x1f" + bytes(31), 1)), {}, "nonce-size"),
        (lambda raw: mined(raw.replace(b"\x01\x20" + bytes(32), b"\x01\x20" + b"\x01" * 32, 1)), {}, "merkle-match"),
    ],
)
def test_block_that_breaks_one_rule_is_refused_with_the_nodes_word_for_it(change, limits, word):
    with pytest.raises(BlockError, match=word):
        judge(change(SEGWIT_BLOCK), **limits)


def test_block_with_a_changed_transaction_has_another_merkle_root():
    changed = SEGWIT_BLOCK.replace(b"/lodepool/", b"/lodep00l/")
    with pytest.raises(BlockError, match="bad-txnmrklroot"):
        judge(changed)


def test_block_with_a_repeated_transaction_is_refused_although_its_root_is_right():
    """An odd level repeats its last hash, so repeating a transaction keeps the root (CVE-2012-2459)."""
    block = parse_block(SEGWIT_BLOCK)
    three = block.transactions[:3]
    repeated = replace(block, transactions=(*three, three[-1]))
    header = block.header
    for nonce in range(256):
        data = header.data[:36] + repeated.merkle_root + header.data[68:76] + nonce.to_bytes(4, "little")
        if parse_header(data).meets_target(Algorithm.SCRYPT):
            break
    assert replace(block, transactions=three).merkle_root == repeated.merkle_root
    with pytest.raises(BlockError, match="bad-txns-duplicate"):
        check_block(
            replace(repeated, header=parse_header(data)),
            algorithm=Algorithm.SCRYPT,
            height=128,
            reward_max_atomic=SEGWIT_VALUE_ATOMIC,
        )


@pytest.mark.parametrize(
    ("raw", "sentence"),
    [
        (b"", "header is cut off: 80 bytes expected, 0 left"),
        (SEGWIT_BLOCK[:79], "header is cut off: 80 bytes expected, 79 left"),
        (SEGWIT_BLOCK[:80], "transactions is cut off"),
        (SEGWIT_BLOCK[:80] + b"\x00", r"transactions\[0\] is not a coinbase"),
        (SEGWIT_BLOCK[:-1], r"transactions\[3\].locktime is cut off"),
        (SEGWIT_BLOCK + b"\x00", "block is followed by 1 bytes"),
        (SEGWIT_BLOCK[:80] + b"\x01" + bytes.fromhex(FIRST_PAYMENT), r"transactions\[0\] is not a coinbase"),
        (SEGWIT_BLOCK[:80] + b"\xfd\x01\x00" + SEGWIT_BLOCK[81:], "shortest form"),
        (SEGWIT_BLOCK[:80] + b"\xff" + b"\xff" * 8 + SEGWIT_BLOCK[81:], "above 33554432"),
    ],
)
def test_bytes_that_are_no_block_are_refused_with_the_place(raw, sentence):
    with pytest.raises(BlockError, match=sentence):
        parse_block(raw)


def test_block_with_two_coinbases_is_refused():
    raw = genesis(text=GENESIS_TIMES, key_hex=BITCOIN_GENESIS_KEY, time_s=0, nbits=0x207FFFFF, nonce=0)
    with pytest.raises(BlockError, match=r"transactions\[1\] is a second coinbase"):
        parse_block(raw[:80] + b"\x02" + raw[81:] * 2)


def test_extension_block_that_is_missing_or_misplaced_is_refused():
    row = RECORDED["mweb_with_transactions"]
    raw = bytes.fromhex(row["block"])
    bare = raw[: -1 - len(row["template"]["mweb"]) // 2]
    for broken in (bare, bare + b"\x00", bare + b"\x01"):
        with pytest.raises(BlockError, match="mweb"):
            parse_block(broken)
    hogex = bytes.fromhex(row["template"]["transactions"][-1]["data"])
    with pytest.raises(BlockError, match=r"transactions\[1\] is a HogEx and not the last"):
        parse_block(
            SEGWIT_BLOCK[:80] + b"\x03" + bytes.fromhex(genesis_coinbase()) + hogex + bytes.fromhex(FIRST_PAYMENT)
        )


def genesis_coinbase() -> str:
    return genesis(text=GENESIS_TIMES, key_hex=BITCOIN_GENESIS_KEY, time_s=0, nbits=0, nonce=0)[81:].hex()


@pytest.mark.parametrize(
    ("data_hex", "reason"),
    [
        (FIRST_PAYMENT[:-2], "locktime is cut off"),
        (FIRST_PAYMENT + "00", "followed by 1 bytes"),
        ("01000000" + "0000" + "00000000", "flags are 0x00"),
        ("01000000" + "0002" + "00000000", "flags are 0x02"),
        ("01000000" + "0001" + "00" + "00" + "00000000", "inputs are missing"),
        (FIRST_PAYMENT[:8] + "0001" + FIRST_PAYMENT[8:-8] + "00" + "00000000", "flagged but empty"),
        (FIRST_PAYMENT.replace("00ca9a3b00000000", "00ca9a3b00000080"), "negative amount"),
    ],
)
def test_bytes_that_are_no_transaction_are_refused_with_the_place(data_hex, reason):
    with pytest.raises(BlockError, match=reason):
        parse_transaction(bytes.fromhex(data_hex))


def test_mweb_data_of_a_single_transaction_counts_neither_for_its_hash_nor_its_weight():
    plain = parse_transaction(bytes.fromhex(FIRST_PAYMENT))
    data = FIRST_PAYMENT[:8] + "0008" + FIRST_PAYMENT[8:-8] + "01" + "ab" * 50 + "00000000"
    with_mweb = parse_transaction(bytes.fromhex(data))
    assert (with_mweb.txid, with_mweb.wtxid, with_mweb.weight) == (plain.txid, plain.wtxid, plain.weight)
    assert not with_mweb.is_hogex
    with pytest.raises(BlockError, match="mweb"):
        parse_block(SEGWIT_BLOCK[:80] + b"\x02" + bytes.fromhex(genesis_coinbase() + data))


def test_header_of_another_length_is_refused():
    template = parse_template(REGTEST, RECORDED["height_16"]["template"])
    with pytest.raises(BlockError, match="has 79 bytes, expected 80"):
        assemble_block(template, header=bytes(79), coinbase=b"")
    with pytest.raises(BlockError, match="has 81 bytes, expected 80"):
        parse_header(bytes(81))


def test_witness_of_a_coinbase_changes_its_wtxid_but_not_its_txid():
    coinbase = bytes.fromhex(genesis_coinbase())
    full = parse_transaction(with_witness(coinbase))
    assert full.txid == sha256d(coinbase)
    assert full.wtxid == sha256d(with_witness(coinbase))
    assert full.inputs[0].witness == (bytes(32),)


def test_commitment_to_no_other_transaction_is_that_of_every_empty_segwit_block():
    """Source: any empty Bitcoin block since segwit; its commitment output is always the same."""
    assert witness_commitment([]).hex() == "e2f61c3f71d1defd3fa999dfa36953755c690689799962b48bebd836974e8cf9"


def test_root_of_no_transaction_does_not_exist():
    with pytest.raises(ValueError, match="at least one"):
        merkle_root([])


@pytest.mark.parametrize(
    ("height", "push_hex"),
    [
        (0, "00"),
        (1, "51"),
        (16, "60"),
        (17, "0111"),
        (127, "017f"),
        (128, "028000"),
        (255, "02ff00"),
        (256, "020001"),
        (32767, "02ff7f"),
        (32768, "03008000"),
        (227836, "03fc7903"),
        (8388608, "0400008000"),
    ],
)
def test_heights_are_pushed_as_nodes_compare_them(height, push_hex):
    """Source: BIP 34 (block 227836) and Bitcoin Core, CScript << int64_t."""
    assert height_push(height).hex() == push_hex


def test_pushes_and_heights_out_of_range_are_refused():
    for call in (lambda: script_push(b""), lambda: script_push(bytes(76)), lambda: height_push(-1)):
        with pytest.raises(ValueError, match=r"not|negative"):
            call()


@pytest.mark.parametrize("value", [0, 252, 253, 0xFFFF, 0x10000, 0x2000000])
def test_counts_are_read_as_written(value):
    assert Reader(compact_size(value)).compact_size("count") == value


def test_counts_above_32_bits_are_written_with_eight_bytes():
    assert compact_size(2**32).hex() == "ff0000000001000000"


def test_scrypt_and_sha256d_of_a_header_are_different_numbers():
    header = genesis(text=GENESIS_TIMES, key_hex=BITCOIN_GENESIS_KEY, time_s=0, nbits=0, nonce=0)[:80]
    assert pow_hash(Algorithm.SHA256D, header) == sha256d(header)
    assert pow_hash(Algorithm.SCRYPT, header) != sha256d(header)
    assert isinstance(parse_header(header), BlockHeader)
    assert not parse_header(header).meets_target(Algorithm.SHA256D)
