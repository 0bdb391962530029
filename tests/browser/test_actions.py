"""What is done in the console, by mouse, by keyboard alone, and without script: the same comes of it."""

import json
import urllib.request

import pytest

from tests.browser.conftest import Open
from tests.support.browser import HEIGHT
from tests.support.dev_process import DevProcess
from tests.support.looking import until

pytestmark = pytest.mark.timeout(240)
SECONDS = 180.0


def code(dev: DevProcess, gid: str) -> str:
    with urllib.request.urlopen(f"{dev.url}/api/operate/transactions/{gid}", timeout=30) as answer:
        return str(json.load(answer)["why"]["code"])


def mend(dev: DevProcess, service: str) -> None:
    asked = urllib.request.Request(f"{dev.mend_url}{service}", data=b"", method="POST")
    with urllib.request.urlopen(asked, timeout=30):
        pass


def test_what_was_done_by_hand_is_skipped_without_script_at_phone_width(
    opened: Open, dev: DevProcess
) -> None:
    with opened(java_script_enabled=False, viewport={"width": 375, "height": HEIGHT}) as it:
        it.look(f"{dev.url}/transactions/invoice-rejected")
        it.page.get_by_role("link", name="Skip a branch").click()
        it.page.get_by_role("button", name="See what that would do").click()
        it.page.get_by_label("Why").fill("written by hand: 4711")
        it.page.get_by_role("button", name="Skip it").click()
        until(lambda: code(dev, "invoice-rejected") == "W40", SECONDS)
        assert it.problems == []


def test_one_of_a_group_is_probed_and_then_all_are_retried(opened: Open, dev: DevProcess) -> None:
    mend(dev, "payment")
    with opened() as it:
        it.look(f"{dev.url}/")
        group = it.page.locator(".groups li").first
        group.get_by_role("button", name="Probe one").click()
        it.page.wait_for_url("**/transactions/order-001")
        until(lambda: code(dev, "order-001") == "W40", SECONDS)
        it.look(f"{dev.url}/")
        it.page.locator(".groups li").first.get_by_role("link", name="Retry all").click()
        it.page.wait_for_url("**/bulk/new?*")
        it.page.get_by_label("Why").fill("the database is back")
        it.page.locator("input[name=confirm]").fill("120")
        it.page.get_by_role("button", name="Retry 120 now").click()
        it.page.wait_for_url("**/bulk/*")
        until(lambda: code(dev, "order-120") == "W40", SECONDS)
        assert it.problems == []
