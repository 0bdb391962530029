"""Roles × pages and what their forms ask for, from the registry itself: nothing new escapes."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest
from aiohttp import ClientSession, ClientTimeout, CookieJar

from coordinator.access.audit import NOBODY
from coordinator.access.permissions import ROLES, Mode, Principal, Role, anonymous, may
from coordinator.api.http_calls import HttpCall
from coordinator.api.room import Room
from coordinator.console.build import build_console
from tests.unit.console.test_login import GOOD, Console, log_in, running

HUMANS = (Role.VIEWER, Role.OPERATOR, Role.ADMIN)
# Everybody's: the way in and out, and what holds nothing of transactions.
OPEN = {
    *(("GET", "/login"), ("POST", "/login"), ("POST", "/logout"), ("GET", "/login/issuer")),
    *(("GET", "/login/back"), ("GET", "/static/{name}"), ("GET", "/admin/"), ("GET", "/admin")),
    ("GET", "/language"),
}


def registry() -> Sequence[HttpCall]:
    anything: Any = MagicMock()
    return build_console(anything, anything, anything, anything, Room()).calls()


@pytest.mark.parametrize("call", registry(), ids=lambda call: f"{call.method} {call.path}")
def test_what_changes_something_is_a_post_and_only_the_way_in_is_open(call: HttpCall) -> None:
    assert call.needs.changes is (call.method == "POST")
    assert call.needs.is_open is ((call.method, call.path) in OPEN)
    assert call.is_page
    assert call.refuse is not None


@pytest.fixture
async def console(tmp_path: Path) -> AsyncIterator[Console]:
    async with running(tmp_path) as made:
        async with made.people() as people:
            for role in HUMANS:
                await people.add(NOBODY, f"the-{role}", role=role, password=GOOD)
        yield made


async def test_every_page_and_action_is_for_who_may_and_for_nobody_else(console: Console) -> None:
    stranger = anonymous(Mode.OPERATORS, metrics_are_open=True)
    asked: dict[str, Principal] = {"": stranger}
    asked |= {f"the-{role}": Principal(role, ROLES[role], "session") for role in HUMANS}
    async with AsyncExitStack() as stack:
        for name, who in asked.items():
            jar, patience = CookieJar(unsafe=True), ClientTimeout(total=20)
            browser = await stack.enter_async_context(ClientSession(cookie_jar=jar, timeout=patience))
            if name:
                assert (await log_in(browser, console, name=name))[0] == 303
            for call in registry():
                if call.needs.is_open:
                    continue
                path = call.path.replace("{", "").replace("}", "")
                async with browser.request(call.method, console.url + path, allow_redirects=False) as answer:
                    to_login = answer.headers.get("Location", "").startswith("/login")
                    is_refused = answer.status in {401, 403} or to_login
                    assert is_refused is not may(who, call.needs), f"{name}: {call.method} {call.path}"
