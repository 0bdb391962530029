"""Foreign text, harmless and short, and how wide text is drawn. Pure."""

import re
import unicodedata
from typing import Final

from coordinator.telemetry.shown import shown

ELLIPSIS: Final = "…"
_NO_CHARACTERS: Final = re.compile("[\ufdd0-\ufdef\ufffe\uffff]")  # XML has no place for some of them
_RIGHT_TO_LEFT: Final = frozenset({"R", "AL", "AN"})
_ISOLATE, _END_OF_ISOLATE = "\u2068", "\u2069"
_WIDE: Final = frozenset({"W", "F"})
_NARROW: Final = frozenset("iIjl.,:;'|!()[]·/ ")


def plain(text: str, length_max: int) -> str:
    """The text on one line, nothing in it that is obeyed or that turns its neighbours round.

    length_max: characters; longer text ends in an ellipsis.
    """
    cut = text[: length_max + 1]
    line = _NO_CHARACTERS.sub("\ufffd", shown(" ".join(cut.split())))
    if len(line) > length_max:
        line = line[: length_max - 1].rstrip() + ELLIPSIS
    if line.isascii() or not any(unicodedata.bidirectional(one) in _RIGHT_TO_LEFT for one in line):
        return line
    return f"{_ISOLATE}{line}{_END_OF_ISOLATE}"


def width_of(text: str, size: float) -> float:
    """How wide the text is in a system's font of that size, at most."""
    return size * sum(map(_width, text))


def fitted(text: str, room: float, size: float) -> str:
    """As much of the text as there is room for; nothing where that says nothing."""
    if width_of(text, size) <= room:
        return text
    isolated = text.startswith(_ISOLATE)
    left, kept = room - size * _width(ELLIPSIS), 0
    for one in text:
        left -= size * _width(one)
        if left < 0:
            break
        kept += 1
    if kept < 3:
        return ""
    return text[:kept].rstrip() + ELLIPSIS + (_END_OF_ISOLATE if isolated else "")


def _width(one: str) -> float:
    if one in _NARROW:
        return 0.34
    if one.isascii():
        return 0.7 if one.isupper() or one in "mw%@" else 0.58
    if one in (_ISOLATE, _END_OF_ISOLATE) or unicodedata.combining(one):
        return 0.0
    return 1.05 if unicodedata.east_asian_width(one) in _WIDE else 0.8
