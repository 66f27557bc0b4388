"""The ledger: who owns which part of the pool's money, as a double-entry book in whole atomic units.

A library, not a process: rewards and payouts call it inside their own database transaction, so that money moves
together with the row that says why. Transfers are only ever appended; a correction is a new transfer that names the
old one. The caller makes a transfer's id and may apply it any number of times.

Start with `domain.py` (accounts, transfers, and which transfer may move what), then `storage.py` (`apply` and the
readers), `migrations/0001_ledger.sql` (the same rules as constraints) and `audit.py`. docs/LEDGER.md walks through a
block's and a payout's life in numbers.

May import `runtime`; `domain.py` imports nothing but the standard library.
"""
