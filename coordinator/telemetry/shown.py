"""What others wrote, in a line of the log: shown, never obeyed by a terminal nor taken for another line."""

import re
from typing import Final

# Control characters, C1 ones too, line separators, halves of characters, and what hides, joins or turns text.
_OBEYED: Final = re.compile(
    "[\x00-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\ud800-\udfff\U0001d173-\U0001d17a\U000e0000-\U000e007f]"
)


def shown(text: str) -> str:
    """The text on one line; what a terminal would obey is escaped as Python and JSON write it."""
    return text if text.isprintable() else _OBEYED.sub(_escape, text)


def shown_lines(text: str, indent: str) -> str:
    """The same of several lines, each behind the indent: none can pass for the beginning of a log line."""
    return "\n".join(indent + shown(line) for line in text.rstrip("\n").split("\n"))


def shown_json(line: str) -> str:
    """The same of a line of JSON, which stays the same value: JSON itself escapes only some of them."""
    return line if line.isprintable() else _OBEYED.sub(_escape_json, line)


def _escape(match: re.Match[str]) -> str:
    return match[0].encode("unicode_escape", "surrogatepass").decode()


def _escape_json(match: re.Match[str]) -> str:
    units = match[0].encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2))
