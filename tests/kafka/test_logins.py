"""One login per service: it is its service, and nobody else."""

from urllib.parse import urlsplit

import asyncpg
import pytest
from pydantic import SecretStr

from deskline.errors import UsageError
from deskline.logins import make_logins, passwords_in
from deskline.persons import forget_elsewhere
from deskline.postgres import connect
from deskline.settings import ServiceSettings

# Logins belong to the whole server: those who make them take turns.
pytestmark = [pytest.mark.kafka, pytest.mark.xdist_group("logins")]
SERVICES = ("archive", "autoreply", "config", "router", "sla")


@pytest.fixture
async def logins(migrated_database, tmp_path):
    for name in SERVICES:
        (tmp_path / name).write_text(f"a long password of {name}\n")
    passwords = passwords_in(tmp_path)
    await make_logins({"dsn": migrated_database}, passwords)
    parts = urlsplit(migrated_database)

    def settings(name, password=None):
        dsn = f"postgresql://deskline_login_{name}@{parts.hostname}:{parts.port}{parts.path}"
        return ServiceSettings(postgres_dsn=SecretStr(dsn), postgres_password=SecretStr(password or passwords[name]))

    return settings


async def test_each_reads_and_writes_its_own_schema_alone(logins):
    for name in SERVICES:
        connection = await connect(logins(name), name)
        try:
            assert await connection.fetchval("SELECT current_user::text") == f"deskline_{name}"
            await connection.fetch("SELECT * FROM config.bodies")
            for other in SERVICES:
                if other == name:
                    continue
                with pytest.raises(asyncpg.InsufficientPrivilegeError):
                    await connection.execute(f"SET ROLE deskline_{other}")
                table = {"archive": "archive.raw_records", "config": "config.documents"}.get(other, f"{other}.lanes")
                with pytest.raises(asyncpg.InsufficientPrivilegeError):
                    await connection.fetch(f"SELECT * FROM {table}")
        finally:
            await connection.close()


async def test_nothing_is_inherited_and_no_service_makes_anything(logins):
    connection = await asyncpg.connect(**logins("sla").postgres_options)
    try:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.fetch("SELECT * FROM sla.lanes")
        for statement in ("SET ROLE deskline_sla; CREATE TABLE sla.mine (id int)", "RESET ROLE; CREATE ROLE eve",
                          "CREATE SCHEMA mine", "SET ROLE deskline_sla; DROP TABLE sla.lanes"):  # fmt: skip
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(statement)
    finally:
        await connection.close()


async def test_the_archive_cannot_change_what_it_keeps(logins):
    connection = await connect(logins("archive"), "archive")
    try:
        for statement in ("UPDATE raw_records SET value = ''", "DELETE FROM raw_records", "TRUNCATE raw_records",
                          "DELETE FROM seals", "INSERT INTO dropped DEFAULT VALUES"):  # fmt: skip
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(statement)
    finally:
        await connection.close()


async def test_an_erasure_by_the_archives_login_says_which_command_forgets_what_others_record(logins):
    (found,) = await forget_elsewhere(logins("archive"), "u 17")
    assert (found.service, found.rows, found.command) == ("router", None, "deskline router forget 'u 17'")
    assert [one.rows for one in await forget_elsewhere(logins("router"), "u 17")] == [0]


async def test_a_password_is_changed_by_making_the_login_again(logins, migrated_database):
    said = []
    await make_logins({"dsn": migrated_database}, {"sla": "another long one"}, say=said.append)
    assert said == ["deskline_login_sla: password set"]
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(**logins("sla").postgres_options)
    await (await asyncpg.connect(**logins("sla", "another long one").postgres_options)).close()


async def test_roles_come_before_logins(database):
    """In a server where nothing was ever migrated."""
    with pytest.raises(UsageError, match="the role deskline_nowhere does not exist; run: deskline migrate"):
        await make_logins({"dsn": database}, {"nowhere": "a long password"})
