"""`dtm`, the command: dtm's own flags run the server, subcommands look at things (PROTOCOL §13)."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from coordinator import __version__

if TYPE_CHECKING:
    from coordinator.config.read import Loaded
    from coordinator.config.settings import Settings

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
    """Run the coordinator of distributed transactions, or look at one.

    Without -c it keeps its data in the SQLite file dtm.db in the current directory. Every key of the
    configuration can also be an environment variable: Store.Driver is STORE_DRIVER.
    """
    if context.invoked_subcommand is None:
        context.exit(_run(context, file, debug=debug, reset=reset))
    if debug or reset:
        raise click.UsageError("-d and -r are for running the server, not for a subcommand.")
    context.obj = file


@main.command()
@_file_option
@click.option(
    "--connect", is_flag=True, help="Then try to reach store, etcd and web hook; changes nothing there."
)
@click.pass_context
def check(context: click.Context, file: Path | None, connect: bool) -> None:
    """Explain a bad configuration, or print what is in force.

    Exits with 2 when the server would not start with it, and with 1 when --connect cannot reach something.
    """
    from coordinator.config.read import shown_values

    file = file or context.obj
    loaded = _load(context, file)
    click.echo(f"ok: {file}" if file else "ok: no file, environment and defaults only")
    for warning in loaded.warnings:
        click.echo(f"warning: {warning}")
    for notice in loaded.notices:
        click.echo(f"note: {notice}")
    click.echo()
    for key, value in shown_values(loaded.settings):
        click.echo(f"{key:<33} {value:<24} {loaded.sources.get(key, '')}".rstrip())
    if connect:
        context.exit(_connect(loaded.settings))


def _connect(settings: "Settings") -> int:
    """Say of each part whether it can be reached; returns the exit code."""
    import asyncio

    from coordinator.cli.connect import try_to_connect

    async def tell() -> int:
        code = 0
        async for tried in try_to_connect(settings):
            click.echo(f"{tried.part}: {'ok' if tried.is_reached else 'wrong'}: {tried.said}")
            if not tried.is_reached:
                click.echo(f"      {tried.hint}")
                code = EXIT_START_FAILED
        return code

    click.echo()
    return asyncio.run(tell())


@main.command()
@_file_option
@click.option("--pid", type=int, metavar="PID", help="Take -c from the command line of that process.")
@click.pass_context
def health(context: click.Context, file: Path | None, pid: int | None) -> None:
    """Ask the coordinator that runs with this configuration whether it is ready.

    Exits with 1 when it is not, or does not answer; for a container's health check.
    """
    from coordinator.cli.health import health_of, words_of_process

    file = file or context.obj
    if file is None and pid is not None:
        file = main.make_context("dtm", words_of_process(pid), resilient_parsing=True).params.get("file")
    is_ready, sentence = health_of(_load(context, file).settings)
    click.echo(sentence, err=not is_ready)
    if not is_ready:
        context.exit(EXIT_START_FAILED)


@main.command("barrier-table")
@click.option("--url", required=True, metavar="URL", help="mysql://…, postgresql://… or sqlite:///FILE.")
@click.pass_context
def barrier_table(context: click.Context, url: str) -> None:
    """Create the barrier's table in a business database, unless it is there.

    In the URL, signs such as @ / : # ? in user or password are percent-encoded.
    """
    import asyncio

    from coordinator.client import DtmError, create_barrier_table

    try:
        click.echo(f"ok: {asyncio.run(create_barrier_table(url))}")
    except DtmError as error:
        click.echo(f"dtm: {error}", err=True)
        context.exit(EXIT_START_FAILED)


def _run(context: click.Context, file: Path | None, *, debug: bool, reset: bool) -> int:
    """Run the server until it is told to stop; returns the exit code."""
    from coordinator.errors import StartError

    loaded = _load(context, file)
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


def _load(context: click.Context, file: Path | None) -> "Loaded":
    """The configuration; a bad one ends the program, in the same words and with the same code everywhere."""
    from coordinator.config.read import ConfigError, load_settings

    try:
        return load_settings(file, os.environ)
    except ConfigError as error:
        _say_problems(error.problems)
        context.exit(EXIT_BAD_CONFIG)


def _say_problems(problems: Sequence[object]) -> None:
    count = len(problems)
    click.echo(f"dtm: {count} problem{'s' if count > 1 else ''} in the configuration", err=True)
    for problem in problems:
        click.echo(f"  {problem}", err=True)
