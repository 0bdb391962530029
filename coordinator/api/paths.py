"""Paths with a variable part: by which registered path a request's is meant. Pure."""

from collections.abc import Iterable, Mapping
from typing import Final
from urllib.parse import unquote

from coordinator.errors import Invalid

_OPENING: Final = "{"


class PathTemplates:
    """Knows the paths that are registered: `/api/operate/transactions/{gid}/preview`.

    A variable part is one segment that is not empty; an encoded slash in it belongs to it. A path that is
    registered word for word is preferred.
    """

    def __init__(self, paths: Iterable[str]) -> None:
        self._exact: set[str] = set()
        self._by_length: dict[int, list[tuple[str, list[str]]]] = {}
        for path in sorted(set(paths)):
            if _OPENING in path:
                segments = path.split("/")
                self._by_length.setdefault(len(segments), []).append((path, segments))
            else:
                self._exact.add(path)

    def template_of(self, raw_path: str) -> str:
        """The path as it is registered; as it came where none fits. raw_path: still percent-encoded."""
        if raw_path in self._exact:
            return raw_path
        segments = raw_path.split("/")
        for path, wanted in self._by_length.get(len(segments), ()):
            if all(
                (bool(have) if want.startswith(_OPENING) else have == want)
                for want, have in zip(wanted, segments, strict=True)
            ):
                return path
        return raw_path


def path_values(template: str, raw_path: str) -> Mapping[str, str]:
    """What stands in the variable parts, decoded, by name. Raises Invalid for what is no text."""
    return {
        want[1:-1]: _text(want[1:-1], have)
        for want, have in zip(template.split("/"), raw_path.split("/"), strict=True)
        if want.startswith(_OPENING)
    }


def _text(name: str, raw: str) -> str:
    try:
        text = unquote(raw, errors="strict")
    except UnicodeError:
        raise Invalid(f"{name}: is not UTF-8") from None
    if "\x00" in text:
        raise Invalid(f"{name}: has a NUL character")
    return text
