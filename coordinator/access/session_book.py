"""The sessions that stand, read from the store while anybody asks: known by a look into a dictionary."""

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Final, NamedTuple, Protocol

from coordinator.access.believed import Believed, Sleep
from coordinator.access.permissions import HUMAN_ROLES, ROLES, Principal, Role
from coordinator.access.sessions import IDLE, has_shape
from coordinator.access.tokens import hash_of
from coordinator.errors import StoreUnavailable, Unauthenticated
from coordinator.store.people_tables import SessionRow

BEAT_SECONDS: Final = 2.0
_ASKED_SECONDS: Final = (
    60.0  # so long after somebody asked it is read beside the requests, so that none waits
)
_USED_SECONDS: Final = 60.0  # between two notes of which were used
_FORGET_SECONDS: Final = 600.0  # between two looks for those that have expired


class Rows(Protocol):
    """What is asked of the store. Raises StoreUnavailable."""

    async def valid(self, idle: timedelta) -> Sequence[SessionRow]:
        """See SessionTable."""
        ...

    async def used(self, hashes: Iterable[str]) -> None:
        """See SessionTable."""
        ...

    async def forget(self) -> None:
        """See SessionTable."""
        ...


class Session(NamedTuple):
    """One that stands, and whose it is."""

    who: Principal
    row: SessionRow


class SessionBook:
    """Knows whose a session is. beat: every BEAT_SECONDS.

    issuers: of OpenID Connect, who is believed now: of another one no session stands.
    """

    def __init__(
        self,
        rows: Rows,
        *,
        issuers: Collection[str] = (),
        monotonic: Callable[[], float],
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        """monotonic: seconds. sleep: for so many."""
        self._rows = rows
        self._issuers = {"", *issuers}
        self._monotonic = monotonic
        nothing: Mapping[str, Session] = {}
        self._believed = Believed(self._read, nothing, monotonic, sleep)
        self._asked_at = -_ASKED_SECONDS
        self._noted_at = -_USED_SECONDS
        self._forgot_at = monotonic()
        self._used: set[str] = set()  # hashes

    @property
    def trouble(self) -> str:
        """Why sessions cannot be looked up; empty when they can."""
        return self._believed.trouble

    async def session_of(self, text: str) -> Session:
        """The session that a browser holds, which is in use by that.

        Raises Unauthenticated for one that has ended; StoreUnavailable while it cannot be looked up.
        """
        if not has_shape(text):
            raise _ended()
        self._asked_at = self._monotonic()
        hashed, believed = hash_of(text), self._believed
        if not believed.stands or hashed not in believed.value:
            await believed.renew("sessions")
        session = believed.value.get(hashed)
        if session is None:
            raise _ended()
        self._used.add(hashed)
        return session

    async def owner_of(self, session: str) -> Principal:
        """See Sessions of coordinator.access.gate."""
        return (await self.session_of(session)).who

    async def standing(self) -> Sequence[Session]:
        """All of them, the newest first. Raises StoreUnavailable."""
        if not self._believed.stands:
            await self._believed.renew("sessions")
        return tuple(self._believed.value.values())

    def has_changed(self) -> None:
        """Look once more before anything is believed: a session was ended from here."""
        self._believed.has_changed()

    async def beat(self) -> None:
        """Read while anybody asks; note which were used, once a minute; forget those that are over."""
        now = self._monotonic()
        with suppress(StoreUnavailable):
            if now - self._asked_at < _ASKED_SECONDS:
                await self._believed.read()
            if self._used and now - self._noted_at >= _USED_SECONDS:
                used, self._used, self._noted_at = self._used, set(), now
                await self._rows.used(used)
            if now - self._forgot_at >= _FORGET_SECONDS:
                self._forgot_at = now
                await self._rows.forget()

    async def _read(self) -> Mapping[str, Session]:
        rows = await self._rows.valid(IDLE)
        return {it.hash: Session(_owner(it), it) for it in rows if self._is_known(it)}

    def _is_known(self, row: SessionRow) -> bool:
        return row.issuer in self._issuers and row.role in HUMAN_ROLES


def _owner(row: SessionRow) -> Principal:
    return Principal(row.name, ROLES[Role(row.role)], row.method)


def _ended() -> Unauthenticated:
    return Unauthenticated("this session has ended: log in again")
