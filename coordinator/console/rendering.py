"""Pages as HTML: the templates, what each of them has at hand, and the headers that guard them."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo
from functools import cache, partial
from importlib.resources import files
from typing import Any, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from coordinator.access.permissions import may
from coordinator.api.http_answer import SERVER
from coordinator.console.moments import Clockface, length
from coordinator.console.page import Page, Shown, Visit, path_to
from coordinator.console.said import in_language
from coordinator.console.words import LANGUAGES, number
from coordinator.telemetry.shown import shown

HTML_TYPE: Final = "text/html; charset=utf-8"
# Nothing but our own files; no other site may frame the page or learn where somebody was.
GUARDS: Final[Mapping[str, str]] = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self';"
        " form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    ),
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}
_KINDS: Final = {
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What every page tells of the coordinator.

    remark: what people should know of its access; may be empty.
    """

    instance: str
    version: str
    zone: tzinfo | None
    now: Callable[[], datetime]
    remark: str


class Files:
    """Our stylesheet, script and picture. mark: changes with them, so that browsers may keep them."""

    def __init__(self) -> None:
        folder = files(__package__).joinpath("static")
        self._bodies = {file.name: file.read_bytes() for file in folder.iterdir()}
        self.mark = hashlib.sha256(b"".join(self._bodies[name] for name in sorted(self._bodies))).hexdigest()[
            :12
        ]

    def get(self, name: str) -> tuple[bytes, str] | None:
        """Body and Content-Type; None where there is none of that name."""
        body = self._bodies.get(name)
        return None if body is None else (body, _KINDS[name.rpartition(".")[2]])


class Renderer:
    """Fills templates. pages: those that exist, for the line of them at the head."""

    def __init__(self, surroundings: Surroundings, pages: Sequence[Page], files_: Files) -> None:
        self._surroundings = surroundings
        self._nav = sorted((page for page in pages if page.place), key=lambda page: page.place)
        self._files = files_

    def html(self, visit: Visit, shown: Shown) -> bytes:
        """The page as it is sent."""
        around = self._surroundings
        face = Clockface(around.now(), around.zone)

        def to(*segments: str, **query: str) -> str:
            return visit.base + path_to(*segments, **query)

        values = {
            "t": visit.words,
            "in_words": partial(in_language, language=visit.words.language),
            "to": to,
            "at": face.at,
            "ago": face.ago,
            "clock": face,
            "visit": visit,
            "around": around,
            "languages": LANGUAGES,
            "mark": self._files.mark,
            "nav": [page for page in self._nav if may(visit.who, page.needs)],
            "section": visit.path.split("/")[1] or "inbox",
            "Markup": Markup,
        }
        if taken := values.keys() & shown.values.keys():
            raise ValueError(f"{shown.template}: {', '.join(taken)} is what every page has")
        values |= shown.values
        text = _environment().get_template(shown.template).render(values)
        return text.encode("utf-8", "replace")  # a lone surrogate from somebody's payload


def headers_of(more: Mapping[str, Any]) -> dict[str, str]:
    """The guards, and these."""
    return {**GUARDS, "Server": SERVER, **more}


@cache
def _environment() -> Environment:
    """The templates, each compiled when it is first wanted; every console of a process has the same."""
    environment = Environment(
        loader=FileSystemLoader(str(files(__package__).joinpath("templates"))),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["length"] = length
    environment.filters["number"] = number
    environment.filters["shown"] = shown
    environment.globals.clear()
    return environment
