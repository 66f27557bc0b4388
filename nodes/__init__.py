"""Talk to nodes and wallets: one client per family, failover, and a simulated node.

Owns the sockets to the coins' daemons; knows nothing of shares, accounts or money in the books.

Start at `interface.py` (what a node and a wallet can do), then `errors.py` and `settings.py`. `bitcoin.py` is the
Bitcoin family's client, on `jsonrpc.py` (HTTP) and `zmq_blocks.py`. `group.py` uses several nodes as one; `follower.py`
follows each of them and `breaker.py` decides when a failing one is asked again. `simulated.py` is a node in this
process that checks blocks for real, made of `simulated_chain.py`, `simulated_wallet.py`, `simulated_template.py` and
`faults.py`; `simulated_server.py` puts it behind HTTP with the methods of `simulated_rpc.py`. `regtest.py` starts two
real litecoind for the demo and the tests.

May import coins, native, proto and runtime; never a service.
"""
