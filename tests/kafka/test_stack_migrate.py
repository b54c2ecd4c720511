"""`deskline migrate` against a real PostgreSQL."""

import asyncio
import contextlib

import asyncpg
import pytest

from deskline.errors import UsageError
from deskline.migrate import Migration, Schema, migrate, plan

pytestmark = pytest.mark.kafka


@contextlib.asynccontextmanager
async def connected(dsn: str, role: str | None = None):
    connection = await asyncpg.connect(dsn)
    if role is not None:
        await connection.execute(f"SET ROLE {role}")
    try:
        yield connection
    finally:
        await connection.close()


async def test_every_schema_is_made_once(database):
    done = await migrate(database)
    assert len(done) == sum(len(schema.migrations) for schema in plan())
    assert await migrate(database) == []


async def test_a_dry_run_changes_nothing(database):
    planned = await migrate(database, dry_run=True)
    async with connected(database) as connection:
        assert await connection.fetchval("SELECT to_regnamespace('router')") is None
    assert await migrate(database) == planned


async def test_a_role_does_its_own_work_and_sees_nobody_elses(migrated_database):
    async with connected(migrated_database, "deskline_router") as connection:
        await connection.execute("INSERT INTO router.lanes VALUES ('0', 1, '{}', '{}')")
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute("INSERT INTO sla.lanes VALUES ('0', 1, '{}', '{}')")
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute("CREATE TABLE router.mine (n int)")
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute("DELETE FROM router.lanes")


async def test_a_login_without_superuser_migrates_and_takes_the_roles(postgres, database):
    """Roles may have been made by another login; then that one must grant them, once, with the right to grant on."""
    name = f"migrator_{database.rpartition('/')[2]}"
    mark = database.rpartition("/")[2]
    schema = Schema(
        f"own_{mark}", (Migration("own/0001.sql", "CREATE TABLE t (n int); GRANT SELECT ON t TO {{role}};"),)
    )
    async with connected(postgres) as connection:
        await connection.execute(f"CREATE ROLE {name} LOGIN CREATEROLE PASSWORD 'secret'")
        await connection.execute(f'ALTER DATABASE "{mark}" OWNER TO {name}')
    try:
        address = database.rpartition("@")[2]
        login = f"postgresql://{name}:secret@{address}"
        await migrate(login, schemas=[schema])
        async with connected(login, schema.role) as connection:
            assert await connection.fetch(f"SELECT * FROM {schema.name}.t") == []
    finally:
        async with connected(database) as connection:
            await connection.execute(f"DROP OWNED BY {schema.role}, {name} CASCADE; ")
        async with connected(postgres) as connection:
            await connection.execute(f'ALTER DATABASE "{mark}" OWNER TO CURRENT_USER')
            await connection.execute(f"DROP ROLE {schema.role}; DROP OWNED BY {name}; DROP ROLE {name}")


async def test_a_failing_file_leaves_nothing_of_itself_and_what_came_before_stays(database):
    good, bad = (
        Migration("x/0001.sql", "CREATE TABLE a (n int)"),
        Migration("x/0002.sql", "CREATE TABLE b (n int); SELECT 1/0"),
    )
    schema = Schema("sla", (good, bad))
    with pytest.raises(UsageError, match=r"x/0002\.sql failed in schema sla: division by zero"):
        await migrate(database, schemas=[schema])
    async with connected(database) as connection:
        assert await connection.fetchval("SELECT to_regclass('sla.a')") is not None
        assert await connection.fetchval("SELECT to_regclass('sla.b')") is None
    mended = Schema("sla", (good, Migration("x/0002.sql", "CREATE TABLE b (n int)")))
    assert await migrate(database, schemas=[mended]) == ["sla: x/0002.sql"]


async def test_many_migrate_one_database_at_once_and_each_file_runs_once(database):
    results = await asyncio.gather(*(migrate(database) for _ in range(4)))
    assert sorted(len(result) for result in results)[:3] == [0, 0, 0]


async def test_several_databases_migrate_at_once_and_make_the_servers_roles_together(postgres, database):
    mark = database.rpartition("/")[2]
    schemas = [Schema(f"r{n}_{mark}", (Migration("r/0001.sql", "SELECT 1"),)) for n in range(5)]
    names = [f"{mark}_{n}" for n in range(4)]
    async with connected(postgres) as connection:
        for name in names:
            await connection.execute(f'CREATE DATABASE "{name}"')
    try:
        base = database.rpartition("/")[0]
        results = await asyncio.gather(*(migrate(f"{base}/{name}", schemas=schemas) for name in names))
        assert [len(result) for result in results] == [5] * 4
    finally:
        async with connected(postgres) as connection:
            for name in names:
                await connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
            for schema in schemas:
                await connection.execute(f"DROP ROLE {schema.role}")


async def test_a_database_that_is_not_there_is_said_plainly():
    with pytest.raises(UsageError, match="PostgreSQL cannot be reached"):
        await migrate("postgresql://nobody@127.0.0.1:1/none")
