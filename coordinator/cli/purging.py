"""`dtm purge`: transactions that ended long ago, counted or deleted, where the store is reached."""

import asyncio
import getpass
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from coordinator.cli.configured import answer, file_option, load
from coordinator.cli.terminal import progress, progress_over, say

if TYPE_CHECKING:
    from coordinator.config.settings import Settings
    from coordinator.store.sql import SqlStore

_WAIT_SECONDS: Final = 5.0
AGE_DEFAULT: Final = timedelta(days=7)
_LOOK: Final = 5_000  # rows, where they are only counted


class Age(click.ParamType[timedelta]):
    """A length of time of an hour at least: `12h`, `30d`."""

    name = "age"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        """See click."""
        from coordinator.config.store import RETENTION_LEAST, age_of

        try:
            age = value if isinstance(value, timedelta) else age_of(str(value))
        except ValueError:
            self.fail(f"{value!r} is no length of time such as 12h or 7d", param, ctx)
        if age < RETENTION_LEAST:
            self.fail(f"{value} is less than an hour: a late request may still need it", param, ctx)
        return age


@click.command("purge")
@file_option
@click.option("--older-than", type=Age(), metavar="AGE", help="Default: Store.Retention; to count, else 7d.")
@click.option("--yes", is_flag=True, help="Delete them; without it they are only counted.")
@click.pass_context
def purge_command(context: click.Context, file: Path | None, older_than: timedelta | None, yes: bool) -> None:
    """Count the transactions that ended longer ago than AGE, or delete them with their branches.

    On a machine that reaches the store, with the coordinator's configuration; it may be running. What
    is unfinished is never touched. With Store.ArchivePath they are written there before.
    """
    settings = load(context, file or context.obj).settings
    age = older_than or settings.store.kept
    if not age and yes:
        raise click.UsageError("say --older-than AGE: Store.Retention says no length of time.")
    age = age or AGE_DEFAULT
    purged, branches = answer(context, _purge(settings, age, delete=yes))
    progress_over()
    ended = f"ended more than {shown_age(age)} ago"
    if yes:
        say(f"deleted {purged} transactions with {branches} branches that {ended}")
    else:
        say(f"{purged} transactions {ended}; --yes deletes them")


async def _purge(settings: "Settings", age: timedelta, *, delete: bool) -> tuple[int, int]:
    """How many transactions and branches. Raises StartError, StoreUnavailable, ArchiveFailed."""
    from coordinator.engine.purging import Pace, purge_page
    from coordinator.store.archive import Archive

    path = settings.store.archive_path
    keep = Archive(Path(path)).add if path else None
    transactions = branches = looked = 0
    pace = Pace()
    async with opened(settings) as store:
        before = await store.utc_now() - age
        after: int | None = 0
        while after is not None:
            began = time.monotonic()
            page = await store.retention.look(after, before, limit=pace.size if delete else _LOOK)
            after, looked = page.after, looked + page.looked_at
            if delete:
                purged = await purge_page(store.retention, page, before, keep, before + age)
                transactions, branches = transactions + purged.transactions, branches + purged.branches
                await asyncio.sleep(pace.pause(time.monotonic() - began, 0))
            else:
                transactions += len(page.found)
            progress(f"looked at {looked} rows, {transactions} {'deleted' if delete else 'are old'} …")
        while delete and await store.retention.give_back():  # noqa: ASYNC110 - paced
            await asyncio.sleep(pace.pause(0.05, 0))
        if delete:
            await record_purge(store, f"older than {shown_age(age)}", f"{transactions} transactions deleted")
    return transactions, branches


async def record_purge(store: "SqlStore", target: str, became: str) -> None:
    """Note who deleted what, where that is noted."""
    from coordinator.access.audit import Actor, Record, audit_row
    from coordinator.clock import SystemClock

    if "dtm_audit" in store.missing_tables:
        return
    try:
        user = getpass.getuser()
    except (OSError, KeyError):  # no name for this uid, as in a container
        user = "?"
    record = Record("purge", target, became=became)
    await store.audit.add(
        [audit_row(Actor(f"{user}@{socket.gethostname()}", "command"), record, at=SystemClock().now())]
    )


@asynccontextmanager
async def opened(settings: "Settings") -> "AsyncIterator[SqlStore]":
    """Lend the store of that configuration, beside a coordinator or not. Raises StartError."""
    from coordinator.clock import SystemClock
    from coordinator.server.certificates import tls_of
    from coordinator.server.handed_out import store_config
    from coordinator.store.open import open_store

    config = replace(store_config(settings, tls_of(settings.store, "Store.CertFile")), beside=True)
    store = await open_store(config, clock=SystemClock(), zone=settings.time_zone, wait_seconds=_WAIT_SECONDS)
    try:
        yield store
    finally:
        await store.close()


def shown_age(age: timedelta) -> str:
    """`7d`, `90m`."""
    seconds = int(age.total_seconds())
    for unit, size in (("d", 86_400), ("h", 3600), ("m", 60)):
        if seconds % size == 0:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"
