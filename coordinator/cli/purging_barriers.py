"""`dtm purge-barrier`: rows of the barrier in a business database that nobody needs any more."""

import asyncio
from collections.abc import Collection, Mapping
from contextlib import AsyncExitStack
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click

from coordinator.cli.configured import EXIT_START_FAILED, answer, load, say_error
from coordinator.cli.purging import AGE_DEFAULT, Age, opened, record_purge, shown_age
from coordinator.cli.terminal import progress, progress_over, say

if TYPE_CHECKING:
    from coordinator.config.settings import Settings
    from coordinator.engine.barrier_purging import Tally
    from coordinator.store.sql import SqlStore


@click.command("purge-barrier")
@click.option("--url", required=True, metavar="URL", help="mysql://…, postgresql://… or sqlite:///FILE.")
@click.option(
    "-c",
    "files",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The coordinator's configuration; again for each further one that calls services of this database.",
)
@click.option(
    "--older-than", type=Age(), default=AGE_DEFAULT, metavar="AGE", help="Since the transaction ended; 7d."
)
@click.option("--table", default="", metavar="NAME", help="The barrier's table, where it has another name.")
@click.option("--yes", is_flag=True, help="Delete them; without it they are only counted.")
@click.pass_context
def purge_barrier_command(
    context: click.Context, url: str, files: tuple[Path, ...], older_than: timedelta, table: str, yes: bool
) -> None:
    """Count the barrier's rows of transactions that ended longer ago than AGE, or delete them.

    On a machine that reaches the business database and the store of each coordinator that calls its
    services; all of them may be running. Rows of what is unfinished stay, however old they are.
    """
    from coordinator.client import DtmError

    every = [load(context, file).settings for file in files or (context.obj,)]
    try:
        where, tally = answer(context, _purge(every, url, table, older_than, delete=yes))
    except DtmError as error:
        say_error(error.message, "")
        context.exit(EXIT_START_FAILED)
    finally:
        progress_over()
    _say(where, tally, shown_age(older_than), deleted=yes)


def _say(where: str, tally: "Tally", age: str, *, deleted: bool) -> None:
    from coordinator.engine.barrier_purging import Verdict

    count = tally.verdicts
    say(f"{where}: looked at {tally.looked_at} rows of the barrier")
    say(f"  {count[Verdict.FINISHED]} of transactions that ended more than {age} ago")
    say(f"  {count[Verdict.FORGOTTEN]} of transactions that are stored no more, older than these can be")
    say(
        f"  stay: {count[Verdict.UNFINISHED]} of unfinished ones, {count[Verdict.RECENT]} too young, "
        f"{count[Verdict.UNKNOWN]} of transactions that no coordinator asked here stores"
    )
    say(f"deleted {tally.deleted} rows" if deleted else f"{tally.going} rows may go; --yes deletes them")


async def _purge(
    every: "list[Settings]", url: str, table: str, age: timedelta, *, delete: bool
) -> "tuple[str, Tally]":
    """Where that was, and what was seen. Raises StartError, StoreUnavailable, BarrierError, InvalidUse."""
    from coordinator.client.barriers.old_rows import old_barrier_rows
    from coordinator.engine.barrier_purging import Limits, Tally, purge_barrier

    def told(tally: Tally) -> None:
        progress(f"looked at {tally.looked_at} rows, {tally.deleted or tally.going} may go …")

    async with AsyncExitStack() as stack:
        rows = await stack.enter_async_context(old_barrier_rows(url, table))
        stores = [await stack.enter_async_context(opened(settings)) for settings in every]
        limits = Limits(age, await _kept(every, stores))

        async def when_ended(gids: Collection[str]) -> Mapping[str, datetime | None]:
            return _together(await asyncio.gather(*(store.retention.when_ended(gids) for store in stores)))

        async def utc_now() -> datetime:
            return min(await asyncio.gather(*(store.utc_now() for store in stores)))

        tally = await purge_barrier(rows, when_ended, utc_now, limits, delete=delete, told=told)
        if delete:
            target, became = f"barrier, older than {shown_age(age)}", f"{tally.deleted} rows deleted"
            for store in stores:
                await record_purge(store, target, became)
        return rows.where, tally


async def _kept(every: "list[Settings]", stores: "list[SqlStore]") -> timedelta:
    """How long each of them keeps what has ended; zero where one keeps it for ever."""
    from coordinator.server.retaining import keeping_of

    every_kept = [
        keeping_of(settings, made=(await store.shared.tables()).made).kept
        for settings, store in zip(every, stores, strict=True)
    ]
    return max(every_kept) if all(every_kept) else timedelta(0)


def _together(every: list[Mapping[str, datetime | None]]) -> Mapping[str, datetime | None]:
    """The last end of each; what is unfinished anywhere has not ended."""
    together: dict[str, datetime | None] = {}
    for ended in every:
        for gid, end in ended.items():
            other = together.get(gid, end)
            together[gid] = max(end, other) if end is not None and other is not None else None
    return together
