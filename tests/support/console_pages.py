"""Which pages the console has, as it registers them, and where they are found: who adds one need not name it.

A page about one thing (`/bulk/{id}`) is found by the links of those that have been looked at already.
"""

import asyncio
import re
import tempfile
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from html import unescape
from pathlib import Path
from typing import Final
from unittest.mock import patch
from urllib.parse import quote, urlsplit

from coordinator.api.http_calls import HttpCall
from coordinator.config.settings import Settings
from coordinator.config.store import Store
from coordinator.console.console import Console
from coordinator.server.server import Server
from tests.support.ports import HOST, free_port

# Of these pages there is more than one kind, in `dtm dev`. The first is the one that is shown to people.
ALSO: Final[Mapping[str, Sequence[str]]] = {
    "/transactions/{gid}": (
        "transfer-undo-refused",
        "build-side-by-side",
        "payload-large-numbers",
        "rows-of-another-program",
        "welcome-hangs",
    ),
}
# What no person looks at as a page.
_NO_PAGES: Final = frozenset({"/live", "/static/{name}", "/language", "/admin", "/admin/"})
_ENOUGH: Final = 6  # of one template, to find links on
_PART: Final = re.compile(r"\{[^}]*\}")
_LINK: Final = re.compile(r'(?:href|action)="(/[^"]*)"')


@cache
def registered() -> Sequence[HttpCall]:
    """Every call that the console of a server answers, with what it needs."""
    made: list[Sequence[HttpCall]] = []
    calls = Console.calls

    def remembered(console: Console) -> Sequence[HttpCall]:
        made.append(calls(console))
        return made[-1]

    async def start_and_stop(folder: Path) -> None:
        store = Store(path=folder / "dtm.db")
        server = Server(
            Settings(host=HOST, http_port=free_port(), grpc_port=free_port(), store=store), reset=False
        )
        await server.start()
        await server.stop()

    with (
        tempfile.TemporaryDirectory() as folder,
        patch.object(Console, "calls", remembered),
        ThreadPoolExecutor(1) as apart,  # who asks may have an event loop
    ):
        apart.submit(lambda: asyncio.run(start_and_stop(Path(folder)))).result()
    return made[0]


def any_path(template: str) -> str:
    """The template with something in its variable parts, which need not exist."""
    return _PART.sub("7", template)


def found_at(url: str, cookie: str) -> Mapping[str, Sequence[str]]:
    """By its template, the paths of each page that people look at; all but the first are of ALSO. Blocks.

    url: of a `dtm dev`. cookie: the header by which somebody is known there who may see everything. Raises
    AssertionError for a page that nothing leads to.
    """
    templates = sorted(
        {call.path for call in registered() if call.method == "GET" and call.path not in _NO_PAGES},
        key=lambda it: ("{" in it, it),  # `/bulk/new` is not `/bulk/{id}`
    )
    found: dict[str, list[str]] = {
        template: [_PART.sub(quote(kind), template) for kind in kinds]
        for template, kinds in ALSO.items()
        if template in templates
    }
    waiting = [paths[0] for paths in found.values()]
    waiting += [template for template in templates if "{" not in template]
    seen: set[str] = set()
    while waiting:
        path = waiting.pop(0)
        template = _template_of(path, templates)
        known = found.setdefault(template, [])
        if not template or path in seen or (len(known) >= _ENOUGH and path not in known):
            continue
        seen.add(path)
        links = _links_of(url + path, cookie)
        if links is not None:
            found[template] = known if path in known else [*known, path]
            waiting += links
    missing = [template for template in templates if not found.get(template)]
    assert not missing, f"dtm dev has no page, or no link to one, of {missing}"
    return {template: found[template] if template in ALSO else found[template][:1] for template in templates}


def _template_of(link: str, templates: Sequence[str]) -> str:
    path = urlsplit(link).path
    fits = (it for it in templates if re.fullmatch(_PART.sub("[^/]+", it), path))
    return next(fits, "")


@cache
def _links_of(url: str, cookie: str) -> Sequence[str] | None:
    """Those of a page; None where there is none."""
    try:
        with urllib.request.urlopen(
            urllib.request.Request(url, headers={"Cookie": cookie}), timeout=30
        ) as it:
            return [unescape(link) for link in _LINK.findall(it.read().decode(errors="replace"))]
    except urllib.error.HTTPError:
        return None
