"""The Bitcoin family: addresses, block templates, coinbase transactions, merkle trees and whole blocks.

Owns every byte format of the family, for Bitcoin itself and for Litecoin with its extension blocks (MWEB).
Start with `template.parse_template`, then follow a block: `coinbase.build_coinbase` makes the two halves around the
extranonce, `merkle.merkle_branch` the path to the root, `block.assemble_block` the bytes for `submitblock`.
`block.parse_block` and `transaction.parse_transaction` read them back. `address` turns text into scripts and back,
`subsidy` says what a height may create, `hashing` holds the hash functions, `wire` the integers and scripts.

May import: `coins`, `native` and the standard library.
"""
