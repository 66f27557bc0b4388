"""Serve miners: speak stratum, verify shares, keep them in a journal, ship the journal to the event log.

Owns the miner-facing port, the share journal and the directory of found blocks. Start at `main.py`, which wires a
worker process (`worker.py`) or the shipper (`shipper.py`).

Reading order: protocol/ (what is said on a connection, pure), jobs/ (templates into jobs, pure), validation.py (a
submit and its job into an outcome, pure), journal.py (accepted means recorded), blocks.py (found blocks on disk and
to the nodes), server.py (connections), troubles.py (what operators must know, pure), worker.py (one process),
shipper.py (journal to event log), supervisor.py (which processes there are), service.py (gRPC).

May import nodes, runtime, coins, proto and native; no other service.
"""
