"""Rows of `dtm_user` and `dtm_session`: people, and who is logged in. Times are the database's, in UTC."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from sqlalchemy import Connection, Row, Select, delete, insert, select, update

from coordinator.model import EPOCH
from coordinator.store.access_tables import AskTime, Now, Run
from coordinator.store.own_rows import OwnRow, with_text_times
from coordinator.store.own_tables import DTM_SESSION, DTM_USER
from coordinator.store.tables import add_own_rows
from coordinator.store.wall_clock import WallClock

_USER: Final = DTM_USER.c
_SESSION: Final = DTM_SESSION.c
_FORGOTTEN_AT_ONCE: Final = 500


@dataclass(frozen=True, slots=True)
class UserRow:
    """Somebody with a password. password: Argon2id's text of it. Times are aware, and not asked for."""

    name: str
    password: str
    role: str
    made: datetime = EPOCH
    changed: datetime = EPOCH
    disabled: datetime | None = None
    last_login: datetime | None = None


@dataclass(frozen=True, slots=True)
class SessionRow:
    """One browser that is logged in. hash: of what it holds. login: of what the log-in was done with, once.

    name: for people. subject: who it is to the issuer; of one with a password the name, and no issuer. Times
    are aware, and not asked for.
    """

    hash: str
    login: str
    name: str
    method: str
    issuer: str
    subject: str
    role: str
    address: str
    made: datetime = EPOCH
    expires: datetime = EPOCH
    last_used: datetime = EPOCH


class UserTable:
    """What is asked of people with passwords. Raises StoreUnavailable."""

    def __init__(self, transact: Run, read: Run, ask_time: AskTime, *, offsets: bool) -> None:
        """ask_time: the database's clock. offsets: see WallClock."""
        self._transact = transact
        self._read = read
        self._ask_time = ask_time
        self._clock = WallClock(UTC, offsets=offsets)

    async def find(self, name: str) -> UserRow | None:
        """Who is called so."""

        def found(connection: Connection) -> UserRow | None:
            row = connection.execute(select(DTM_USER).where(_USER.name == name)).first()
            return None if row is None else self._row(row)

        return await self._read(found)

    async def all(self) -> Sequence[UserRow]:
        """Everybody, by name."""

        def found(connection: Connection) -> Sequence[UserRow]:
            return [self._row(row) for row in connection.execute(select(DTM_USER).order_by(_USER.name))]

        return await self._read(found)

    async def add(self, user: UserRow, records: Sequence[OwnRow]) -> bool:
        """Store them, and the records of it; False where somebody is called so."""

        def added(connection: Connection) -> bool:
            if connection.execute(select(_USER.name).where(_USER.name == user.name)).first():
                return False
            now = self._clock.text(self._ask_time(connection))
            values = {"name": user.name, "password": user.password, "role": user.role}
            connection.execute(insert(DTM_USER).values(**values, made=now, changed=now))
            self._tell(connection, records)
            return True

        return await self._transact(added)

    async def set_password(self, name: str, password: str, records: Sequence[OwnRow]) -> bool:
        """Change it and end their sessions; False where nobody is called so."""
        return await self._change(name, lambda now: {"password": password, "changed": now}, records)

    async def set_role(self, name: str, role: str, records: Sequence[OwnRow]) -> bool:
        """As set_password."""
        return await self._change(name, lambda _: {"role": role}, records)

    async def set_disabled(self, name: str, disabled: bool, records: Sequence[OwnRow]) -> bool:
        """As set_password."""
        return await self._change(name, lambda now: {"disabled": now if disabled else None}, records)

    async def remove(self, name: str, records: Sequence[OwnRow]) -> bool:
        """Delete them and end their sessions; False where nobody is called so."""

        def removed(connection: Connection) -> bool:
            if connection.execute(delete(DTM_USER).where(_USER.name == name)).rowcount != 1:
                return False
            self._end_sessions(connection, name, self._clock.text(self._ask_time(connection)))
            self._tell(connection, records)
            return True

        return await self._transact(removed)

    async def _change(
        self, name: str, values: Callable[[str], Mapping[str, Any]], records: Sequence[OwnRow]
    ) -> bool:
        def changed(connection: Connection) -> bool:
            wanted = select(_USER.name).where(_USER.name == name).with_for_update()
            if connection.execute(wanted).first() is None:
                return False
            now = self._clock.text(self._ask_time(connection))
            connection.execute(update(DTM_USER).where(_USER.name == name).values(values(now)))
            self._end_sessions(connection, name, now)
            self._tell(connection, records)
            return True

        return await self._transact(changed)

    def _end_sessions(self, connection: Connection, name: str, now: str) -> None:
        theirs = (_SESSION.subject == name, _SESSION.issuer == "", _SESSION.ended.is_(None))
        connection.execute(update(DTM_SESSION).where(*theirs).values(ended=now))

    def _tell(self, connection: Connection, records: Sequence[OwnRow]) -> None:
        add_own_rows(connection, with_text_times(records, self._clock))

    def _row(self, row: Row[Any]) -> UserRow:
        time = self._clock.time
        return UserRow(
            row.name,
            row.password,
            row.role,
            time(row.made) or EPOCH,
            time(row.changed) or EPOCH,
            time(row.disabled),
            time(row.last_login),
        )


class SessionTable:
    """What is asked of the sessions. Raises StoreUnavailable."""

    def __init__(self, transact: Run, read: Run, ask_time: AskTime, *, now: Now, offsets: bool) -> None:
        """ask_time: the database's clock. now: ours, which follows it. offsets: see WallClock."""
        self._now = now
        self._transact = transact
        self._read = read
        self._ask_time = ask_time
        self._clock = WallClock(UTC, offsets=offsets)

    async def valid(self, idle: timedelta) -> Sequence[SessionRow]:
        """Those that have neither ended nor expired, and were used within `idle`; the newest first."""

        def found(connection: Connection) -> Sequence[SessionRow]:
            live = _live(self._clock, self._now(), idle).order_by(_SESSION.made.desc())
            return [self._row(row) for row in connection.execute(live)]

        return await self._read(found)

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
        """Store it, and the records of it, where that log-in has not been used yet.

        replaces: hash of the one that the browser had, which ends. of: whose it is, as they were when the
        password was looked at: False where anything of that has changed since. sessions_max: of one person;
        more end, those that were begun first.
        """

        def begun(connection: Connection) -> bool:
            now = self._ask_time(connection)
            text = self._clock.text(now)
            if of is not None and not self._still_stands(connection, of, text):
                return False
            if connection.execute(select(_SESSION.hash).where(_SESSION.login == session.login)).first():
                return False
            self._end(connection, [replaces, *self._superfluous(connection, session, sessions_max)], text)
            times = {"made": text, "expires": self._clock.text(now + life), "last_used": text}
            names = ("hash", "login", "name", "method", "issuer", "subject", "role", "address")
            values = {name: getattr(session, name) for name in names}
            connection.execute(insert(DTM_SESSION).values(**values, **times))
            add_own_rows(connection, with_text_times(records, self._clock))
            return True

        return await self._transact(begun)

    def _still_stands(self, connection: Connection, user: UserRow, now: str) -> bool:
        row = connection.execute(select(DTM_USER).where(_USER.name == user.name).with_for_update()).first()
        if row is None or (row.password, row.role, row.disabled) != (user.password, user.role, None):
            return False
        connection.execute(update(DTM_USER).where(_USER.name == user.name).values(last_login=now))
        return True

    def _superfluous(self, connection: Connection, session: SessionRow, sessions_max: int) -> Sequence[str]:
        theirs = (
            _SESSION.subject == session.subject,
            _SESSION.issuer == session.issuer,
            _SESSION.ended.is_(None),
        )
        newest_first = select(_SESSION.hash).where(*theirs).order_by(_SESSION.made.desc())
        return list(connection.execute(newest_first).scalars())[sessions_max - 1 :]

    async def end(self, hashed: str, records: Sequence[OwnRow]) -> bool:
        """End it, with the records of it; False where none of that hash stands."""

        def ended(connection: Connection) -> bool:
            if not self._end(connection, [hashed], self._clock.text(self._ask_time(connection))):
                return False
            add_own_rows(connection, with_text_times(records, self._clock))
            return True

        return await self._transact(ended)

    def _end(self, connection: Connection, hashes: Sequence[str], now: str) -> int:
        standing = update(DTM_SESSION).where(_SESSION.hash.in_(hashes), _SESSION.ended.is_(None))
        return connection.execute(standing.values(ended=now)).rowcount

    async def used(self, hashes: Iterable[str]) -> None:
        """Note that these were used just now."""

        def noted(connection: Connection) -> None:
            now = self._clock.text(self._ask_time(connection))
            connection.execute(
                update(DTM_SESSION).where(_SESSION.hash.in_(sorted(hashes))).values(last_used=now)
            )

        await self._transact(noted)

    async def forget(self) -> None:
        """Delete those that have expired, some at a time."""

        def forgotten(connection: Connection) -> None:
            now = self._clock.text(self._ask_time(connection))
            old = select(_SESSION.hash).where(_SESSION.expires <= now).limit(_FORGOTTEN_AT_ONCE)
            if hashes := list(connection.execute(old).scalars()):
                connection.execute(delete(DTM_SESSION).where(_SESSION.hash.in_(hashes)))

        await self._transact(forgotten)

    def _row(self, row: Row[Any]) -> SessionRow:
        texts = (row.hash, row.login, row.name, row.method, row.issuer, row.subject, row.role, row.address)
        times = [self._clock.time(it) or EPOCH for it in (row.made, row.expires, row.last_used)]
        return SessionRow(*texts, *times)


class PeopleTables:
    """Both of them."""

    def __init__(self, transact: Run, read: Run, ask_time: AskTime, *, now: Now, offsets: bool) -> None:
        """See SessionTable."""
        self.users = UserTable(transact, read, ask_time, offsets=offsets)
        self.sessions = SessionTable(transact, read, ask_time, now=now, offsets=offsets)


def _live(clock: WallClock, now: datetime, idle: timedelta) -> Select[Any]:
    return select(DTM_SESSION).where(
        _SESSION.ended.is_(None),
        _SESSION.expires > clock.text(now),
        _SESSION.last_used > clock.text(now - idle),
    )
