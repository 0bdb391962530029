"""The argument GID, which a shell completes with what is unfinished at the coordinator."""

import os
import re
from collections.abc import Callable
from typing import Any, Final

import click

from coordinator.cli.asked import Coordinator
from coordinator.cli.asking import OPERATE
from coordinator.cli.exits import Ended
from coordinator.cli.profile import profile_of

COMPLETION_SECONDS: Final = 1.0  # a person waits at the prompt
_UNFINISHED: Final = "status:prepared status:submitted status:aborting"
_ASKED: Final = 200
# What a shell would take for more than a word is not offered: whoever begins a transaction chooses its gid.
_HARMLESS: Final = re.compile(r"[\w.,:@%+/=][\w.,:@%+/=-]*", re.ASCII)


def gid_argument(name: str = "gid", **attributes: Any) -> Callable[[Any], Any]:
    """As click.argument, completed."""
    return click.argument(name, shell_complete=_unfinished, **attributes)


def _unfinished(context: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
    """The gids that begin so; none where they cannot be asked for, without a word."""
    given = context.params
    try:
        profile = profile_of(os.environ, name=given.get("profile") or "", url=given.get("url") or "")
        coordinator = Coordinator(profile, seconds=COMPLETION_SECONDS)
        page = coordinator.get(f"{OPERATE}/transactions", filter=_UNFINISHED, limit=str(_ASKED))
        gids = [str(found["gid"]) for found in page["transactions"]]
    except (Ended, KeyError, TypeError):
        return []
    return sorted(gid for gid in gids if gid.startswith(incomplete) and _HARMLESS.fullmatch(gid))
