"""Whether a database server would let a coordinator in; makes nothing there."""

import asyncio
from typing import Final

from coordinator.errors import StartError
from coordinator.store.faults import STORE_ERRORS, Fault, fault_of, reason_of
from coordinator.store.mysql import MySQLServer
from coordinator.store.postgres import PostgresServer
from coordinator.tls import ClientTls

PROBE_SECONDS: Final = 5.0


async def probe(
    driver: str, *, host: str, port: int, user: str, password: str, database: str, tls: ClientTls | None
) -> str:
    """Log in once; return what was found, as the end of a sentence that begins with the store.

    driver: mysql or postgres. tls: None: not encrypted. Raises StartError that says what is wrong and what to
    do.
    """
    server: MySQLServer | PostgresServer
    if driver == "mysql":
        server = MySQLServer(
            host=host, port=port, user=user, password=password, database=database,
            connections_max=1, idle_max=1, lifetime_seconds=PROBE_SECONDS, tls=tls,
        )  # fmt: skip
    else:
        server = PostgresServer(
            host=host, port=port, user=user, password=password, database=database, schema="public",
            connections_max=1, idle_max=1, lifetime_seconds=PROBE_SECONDS, tls=tls,
        )  # fmt: skip
    try:
        async with asyncio.timeout(PROBE_SECONDS), server.engine.connect() as connection:
            await connection.exec_driver_sql("SELECT 1")
    except STORE_ERRORS as error:
        if server.is_absent(error):
            return (
                f"takes the login; the database {database} is not there yet, and the start tries to make it"
            )
        if fault_of(error) is Fault.AWAY:
            raise StartError(
                f"the store {driver} {user}@{host}:{port}/{database} is not there: {reason_of(error)}",
                "start the database, or correct Store.Host and Store.Port",
            ) from error
        server.cannot(error)
    finally:
        await server.engine.dispose()
    return "answers"
