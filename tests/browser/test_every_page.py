"""What holds for every page that the console has, whoever adds it: width, colours, keyboard, no script.

The pages are those that are registered, each of them with everything in `dtm dev` that it may be about.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from playwright.sync_api import Browser

from coordinator.dev.staff import PASSWORD
from tests.browser.conftest import Open
from tests.support.browser import HEIGHT, SCHEMES, WIDTHS, Watched, cookie_of, logged_in
from tests.support.console_pages import found_at
from tests.support.dev_process import DevProcess

pytestmark = pytest.mark.timeout(300)
TABS_MAX = 40
# What can be reached by the keyboard, and is there to be seen.
REACHABLE = """() => [...document.querySelectorAll("a[href], button, input, select, textarea, summary")]
  .filter((it) => !it.disabled && it.type !== "hidden" && it.tabIndex >= 0 && it.checkVisibility())
  .length"""
FOCUSED = """() => {
  const at = document.activeElement;
  if (at === document.body) return null;
  const style = getComputedStyle(at);
  return {
    html: at.outerHTML.slice(0, 160),
    isMarked: style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 1,
  };
}"""


@pytest.fixture(scope="module")
def dev(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevProcess]:
    """Where people log in, so that there are pages about them."""
    process = DevProcess(tmp_path_factory.mktemp("dev"), "--log-in").start()
    yield process
    print(process.output())
    process.close()


@dataclass(frozen=True, slots=True)
class Site:
    """state: of somebody who may see everything and is logged in. first: a path of each page."""

    url: str
    state: Any
    first: Sequence[str]
    all: Sequence[str]


@pytest.fixture(scope="module")
def site(browser: Browser, dev: DevProcess) -> Site:
    state = logged_in(browser, dev.url, "ann", PASSWORD)
    found = found_at(dev.url, cookie_of(state)).values()
    return Site(dev.url, state, [paths[0] for paths in found], [path for paths in found for path in paths])


def test_each_can_be_used_at_every_width_and_in_both_schemes(opened: Open, site: Site) -> None:
    with opened(storage_state=site.state, reduced_motion="reduce") as it:
        for path in site.all:
            it.page.set_viewport_size({"width": WIDTHS[0], "height": HEIGHT})
            it.look(site.url + path)
            for scheme, width in zip(SCHEMES, WIDTHS, strict=True):
                it.page.emulate_media(color_scheme=scheme)
                it.page.set_viewport_size({"width": width, "height": HEIGHT})
                it.too_wide()
                it.unusable()
            _has_a_name(it)
        assert it.problems == []


def _has_a_name(it: Watched) -> None:
    if it.page.locator("h1").count() != 1:
        it.problems.append(f"{it.page.url}: not one heading")
    if it.page.title() in {"", "dtm", " · dtm"}:
        it.problems.append(f"{it.page.url}: no title")


def test_all_of_each_is_reached_by_keyboard_and_is_marked_where_one_is(opened: Open, site: Site) -> None:
    with opened(storage_state=site.state, reduced_motion="reduce") as it:
        for path in site.first:
            it.look(site.url + path)
            for _ in range(min(it.page.evaluate(REACHABLE), TABS_MAX)):
                it.page.keyboard.press("Tab")
                at = it.page.evaluate(FOCUSED)
                if at is None or not at["isMarked"]:
                    it.problems.append(f"{path}: {at}")
        assert it.problems == []


def test_each_says_the_same_without_script(opened: Open, site: Site) -> None:
    with (
        opened(storage_state=site.state) as with_script,
        opened(storage_state=site.state, java_script_enabled=False) as without,
    ):
        for path in site.first:
            headings = []
            for it in (with_script, without):
                it.look(site.url + path)
                heading = it.page.locator("h1").inner_text()
                headings.append(re.sub(r"\d+", "#", heading))  # how many are stuck changes while one looks
            if headings[0] != headings[1]:
                without.problems.append(f"{path}: {headings}")
        assert with_script.problems + without.problems == []


def test_each_speaks_chinese_too(opened: Open, site: Site) -> None:
    phone = {"width": WIDTHS[-1], "height": HEIGHT}
    with opened(storage_state=site.state, locale="zh-CN", viewport=phone) as it:
        for path in site.first:
            it.look(site.url + path)
            it.too_wide()
            if it.page.locator("html").get_attribute("lang") != "zh":
                it.problems.append(f"{path}: not in Chinese")
        assert it.problems == []
