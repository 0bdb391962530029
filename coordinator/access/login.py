"""Logging in: attempts slowed, the password compared, a session begun; and logging out."""

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Final, NamedTuple, Protocol

from coordinator.access.audit import REFUSED, Actor, Record
from coordinator.access.passwords import Passwords
from coordinator.access.people import Users, normal_name
from coordinator.access.sessions import BY_ISSUER, BY_PASSWORD, LIFE, SESSIONS_MAX, new_session
from coordinator.access.slowing import Slowing, network_of
from coordinator.access.tokens import hash_of
from coordinator.errors import Busy, Invalid, NotFound, TooOften, Unauthenticated
from coordinator.store.own_rows import OwnRow
from coordinator.store.people_tables import SessionRow, UserRow

_WAITING_MAX: Final = 500  # attempts that are slowed, at a time
_UNKNOWN: Final = "(unknown)"  # in place of a name that nobody has: people write their password there, too
_WRONG: Final = "the name or the password is not right"


class Sessions(Protocol):
    """What is asked of the store; see SessionTable. Raises StoreUnavailable."""

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
        """Store it; False where that log-in was used, or whose it is has changed."""
        ...

    async def end(self, hashed: str, records: Sequence[OwnRow]) -> bool:
        """End it; False where it has."""
        ...


class Records(Protocol):
    """Who keeps the record of who did what; see Recorder."""

    def rows(self, by: Actor, record: Record) -> tuple[OwnRow, ...]:
        """What is stored with the change."""
        ...

    def done(self, by: Actor, record: Record) -> None:
        """Tell of a change that stands."""
        ...

    def refused(self, by: Actor, record: Record) -> None:
        """Tell of what was refused."""
        ...


class Identity(NamedTuple):
    """Whom an issuer of OpenID Connect says it is. login: of what was logged in with, which serves once."""

    issuer: str
    subject: str
    name: str
    role: str
    login: str


class Login:
    """Lets people in. has_changed: told where a session was ended, so that nobody believes in it longer."""

    def __init__(
        self,
        users: Users,
        sessions: Sessions,
        passwords: Passwords,
        records: Records,
        *,
        has_changed: Callable[[], None],
        monotonic: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        random_bytes: Callable[[int], bytes] = secrets.token_bytes,
    ) -> None:
        """monotonic: seconds. sleep: for so many. random_bytes: so many, that nobody can guess."""
        self._users = users
        self._sessions = sessions
        self._passwords = passwords
        self._records = records
        self._has_changed = has_changed
        self._monotonic = monotonic
        self._sleep = sleep
        self._random_bytes = random_bytes
        self._slowing = Slowing()
        self._waiting = 0

    async def by_password(self, name: str, password: str, address: str, *, replaces: str = "") -> str:
        """What the browser holds from now on. replaces: what it held until now, if anything; that ends.

        Raises Unauthenticated in the same words and after the same time, whatever was wrong; TooOften, Busy,
        StoreUnavailable.
        """
        user = await self.compare(name, password, address)
        new = new_session(self._random_bytes)
        row = SessionRow(new.hash, new.hash, user.name, BY_PASSWORD, "", user.name, user.role, address)
        if not await self._begin(row, replaces=replaces, of=user):
            raise self._refuse(user.name, address, _WRONG)  # changed meanwhile
        return new.text

    async def compare(self, name: str, password: str, address: str) -> UserRow:
        """Whose password it is; see by_password."""
        account = name.strip().lower()[:100]
        network = network_of(address)
        await self._slow_down(account, network, address)
        user = await self._find(name)
        kept = user.password if user is not None and user.disabled is None else None
        is_right = await self._passwords.is_right(kept, password)
        if user is None or not is_right:
            raise self._refuse(user.name if user else _UNKNOWN, address, _WRONG)
        self._slowing.succeeded(account, network)
        return user

    async def by_identity(self, who: Identity, address: str, *, replaces: str = "") -> str:
        """As by_password, of somebody whom an issuer knows.

        Raises Unauthenticated where that log-in has been used, for `refused` to record; StoreUnavailable.
        """
        new = new_session(self._random_bytes)
        row = SessionRow(
            *(new.hash, who.login, who.name, BY_ISSUER, who.issuer, who.subject, who.role, address)
        )
        if not await self._begin(row, replaces=replaces, of=None):
            raise Unauthenticated(f"this log-in of {who.name} has been used: begin again")
        self._slowing.succeeded(*_returning(address))
        return new.text

    def refused(self, name: str, address: str, why: str) -> None:
        """Record that somebody was not let in whom an issuer knows. name: empty where that is not known."""
        self._tell_refused(name or _UNKNOWN, address, why)

    async def slow_down(self, address: str) -> None:
        """Slow down whoever comes back from an issuer: each costs a call. Raises TooOften, Busy."""
        await self._slow_down(*_returning(address), address)

    async def end(self, text: str, by: Actor) -> None:
        """Log out, which is no error for who was not logged in. Raises StoreUnavailable."""
        if text:
            record = Record("logout", by.who)
            if await self._sessions.end(hash_of(text), self._records.rows(by, record)):
                self._records.done(by, record)
            self._has_changed()

    async def end_session(self, hashed: str, name: str, by: Actor) -> None:
        """End somebody's session. hashed: of what their browser holds. Raises NotFound, StoreUnavailable."""
        record = Record("session end", name)
        if not await self._sessions.end(hashed, self._records.rows(by, record)):
            raise NotFound("no such session stands")
        self._records.done(by, record)
        self._has_changed()

    async def _begin(self, row: SessionRow, *, replaces: str, of: UserRow | None) -> bool:
        by, record = (
            Actor(row.name, row.method, row.address),
            Record("login", row.name, became=f"role {row.role}"),
        )
        stands = await self._sessions.begin(
            row,
            self._records.rows(by, record),
            life=LIFE,
            replaces=hash_of(replaces) if replaces else "",
            of=of,
            sessions_max=SESSIONS_MAX,
        )
        if stands:
            self._records.done(by, record)
            self._has_changed()
        return stands

    async def _find(self, name: str) -> UserRow | None:
        with suppress(Invalid):
            return await self._users.find(normal_name(name))
        return None

    async def _slow_down(self, account: str, network: str, address: str) -> None:
        attempt = self._slowing.attempt(account, network, self._monotonic())
        if attempt.wait is None:
            error = TooOften(attempt.again)
            self._tell_refused(_UNKNOWN, address, error.message)
            raise error
        if attempt.wait:
            if self._waiting >= _WAITING_MAX:
                raise Busy("too many are logging in just now; try again in a moment")
            self._waiting += 1
            try:
                await self._sleep(attempt.wait)
            finally:
                self._waiting -= 1

    def _refuse(self, name: str, address: str, why: str) -> Unauthenticated:
        self._tell_refused(name, address, why)
        return Unauthenticated(why)

    def _tell_refused(self, name: str, address: str, why: str) -> None:
        self._records.refused(
            Actor("nobody", "none", address), Record("login", name, outcome=f"{REFUSED}: {why}")
        )


def _returning(address: str) -> tuple[str, str]:
    network = network_of(address)
    return f"\0{network}", network  # no name that anybody could type
