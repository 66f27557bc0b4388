"""Fences: the writes of a process whose term is over are refused by the database.

A term begins with `take_fence`, which raises the token; each transaction of an effect begins with `check_fence`. The
check locks the row in share mode, so that the next term begins either before it, and the check fails, or after the
transaction has ended. The token comes from the database and from nowhere else: a coordination service that was set up
anew cannot lock anybody out. It is the time in microseconds, or one more than the last: a database that has failed over
to a server that was behind does not give the token again that it has forgotten.

Each service that is exclusive has the table in its own schema (`FENCE_TABLE` is the text to copy into a migration).
"""

from runtime.postgres.pool import Connection

FENCE_TABLE = """
CREATE TABLE {schema}.fence (
    name text PRIMARY KEY,
    token bigint NOT NULL CHECK (token > 0)
)
"""


class Fenced(Exception):
    """Raised when another process has begun a term since.

    Attributes:
        name: What is exclusive.
        token: The token of the term that is over.
        current: The token of the newest term; zero when there is none.
    """

    def __init__(self, name: str, *, token: int, current: int) -> None:
        super().__init__(f"{name}: term {token} is over, term {current} has begun")
        self.name = name
        self.token = token
        self.current = current


async def take_fence(connection: Connection, schema: str, name: str) -> int:
    """Begin a term and return its token, higher than the last; every other one is void once this is committed."""
    token = await connection.fetchval(
        f"""
        INSERT INTO {schema}.fence AS fence (name, token)
        VALUES ($1, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint)
        ON CONFLICT (name) DO UPDATE SET token = greatest(fence.token + 1, excluded.token)
        RETURNING token
        """,
        name,
    )
    return int(token)


async def check_fence(connection: Connection, schema: str, name: str, token: int) -> None:
    """Go on only while the term lasts; call it inside the transaction of the effect, first of all.

    Raises:
        Fenced: When a later term has begun.
    """
    current = await connection.fetchval(f"SELECT token FROM {schema}.fence WHERE name = $1 FOR SHARE", name)
    if current != token:
        raise Fenced(name, token=token, current=int(current or 0))
