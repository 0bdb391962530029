"""How a command that asks a coordinator ends: the exit codes that scripts rely on, and the sentence."""

from enum import IntEnum
from typing import IO, Any

import click

from coordinator.telemetry.shown import shown


class Exit(IntEnum):
    """What the command's end means."""

    OK = 0
    NOT_WELL = 1  # rolled back, failed, or something that was looked at is wrong
    USAGE = 2
    NOT_FOUND = 3
    REFUSED = 4  # the state of the transaction does not allow it
    FORBIDDEN = 5
    UNREACHABLE = 6
    TIMED_OUT = 7
    BROKEN_OFF = 130  # by Ctrl-C, as shells count it


class Ended(click.ClickException):
    """Ends the command with this code and a sentence, in which nothing is obeyed by a terminal."""

    def __init__(self, code: Exit, message: str) -> None:
        super().__init__(message)
        self.exit_code = int(code)  # type: ignore[misc]  # click's is its default

    def show(self, file: IO[Any] | None = None) -> None:
        """Print the sentence where errors go."""
        click.echo(f"dtm: {shown(self.message)}", file=file, err=file is None)
