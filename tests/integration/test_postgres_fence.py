"""A later term refuses every earlier one, also where the database has forgotten that there was one."""

import pytest

from runtime.postgres.fence import FENCE_TABLE, Fenced, check_fence, take_fence
from runtime.postgres.pool import Pool, acquired
from tests.conftest import TestDatabase

SCHEMA = "work"


@pytest.fixture
async def pool(database: TestDatabase) -> Pool:
    async with acquired(database.pool) as connection:
        await connection.execute(f"CREATE SCHEMA {SCHEMA}")
        await connection.execute(FENCE_TABLE.format(schema=SCHEMA))
    return database.pool


async def test_each_term_has_a_higher_token_and_refuses_the_one_before(pool: Pool) -> None:
    """P4."""
    async with acquired(pool) as connection:
        first = await take_fence(connection, SCHEMA, "a")
        await check_fence(connection, SCHEMA, "a", first)
        second = await take_fence(connection, SCHEMA, "a")
        assert second > first
        with pytest.raises(Fenced):
            await check_fence(connection, SCHEMA, "a", first)
        await check_fence(connection, SCHEMA, "a", second)


@pytest.mark.parametrize("terms_before", [0, 3])
async def test_term_that_a_late_standby_never_heard_of_is_refused_once_another_begins(
    pool: Pool, terms_before: int
) -> None:
    """P4: a frozen process connects anew, to the standby; the term that was begun there must not have its token."""
    async with acquired(pool) as connection:
        for _ in range(terms_before):
            await take_fence(connection, SCHEMA, "a")
        forgotten = await connection.fetch(f"SELECT name, token FROM {SCHEMA}.fence")
        frozen = await take_fence(connection, SCHEMA, "a")
        await connection.execute(f"DELETE FROM {SCHEMA}.fence")
        await connection.executemany(f"INSERT INTO {SCHEMA}.fence VALUES ($1, $2)", [tuple(row) for row in forgotten])

        later = await take_fence(connection, SCHEMA, "a")

        with pytest.raises(Fenced):
            await check_fence(connection, SCHEMA, "a", frozen)
        await check_fence(connection, SCHEMA, "a", later)
