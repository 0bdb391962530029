"""People with a password: added, changed, disabled, removed, each with its row in the record."""

import re
from collections.abc import Sequence
from typing import Final, Protocol

from coordinator.access.audit import Actor, Record
from coordinator.access.passwords import Passwords, why_not
from coordinator.access.permissions import HUMAN_ROLES, Role
from coordinator.errors import Conflict, Invalid, NotFound
from coordinator.store.limits import USER_NAME_MAX
from coordinator.store.own_rows import OwnRow
from coordinator.store.people_tables import UserRow

_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._@+-]*", flags=re.ASCII)


class Users(Protocol):
    """What is asked of the store; see UserTable. Raises StoreUnavailable."""

    async def find(self, name: str) -> UserRow | None:
        """Who is called so."""
        ...

    async def add(self, user: UserRow, records: Sequence[OwnRow]) -> bool:
        """False where somebody is called so."""
        ...

    async def set_password(self, name: str, password: str, records: Sequence[OwnRow]) -> bool:
        """False where nobody is called so; so do the others."""
        ...

    async def set_role(self, name: str, role: str, records: Sequence[OwnRow]) -> bool:
        """Change it."""
        ...

    async def set_disabled(self, name: str, disabled: bool, records: Sequence[OwnRow]) -> bool:
        """Change it."""
        ...

    async def remove(self, name: str, records: Sequence[OwnRow]) -> bool:
        """Delete them."""
        ...


class Records(Protocol):
    """Who keeps the record of who did what; see Recorder."""

    def rows(self, by: Actor, record: Record) -> tuple[OwnRow, ...]:
        """What is stored with the change."""
        ...

    def done(self, by: Actor, record: Record) -> None:
        """Tell of a change that stands."""
        ...


def normal_name(text: str) -> str:
    """The name as it is stored. Raises Invalid for what is none."""
    name = text.strip().lower()
    if len(name) > USER_NAME_MAX or not _NAME.fullmatch(name):
        raise Invalid(
            f"name: has 1 to {USER_NAME_MAX} letters of ASCII, digits and . _ @ + -, a letter or digit first"
        )
    return name


class People:
    """Who may log in by a password. Every change ends the sessions of whom it concerns.

    Each call raises Invalid, NotFound for a name that nobody has, Conflict for one that is taken; Busy,
    StoreUnavailable.
    """

    def __init__(self, users: Users, passwords: Passwords, records: Records) -> None:
        self._users = users
        self._passwords = passwords
        self._records = records

    async def add(self, by: Actor, name: str, *, role: str, password: str) -> None:
        """Add somebody."""
        name, role = normal_name(name), _human(role)
        kept = await self._kept(password, name)
        record = Record("user add", name, became=f"role {role}")
        if not await self._users.add(UserRow(name, kept, role), self._records.rows(by, record)):
            raise Conflict(f"name: somebody is called {name} already")
        self._records.done(by, record)

    async def set_password(self, by: Actor, name: str, password: str) -> None:
        """Give them another one."""
        name = normal_name(name)
        kept = await self._kept(password, name)
        record = Record("user password", name)
        self._done(by, record, await self._users.set_password(name, kept, self._records.rows(by, record)))

    async def set_role(self, by: Actor, name: str, role: str) -> None:
        """Give them another one."""
        role, user = _human(role), await self.known(name)
        record = Record("user role", user.name, was=user.role, became=role)
        self._done(by, record, await self._users.set_role(user.name, role, self._records.rows(by, record)))

    async def set_disabled(self, by: Actor, name: str, disabled: bool) -> None:
        """Keep them out from now on, or let them in again."""
        user = await self.known(name)
        was, became = ("disabled" if it else "enabled" for it in (user.disabled is not None, disabled))
        record = Record("user disable" if disabled else "user enable", user.name, was=was, became=became)
        rows = self._records.rows(by, record)
        self._done(by, record, await self._users.set_disabled(user.name, disabled, rows))

    async def remove(self, by: Actor, name: str) -> None:
        """Forget them."""
        user = await self.known(name)
        record = Record("user remove", user.name, was=f"role {user.role}", became="removed")
        self._done(by, record, await self._users.remove(user.name, self._records.rows(by, record)))

    async def known(self, name: str) -> UserRow:
        """Who is called so."""
        user = await self._users.find(normal_name(name))
        if user is None:
            raise _nobody(name)
        return user

    async def _kept(self, password: str, name: str) -> str:
        if why := why_not(password, name):
            raise Invalid(f"password: {why}")
        return await self._passwords.hash(password)

    def _done(self, by: Actor, record: Record, stands: bool) -> None:
        if not stands:
            raise _nobody(record.target)
        self._records.done(by, record)


def _human(role: str) -> Role:
    if role not in HUMAN_ROLES:
        raise Invalid(f"role: is one of {', '.join(HUMAN_ROLES)}, not '{role[:40]}'")
    return Role(role)


def _nobody(name: str) -> NotFound:
    return NotFound(f"nobody is called {name[:USER_NAME_MAX]}", "`dtm user list` shows who there is")
