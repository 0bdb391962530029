"""Sessions: what a browser holds, its cookies, and the book in which those that stand are looked up."""

import asyncio
import os
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import timedelta

import pytest

from coordinator.access.believed import BELIEVED_SECONDS
from coordinator.access.cookies import Cookies, cookies_in
from coordinator.access.permissions import ROLES, Role
from coordinator.access.session_book import SessionBook
from coordinator.access.sessions import IDLE, NewSession, has_shape, new_session
from coordinator.errors import StoreUnavailable, Unauthenticated
from coordinator.store.people_tables import SessionRow


class Rows:
    """The table: what stands, and what is asked."""

    def __init__(self) -> None:
        self.sessions: list[SessionRow] = []
        self.reads = 0
        self.noted: list[list[str]] = []
        self.forgot = 0
        self.is_away = False

    async def valid(self, idle: timedelta) -> Sequence[SessionRow]:
        assert idle == IDLE
        self.reads += 1
        standing = list(self.sessions)
        await asyncio.sleep(0)
        if self.is_away:
            raise StoreUnavailable("the database is away")
        return standing

    async def used(self, hashes: Iterable[str]) -> None:
        self.noted.append(sorted(hashes))

    async def forget(self) -> None:
        self.forgot += 1

    def add(self, role: str = "viewer", issuer: str = "") -> NewSession:
        new = new_session(os.urandom)
        method = "oidc" if issuer else "session"
        row = SessionRow(new.hash, new.hash, "Anna", method, issuer, "anna", role, "10.0.0.1")
        self.sessions.append(row)
        return new


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(0)
        self.now += seconds


@pytest.fixture
def rows() -> Rows:
    return Rows()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def book(rows: Rows, clock: Clock) -> SessionBook:
    return SessionBook(rows, issuers=["https://issuer"], monotonic=clock, sleep=clock.sleep)


# ---- what a browser holds ------------------------------------------------------------------------


def test_it_has_256_random_bits_and_is_not_what_is_stored():
    new = new_session(lambda size: bytes(range(size)))
    assert len(new.text) == 43
    assert has_shape(new.text)
    assert new.text not in new.hash
    assert len({new_session(os.urandom).text for _ in range(100)}) == 100


@pytest.mark.parametrize("text", ["", "x" * 42, "x" * 44, "x" * 42 + "ä", "x" * 42 + ";", "x" * 42 + "\n"])
async def test_what_cannot_be_one_is_not_looked_for(book: SessionBook, rows: Rows, text: str):
    assert not has_shape(text)
    with pytest.raises(Unauthenticated, match="log in again"):
        await book.session_of(text)
    assert rows.reads == 0


# ---- the book ------------------------------------------------------------------------------------


@pytest.mark.parametrize("role", ["viewer", "operator", "admin"])
async def test_whose_it_is(book: SessionBook, rows: Rows, clock: Clock, role: str):
    who = (await book.session_of(rows.add(role).text)).who
    clock.now += 0.5
    assert (who.name, who.permissions, who.method, who.gid_prefix) == (
        "Anna",
        ROLES[Role(role)],
        "session",
        "",
    )
    assert (await book.session_of(rows.add(role, "https://issuer").text)).who.method == "oidc"


@pytest.mark.parametrize(("role", "issuer"), [("service", ""), ("root", ""), ("admin", "https://other")])
async def test_of_a_service_an_unknown_role_or_another_issuer_there_is_none(
    book: SessionBook, rows: Rows, role: str, issuer: str
):
    with pytest.raises(Unauthenticated):
        await book.session_of(rows.add(role, issuer).text)


async def test_pages_cost_no_statement_each(book: SessionBook, rows: Rows, clock: Clock):
    text = rows.add().text
    for _ in range(1000):
        await book.session_of(text)
        clock.now += 0.004
    assert rows.reads == 1


async def test_while_somebody_asks_nobody_waits_for_a_read_and_afterwards_nothing_is_read(
    book: SessionBook, rows: Rows, clock: Clock
):
    text = rows.add().text
    await book.session_of(text)
    for _ in range(10):
        clock.now += 2.0
        await book.beat()
        reads = rows.reads
        await book.session_of(text)
        assert rows.reads == reads
    clock.now += 61.0
    await book.beat()
    assert rows.reads == reads


async def test_one_that_ended_is_known_no_more_after_5_seconds_elsewhere_and_at_once_here(
    book: SessionBook, rows: Rows, clock: Clock
):
    text = rows.add().text
    await book.session_of(text)
    rows.sessions.clear()
    await book.session_of(text)
    clock.now += BELIEVED_SECONDS
    with pytest.raises(Unauthenticated):
        await book.session_of(text)
    clock.now += 0.5
    text = rows.add().text
    await book.session_of(text)
    rows.sessions.clear()
    book.has_changed()
    with pytest.raises(Unauthenticated):
        await book.session_of(text)


async def test_a_read_that_was_under_way_when_one_ended_is_not_believed(book: SessionBook, rows: Rows):
    text = rows.add().text
    await book.session_of(text)
    reading = asyncio.create_task(book.beat())
    await asyncio.sleep(0)  # it has looked, and not come back
    assert rows.reads == 2
    rows.sessions.clear()
    book.has_changed()
    await reading
    with pytest.raises(Unauthenticated):
        await book.session_of(text)


async def test_who_makes_sessions_up_costs_the_store_next_to_nothing(
    book: SessionBook, rows: Rows, clock: Clock
):
    began = clock.now
    for _ in range(50):
        with pytest.raises(Unauthenticated):
            await book.session_of(new_session(os.urandom).text)
    assert rows.reads <= (clock.now - began) / 0.2 + 2


async def test_which_were_used_is_noted_once_a_minute(book: SessionBook, rows: Rows, clock: Clock):
    one, two = rows.add(), rows.add()
    for _ in range(90):
        await book.session_of(one.text)
        await book.session_of(two.text)
        await book.beat()
        clock.now += 2.0
    assert rows.noted == [sorted([one.hash, two.hash])] * 3


async def test_those_that_are_over_are_forgotten_now_and_then(book: SessionBook, rows: Rows, clock: Clock):
    for _ in range(100):
        await book.beat()
        clock.now += 60.0
    assert rows.forgot == 9
    assert rows.reads == 0


async def test_while_the_store_is_away_what_is_known_goes_on_for_5_seconds(
    book: SessionBook, rows: Rows, clock: Clock
):
    text = rows.add().text
    await book.session_of(text)
    rows.is_away = True
    clock.now += BELIEVED_SECONDS - 0.01
    await book.session_of(text)
    clock.now += 0.01
    with pytest.raises(StoreUnavailable, match="sessions cannot be looked up just now"):
        await book.session_of(text)
    assert book.trouble == "the database is away"


async def test_who_is_logged_in_can_be_listed(book: SessionBook, rows: Rows):
    rows.add("admin")
    rows.sessions.append(replace(rows.sessions[0], hash="x", role="nonsense"))
    assert [it.row.role for it in await book.standing()] == ["admin"]


# ---- cookies -------------------------------------------------------------------------------------


def test_over_https_cookies_are_the_hosts_alone_and_no_script_sees_them():
    cookies = Cookies.of("dtm.example", is_encrypted=True)
    assert cookies.set(cookies.session, "x") == "__Host-dtm=x; Path=/; HttpOnly; SameSite=Lax; Secure"
    assert cookies.drop(cookies.login).endswith("; Secure; Max-Age=0")


@pytest.mark.parametrize(
    ("host", "is_encrypted", "is_plain"),
    [
        *(("localhost:36789", False, True), ("127.0.0.1:36789", False, True), ("[::1]:36789", False, True)),
        *(("localhost:36789", True, False), ("dtm.example", False, False), ("10.0.0.7:36789", False, False)),
        *(("", False, False), ("[", False, False), ("localhost.evil.example", False, False)),
    ],
)
def test_only_plain_http_on_this_machine_has_cookies_that_are_not_secure(
    host: str, is_encrypted: bool, is_plain: bool
):
    cookies = Cookies.of(host, is_encrypted=is_encrypted)
    assert cookies.is_plain is is_plain
    assert (cookies.session == "dtm", "Secure" in cookies.set("x", "y")) == (is_plain, not is_plain)


@pytest.mark.parametrize(
    ("header", "value"),
    [
        *(("dtm=x", "x"), ("a=b; dtm=x; dtm-login=y", "x"), ("dtm=a=b", "a=b"), ("", ""), ("dtm", "")),
        *(("dtm=x; dtm=y", ""), ("__Host-dtm=x", ""), ("DTM=x", ""), (";;dtm=x;", "x")),
    ],
)
def test_a_cookie_is_read_where_there_is_one_of_that_name(header: str, value: str):
    assert cookies_in(header).get("dtm", "") == value
