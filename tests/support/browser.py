"""Chromium, for tests of the console: what a page must never do is watched all the time it is open.

A request to another machine, an error in the browser's console, a script that broke off, a dialog: each is
noted, and `Watched.problems` names it. The browser itself refuses such a request. Nothing here stands in a
request's way: what a page asks goes out also while the test looks elsewhere.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any, Final
from urllib.parse import urlsplit

from playwright.sync_api import (
    Browser,
    ConsoleMessage,
    Dialog,
    Page,
    Request,
    Response,
    sync_playwright,
)

from tests.support import programs
from tests.support.patience import PATIENCE
from tests.support.ports import HOST

WIDTHS: Final = (1280, 375)
HEIGHT: Final = 800
SCHEMES: Final = ("light", "dark")
_LOOK_MILLISECONDS: Final = 50
SERIOUS: Final = frozenset({"serious", "critical"})
_ARGUMENTS: Final = (
    "--no-sandbox",  # tests may be root's, in a container
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    f"--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE {HOST}",
)
_AXE: Final = files("axe_playwright_python").joinpath("axe.min.js").read_text(encoding="utf-8")
# What an element is called, and which of them stands out at the right.
_WIDER: Final = """() => {
  const width = document.documentElement.clientWidth;
  if (document.documentElement.scrollWidth <= width) return [];
  const inCode = (it) => it.closest("pre, .scrolls") !== null;
  return [...document.querySelectorAll("body *")]
    .filter((it) => it.getBoundingClientRect().right > width + 1 && !inCode(it))
    .slice(0, 5).map((it) => it.outerHTML.slice(0, 120));
}"""


@contextmanager
def chromium() -> Iterator[Browser]:
    """A browser without a window. Raises MissingProgram where Chromium is not installed."""
    programs.require(programs.CHROMIUM)
    program = programs.find("chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=list(_ARGUMENTS))
        try:
            yield browser
        finally:
            browser.close()


@dataclass(slots=True)
class Watched:
    """A page, and what it has done that it must not."""

    page: Page
    problems: list[str] = field(default_factory=list)

    def look(self, url: str, *, status: int = 200) -> None:
        """Go there; note another status than this one."""
        answer = self.page.goto(url)
        if answer is None or answer.status != status:
            self.problems.append(f"{url}: {answer.status if answer else 'no answer'}, not {status}")

    def until(self, condition: Callable[[], object], seconds: float) -> None:
        """Return once the condition holds, and see meanwhile what the page does; fail after so long."""
        deadline = time.monotonic() + seconds * PATIENCE
        while not condition():
            assert time.monotonic() < deadline, f"not within {seconds} s, at {self.page.url}"
            self.page.wait_for_timeout(_LOOK_MILLISECONDS)

    def too_wide(self) -> None:
        """Note what makes the page scroll sideways; code may within itself."""
        width = self.page.viewport_size["width"] if self.page.viewport_size else 0
        for element in self.page.evaluate(_WIDER):
            self.problems.append(f"{self.page.url}: wider than {width}: {element}")

    def unusable(self) -> None:
        """Note what axe-core finds serious: what somebody could not see, hear or reach."""
        self.page.evaluate(_AXE)
        found: dict[str, Any] = self.page.evaluate("axe.run({resultTypes: ['violations']})")
        for it in found["violations"]:
            if it["impact"] in SERIOUS:
                nodes = [f"{node['html'][:160]} ({node['failureSummary'][:200]})" for node in it["nodes"][:3]]
                self.problems.append(f"{self.page.url}: {it['id']}: {' | '.join(nodes)}")


def logged_in(browser: Browser, url: str, name: str, password: str) -> Any:
    """What a context keeps of somebody who has logged in, by the form: its `storage_state`."""
    with watched(browser, url) as it:
        it.look(f"{url}/login")
        it.page.fill("input[name=name]", name)
        it.page.fill("input[name=password]", password)
        it.page.press("input[name=password]", "Enter")
        it.page.wait_for_url(lambda at: "/login" not in at)
        assert it.problems == []
        return it.page.context.storage_state()


def cookie_of(state: Any) -> str:
    """The header `Cookie` of what `logged_in` returned."""
    return "; ".join(f"{it['name']}={it['value']}" for it in state["cookies"])


@contextmanager
def watched(browser: Browser, home: str, **options: Any) -> Iterator[Watched]:
    """A page of its own, which may ask `home` alone. options: of the context."""
    context = browser.new_context(**{"viewport": {"width": WIDTHS[0], "height": HEIGHT}, **options})
    context.set_default_timeout(20_000)
    found = Watched(context.new_page())
    place = urlsplit(home).netloc

    def asks(request: Request) -> None:
        if urlsplit(request.url).netloc != place and not request.url.startswith("data:"):
            found.problems.append(f"asked another machine: {request.url}")

    def said(message: ConsoleMessage) -> None:
        # That a page is not there is a status, which each test looks at; the browser writes it as an error.
        if message.type in {"error", "warning"} and "Failed to load resource" not in message.text:
            found.problems.append(f"{found.page.url}: {message.type}: {message.text}")

    def answered(response: Response) -> None:
        if response.status >= 500 or (response.status == 404 and "/static/" in response.url):
            found.problems.append(f"{response.url}: {response.status}")

    def asked(dialog: Dialog) -> None:
        found.problems.append(f"{found.page.url}: a dialog: {dialog.message}")
        dialog.dismiss()

    context.on("request", asks)
    found.page.on("console", said)
    found.page.on("pageerror", lambda error: found.problems.append(f"{found.page.url}: {error}"))
    found.page.on("response", answered)
    found.page.on("dialog", asked)
    try:
        yield found
    finally:
        context.close()
