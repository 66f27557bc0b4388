"""Pay people, exactly once: reserve, sign, store, broadcast, confirm, settle.

Owns the schema `payouts`: batches, their items, what the operator holds, accounts that cannot be paid, and what the
wallet has sent without a batch. Money moves in the ledger, in the same transaction as the batch's change of state.

Start with domain.py: the table of states and the rules. docs/PAYOUTS.md tells each state, each arrow between two
effects and what a crash there does.

Reading order: domain.py, transaction.py (what a signed transaction must be), migrations/, storage.py, notices.py,
lock.py (one payer at a time), payer.py (the loop), maker.py, sender.py and follower.py (what a round does),
inspection.py, sends.py and reconcile.py (what the wallet knows), review.py and adoption.py (what the operator may do),
thresholds.py, service.py (gRPC), audit.py, main.py.

May import: ledger, nodes, runtime, coins, proto. No other service.
"""
