"""Where somebody is sent: to a page of ours, wherever the link came from. Pure."""

from typing import Final
from urllib.parse import urlsplit

_CONTROL: Final = frozenset(map(chr, (*range(33), 127)))  # a blank, too


def own_path(wanted: str) -> str:
    """The path if it is one of ours, and `/` otherwise: nobody is sent to another site by it."""
    try:
        parts = urlsplit(wanted)
    except ValueError:
        return "/"
    is_ours = (
        wanted.startswith("/")
        and not wanted.startswith(("//", "/\\"))
        and "\\" not in wanted
        and not parts.scheme
        and not parts.netloc
        and _CONTROL.isdisjoint(wanted)
        and wanted.isascii()
    )
    return wanted if is_ours else "/"
