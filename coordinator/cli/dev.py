"""`dtm dev`: a coordinator to try out, with everything that can be stuck in it."""

import click

from coordinator.cli.configured import EXIT_START_FAILED


@click.command("dev")
@click.option("--http-port", type=click.IntRange(0, 65535), default=0, help="Default: a free one.")
@click.option("--grpc-port", type=click.IntRange(0, 65535), default=0, help="Default: a free one.")
@click.option("--log-in", is_flag=True, help="Have people log in; it says as whom.")
@click.pass_context
def dev_command(context: click.Context, http_port: int, grpc_port: int, log_in: bool) -> None:
    """Run a coordinator to try out, on loopback alone: one of every kind of stuck is in it.

    Its data and the services that it calls are its own, and go when it ends.
    """
    from coordinator.dev.run import run
    from coordinator.errors import StartError

    try:
        context.exit(run(http_port=http_port, grpc_port=grpc_port, log_in=log_in, say=click.echo))
    except StartError as error:
        click.echo(f"dtm: {error.message}\n     {error.hint}", err=True)
        context.exit(EXIT_START_FAILED)
