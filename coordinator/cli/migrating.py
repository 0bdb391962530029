"""`dtm migrate`: what the coordinator's tables lack, said and then added, beside coordinators that run."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from coordinator.cli.configured import answer, file_option, load
from coordinator.cli.terminal import say

if TYPE_CHECKING:
    from coordinator.config.settings import Settings


@click.command("migrate")
@file_option
@click.option("--dry-run", is_flag=True, help="Say the steps and their SQL; do nothing.")
@click.option("--user", default="", metavar="NAME", help="Of the database, one that may make tables.")
@click.option("--password", envvar="DTM_MIGRATE_PASSWORD", hidden=True, default="", help="Of that user.")
@click.pass_context
def migrate_command(
    context: click.Context, file: Path | None, dry_run: bool, user: str, password: str
) -> None:
    """Add what the coordinator's tables lack: tables, columns, keys; each step is said before it is done.

    Nothing is dropped or changed; coordinators may be running, of this version or an older one. With --user
    the password is in DTM_MIGRATE_PASSWORD. Broken off, it goes on from where it was when it is run again.
    """
    settings = load(context, file or context.obj).settings
    answer(context, _migrate(settings, user, password, dry_run=dry_run))


async def _migrate(settings: "Settings", user: str, password: str, *, dry_run: bool) -> None:
    """Raises StartError."""
    from coordinator.server.certificates import tls_of
    from coordinator.server.handed_out import store_config
    from coordinator.store.migration import migration
    from coordinator.store.shared_table import VERSION

    config = store_config(settings, tls_of(settings.store, "Store.CertFile"))
    if user:
        config = replace(config, user=user, password=password)
    async with migration(config) as database:
        lacking = await database.lacking()
        where = settings.store.address
        if lacking.is_complete:
            say(f"ok: {where} lacks nothing, version {VERSION}")
            return
        for number, step in enumerate(lacking.steps, 1):
            say(f"{number}. {step.said}")
            for statement in step.statements:
                say(f"   {statement};")
            if not dry_run:
                await database.do(step)
        if dry_run:
            say(f"{where} lacks {len(lacking.steps)} steps to version {VERSION}; nothing was done")
            return
        await database.note(made=lacking.makes_all)
        say(f"ok: {where} is at version {VERSION}, {len(lacking.steps)} steps done")
