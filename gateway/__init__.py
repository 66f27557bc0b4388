"""The API: JSON over HTTP in front of the services' gRPC; it keeps nothing and decides nothing about money.

Start with `routes/` (one module a noun: what each path answers, and its example), then `models.py` (the shapes of the
answers), `translation.py` (protobuf → models) and `sources.py` (the questions to the services, with deadlines).
`app.py` turns the table of routes into an application: parameters, problems (`problems.py`), ETags, CORS and the short
cache (`cache.py`); `openapi.py` describes the same table. `expectation.py` has the rules of chance, `limits.py` who may
ask how often. `live/` is the WebSocket, `exports/` the tables for download. `main.py` runs it; `config.py` has its
settings.

`make_app` returns an open application: a page or a WebSocket adds its own routes and reads `request.app[GATEWAY]`.
docs/API.md is the reader's side of this.

May import `coins`, `runtime`, `proto`; aiohttp. Never another service.
"""
