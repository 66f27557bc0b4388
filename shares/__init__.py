"""The share processor: the stream of shares as slices, and what is read from them.

Owns the schema `shares`: slices (coin, scheme, account, worker, height, minute), their sums, what each instance's
stream has brought, fixed windows. Start with domain.py (`Booking`: which shares are new and where they are booked).

Reading order: domain.py, window.py, hashrate.py (rules); records.py, consumer.py, keys.py, storage.py, notices.py
(the way in); window_storage.py, stats.py, accounts.py, listing.py, service.py (the way out); retention.py, audit.py,
main.py.
May import: proto, coins.settings, runtime. Never another service.
"""
