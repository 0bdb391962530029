"""People and who of them is logged in, as tables of our own: on every store."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import pytest

from coordinator.access.audit import NOBODY, Record, audit_row
from coordinator.model import EPOCH
from coordinator.store.own_rows import OwnRow
from coordinator.store.people_tables import SessionRow, UserRow
from coordinator.store.sql import SqlStore

LIFE, IDLE = timedelta(hours=12), timedelta(minutes=30)
ANNA = UserRow("anna", "$argon2id$1", "operator")
BEN = UserRow("ben", "$argon2id$2", "viewer")


def told(action: str) -> Sequence[OwnRow]:
    return [audit_row(NOBODY, Record(action, "it's"), at=EPOCH)]


def session(hashed: str, login: str = "", subject: str = "anna", issuer: str = "") -> SessionRow:
    method = "oidc" if issuer else "session"
    return SessionRow(
        hashed, login or f"login of {hashed}", "Anna", method, issuer, subject, "operator", "10.0.0.1"
    )


async def begin(
    store: SqlStore,
    one: SessionRow,
    *,
    replaces: str = "",
    of: UserRow | None = None,
    life: timedelta = LIFE,
    sessions_max: int = 20,
) -> bool:
    return await store.people.sessions.begin(
        one, told("login"), life=life, replaces=replaces, of=of, sessions_max=sessions_max
    )


async def live(store: SqlStore) -> Sequence[str]:
    return sorted([it.hash for it in await store.people.sessions.valid(IDLE)])


async def actions(store: SqlStore) -> Sequence[str]:
    return [row["action"] for row in reversed(await store.audit.latest(50))]


@pytest.fixture
async def people(store: SqlStore) -> SqlStore:
    for user in (ANNA, BEN):
        assert await store.people.users.add(user, told("user add"))
    return store


async def test_who_was_added_is_found_and_nobody_twice(people: SqlStore) -> None:
    users = people.people.users
    found = await users.find("anna")
    assert found is not None
    assert (found.name, found.password, found.role, found.disabled) == (
        "anna",
        "$argon2id$1",
        "operator",
        None,
    )
    assert abs(found.made - await people.utc_now()) < timedelta(minutes=1)
    assert await users.find("carl") is None
    assert not await users.add(replace(ANNA, role="admin"), told("user add"))
    assert [it.role for it in await users.all()] == ["operator", "viewer"]
    assert await actions(people) == ["user add", "user add"]


@pytest.mark.parametrize("change", ["password", "role", "disabled", "remove"])
async def test_a_change_of_somebody_ends_their_sessions_and_is_recorded(
    people: SqlStore, change: str
) -> None:
    users = people.people.users
    for one in (session("a1"), session("a2"), session("b1", subject="ben")):
        assert await begin(people, one)
    assert await begin(people, session("o1", subject="anna", issuer="https://issuer"))  # another anna
    assert await live(people) == ["a1", "a2", "b1", "o1"]
    asked = {
        "password": lambda name: users.set_password(name, "$argon2id$3", told("changed")),
        "role": lambda name: users.set_role(name, "viewer", told("changed")),
        "disabled": lambda name: users.set_disabled(name, True, told("changed")),
        "remove": lambda name: users.remove(name, told("changed")),
    }[change]
    assert await asked("anna")
    assert await live(people) == ["b1", "o1"]
    assert not await asked("carl")
    assert (await actions(people)).count("changed") == 1
    assert not await begin(people, session("a3"), of=ANNA)  # who looked at the password before
    now = await users.find("anna")
    if change == "remove":
        assert now is None
    elif change == "disabled":
        assert now is not None
        assert now.disabled is not None
        assert await users.set_disabled("anna", False, told("changed"))
        assert await begin(people, session("a4"), of=ANNA)
    else:
        assert now is not None
        assert (now.password, now.role) == (
            ("$argon2id$3", "operator") if change == "password" else ("$argon2id$1", "viewer")
        )
        assert await begin(people, session("a4"), of=now)


async def test_a_session_stands_until_it_ends(people: SqlStore) -> None:
    assert await begin(people, session("a1"), of=ANNA)
    [found] = await people.people.sessions.valid(IDLE)
    assert replace(found, made=EPOCH, expires=EPOCH, last_used=EPOCH) == session("a1")
    assert found.expires - found.made == LIFE
    now = await people.people.users.find("anna")
    assert now is not None
    assert now.last_login == found.made
    assert await people.people.sessions.end("a1", told("logout"))
    assert not await people.people.sessions.end("a1", told("logout"))
    assert await live(people) == []
    assert (await actions(people))[2:] == ["login", "logout"]


async def test_one_that_expired_or_was_not_used_is_none_and_is_forgotten_in_time(people: SqlStore) -> None:
    sessions = people.people.sessions
    assert await begin(people, session("a1"), life=timedelta(seconds=-1))
    assert await begin(people, session("a2"))
    assert await live(people) == ["a2"]
    assert await sessions.valid(timedelta(seconds=-5)) == []  # used now, which is too long ago
    await sessions.used(["a2"])
    await sessions.forget()
    assert await begin(people, session("a1"))  # its row is gone
    assert await live(people) == ["a1", "a2"]


async def test_nobody_logs_in_twice_with_the_same(people: SqlStore) -> None:
    assert await begin(people, session("a1", login="once"))
    assert not await begin(people, session("a2", login="once"))
    assert await people.people.sessions.end("a1", told("logout"))
    assert not await begin(people, session("a2", login="once"))


async def test_who_logs_in_again_has_one_session_in_that_browser_and_a_bounded_number_in_all(
    people: SqlStore,
) -> None:
    assert await begin(people, session("a1"))
    assert await begin(people, session("b1", subject="ben"))
    assert await begin(people, session("a2"), replaces="a1")
    assert await live(people) == ["a2", "b1"]
    for number in range(3, 9):
        assert await begin(people, session(f"a{number}"), sessions_max=3)
    assert len(await live(people)) == 4
    assert {"a8", "b1"} <= set(await live(people))
