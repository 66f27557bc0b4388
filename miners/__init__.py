"""The miner processor: accounts, workers, their settings and presence.

Owns the schema `miners`. Reads the share stream only for who mines, when and with what; work and counts are kept by
the share processor. Start with domain.py (`Activity`, `offline_after_ms`).

Reading order: domain.py, records.py, consumer.py, storage.py, accounts.py, service.py, main.py; audit.py.
May import: proto, coins.settings, runtime. Never another service.
"""
