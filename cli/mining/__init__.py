"""A CPU miner: a Stratum V1 client and the search for shares.

`client` speaks to the pool and keeps the newest job; `search` turns a job into headers and scans them with
`native.HeaderScanner`. It exists for the demo, for tests and for anyone who wants to see a share travel; it is no
match for an ASIC.

Start with `client.Miner`. Imports `native` and `coins` only, like any other miner would.
"""
