"""Turn a template into a solved block, as a miner and the pool do together."""

from coins.bitcoin.block import assemble_block
from coins.bitcoin.coinbase import CoinbaseOutput, build_coinbase
from coins.bitcoin.hashing import sha256d
from coins.bitcoin.merkle import merkle_branch, merkle_root_from_branch
from coins.bitcoin.template import Template
from coins.coin import Coin
from native import HeaderScanner

NONCES_MAX = 1 << 16


def solve(
    coin: Coin, template: Template, script: bytes, *, extranonce: bytes = b"\1\2\3\4\5\6\7\x08", **header
) -> bytes:
    """Return the serialised block that pays `script`; `header` may replace prev_hash, root, ntime or nbits."""
    outputs = [CoinbaseOutput(script=script, amount_atomic=header.pop("amount", template.coinbase_value_atomic))]
    parts = build_coinbase(template, outputs=outputs, signature=b"/test/", extranonce_bytes=len(extranonce))
    coinbase = parts.coinbase1 + extranonce + parts.coinbase2
    branch = merkle_branch([transaction.txid for transaction in template.transactions])
    return assemble_block(template, header=mine(coin, template, sha256d(coinbase), branch, **header), coinbase=coinbase)


def mine(coin: Coin, template: Template, coinbase_txid: bytes, branch: tuple[bytes, ...], **header) -> bytes:
    """Return the 80 bytes of a header that meets the template's target, or misses it with `is_low=True`."""
    is_low = header.pop("is_low", False)
    head = (
        template.version.to_bytes(4, "little")
        + header.get("prev_hash", template.prev_hash)
        + header.get("root", merkle_root_from_branch(coinbase_txid, branch))
        + header.get("ntime", template.curtime).to_bytes(4, "little")
        + header.get("nbits", template.nbits).to_bytes(4, "little")
    )
    scanner = HeaderScanner(algorithm=coin.algorithm.value, header=head + bytes(4))
    for nonce in range(NONCES_MAX):
        found, _ = scanner.scan(nonce_start=nonce, count=1, target=template.target)
        if (found is None) == is_low:
            return head + nonce.to_bytes(4, "little")
    raise AssertionError("no nonce found")
