"""Logging in by a password: who gets in, what is said to those who do not, and what is recorded."""

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import timedelta

import pytest

from coordinator.access.audit import Actor, Record
from coordinator.access.login import Identity, Login
from coordinator.access.passwords import AT_ONCE, WAITING_MAX, Passwords, why_not
from coordinator.access.people import People, normal_name
from coordinator.errors import Busy, Conflict, DtmError, Invalid, NotFound, TooOften, Unauthenticated
from coordinator.model import EPOCH
from coordinator.store.own_rows import OwnRow
from coordinator.store.people_tables import SessionRow, UserRow

GOOD = "four words, none alike"
HERE, THERE = "10.0.0.1", "10.0.0.2"
ADMIN = Actor("root@here", "command")


class Store:
    """Both tables, in memory."""

    def __init__(self) -> None:
        self.users: dict[str, UserRow] = {}
        self.sessions: dict[str, SessionRow] = {}
        self.ended: list[str] = []
        self.logins: set[str] = set()
        self.looked_up: list[str] = []

    async def find(self, name: str) -> UserRow | None:
        self.looked_up.append(name)
        return self.users.get(name)

    async def add(self, user: UserRow, records: Sequence[OwnRow]) -> bool:
        return self.users.setdefault(user.name, user) is user

    async def _change(self, name: str, **values: object) -> bool:
        if name in self.users:
            self.users[name] = replace(self.users[name], **values)  # type: ignore[arg-type]
        return name in self.users

    async def set_password(self, name: str, password: str, records: Sequence[OwnRow]) -> bool:
        return await self._change(name, password=password)

    async def set_role(self, name: str, role: str, records: Sequence[OwnRow]) -> bool:
        return await self._change(name, role=role)

    async def set_disabled(self, name: str, disabled: bool, records: Sequence[OwnRow]) -> bool:
        return await self._change(name, disabled=EPOCH if disabled else None)

    async def remove(self, name: str, records: Sequence[OwnRow]) -> bool:
        return self.users.pop(name, None) is not None

    async def begin(
        self,
        session: SessionRow,
        records: Sequence[OwnRow],
        *,
        life: timedelta,
        replaces: str,
        of: UserRow | None,
        sessions_max: int,
    ) -> bool:
        if session.login in self.logins or (of is not None and self.users.get(of.name) != of):
            return False
        self.logins.add(session.login)
        self.sessions.pop(replaces, None)
        self.sessions[session.hash] = session
        return True

    async def end(self, hashed: str, records: Sequence[OwnRow]) -> bool:
        return self.sessions.pop(hashed, None) is not None


class Told:
    """The record: what was done, and refused."""

    def __init__(self) -> None:
        self.records: list[tuple[Actor, Record]] = []

    def rows(self, by: Actor, record: Record) -> tuple[OwnRow, ...]:
        return ()

    def done(self, by: Actor, record: Record) -> None:
        self.records.append((by, record))

    def refused(self, by: Actor, record: Record) -> None:
        self.records.append((by, record))

    @property
    def lines(self) -> list[str]:
        return [f"{it.action} {it.target}: {it.outcome}" for _, it in self.records]


class CountedPasswords(Passwords):
    """Cheap ones, which count what was compared."""

    def __init__(self) -> None:
        super().__init__(memory_kib=64, passes=1)
        self.compared = 0

    async def is_right(self, kept: str | None, password: str) -> bool:
        self.compared += 1
        return await super().is_right(kept, password)


class House:
    """All of it, and the time."""

    def __init__(self) -> None:
        self.store, self.told, self.passwords = Store(), Told(), CountedPasswords()
        self.people = People(self.store, self.passwords, self.told)
        self.now = 0.0
        self.slept: list[float] = []
        self.changes = 0
        self.login = Login(
            *(self.store, self.store, self.passwords, self.told),
            has_changed=self._changed,
            monotonic=lambda: self.now,
            sleep=self._sleep,
            random_bytes=os.urandom,
        )

    async def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)

    def _changed(self) -> None:
        self.changes += 1


@pytest.fixture
async def house() -> AsyncIterator[House]:
    made = House()
    await made.people.add(ADMIN, "Anna", role="operator", password=GOOD)
    made.told.records.clear()
    yield made
    made.passwords.close()


async def refused(house: House, name: str, password: str, address: str = HERE) -> DtmError:
    with pytest.raises((Unauthenticated, TooOften)) as caught:
        await house.login.by_password(name, password, address)
    return caught.value


# ---- by a password -------------------------------------------------------------------------------


async def test_who_knows_the_password_is_let_in_whatever_the_case_of_the_name(house: House):
    text = await house.login.by_password(" ANNA ", GOOD, HERE)
    [(hashed, row)] = house.store.sessions.items()
    assert (row.name, row.subject, row.role, row.method, row.issuer) == (
        "anna",
        "anna",
        "operator",
        "session",
        "",
    )
    assert text not in f"{row}"
    assert len(text) == 43
    assert len(hashed) == 64
    assert house.told.lines == ["login anna: done"]


async def test_nobody_is_told_what_was_wrong(house: House):
    await house.people.add(ADMIN, "ben", role="viewer", password=GOOD)
    await house.people.set_disabled(ADMIN, "ben", True)
    house.told.records.clear()
    errors = [
        await refused(house, name, password)
        for name, password in (
            *(("anna", "another one, not hers"), ("anna", ""), ("nobody", GOOD)),
            *(("ben", GOOD), ("", GOOD), ("no name at all \0", GOOD), ("x" * 10_000, GOOD)),
        )
    ]
    assert {(type(it), it.message) for it in errors} == {
        (Unauthenticated, "the name or the password is not right")
    }
    assert house.passwords.compared == len(errors)  # each takes as long as any other
    assert not house.store.sessions
    assert {line.partition(":")[0] for line in house.told.lines} == {
        "login anna", "login (unknown)", "login ben",
    }  # fmt: skip


async def test_a_new_session_at_each_login_and_the_old_one_ends(house: House):
    first = await house.login.by_password("anna", GOOD, HERE)
    planted = "A" * 43
    second = await house.login.by_password("anna", GOOD, HERE, replaces=first)
    third = await house.login.by_password("anna", GOOD, THERE, replaces=planted)
    assert len({first, second, third, planted}) == 4
    assert len(house.store.sessions) == 2
    assert house.changes == 3


async def test_who_was_changed_while_the_password_was_looked_at_is_not_let_in(house: House):
    compare = house.passwords.is_right

    async def and_disabled(kept: str | None, password: str) -> bool:
        is_right = await compare(kept, password)
        await house.people.set_disabled(ADMIN, "anna", True)
        return is_right

    house.passwords.is_right = and_disabled  # type: ignore[method-assign]
    await refused(house, "anna", GOOD)
    assert not house.store.sessions


async def test_guesses_are_slowed_and_then_told_to_wait_without_a_look_at_the_password(house: House):
    said = [await refused(house, "anna", f"guess {number}") for number in range(20)]
    assert isinstance(said[-1], TooOften)
    assert "try again in" in said[-1].message
    assert house.slept
    assert house.passwords.compared == sum(isinstance(it, Unauthenticated) for it in said) < 15
    assert await house.login.by_password("anna", GOOD, THERE)  # she herself, from elsewhere
    house.now += 3600
    assert await house.login.by_password("anna", GOOD, HERE)


async def test_logging_out_ends_the_session(house: House):
    text = await house.login.by_password("anna", GOOD, HERE)
    for _ in range(2):
        await house.login.end(text, Actor("anna", "session", HERE))
    await house.login.end("", Actor("anna", "session", HERE))
    assert not house.store.sessions
    assert house.told.lines == ["login anna: done", "logout anna: done"]


async def test_what_an_issuer_said_serves_for_one_login(house: House):
    who = Identity("https://issuer", "1234", "Anna", "admin", "the login")
    assert await house.login.by_identity(who, HERE)
    with pytest.raises(Unauthenticated, match="has been used"):
        await house.login.by_identity(who, HERE)
    [row] = house.store.sessions.values()
    assert (row.name, row.issuer, row.subject, row.role, row.method) == (
        *("Anna", "https://issuer", "1234", "admin", "oidc"),
    )


async def test_whoever_comes_back_from_an_issuer_is_slowed_by_address_alone(house: House):
    for _ in range(9):
        await house.login.slow_down(HERE)
    assert house.slept
    house.slept.clear()
    await house.login.slow_down(THERE)
    assert not house.slept
    for _ in range(50):
        await house.login.slow_down("10.0.0.9")
        await house.login.by_identity(Identity("i", "s", "n", "admin", os.urandom(8).hex()), "10.0.0.9")
    assert not house.slept


# ---- people --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "role", "password", "problem"),
    [
        ("", "viewer", GOOD, "name: has 1 to 64"),
        ("a b", "viewer", GOOD, "name: has 1 to 64"),
        ("ännchen", "viewer", GOOD, "name: has 1 to 64"),
        ("x" * 65, "viewer", GOOD, "name: has 1 to 64"),
        ("carl\n2", "viewer", GOOD, "name: has 1 to 64"),
        ("carl", "service", GOOD, "role: is one of viewer, operator, admin, not 'service'"),
        ("carl", "root", GOOD, "role: is one of"),
        ("carl", "viewer", "short", "password: a password has at least 12 characters, this one has 5"),
        ("carl", "viewer", "x" * 1025, "at most 1024 bytes"),
        ("carl", "viewer", "a" * 20, "too easy"),
        ("carl-of-the-shop", "viewer", "Carl-of-the-shop", "too easy"),
        ("carl", "viewer", "two lines\nof text it is", "one line"),
    ],
)
async def test_what_makes_no_sense_is_refused_by_name(
    house: House, name: str, role: str, password: str, problem: str
):
    with pytest.raises(Invalid, match=problem):
        await house.people.add(ADMIN, name, role=role, password=password)
    assert list(house.store.users) == ["anna"]
    assert not house.told.records


async def test_the_life_of_somebody_is_recorded_without_a_password(house: House):
    people = house.people
    await people.add(ADMIN, "carl", role="viewer", password=GOOD)
    await people.set_role(ADMIN, "carl", "admin")
    await people.set_password(ADMIN, "carl", "another one, also good")
    await people.set_disabled(ADMIN, "carl", True)
    await people.set_disabled(ADMIN, "carl", False)
    await people.remove(ADMIN, "carl")
    assert [(it.action, it.target, it.was, it.became) for _, it in house.told.records] == [
        ("user add", "carl", "", "role viewer"),
        ("user role", "carl", "viewer", "admin"),
        ("user password", "carl", "", ""),
        ("user disable", "carl", "enabled", "disabled"),
        ("user enable", "carl", "disabled", "enabled"),
        ("user remove", "carl", "role admin", "removed"),
    ]
    assert GOOD not in f"{house.told.records}"
    assert list(house.store.users) == ["anna"]


async def test_who_is_not_there_cannot_be_changed_nor_who_is_added_again(house: House):
    for asked in (
        house.people.set_role(ADMIN, "zoe", "viewer"),
        house.people.set_password(ADMIN, "zoe", GOOD),
        house.people.set_disabled(ADMIN, "zoe", True),
        house.people.remove(ADMIN, "zoe"),
    ):
        with pytest.raises(NotFound, match="nobody is called zoe"):
            await asked
    with pytest.raises(Conflict, match="somebody is called anna already"):
        await house.people.add(ADMIN, "ANNA", role="viewer", password=GOOD)
    assert not house.told.records


def test_a_name_is_stored_in_one_way():
    assert normal_name("  Anna@Shop.Example ") == "anna@shop.example"


# ---- passwords -----------------------------------------------------------------------------------


async def test_what_is_kept_is_argon2id_and_never_the_same_twice():
    passwords = Passwords()
    try:
        first, second = await passwords.hash(GOOD), await passwords.hash(GOOD)
        assert first.startswith("$argon2id$v=19$m=32768,t=2,p=1$")
        assert len(first) <= 255
        assert first != second
        assert await passwords.is_right(first, GOOD)
        assert not await passwords.is_right(first, GOOD + " ")
        assert not await passwords.is_right(None, GOOD)
        assert not await passwords.is_right("no such thing", GOOD)
    finally:
        passwords.close()


async def test_more_than_can_wait_are_told_so():
    passwords = Passwords(memory_kib=64, passes=1)
    try:
        asked = [passwords.hash(GOOD) for _ in range(AT_ONCE + WAITING_MAX + 7)]
        came = await asyncio.gather(*asked, return_exceptions=True)
        assert sum(isinstance(it, Busy) for it in came) == 7
        assert await passwords.hash(GOOD)
    finally:
        passwords.close()


def test_a_good_password_needs_no_digits_or_signs():
    assert why_not("correct horse battery", "anna") == ""
    assert why_not("密码密码短语十二个字符够了吧", "anna") == ""
