"""The event log: durable, ordered records between services.

Start with interface.py: publish with a durable acknowledgement, subscribe and poll; the consumer keeps its position in
its own database transaction (positions.py; consumer.py does the whole loop), so each record takes effect exactly once.
postgres.py is the implementation on a table with LISTEN/NOTIFY. One contract test suite runs against every
implementation.

Reading order: interface.py, positions.py, consumer.py, postgres.py.
May import: runtime.clock, runtime.logs, runtime.postgres; asyncpg.
"""

from runtime.eventlog.interface import EventLog, EventLogUnavailable, LoadPosition, OutRecord, Record, Subscription
from runtime.eventlog.postgres import PostgresEventLog

__all__ = [
    "EventLog",
    "EventLogUnavailable",
    "LoadPosition",
    "OutRecord",
    "PostgresEventLog",
    "Record",
    "Subscription",
]
