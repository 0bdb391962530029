"""Who may see which page and press which button: asked of every page that is registered, as every role."""

from collections.abc import AsyncIterator, Mapping
from http import HTTPStatus
from pathlib import Path

import pytest
from aiohttp import ClientSession

from coordinator.access.permissions import ROLES, Permission, Principal, Role, may
from coordinator.cli import tokens
from coordinator.config.access import Access
from coordinator.config.settings import Settings
from coordinator.config.store import Store
from coordinator.server.server import Server
from tests.support.console_pages import any_path, registered
from tests.support.ports import HOST, free_port

NOBODY = "nobody"
THEIRS_ALONE = frozenset({"/password"})  # of people who log in with one, which a token does not
WHO: Mapping[str, frozenset[Permission]] = {**{role.value: ROLES[role] for role in Role}, NOBODY: frozenset()}


@pytest.fixture
async def asking(tmp_path: Path) -> AsyncIterator[tuple[str, dict[str, str]]]:
    """A server's url, and the header by which each role is known there."""
    settings = Settings(
        host=HOST,
        http_port=free_port(),
        grpc_port=free_port(),
        store=Store(path=tmp_path / "dtm.db"),
        access=Access(mode="all"),
    )
    headers = {NOBODY: ""}
    for role in Role:
        made = await tokens.create(settings, name=role, role=role, gid_prefix="", days=1)
        headers[role] = f"Bearer {made}"
    server = Server(settings, reset=False)
    await server.start()
    yield f"http://{HOST}:{settings.http_port}", headers
    await server.stop()


@pytest.mark.parametrize("role", WHO)
async def test_a_page_answers_those_alone_who_may(asking: tuple[str, dict[str, str]], role: str) -> None:
    url, headers = asking
    who, wrong = Principal(role, WHO[role]), []
    given = {"Authorization": headers[role]} if headers[role] else {}
    async with ClientSession(headers=given) as session:
        for call in registered():
            # Everybody's: to log in, who does not know the password is refused as well.
            if call.needs.is_open or (call.path in THEIRS_ALONE and role != NOBODY):
                continue
            path = any_path(call.path)
            async with session.request(call.method, url + path, allow_redirects=False) as answer:
                to_login = answer.status == 303 and "/login" in answer.headers["Location"]
                was_refused = to_login or answer.status in {401, 403}
                if was_refused is may(who, call.needs):
                    wrong.append(f"{call.method} {path}: {answer.status}")
                elif was_refused and role != NOBODY and answer.status != HTTPStatus.FORBIDDEN:
                    wrong.append(f"{call.method} {path}: {answer.status} to somebody who is known")
    assert wrong == []


def test_every_button_that_changes_something_needs_a_permission() -> None:
    """But for logging in and out, which is how somebody comes to have one."""
    open_ones = {call.path for call in registered() if call.method == "POST" and call.needs.is_open}
    assert {path for path in open_ones if not path.startswith(("/login", "/logout"))} == set()
