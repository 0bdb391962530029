"""`dtm`, the command: dtm's own flags run the server, subcommands look at things (PROTOCOL §13)."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from coordinator import __version__
from coordinator.cli.configured import EXIT_START_FAILED, answer, file_option, load
from coordinator.cli.lazily import LazyGroup
from coordinator.cli.serving import serve

if TYPE_CHECKING:
    from coordinator.config.settings import Settings


def _print_version(context: click.Context, _parameter: click.Parameter, wanted: bool) -> None:
    if wanted and not context.resilient_parsing:
        click.echo(f"dtm version: {__version__}")
        context.exit()


@click.group(
    cls=LazyGroup, invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]}
)
@file_option
@click.option("-d", "debug", is_flag=True, help="Log at level debug.")
@click.option("-r", "reset", is_flag=True, help="Drop all transactions: the tables are made anew. Then run.")
@click.option("--workers", type=click.IntRange(1), metavar="N", help="Run N processes that share the ports.")
@click.option("--worker", hidden=True, help="The place of one of these; they are started with it.")
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
def main(
    context: click.Context,
    file: Path | None,
    debug: bool,
    reset: bool,
    workers: int | None,
    worker: str | None,
) -> None:
    """Run the coordinator of distributed transactions, or ask one that runs.

    Without -c it keeps its data in the SQLite file dtm.db in the current directory. Every key of the
    configuration can also be an environment variable: Store.Driver is STORE_DRIVER.
    """
    if context.invoked_subcommand is None:
        context.exit(serve(context, file, debug=debug, reset=reset, workers=workers, worker=worker))
    if debug or reset or workers:
        raise click.UsageError("-d, -r and --workers are for running the server, not for a subcommand.")
    context.obj = file


@main.command()
@file_option
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
    loaded = load(context, file)
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
@file_option
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
    is_ready, sentence = health_of(load(context, file).settings)
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


@main.group()
def token() -> None:
    """Make, list and revoke the tokens by which callers are known: docs/security.md.

    On a machine that reaches the store, with the coordinator's configuration; it may be running.
    """


@token.command("create")
@file_option
@click.option("--name", required=True, metavar="NAME", help="Whose it is, for people.")
@click.option("--role", required=True, type=click.Choice(["service", "viewer", "operator", "admin"]))
@click.option("--gid-prefix", default="", metavar="TEXT", help="service: only for gids that begin with it.")
@click.option("--days", type=click.IntRange(1, 3650), default=90, show_default=True, help="Until it expires.")
@click.pass_context
def token_create(
    context: click.Context, file: Path | None, name: str, role: str, gid_prefix: str, days: int
) -> None:
    """Make a token and print it, once: only its hash is stored."""
    from coordinator.cli import tokens

    settings = load(context, file or context.obj).settings
    made = tokens.create(settings, name=name, role=role, gid_prefix=gid_prefix, days=days)
    click.echo(answer(context, made))


@token.command("list")
@file_option
@click.pass_context
def token_list(context: click.Context, file: Path | None) -> None:
    """Show every token: id, state, role, expiry, last use, gid prefix, name. Times are UTC."""
    from coordinator.cli import tokens

    read = answer(context, tokens.listed(load(context, file or context.obj).settings))
    for line in tokens.lines(read):
        click.echo(line)


@token.command("revoke")
@file_option
@click.argument("identifier", metavar="ID")
@click.pass_context
def token_revoke(context: click.Context, file: Path | None, identifier: str) -> None:
    """Revoke the token of that ID (`dtm token list`) for good: within 5 seconds no coordinator takes it."""
    from coordinator.cli import tokens

    answer(context, tokens.revoke(load(context, file or context.obj).settings, identifier))
    click.echo(f"ok: revoked {identifier}; no coordinator takes it after 5 seconds")
