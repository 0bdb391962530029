"""`dtm`, the command: dtm's own flags run the server, subcommands look at things (PROTOCOL §13)."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import click

from coordinator import __version__

EXIT_START_FAILED: Final = 1
EXIT_BAD_CONFIG: Final = 2


def _path(_context: click.Context, _parameter: click.Parameter, text: str | None) -> Path | None:
    text = (text or "").removeprefix("=")  # `-c=FILE`, as the reference's start scripts have it, is `-c FILE`
    return Path(text) if text else None


_file_option = click.option(
    "-c", "file", metavar="FILE", callback=_path, help="Read the configuration from FILE."
)


def _print_version(context: click.Context, _parameter: click.Parameter, wanted: bool) -> None:
    if wanted and not context.resilient_parsing:
        click.echo(f"dtm version: {__version__}")
        context.exit()


@click.group(invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@_file_option
@click.option("-d", "debug", is_flag=True, help="Log at level debug.")
@click.option("-r", "reset", is_flag=True, help="Drop all transactions: the tables are made anew. Then run.")
@click.option(
    "-v",
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_version,
    help="Print the version.",
)
@click.pass_context
def main(context: click.Context, file: Path | None, debug: bool, reset: bool) -> None:
    """Run the coordinator of distributed transactions.

    Without -c it keeps its data in the SQLite file dtm.db in the current directory. Every key of the
    configuration can also be an environment variable: Store.Driver is STORE_DRIVER.
    """
    if context.invoked_subcommand is None:
        context.exit(_run(file, debug=debug, reset=reset))
    if debug or reset:
        raise click.UsageError("-d and -r are for running the server, not for a subcommand.")
    context.obj = file


@main.command()
@_file_option
@click.pass_context
def check(context: click.Context, file: Path | None) -> None:
    """Explain a bad configuration, or print what is in force.

    Exits with 2 when the server would not start with it.
    """
    from coordinator.config.read import ConfigError, load_settings, shown_values

    file = file or context.obj
    try:
        loaded = load_settings(file, os.environ)
    except ConfigError as error:
        _say_problems(error.problems)
        context.exit(EXIT_BAD_CONFIG)
    click.echo(f"ok: {file}" if file else "ok: no file, environment and defaults only")
    for warning in loaded.warnings:
        click.echo(f"warning: {warning}")
    for notice in loaded.notices:
        click.echo(f"note: {notice}")
    click.echo()
    for key, value in shown_values(loaded.settings):
        click.echo(f"{key:<33} {value:<24} {loaded.sources.get(key, '')}".rstrip())


@main.command("barrier-table")
@click.option("--url", required=True, metavar="URL", help="mysql://…, postgresql://… or sqlite:///FILE.")
@click.pass_context
def barrier_table(context: click.Context, url: str) -> None:
    """Create the barrier's table in a business database, unless it is there."""
    import asyncio

    from coordinator.client import DtmError, create_barrier_table

    try:
        click.echo(f"ok: {asyncio.run(create_barrier_table(url))}")
    except DtmError as error:
        click.echo(f"dtm: {error}", err=True)
        context.exit(EXIT_START_FAILED)


def _run(file: Path | None, *, debug: bool, reset: bool) -> int:
    """Run the server until it is told to stop; returns the exit code."""
    from coordinator.config.read import ConfigError, load_settings
    from coordinator.errors import StartError

    try:
        loaded = load_settings(file, os.environ)
    except ConfigError as error:
        _say_problems(error.problems)
        return EXIT_BAD_CONFIG
    from coordinator.server.process import run  # the whole server: only now that it is needed

    settings = loaded.settings.model_copy(update={"log_level": "debug"}) if debug else loaded.settings
    if reset:
        click.echo(
            f"dtm: -r drops the coordinator's tables in {settings.store.address} and makes them anew;"
            " every transaction in them is lost.",
            err=True,
        )
    try:
        return run(settings, reset=reset, notices=loaded.notices, warnings=loaded.warnings)
    except StartError as error:
        click.echo(f"dtm: {error.message}", err=True)
        if error.hint:
            click.echo(f"     {error.hint}", err=True)
        return EXIT_START_FAILED


def _say_problems(problems: Sequence[object]) -> None:
    count = len(problems)
    click.echo(f"dtm: {count} problem{'s' if count > 1 else ''} in the configuration", err=True)
    for problem in problems:
        click.echo(f"  {problem}", err=True)
