"""One login to PostgreSQL per service, which may take the role of that service and nothing else.

Migrations make the roles ``deskline_<service>``, which nobody logs in as. ``make_logins`` makes ``deskline_login_<service>``
beside each, for which a password is given, and sets that password anew where the login exists: that is also how it is
changed. The password itself does not reach the server: its SCRAM verifier (RFC 5802, RFC 7677) is made here, so that no
statement that the server may log holds it.
"""

import base64
import hashlib
import hmac
import secrets
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import asyncpg

from deskline.errors import UsageError
from deskline.migrate import open_connection, plan

# PostgreSQL's own default.
_ITERATIONS: Final = 4096


def login_of(schema: str) -> str:
    return f"deskline_login_{schema}"


def verifier(password: str, salt: bytes | None = None) -> str:
    """What PostgreSQL keeps of a password. ASCII only, for which SASLprep changes nothing."""
    salt = secrets.token_bytes(16) if salt is None else salt
    salted = hashlib.pbkdf2_hmac("sha256", password.encode("ascii"), salt, _ITERATIONS)
    stored = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    server = hmac.digest(salted, b"Server Key", "sha256")
    coded = [base64.b64encode(part).decode() for part in (salt, stored, server)]
    return f"SCRAM-SHA-256${_ITERATIONS}:{coded[0]}${coded[1]}:{coded[2]}"


def passwords_in(folder: Path) -> dict[str, str]:
    """Service → password, from the files of a folder that are named like services (as secrets are mounted)."""
    known = {schema.name for schema in plan()}
    try:
        files = sorted(file for file in folder.iterdir() if not file.name.startswith("."))
        found = {file.name: file.read_text(encoding="utf-8").rstrip("\r\n") for file in files}
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"--logins {folder} cannot be read: {type(error).__name__}") from None
    for name, password in found.items():
        if name not in known:
            raise UsageError(f"--logins {folder}: {name} is none of {', '.join(sorted(known))}")
        if len(password) < 12 or not password.isascii() or not password.isprintable():
            raise UsageError(f"{folder / name}: a password of at least 12 printable ASCII characters is wanted")
    if not found:
        raise UsageError(f"--logins {folder} has no file; name one like each service: {', '.join(sorted(known))}")
    return found


async def make_logins(
    options: Mapping[str, Any], passwords: Mapping[str, str], *, say: Callable[[str], None] = lambda _: None
) -> None:
    """Make or mend the login of each service. ``options``: address and password of one who may create roles."""
    connection = await open_connection(options)
    try:
        for schema, password in passwords.items():
            login, role = login_of(schema), f"deskline_{schema}"
            if not await connection.fetchval("SELECT true FROM pg_roles WHERE rolname = $1", role):
                raise UsageError(f"the role {role} does not exist; run: deskline migrate")
            there = await connection.fetchval("SELECT true FROM pg_roles WHERE rolname = $1", login)
            # NOINHERIT: it is nobody until it says SET ROLE, which every connection of a service does first.
            await connection.execute(
                f"{'ALTER' if there else 'CREATE'} ROLE {login} LOGIN NOINHERIT NOSUPERUSER NOCREATEDB NOCREATEROLE "
                f"PASSWORD '{verifier(password)}'"
            )
            await connection.execute(f"GRANT {role} TO {login}")
            say(f"{login}: {'password set' if there else 'created'}")
    except asyncpg.InsufficientPrivilegeError as error:
        raise UsageError(f"The login of --postgres-dsn may not make logins: {error}. It needs CREATEROLE.") from error
    finally:
        await connection.close()
