"""Talk to nodes and wallets: one client per family, failover, and a simulated node.

Owns the sockets to the coins' daemons; knows nothing of shares, accounts or money in the books.

Start at `interface.py` (what a node and a wallet can do), then `errors.py` and `settings.py`. `jsonrpc.py` is the
HTTP connection, `bitcoin.py` the Bitcoin family's client on it, `group.py` several nodes used as one
(`breaker.py`, `follower.py` are its parts). `simulated.py` is a node in this process that checks blocks for real
(`simulated_chain.py`, `simulated_wallet.py`), `simulated_server.py` the same node behind HTTP, and `regtest.py`
starts two real litecoind for the demo and the tests.

May import coins, native, proto and runtime; never a service.
"""
