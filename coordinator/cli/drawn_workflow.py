"""A workflow drawn in a terminal, as its code reads: steps by name, what they returned, how they ended."""

import base64
import binascii
from collections.abc import Mapping, Sequence
from typing import Any, Final

from coordinator.cli.terminal import AMBER, GREEN, MARKS, RED, VIOLET, safe, say

Json = Mapping[str, Any]

_NAME_MAX: Final = 34
_RESULT_MAX: Final = 60
_ENDS: Final = {"commit": ("confirmed", GREEN), "rollback": ("undone", VIOLET)}
# How our client marks what is not the result itself.
_ELSEWHERE: Final = "external:"
_LOST: Final = "too-large:"
_CANCELLED: Final = "cancelled:"
_BINARY: Final = "base64:"


def draw_workflow(branches: Sequence[Json], why: Json) -> None:
    """Draw the rows of a workflow: what was done, in the order of its code, then what was ended."""
    for row in sorted((it for it in branches if it["op"] == "action"), key=_place):
        _draw_step(row, why)
    for row in branches:
        if row["op"] == "patch":
            say(f"  {MARKS['none']} {safe(row.get('url', ''))}")
        elif row["op"] == "cancel":
            say(f"  {MARKS['refused']} cancelled: {safe(_text(row))}", RED)
    for op, (said, colour) in _ENDS.items():
        ended = [row for row in branches if row["op"] == op]
        if ended:
            say(f"  ── {said} {'─' * 50}")
        for row in ended:
            say(f"{_line(row)}  {MARKS['undone' if op == 'rollback' else 'done']} {said}", colour)


def _draw_step(row: Json, why: Json) -> None:
    text = _text(row)
    if row["status"] == "failed" and text.startswith(_CANCELLED):
        say(f"{_line(row)}  {MARKS['refused']} not begun: cancelled", RED)
    elif row["status"] == "failed":
        say(f"{_line(row)}  {MARKS['refused']} said no: {_short(text)}", RED)
    elif text.startswith(_LOST):
        lost = safe(text.removeprefix(_LOST))
        say(f"{_line(row)}  {MARKS['refused']} returned {lost} bytes, too many → roll back", RED)
    elif _name(row) == "sleep" or _name(row).startswith("sleep "):
        sleeps = why["code"] == "W03"
        mark, colour = (MARKS["ongoing"], AMBER) if sleeps else (MARKS["done"], GREEN)
        say(f"{_line(row)}  {mark} until {_short(text)}", colour)
    else:
        say(f"{_line(row)}  {MARKS['done']} {_short(_shown(text)) or 'done'}", GREEN)


def _shown(text: str) -> str:
    if text.startswith(_ELSEWHERE):
        return f"kept elsewhere, as {text.removeprefix(_ELSEWHERE)}"
    return "bytes" if text.startswith(_BINARY) else text


def _line(row: Json) -> str:
    place = str(row["branch_id"])
    inside = "  " * (max(len(place), 2) // 2 - 1)  # 0301 stands inside of 03
    name = f"{inside}{_name(row)}"
    shown = name if len(name) <= _NAME_MAX else f"{name[: _NAME_MAX - 1]}…"
    return f"  {safe(place):<6} {safe(shown):<{_NAME_MAX}}"


def _name(row: Json) -> str:
    """`do charge`; what has no name is of another client."""
    return str(row.get("url") or "step").replace(":", " ", 1)


def _place(row: Json) -> str:
    return str(row["branch_id"])


def _text(row: Json) -> str:
    try:
        return base64.b64decode(row.get("bin_data") or "").decode(errors="replace")
    except binascii.Error:
        return ""


def _short(text: str) -> str:
    line = safe(" ".join(text.split()))
    return line if len(line) <= _RESULT_MAX else f"{line[: _RESULT_MAX - 1]}…"
