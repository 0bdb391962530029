"""The store, opened by a command on the server's own machine; a coordinator may be running."""

import getpass
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Final

from coordinator.access.audit import Actor, Record, audit_row
from coordinator.clock import SystemClock
from coordinator.config.settings import Settings
from coordinator.errors import StartError
from coordinator.server.certificates import tls_of
from coordinator.server.handed_out import store_config
from coordinator.store.open import open_store
from coordinator.store.own_rows import OwnRow
from coordinator.store.sql import SqlStore
from coordinator.store.tables import how_to_make

_WAIT_SECONDS: Final = 5.0
_AUDIT: Final = "dtm_audit"


@asynccontextmanager
async def opened(settings: Settings, *tables: str) -> AsyncIterator[SqlStore]:
    """The store within the block. tables: needed beside that of the record. Raises StartError."""
    config = replace(store_config(settings, tls_of(settings.store, "Store.CertFile")), beside=True)
    store = await open_store(config, clock=SystemClock(), zone=settings.time_zone, wait_seconds=_WAIT_SECONDS)
    try:
        for table in (*tables, _AUDIT):
            if sql := store.missing_tables.get(table):
                raise StartError(
                    f"the store has no table {table}, and this user may not make it",
                    f"run {how_to_make(sql)}",
                )
        yield store
    finally:
        await store.close()


class Kept:
    """The record of who did what, as commands keep it: in the commit of the change, and nowhere else."""

    def rows(self, by: Actor, record: Record) -> tuple[OwnRow, ...]:
        """What is stored with the change."""
        return (self.row(by, record),)

    def row(self, by: Actor, record: Record) -> OwnRow:
        """The same, where there is always one."""
        return audit_row(by, record, at=SystemClock().now())

    def done(self, by: Actor, record: Record) -> None:
        """Nothing more is said."""


def me() -> Actor:
    """Who has typed the command."""
    try:
        user = getpass.getuser()
    except (OSError, KeyError):  # no name for this uid, as in a container
        user = "?"
    return Actor(f"{user}@{socket.gethostname()}", "command")
