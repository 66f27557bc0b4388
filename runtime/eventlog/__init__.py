"""The event log: durable, ordered records between services.

Start with interface.py: publish with a durable acknowledgement, subscribe and poll; the consumer keeps its position in
its own database transaction (positions.py; consumer.py does the whole loop), so each record takes effect exactly once.
postgres.py is the implementation on a table with LISTEN/NOTIFY, kafka.py the one on Apache Kafka. One contract test
suite runs against both. bound.py keeps positions from being read in another log than the one they belong to.

Reading order: interface.py, positions.py, consumer.py, bound.py, postgres.py; kafka_settings.py, kafka.py,
kafka_subscription.py, kafka_publisher.py, kafka_topics.py, kafka_calls.py, kafka_logs.py.
May import: runtime.clock, runtime.errors, runtime.logs, runtime.postgres, runtime.process; asyncpg, aiokafka.
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
