"""A second face of the read API, for front ends and statistics sites written for Miningcore's.

Owns `/api/pools…`, `/api/v2/pools…`, `/api/blocks` and the WebSocket `/notifications`: names, units, pages and errors
as they are there, data from the same services. Start with `routes.py` (the table of paths; `pool.py` and `miners.py`
have most handlers), then `models.py` (shapes) and, all pure: `translation.py` (protobuf → shapes), `performance.py`
(steps of a history → samples), `numbers.py` (money and ratios as JSON numbers, never a float), `query.py` (parameters).
`lists.py` has numbered pages over lists that know page tokens. `app.py` adds it all to an application, `openapi.py`
describes it, `notifications.py` is the WebSocket, on `gateway.live`, with `notices.py` (its messages, pure).

May import what `gateway` may, and `gateway` itself; of `gateway` only `main.py` imports it.
"""
