"""`make screenshots`: a picture of every page, at both widths, each in one scheme, into docs/pictures/."""

import io
import re
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from PIL import Image
from playwright.sync_api import Browser

from coordinator.dev.staff import PASSWORD
from tests.support.browser import SCHEMES, WIDTHS, chromium, cookie_of, logged_in, watched
from tests.support.console_pages import found_at
from tests.support.dev_process import DevProcess
from tests.support.documents import ROOT

FOLDER: Final = ROOT / "docs" / "pictures"
HEIGHTS: Final = {1280: 800, 375: 780}
_COLOURS: Final = 96  # plain pages have few; a picture takes a third of the room then


def main() -> int:
    """Make them; say what each page did that it must not. Returns the exit code."""
    FOLDER.mkdir(exist_ok=True)
    for old in FOLDER.glob("*.png"):
        old.unlink()
    problems: list[str] = []
    with (
        tempfile.TemporaryDirectory() as folder,
        DevProcess(Path(folder), "--log-in") as dev,
        chromium() as it,
    ):
        state = logged_in(it, dev.url, "ann", PASSWORD)
        found = found_at(dev.url, cookie_of(state))
        for width, scheme in zip(WIDTHS, SCHEMES, strict=True):
            problems += _take(it, dev.url, found, state, width, scheme)
    for problem in problems:
        print(problem, file=sys.stderr)
    return 1 if problems else 0


def _take(
    browser: Browser, url: str, found: Mapping[str, Sequence[str]], state: Any, width: int, scheme: str
) -> list[str]:
    size = {"width": width, "height": HEIGHTS[width]}
    with watched(browser, url, storage_state=state, viewport=size, color_scheme=scheme) as it:
        for template, paths in found.items():
            it.page.context.clear_cookies()
            if template != "/login":
                it.page.context.add_cookies(state["cookies"])
            it.look(url + paths[0])
            if urlsplit(it.page.url).path != urlsplit(paths[0]).path:
                continue  # it leads on to another page, which has a picture of its own
            name = re.sub(r"[^a-z]+", "-", template).strip("-") or "inbox"
            (FOLDER / f"{name}-{width}-{scheme}.png").write_bytes(_small(it.page.screenshot()))
        return it.problems


def _small(picture: bytes) -> bytes:
    """The same picture with few colours."""
    small = io.BytesIO()
    Image.open(io.BytesIO(picture)).convert("RGB").quantize(_COLOURS, Image.Quantize.MAXCOVERAGE).save(
        small, "PNG", optimize=True
    )
    return small.getvalue()


if __name__ == "__main__":
    sys.exit(main())
