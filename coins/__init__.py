"""What a coin is: networks as data, and the rules of each coin family as pure functions.

Start with `coins.registry.get(coin_id)`, which answers a frozen `coins.coin.Coin`; everything else takes that value.
Reading order: `coin` (the record), `registry` (the coins themselves), `work` (targets, work, difficulty as integers),
then one package per family: `bitcoin` (addresses, templates, coinbase, merkle trees, blocks, subsidy).
`errors` holds every exception, `settings` the part of the configuration that says which coin is mined and for whom.

Nothing here reads a clock, draws a random number, opens a connection or logs: bytes and integers in, values out.
Amounts are whole atomic units, hashes are bytes in header order, and names that end in `_hex` are the reversed
hexadecimal form people read. May import: `native`, msgspec and the standard library.
"""
