"""What is done in the console, by mouse, by keyboard alone, and without script: the same comes of it."""

import urllib.request
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
from playwright.sync_api import Browser, Route

from coordinator.dev.staff import PASSWORD
from tests.browser.conftest import Open
from tests.support.browser import HEIGHT, WIDTHS, Watched, cookie_of, logged_in, watched
from tests.support.dev_process import DevProcess

pytestmark = pytest.mark.timeout(240)
SECONDS = 60.0
TABS_MAX = 40
FOCUSED = "() => document.activeElement.innerText"


@pytest.fixture(scope="module")
def dev(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevProcess]:
    """Where people log in, so that there are some to change."""
    process = DevProcess(tmp_path_factory.mktemp("dev"), "--log-in").start()
    yield process
    print(process.output())
    process.close()


@pytest.fixture(scope="module")
def ann(browser: Browser, dev: DevProcess) -> Any:
    """What the browser of an admin has kept."""
    return logged_in(browser, dev.url, "ann", PASSWORD)


@pytest.fixture
def opened(browser: Browser, dev: DevProcess, ann: Any) -> Open:
    """Return a function that opens a page of ann's."""
    return partial(watched, browser, dev.url, storage_state=ann)


def mend(dev: DevProcess, service: str) -> None:
    asked = urllib.request.Request(f"{dev.mend_url}{service}", data=b"", method="POST")
    with urllib.request.urlopen(asked, timeout=30):
        pass


def ends_as(it: Watched, dev: DevProcess, gid: str, code: str) -> None:
    """Wait until its page would say so, and see that nothing went wrong in the browser meanwhile."""
    headers = {"Cookie": cookie_of(it.page.context.storage_state()), "Accept": "text/html"}
    asked = urllib.request.Request(f"{dev.url}/transactions/{gid}", headers=headers)

    def says_so() -> bool:
        with urllib.request.urlopen(asked, timeout=30) as answer:
            return f">{code}<" in answer.read().decode()

    it.until(says_so, SECONDS)
    assert it.problems == []


def test_what_is_mended_is_retried_by_keyboard_alone_and_is_seen_to_end(
    opened: Open, dev: DevProcess
) -> None:
    mend(dev, "ledger")
    with opened() as it:
        it.look(f"{dev.url}/transactions/transfer-undo-refused")
        for _ in range(TABS_MAX):
            it.page.keyboard.press("Tab")
            if it.page.evaluate(FOCUSED) == "Retry now":
                break
        it.page.keyboard.press("Enter")
        it.page.locator(".tag", has_text="W41").wait_for(timeout=SECONDS * 1000)  # nobody loads it again
        assert it.problems == []


def test_what_moves_before_one_listens_or_while_one_is_at_it_is_seen(opened: Open, dev: DevProcess) -> None:
    retry = "gid => fetch('/inbox/probe', {method: 'POST', body: new URLSearchParams({gid})})"
    told = "of => new Promise(told => { new EventSource(`/live?of=${of}`).onmessage = () => told(); })"
    with opened() as it:
        held: list[Route] = []
        it.page.route("**/live?*", lambda route: route.continue_() if held else held.append(route))
        it.look(f"{dev.url}/transactions/seat-no-such-path")
        mend(dev, "tickets")
        it.page.evaluate(retry, "seat-no-such-path")
        ends_as(it, dev, "seat-no-such-path", "W40")
        held[0].continue_()
        it.page.locator(".tag", has_text="W40").wait_for()

        it.look(f"{dev.url}/transactions/parcel-202")
        it.page.get_by_role("link", name="Stop for good").focus()
        mend(dev, "courier")
        it.page.evaluate(retry, "parcel-202")
        ends_as(it, dev, "parcel-202", "W40")
        it.page.evaluate(told, "gid:parcel-202")
        assert it.page.locator(".tag", has_text="W40").count() == 0  # nothing goes from under their hands
        it.page.get_by_role("link", name="dtm", exact=True).focus()
        it.page.locator(".tag", has_text="W40").wait_for()
        assert it.problems == []


def test_what_was_done_by_hand_is_skipped_without_script_at_phone_width(
    opened: Open, dev: DevProcess
) -> None:
    with opened(java_script_enabled=False, viewport={"width": WIDTHS[-1], "height": HEIGHT}) as it:
        it.look(f"{dev.url}/transactions/invoice-rejected")
        it.page.get_by_role("link", name="Skip a branch").click()
        it.page.get_by_role("button", name="See what that would do").click()
        it.page.get_by_label("Why").fill("written by hand: 4711")
        it.page.get_by_role("button", name="Skip it").click()
        ends_as(it, dev, "invoice-rejected", "W40")


@pytest.mark.parametrize(
    ("gid", "mended", "action", "said", "code"),
    [
        ("trip-not-submitted", "airline", "Roll back", "will be undone", "W41"),
        ("own-door", "", "Stop for good", "Nothing is called.", "W42"),
    ],
)
def test_what_an_action_would_do_is_seen_and_then_done(
    opened: Open, dev: DevProcess, gid: str, mended: str, action: str, said: str, code: str
) -> None:
    if mended:
        mend(dev, mended)
    with opened() as it:
        it.look(f"{dev.url}/transactions/{gid}")
        it.page.get_by_role("link", name=action).click()
        assert said in it.page.locator("main").inner_text()
        it.page.get_by_role("button", name=action).click()  # the browser asks for the reason
        assert it.page.evaluate("() => document.activeElement.name") == "reason"
        it.page.get_by_label("Why").fill("nobody travels any more")
        it.page.get_by_role("button", name=action).click()
        it.page.wait_for_url(f"**/transactions/{gid}")
        ends_as(it, dev, gid, code)
        it.look(f"{dev.url}/audit")
        row = it.page.get_by_role("row", name=gid).first
        assert "nobody travels any more" in row.inner_text() and "ann" in row.inner_text()


def test_one_of_a_group_is_probed_and_then_all_are_retried(opened: Open, dev: DevProcess) -> None:
    mend(dev, "payment")
    with opened() as it:
        it.look(f"{dev.url}/")
        group = it.page.locator(".groups li").first
        group.get_by_role("button", name="Probe one").click()
        it.page.wait_for_url("**/transactions/order-001")
        ends_as(it, dev, "order-001", "W40")
        it.look(f"{dev.url}/")
        it.page.locator(".groups li").first.get_by_role("link", name="Retry all").click()
        it.page.wait_for_url("**/bulk/new?*")
        it.page.get_by_label("Why").fill("the database is back")
        it.page.locator("input[name=confirm]").fill("120")
        it.page.get_by_role("button", name="Retry 120 now").click()
        it.page.wait_for_url("**/bulk/*")
        ends_as(it, dev, "order-120", "W40")


def test_a_bulk_job_goes_on_rests_and_is_cancelled(opened: Open, dev: DevProcess) -> None:
    with opened() as it:
        it.look(f"{dev.url}/bulk")
        it.page.get_by_role("row", name="paused").get_by_role("link").click()
        heading = it.page.get_by_role("heading", level=1)
        for button, said in (
            ("Resume", "have had their turn"),
            ("Pause", "Paused: "),
            ("Resume", "have had their turn"),
            ("Cancel the job", "Cancelled: "),
        ):
            it.page.get_by_role("button", name=button, exact=True).first.click()
            heading.filter(has_text=said).wait_for()
            assert heading.inner_text().startswith("Paused: ") == (button == "Pause")
        assert it.page.get_by_role("button", name="Resume", exact=True).count() == 0
        assert it.problems == []


def test_people_are_added_changed_and_shut_out_and_tokens_made_and_revoked(
    opened: Open, browser: Browser, dev: DevProcess
) -> None:
    with opened() as it:
        page = it.page
        it.look(f"{dev.url}/access")
        page.get_by_text("Add somebody").first.click()
        form = page.locator("form[action='/access/users']")
        form.get_by_label("Name").fill("dora")
        form.get_by_label("Role").select_option("viewer")
        form.get_by_label("Password").fill(PASSWORD)
        form.get_by_role("button").click()
        page.get_by_role("link", name="dora").wait_for()
        doras = logged_in(browser, dev.url, "dora", PASSWORD)

        page.get_by_role("link", name="dora").click()
        page.get_by_label("Role").select_option("operator")
        page.get_by_role("button", name="Set the role").click()
        page.get_by_text("Has the role operator.").wait_for()
        with watched(browser, dev.url, storage_state=doras) as other:
            other.look(f"{dev.url}/")
            assert "/login" in other.page.url  # every change ends the sessions
        page.get_by_role("link", name="Keep out").click()
        page.get_by_role("button", name="Keep out").click()
        page.get_by_text("disabled").wait_for()
        page.get_by_role("link", name="Remove").click()
        page.get_by_role("button", name="Remove").click()
        page.wait_for_url("**/access")
        assert page.get_by_role("link", name="dora").count() == 0

        page.get_by_text("Make a token").first.click()
        form = page.locator("form[action='/access/tokens']")
        form.get_by_label("Whose it is").fill("the shop")
        form.get_by_label("Role").select_option("service")
        form.get_by_role("button").click()
        token = page.locator("#token").inner_text()
        page.get_by_role("link", name="Done").click()
        assert token not in page.content()
        page.get_by_role("row", name="the shop").get_by_role("link").click()
        page.get_by_role("button", name="Revoke").click()
        page.wait_for_url("**/access")
        assert page.get_by_role("row", name="the shop").count() == 0
        assert it.problems == []


HIDE = """hidden => {
  Object.defineProperty(document, "hidden", { configurable: true, get: () => hidden });
  document.dispatchEvent(new Event("visibilitychange"));
}"""
POLL_MILLISECONDS = 10_000


def polled(it: Watched, asked: list[str]) -> set[str]:
    """What the page asks for while several polls would be due; time is moved by hand."""
    asked.clear()
    for _ in range(3):
        it.page.clock.fast_forward(2 * POLL_MILLISECONDS)
        it.page.evaluate("() => fetch('/static/icon.svg').then(it => it.text())")
    return {url for url in asked if "icon.svg" not in url}


def test_who_is_not_seen_ends_the_stream_and_asks_for_nothing_until_seen_again(
    opened: Open, dev: DevProcess
) -> None:
    with opened() as it:
        asked: list[str] = []
        it.page.on("request", lambda request: asked.append(request.url))
        it.page.clock.install()
        with it.page.expect_request("**/live?*"):
            it.look(f"{dev.url}/")
        with it.page.expect_event("requestfailed", lambda request: "/live?" in request.url):
            it.page.evaluate(HIDE, True)
        assert polled(it, asked) == set()
        with it.page.expect_request("**/live?*"):
            it.page.evaluate(HIDE, False)

        it.look(f"{dev.url}/transactions")
        assert polled(it, asked) == {f"{dev.url}/transactions"}
        it.page.evaluate(HIDE, True)
        assert polled(it, asked) == set()
        it.page.evaluate(HIDE, False)
        assert polled(it, asked) == {f"{dev.url}/transactions"}
        assert it.problems == []
