"""What every command that asks a coordinator has: where, as whom, and how it answers."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any, Final, TypeVar
from urllib.parse import quote

import click

from coordinator.cli.asked import ANSWER_SECONDS, Coordinator
from coordinator.cli.exits import Ended, Exit
from coordinator.cli.profile import DEFAULT_URL, profile_of
from coordinator.cli.terminal import say_json

F = TypeVar("F", bound=Callable[..., Any])
API: Final = "/api/dtmsvr"
OPERATE: Final = "/api/operate"


@dataclass(frozen=True, slots=True)
class Asking:
    """One command's coordinator, and whether its answer is for programs."""

    coordinator: Coordinator
    as_json: bool
    as_lines: bool

    @property
    def is_for_programs(self) -> bool:
        """Whether the answer is JSON."""
        return self.as_json or self.as_lines

    def told(self, value: Any) -> bool:
        """Write the value for a program, where one asks; whether it was."""
        if self.is_for_programs:
            say_json(value, lines=self.as_lines)
        return self.is_for_programs


def of_gid(gid: str) -> str:
    """The path of one transaction. Raises Ended for an empty gid."""
    if not gid:
        raise Ended(Exit.USAGE, "the gid is empty")
    return f"{OPERATE}/transactions/{quote(gid, safe='')}"


def asks(command: F) -> F:
    """Give the command the options, and an Asking as its first argument."""

    @click.option(
        "--url", default="", metavar="URL", help=f"The coordinator. Default: DTM_URL, or {DEFAULT_URL}."
    )
    @click.option(
        "--profile", default="", metavar="NAME", help="A section of the profile file. Default: DTM_PROFILE."
    )
    @click.option("--json", "as_json", is_flag=True, help="Answer with one JSON document.")
    @click.option("--jsonl", "as_lines", is_flag=True, help="Answer with a line of JSON for each.")
    @click.option(
        "--answer-seconds",
        type=click.FloatRange(0.1, 3600),
        default=ANSWER_SECONDS,
        show_default=True,
        help="How long each answer is waited for.",
    )
    @wraps(command)
    def with_asking(
        *arguments: Any,
        url: str,
        profile: str,
        as_json: bool,
        as_lines: bool,
        answer_seconds: float,
        **options: Any,
    ) -> Any:
        coordinator = Coordinator(profile_of(os.environ, name=profile, url=url), seconds=answer_seconds)
        try:
            return command(Asking(coordinator, as_json, as_lines), *arguments, **options)
        except KeyboardInterrupt:  # click's own end says 1, as of what was rolled back
            raise Ended(Exit.BROKEN_OFF, "broken off: the coordinator goes on") from None

    return with_asking  # type: ignore[return-value]
