"""Payloads for people: JSON as it was sent, told apart by lines; other text; bytes as hexadecimal. Pure."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice
from typing import Final

from coordinator.telemetry.shown import shown, shown_json

_INDENT: Final = "  "
_DEPTH_MAX: Final = 60  # deeper lines are not indented any further
_LINE_MAX: Final = 2000  # characters
_ROW: Final = 16  # bytes
# A string, a bracket, comma or colon, or whatever else stands between: numbers stay as they were written.
_TOKEN: Final = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\],:]|[^\s"{}\[\],:]+')
_PRINTABLE: Final = range(0x20, 0x7F)


class Kind(StrEnum):
    """What a payload is read as."""

    EMPTY = "empty"
    JSON = "json"
    TEXT = "text"
    BYTES = "bytes"


@dataclass(frozen=True, slots=True)
class Payload:
    """text: as many lines as were asked for. is_cut: there are more."""

    kind: Kind
    size: int  # bytes
    text: str
    is_cut: bool = False


def payload_of(content: bytes, *, lines_max: int) -> Payload:
    """The payload in so many lines at most."""
    kind, lines = _read(content)
    first = list(islice(lines, lines_max + 1))
    is_cut = len(first) > lines_max or any(len(line) > _LINE_MAX for line in first)
    return Payload(kind, len(content), "\n".join(map(_bounded, first[:lines_max])), is_cut)


def whole_payload(content: bytes) -> Payload:
    """All of it. One of a megabyte takes a second: ask in a thread."""
    kind, lines = _read(content)
    return Payload(kind, len(content), "\n".join(lines))


def _read(content: bytes) -> tuple[Kind, Iterator[str]]:
    if not content:
        return Kind.EMPTY, iter(())
    try:
        text = content.decode()
    except UnicodeDecodeError:
        return Kind.BYTES, _hexadecimal(content)
    if _is_json(text):
        return Kind.JSON, _pretty(text)
    if "\x00" in text:
        return Kind.BYTES, _hexadecimal(content)
    return Kind.TEXT, map(shown, text.splitlines())


def _is_json(text: str) -> bool:
    """Whether it is JSON. Numbers are not read: some have more digits than would be taken."""
    try:
        json.loads(text, parse_int=str, parse_float=str)
    except (ValueError, RecursionError):
        return False
    return True


def _pretty(text: str) -> Iterator[str]:
    """The tokens as they stand, in lines; nothing is read and written anew, so nothing is lost."""
    depth, line, before = 0, "", ""
    for match in _TOKEN.finditer(text):
        token = match[0]
        if token in "}]":
            depth -= 1
            if before in ("{", "["):  # an empty one stays on its line
                line += token
            else:
                yield line
                line = _INDENT * min(depth, _DEPTH_MAX) + token
        elif token == ":":
            line += ": "
        elif token == ",":
            yield f"{line},"
            line = _INDENT * min(depth, _DEPTH_MAX)
        else:
            if before in ("{", "["):
                yield line
                line = _INDENT * min(depth, _DEPTH_MAX)
            line += shown_json(token)
            depth += token in ("{", "[")
        before = token
    yield line


def _hexadecimal(content: bytes) -> Iterator[str]:
    for at in range(0, len(content), _ROW):
        row = content[at : at + _ROW]
        letters = "".join(chr(byte) if byte in _PRINTABLE else "." for byte in row)
        yield f"{at:08x}  {row[:8].hex(' '):<23}  {row[8:].hex(' '):<23}  {letters}"


def _bounded(line: str) -> str:
    return line if len(line) <= _LINE_MAX else f"{line[:_LINE_MAX]}…"
