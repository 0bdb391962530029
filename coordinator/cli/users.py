"""`dtm user`: people who may log in to the console, where the store is reached, by who may read conf.yml."""

import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from coordinator.access.permissions import HUMAN_ROLES
from coordinator.cli.configured import answer, file_option, load

if TYPE_CHECKING:
    from coordinator.access.audit import Actor
    from coordinator.access.people import People
    from coordinator.config.settings import Settings

_LINE_MAX: Final = 4096  # characters of a password on stdin; what is longer is refused anyway
_SOON: Final = "; where they were logged in, they are not after 5 seconds"

_role = click.Choice([str(role) for role in HUMAN_ROLES])


@click.group("user")
def user_command() -> None:
    """Add, list and change the people who log in to the console by a password: docs/security.md.

    On a machine that reaches the store, with the coordinator's configuration; it may be running.
    """


@user_command.command("add")
@file_option
@click.argument("name")
@click.option("--role", required=True, type=_role)
@click.pass_context
def add(context: click.Context, file: Path | None, name: str, role: str) -> None:
    """Add somebody. The password is asked for, or read from stdin: its first line."""
    settings, password = _settings(context, file), _password()
    _change(context, settings, lambda people, by: people.add(by, name, role=role, password=password))
    click.echo(f"ok: {name} may log in, with the role {role}")


@user_command.command("list")
@file_option
@click.pass_context
def list_them(context: click.Context, file: Path | None) -> None:
    """Show everybody: role, state, since when, last login, how often logged in, name. Times are UTC."""

    from coordinator.cli import people

    for line in people.lines(answer(context, people.listed(_settings(context, file)))):
        click.echo(line)


@user_command.command("password")
@file_option
@click.argument("name")
@click.pass_context
def password(context: click.Context, file: Path | None, name: str) -> None:
    """Give somebody another password, which is asked for, or read from stdin: its first line."""
    settings, given = _settings(context, file), _password()
    _change(context, settings, lambda people, by: people.set_password(by, name, given))
    click.echo(f"ok: {name} has another password{_SOON}")


@user_command.command("role")
@file_option
@click.argument("name")
@click.argument("role", type=_role)
@click.pass_context
def role(context: click.Context, file: Path | None, name: str, role: str) -> None:
    """Give somebody another role."""
    _change(context, _settings(context, file), lambda people, by: people.set_role(by, name, role))
    click.echo(f"ok: {name} has the role {role}{_SOON}")


@user_command.command("disable")
@file_option
@click.argument("name")
@click.pass_context
def disable(context: click.Context, file: Path | None, name: str) -> None:
    """Keep somebody out until `dtm user enable`."""
    _change(context, _settings(context, file), lambda people, by: people.set_disabled(by, name, True))
    click.echo(f"ok: {name} is kept out{_SOON}")


@user_command.command("enable")
@file_option
@click.argument("name")
@click.pass_context
def enable(context: click.Context, file: Path | None, name: str) -> None:
    """Let somebody in again who was disabled."""
    _change(context, _settings(context, file), lambda people, by: people.set_disabled(by, name, False))
    click.echo(f"ok: {name} may log in again")


@user_command.command("remove")
@file_option
@click.argument("name")
@click.pass_context
def remove(context: click.Context, file: Path | None, name: str) -> None:
    """Forget somebody; the record of what they did stays."""
    _change(context, _settings(context, file), lambda people, by: people.remove(by, name))
    click.echo(f"ok: {name} is removed{_SOON}")


def _settings(context: click.Context, file: Path | None) -> "Settings":
    return load(context, file or context.obj).settings


def _change(
    context: click.Context, settings: "Settings", change: "Callable[[People, Actor], Awaitable[None]]"
) -> None:
    from coordinator.cli import people

    answer(context, people.change(settings, change))


def _password() -> str:
    if sys.stdin.isatty():
        given: str = click.prompt("Password", hide_input=True, confirmation_prompt=True)
        return given
    return sys.stdin.readline(_LINE_MAX).removesuffix("\n").removesuffix("\r")
