"""A session at the door: a credential for pages, and for nothing else."""

import pytest

from coordinator.access.gate import Door, Gate, Refusal
from coordinator.access.permissions import (
    OPEN,
    ROLES,
    Mode,
    Needs,
    Permission,
    Principal,
    Role,
    changes,
    looks,
)
from coordinator.errors import Forbidden, Unauthenticated
from tests.unit.access.calls import KnownTokens

LOOK, FORCE = looks(Permission.READ), changes(Permission.OPERATE_FORCE)
ANNA = Principal("anna", ROLES[Role.VIEWER], "session")


class KnownSessions:
    async def owner_of(self, session: str) -> Principal:
        if session != "anna's":
            raise Unauthenticated("this session has ended: log in again")
        return ANNA


class House:
    def __init__(self, mode: Mode = Mode.OPERATORS) -> None:
        self.refusals: list[Refusal] = []
        self.gate = Gate(mode, tokens=KnownTokens(), sessions=KnownSessions(), told=self.refusals.append)

    def page(self, needs: Needs = LOOK) -> Door:
        return self.gate.door("GET /", needs, is_page=True)


async def test_who_is_logged_in_sees_pages_as_their_role_has_it():
    house = House()
    assert await house.page().enter((), "10.0.0.1", session="anna's") is ANNA
    with pytest.raises(Forbidden, match=r"anna lacks the permission operate\.force"):
        await house.page(FORCE).enter((), "10.0.0.1", session="anna's")
    assert [it.who.name for it in house.refusals] == ["anna"]


@pytest.mark.parametrize("mode", [Mode.OPERATORS, Mode.ALL])
async def test_of_the_api_a_session_opens_nothing(mode: Mode):
    door = House(mode).gate.door("GET /api/dtmsvr/all", LOOK)
    assert not door.reads_sessions
    with pytest.raises(Unauthenticated):
        await door.enter((), "10.0.0.1", session="")


async def test_who_is_not_logged_in_is_not_recorded_as_an_attack():
    house = House()
    for session in ("", "another's"):
        with pytest.raises(Unauthenticated):
            await house.page().enter((), "10.0.0.1", session=session)
    assert house.refusals == []


async def test_a_token_that_is_sent_counts_and_not_the_session_beside_it():
    house = House()
    assert (await house.page().enter(["Bearer dtm_admin"], "", session="anna's")).name == "the admin"
    with pytest.raises(Unauthenticated, match="no such token"):
        await house.page().enter(["Bearer dtm_wrong"], "", session="anna's")
    assert await house.page().enter(["Basic of a proxy"], "", session="anna's") is ANNA


async def test_where_nothing_is_kept_from_anybody_nobody_is_looked_at():
    door = House(Mode.OFF).page()
    assert not door.is_watched
    assert not door.reads_sessions
    assert not House().page(OPEN).is_watched
