"""Connections to Postgres: one role, one schema, and every wait bounded."""

import asyncio
from typing import TYPE_CHECKING, Any

import asyncpg

from deskline.errors import TransientError
from deskline.settings import ServiceSettings

if TYPE_CHECKING:
    Connection = asyncpg.Connection[asyncpg.Record]
else:
    # Generic for type checkers only.
    Connection = asyncpg.Connection

# What retrying can mend (design habit 6: mapped in one place). The database is away, restarting, full of connections,
# or somebody else holds the lock; and the two serialisation failures.
TRANSIENT: tuple[type[BaseException], ...] = (
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.LockNotAvailableError,
    asyncpg.QueryCanceledError,
    asyncpg.TransactionRollbackError,
    asyncpg.IdleInTransactionSessionTimeoutError,
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    ConnectionError,
    TimeoutError,
    OSError,
    TransientError,
)


def is_transient(error: BaseException) -> bool:
    """Whether waiting may mend it. Those of asyncpg's ``InterfaceError`` that are a ``ValueError``, too, are about what
    they were given, for good.
    """
    return isinstance(error, TRANSIENT) and not isinstance(error, ValueError)


async def connect(
    settings: ServiceSettings, schema: str, *, patient: bool = False, role: str | None = None
) -> Connection:
    """A connection that acts as ``deskline_<schema>`` (or ``role``) in that schema; raises ``TransientError`` while there is none.

    ``patient``: for commands that work on whole days: their statements may take as long as they take.
    """
    timeout_ms = str(int(settings.database_timeout_s * 1000))
    options: dict[str, Any] = {
        "application_name": f"deskline-{schema}-{settings.instance}",
        "role": role or f"deskline_{schema}",
        "search_path": schema,
        # A frozen owner holds its lane's row until the server ends its transaction; the next one waits no longer.
        "lock_timeout": timeout_ms,
        "statement_timeout": str(int(settings.database_timeout_s * 4000)),
        "idle_in_transaction_session_timeout": timeout_ms,
        "jit": "off",
    }
    if patient:
        options |= {"statement_timeout": "0", "idle_in_transaction_session_timeout": "0"}
    try:
        async with asyncio.timeout(15):
            return await asyncpg.connect(
                **settings.postgres_options, server_settings=options, command_timeout=None if patient else 60
            )
    except TRANSIENT as error:
        raise TransientError(f"no connection to PostgreSQL: {type(error).__name__}") from error
