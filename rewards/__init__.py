"""Rewards: found blocks, who is paid for them and how much, and their way from candidate to mature or orphaned.

Reads topic `blocks`, follows each block on the chain, fixes its window at the shares service, and books its
distribution in the ledger in the same database transaction as its own rows.

Start with `distribution.py` (who gets what; pure), then `domain.py` (a block's life as a table, schemes; pure),
`transfers.py` (a block's ledger transfers; pure), `follower.py` (the loop that asks the chain and books), `storage.py`,
`notices.py`, `consumer.py`, `service.py`, `audit.py` and `main.py`. docs/LEDGER.md shows one block in numbers.

May import `ledger`, `nodes`, `coins`, `runtime`, `proto`; other services are reached over gRPC only.
"""
