"""The commands that do the same as a button, and the page as text to paste elsewhere. Pure."""

import re
import shlex
from collections.abc import Sequence
from typing import Final

from coordinator.explain.actions import Action, SkipReason
from coordinator.service.operate import Explained, Wish
from coordinator.telemetry.shown import shown
from coordinator.timeline.rows import Row
from coordinator.timeline.teller import Teller

_SPECIAL: Final = re.compile(r"([\\`*_{}\[\]<>()#+!|~])")
_REASONS: Final = {
    SkipReason.HAPPENED_OUTSIDE: "--it-happened-outside",
    SkipReason.MUST_NOT_HAPPEN: "--must-not-happen",
}


def show_command(gid: str) -> str:
    """What shows the same in a terminal."""
    return f"dtm show {quoted(gid)}"


def command_of(gid: str, wish: Wish, reason: str = "") -> str:
    """What does the same in a terminal."""
    names, options = [quoted(gid)], []
    if wish.action is Action.SKIP:
        names.append(quoted(wish.branch[0]))
        options.append(_REASONS[wish.skip_reason])
    if reason:
        options += ["--reason", quoted(reason)]
    if any(name.startswith("-") for name in names):
        return " ".join(["dtm", wish.action.value, *options, "--", *names])
    return " ".join(["dtm", wish.action.value, *names, *options])


def quoted(text: str) -> str:
    """The text as one word for a shell; what a terminal would obey is escaped."""
    if shown(text) == text:
        return shlex.quote(text)
    return "$'" + shown(text.replace("\\", "\\\\").replace("'", "\\'")) + "'"


def markdown_of(explained: Explained, rows: Sequence[Row], link: str, teller: Teller, language: str) -> str:
    """The page for a ticket or a chat."""
    transaction, why = explained.stored.transaction, explained.why
    status = teller.words(f"status.{transaction.status.value}")
    lines = [
        f"**{_escaped(transaction.gid)}** · {_escaped(transaction.trans_type)} · {status}",
        "",
        f"{why.code.id}: {_escaped(why.said.told(language))}",
        "",
        _escaped(why.advice(language)),
        "",
    ]
    lines += [f"- {row.time} {row.glyph} {_escaped(row.sentence)}" for row in rows]
    return "\n".join([*lines, "", f"<{link}>", f"`{show_command(transaction.gid)}`"])


def _escaped(text: str) -> str:
    return _SPECIAL.sub(r"\\\1", " ".join(shown(text).split()))
