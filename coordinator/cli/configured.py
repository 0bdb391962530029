"""What subcommands that read the coordinator's own configuration share: `-c FILE`, its problems, the end."""

import os
from collections.abc import Coroutine, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

if TYPE_CHECKING:
    from coordinator.config.read import Loaded

T = TypeVar("T")

EXIT_START_FAILED: Final = 1
EXIT_BAD_CONFIG: Final = 2


def _path(_context: click.Context, _parameter: click.Parameter, text: str | None) -> Path | None:
    text = (text or "").removeprefix("=")  # `-c=FILE`, as the reference's start scripts have it, is `-c FILE`
    return Path(text) if text else None


file_option = click.option(
    "-c", "file", metavar="FILE", callback=_path, help="Read the configuration from FILE."
)


def load(context: click.Context, file: Path | None, more: Mapping[str, str] | None = None) -> "Loaded":
    """The configuration; a bad one ends the program, in the same words and with the same code everywhere.

    more: what counts before the environment's variables.
    """
    from coordinator.config.read import ConfigError, load_settings

    try:
        return load_settings(file, {**os.environ, **(more or {})})
    except ConfigError as error:
        _say_problems(error.problems)
        context.exit(EXIT_BAD_CONFIG)


def answer(context: click.Context, asked: Coroutine[Any, Any, T]) -> T:
    """What comes of it; what goes wrong ends the program, with a sentence and what to do."""
    import asyncio

    from coordinator.errors import DtmError

    try:
        return asyncio.run(asked)
    except DtmError as error:
        say_error(error.message, error.hint)
        context.exit(EXIT_START_FAILED)


def say_error(message: str, hint: str) -> None:
    """Write it to stderr."""
    click.echo(f"dtm: {message}", err=True)
    if hint:
        click.echo(f"     {hint}", err=True)


def _say_problems(problems: Sequence[object]) -> None:
    count = len(problems)
    click.echo(f"dtm: {count} problem{'s' if count > 1 else ''} in the configuration", err=True)
    for problem in problems:
        click.echo(f"  {problem}", err=True)
