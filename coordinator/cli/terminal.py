"""What a command writes: lines, tables, JSON; colour where it is wanted, marks always."""

import json
import os
import re
import sys
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Final

import click

from coordinator.telemetry.shown import shown

GREEN: Final = "green"  # done
RED: Final = "red"  # refused or broken
AMBER: Final = "yellow"  # waiting
VIOLET: Final = "magenta"  # undoing
# Counted over the whole database, so that every coordinator shows the same.
_GAUGE: Final = re.compile(
    r"^dtm_transactions_(due|oldest_seconds)(?:\{[^}]*\})? ([0-9.e+-]+)$", re.MULTILINE
)
MARKS: Final = {"done": "●", "refused": "✕", "undone": "▲", "ongoing": "◐", "forecast": "▢", "none": "·"}
_PLAIN: Final = {"●": "*", "✕": "x", "▲": "^", "◐": "~", "▢": "[]", "·": ".", "─": "-", "…": "..."}


def say(line: str = "", colour: str = "") -> None:
    """Write one line. What others wrote has gone through `safe` before."""
    text = _encodable(line)
    click.echo(click.style(text, fg=colour) if colour and _has_colour() else text)


def safe(text: object) -> str:
    """What others wrote, on one line, with nothing that a terminal would obey."""
    return shown(str(text))


def say_json(value: Any, *, lines: bool = False) -> None:
    """Write the value as JSON: in one document, or, where `lines`, one line for each of a list."""
    if not lines:
        click.echo(json.dumps(value, indent=2))
        return
    for one in value if isinstance(value, list) else [value]:
        click.echo(json.dumps(one))


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Write a table: fitted to a terminal, if rich is installed; else the last column is as wide as it is."""
    every = [heads, *rows]
    if sys.stdout.isatty() and os.environ.get("TERM") != "dumb" and _is_fitted(every):
        return
    widths = [max(len(row[at]) for row in every) for at in range(len(heads) - 1)]
    for row in every:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        say("  ".join([*cells, row[-1]]).rstrip())


def _is_fitted(rows: Sequence[Sequence[str]]) -> bool:
    """Write the table, the first row as its head, as wide as the terminal; False where rich is missing."""
    try:
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text
    except ImportError:
        return False
    made = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for head in rows[0]:
        made.add_column(Text(_encodable(head)), overflow="fold")
    for row in rows[1:]:
        made.add_row(*(Text(_encodable(cell)) for cell in row))
    Console(highlight=False, color_system="auto" if _has_colour() else None).print(made)
    return True


def clear() -> None:
    """Begin the terminal's page anew, where there is one."""
    if sys.stdout.isatty():
        click.clear()


def clock(moment: datetime) -> str:
    """The moment, in the terminal's own zone."""
    return f"{moment.astimezone():%Y-%m-%d %H:%M:%S}"


def age(since: datetime, now: datetime) -> str:
    """How long ago: `2 h 31 m`."""
    seconds = max(0, int((now - since).total_seconds()))
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} m"
    if seconds < 86_400:
        return f"{seconds // 3600} h {seconds % 3600 // 60} m"
    return f"{seconds // 86_400} d {seconds % 86_400 // 3600} h"


def gauges(metrics: str) -> dict[str, float]:
    """The work that metrics, as Prometheus reads them, tell of: due, and the oldest that is unfinished."""
    return {name: float(value) for name, value in _GAUGE.findall(metrics)}


def progress(text: str) -> None:
    """Say what is waited for, where a person looks: on one line that is written anew."""
    if sys.stderr.isatty():
        click.echo(f"\r\x1b[2K{_encodable(text)}", nl=False, err=True)


def progress_over() -> None:
    """Take that line away."""
    if sys.stderr.isatty():
        click.echo("\r\x1b[2K", nl=False, err=True)


def _has_colour() -> bool:
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def _encodable(text: str) -> str:
    """The text in characters that standard output has."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    try:
        text.encode(encoding)
    except (UnicodeEncodeError, LookupError):
        plain = "".join(_PLAIN.get(letter, letter) for letter in text)
        return plain.encode("ascii", "backslashreplace").decode()
    return text
