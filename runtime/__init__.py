"""Run a process: clock, configuration, logs, processes, PostgreSQL, event log, RPC.

Nothing here knows what the program is about; a word of the field in this package is a mistake.

Reading order: platform.py (what a service is given), clock.py, errors.py, config.py, logs.py, process.py and
supervisor.py (tasks and children), then the packages postgres/ (pool, transactions, migrations, embedded server),
eventlog/ (durable ordered records and positions) and rpc/ (gRPC servers and clients).

May import: the standard library and third-party packages only, nothing of ours.
"""
