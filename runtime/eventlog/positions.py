"""A consumer's position, kept in its own schema and saved in the transaction of its effects.

Each consumer's migrations create the table (`POSITION_TABLE` is the text to copy into its first migration):

    CREATE TABLE position (
        topic text NOT NULL,
        partition integer NOT NULL CHECK (partition >= 0),
        next_offset bigint NOT NULL CHECK (next_offset >= 0),
        PRIMARY KEY (topic, partition)
    );
"""

from collections.abc import Mapping

from runtime.postgres.pool import Connection

POSITION_TABLE = """
CREATE TABLE {schema}.position (
    topic text NOT NULL,
    partition integer NOT NULL CHECK (partition >= 0),
    next_offset bigint NOT NULL CHECK (next_offset >= 0),
    PRIMARY KEY (topic, partition)
)
"""


class PositionMoved(Exception):
    """Raised when a position would go back: another process has consumed further meanwhile.

    Attributes:
        stored_offset: The position in the database.
        next_offset: The one that was to be saved.
    """

    def __init__(self, *, stored_offset: int, next_offset: int) -> None:
        super().__init__(f"the stored position is {stored_offset}, not before {next_offset}")
        self.stored_offset = stored_offset
        self.next_offset = next_offset


class PositionForgotten(Exception):
    """Raised when the database's position is behind what it has already confirmed to this process.

    It has failed over to a server that was behind, or was restored. Its effects went back as far as its position, so
    whoever consumes begins again there; to read on would skip what was forgotten.

    Attributes:
        partition: The partition.
        stored_offset: The position in the database.
        reached_offset: The position that was committed before.
    """

    def __init__(self, *, partition: int, stored_offset: int, reached_offset: int) -> None:
        super().__init__(
            f"the stored position of partition {partition} is {stored_offset}, {reached_offset} was committed before"
        )
        self.partition = partition
        self.stored_offset = stored_offset
        self.reached_offset = reached_offset


class Reached:
    """How far the database's positions have come, as this process knows; by partition.

    Whoever consumes asks each time it relies on a position: a connection that broke and was made anew does not tell
    that another server answers now.
    """

    def __init__(self) -> None:
        self._offsets: dict[int, int] = {}

    def loaded(self, partition: int, next_offset: int) -> None:
        """Note where reading begins, wherever it was before."""
        self._offsets[partition] = next_offset

    def committed(self, partition: int, next_offset: int) -> None:
        """Note what a transaction has committed, or found committed."""
        self._offsets[partition] = max(self._offsets.get(partition, 0), next_offset)

    def check(self, stored: Mapping[int, int]) -> None:
        """Compare with positions that were just read.

        Raises:
            PositionForgotten: When one has gone back.
        """
        for partition, stored_offset in stored.items():
            reached_offset = self._offsets.get(partition, 0)
            if stored_offset < reached_offset:
                raise PositionForgotten(partition=partition, stored_offset=stored_offset, reached_offset=reached_offset)

    async def check_all(self, connection: Connection, schema: str, *, topic: str) -> None:
        """Read the positions of all partitions that are known here, and compare.

        Raises:
            PositionForgotten: When one has gone back.
        """
        rows = await connection.fetch(
            f"SELECT partition, next_offset FROM {schema}.position WHERE topic = $1 AND partition = ANY($2::integer[])",
            topic,
            list(self._offsets),
        )
        self.check(dict.fromkeys(self._offsets, 0) | {row["partition"]: row["next_offset"] for row in rows})


async def load_position(
    connection: Connection, schema: str, *, topic: str, partition: int, for_update: bool = False
) -> int:
    """Return the offset to read next, 0 at first.

    Args:
        connection: Where the consumer keeps its tables.
        schema: The consumer's schema.
        topic: The topic.
        partition: The partition.
        for_update: Hold the position's row until the transaction ends, so that no other process consumes meanwhile.
    """
    if for_update:
        await connection.execute(
            f"INSERT INTO {schema}.position (topic, partition, next_offset) VALUES ($1, $2, 0) ON CONFLICT DO NOTHING",
            topic,
            partition,
        )
    query = f"SELECT next_offset FROM {schema}.position WHERE topic = $1 AND partition = $2"
    offset = await connection.fetchval(query + (" FOR UPDATE" if for_update else ""), topic, partition)
    return 0 if offset is None else int(offset)


async def save_position(connection: Connection, schema: str, *, topic: str, partition: int, next_offset: int) -> None:
    """Store the offset to read next; call it inside the transaction of the effects.

    Raises:
        PositionMoved: When the stored position is already further.
    """
    stored = await connection.fetchval(
        f"""
        INSERT INTO {schema}.position AS stored (topic, partition, next_offset) VALUES ($1, $2, $3)
        ON CONFLICT (topic, partition)
        DO UPDATE SET next_offset = greatest(stored.next_offset, excluded.next_offset)
        RETURNING next_offset
        """,
        topic,
        partition,
        next_offset,
    )
    if stored > next_offset:
        raise PositionMoved(stored_offset=int(stored), next_offset=next_offset)
