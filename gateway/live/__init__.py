"""What happens in the pool, told as it happens: `/api/v1/ws`.

Owns the WebSocket: topics and who wants them (`hub.py`), what has changed since the last look (`changes.py`), frames
made once for all who get them (`frames.py`), all pure; looking at the services, once for all clients (`poller.py`);
the connections (`socket.py`). Start with `hub.py`, then `changes.py`.

May import what `gateway` may, and `gateway` itself; nothing in `gateway` but `app.py` imports it.
"""
