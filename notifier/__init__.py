"""Notifier: tells people what happens, each thing once: by Telegram, e-mail or webhook, in their language.

Reads topic `notices`, finds in one statement who wants to know, queues a delivery for each, and sends them at the rate
that each channel allows.

Start with `notices.py` (what can be told; pure) and `domain.py` (who wants it; pure), then `quiet.py` (quiet hours and
digests; pure) and `pacing.py` (rates, back-off; pure). `queueing.py` and `claims.py` are the queue in PostgreSQL,
`sender.py` the loop over it, `channels/` the ways out, `rendering.py` with `texts/` the words. `subscriptions.py`,
`service.py`, `consumer.py` and `main.py` have the shape of every service. docs/NOTIFIER.md explains it to operators.

May import `coins`, `runtime`, `proto`; other services are reached over gRPC only.
"""
