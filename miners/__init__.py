"""The miner processor: accounts, workers, their settings and presence.

Owns the schema `miners`. Reads the share stream for who mines, when and with what, and tells people who has stopped,
whose hashrate has sunk and whose shares are refused (docs/NOTICES.md); what shares are paid for is kept by the share
processor. Start with domain.py (`Activity`, `StreamClock`) and pace.py (`limit_ms`).

Reading order: domain.py, pace.py, judgement.py, records.py, consumer.py, storage.py, presence.py, half_hours.py,
notices.py, accounts.py, owner_settings.py, service.py, main.py; audit.py.
May import: proto, coins.settings, runtime. Never another service.
"""
