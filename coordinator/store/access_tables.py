"""Rows of `dtm_token` and `dtm_audit` beside the hot path. Times are by the database's clock, in UTC."""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Final, Protocol, TypeVar

from sqlalchemy import Connection, Row, delete, insert, select, update

from coordinator.model import EPOCH
from coordinator.store.own_rows import OwnRow, with_text_times
from coordinator.store.own_tables import DTM_AUDIT, DTM_TOKEN
from coordinator.store.tables import add_own_rows
from coordinator.store.wall_clock import WallClock

T = TypeVar("T")
AskTime = Callable[[Connection], datetime]
Now = Callable[[], datetime]

_TOKEN: Final = DTM_TOKEN.c
_AUDIT: Final = DTM_AUDIT.c


class Run(Protocol):
    """How a function reaches the database: in a transaction of its own. Raises StoreUnavailable."""

    def __call__(self, function: Callable[[Connection], T]) -> Awaitable[T]:
        """Run it."""
        ...


@dataclass(frozen=True, slots=True)
class TokenRow:
    """One token. hash: of its text, SHA-256 in hexadecimal digits. Times are aware; made is not asked for."""

    id: str
    hash: str
    name: str
    role: str
    gid_prefix: str
    expires: datetime
    made: datetime = EPOCH
    revoked: datetime | None = None
    last_used: datetime | None = None


@dataclass(frozen=True, slots=True)
class TokensRead:
    """Tokens, and the database's time at which they were read."""

    now: datetime
    tokens: Sequence[TokenRow]


class TokenTable:
    """What is asked of the tokens. Raises StoreUnavailable."""

    def __init__(self, transact: Run, read: Run, ask_time: AskTime, *, now: Now, offsets: bool) -> None:
        """ask_time: the database's clock. now: ours, which follows it. offsets: see WallClock."""
        self._transact = transact
        self._read = read
        self._ask_time = ask_time
        self._now = now
        self._clock = WallClock(UTC, offsets=offsets)

    async def valid(self) -> TokensRead:
        """Those that are neither revoked nor expired."""

        def found(connection: Connection) -> TokensRead:
            now = self._now()
            wanted = select(DTM_TOKEN).where(_TOKEN.revoked.is_(None), _TOKEN.expires > self._clock.text(now))
            return TokensRead(now, [self._row(row) for row in connection.execute(wanted)])

        return await self._read(found)

    async def all(self) -> TokensRead:
        """Every one, the newest first."""

        def found(connection: Connection) -> TokensRead:
            rows = connection.execute(select(DTM_TOKEN).order_by(_TOKEN.made.desc(), _TOKEN.id))
            return TokensRead(self._ask_time(connection), [self._row(row) for row in rows])

        return await self._read(found)

    async def add(self, token: TokenRow, record: OwnRow) -> None:
        """Store it, and the record of it, in one transaction."""
        await self._transact(partial(self._add, token=token, record=record))

    def _add(self, connection: Connection, token: TokenRow, record: OwnRow) -> None:
        text = self._clock.text
        values = {
            "id": token.id,
            "hash": token.hash,
            "name": token.name,
            "role": token.role,
            "gid_prefix": token.gid_prefix,
            "made": text(self._ask_time(connection)),
            "expires": text(token.expires),
        }
        connection.execute(insert(DTM_TOKEN).values(values))
        add_own_rows(connection, with_text_times([record], self._clock))

    async def revoke(self, identifier: str, record: OwnRow) -> bool:
        """Revoke it, with the record of it; False where there is none of that id that stands."""

        def revoked(connection: Connection) -> bool:
            standing = update(DTM_TOKEN).where(_TOKEN.id == identifier, _TOKEN.revoked.is_(None))
            now = self._clock.text(self._ask_time(connection))
            if connection.execute(standing.values(revoked=now)).rowcount != 1:
                return False
            add_own_rows(connection, with_text_times([record], self._clock))
            return True

        return await self._transact(revoked)

    async def used(self, identifiers: Iterable[str]) -> None:
        """Note that these were used just now."""

        def noted(connection: Connection) -> None:
            now = self._clock.text(self._ask_time(connection))
            connection.execute(
                update(DTM_TOKEN).where(_TOKEN.id.in_(sorted(identifiers))).values(last_used=now)
            )

        await self._transact(noted)

    def _row(self, row: Row[Any]) -> TokenRow:
        time = self._clock.time
        return TokenRow(
            row.id,
            row.hash,
            row.name,
            row.role,
            row.gid_prefix,
            time(row.expires) or EPOCH,
            time(row.made) or EPOCH,
            time(row.revoked),
            time(row.last_used),
        )


class AuditTable:
    """What is asked of the record of who did what. Raises StoreUnavailable."""

    def __init__(self, transact: Run, read: Run, *, offsets: bool) -> None:
        """offsets: see WallClock."""
        self._transact = transact
        self._read = read
        self._clock = WallClock(UTC, offsets=offsets)

    async def add(self, rows: Sequence[OwnRow]) -> None:
        """Store these."""
        texts = with_text_times(rows, self._clock)
        await self._transact(lambda connection: add_own_rows(connection, texts))

    async def latest(self, limit: int) -> Sequence[dict[str, Any]]:
        """At most `limit`, the newest first, by column; times are aware."""

        def found(connection: Connection) -> Sequence[dict[str, Any]]:
            rows = connection.execute(select(DTM_AUDIT).order_by(_AUDIT.id.desc()).limit(limit))
            return [{**row._mapping, "at": self._clock.time(row.at) or EPOCH} for row in rows]

        return await self._read(found)

    async def forget(self, now: datetime, age: timedelta, *, limit: int) -> int:
        """Delete at most `limit` that are older than that; returns how many."""

        def forgotten(connection: Connection) -> int:
            old = (
                select(_AUDIT.id)
                .where(_AUDIT.at < self._clock.text(now - age))
                .order_by(_AUDIT.at)
                .limit(limit)
            )
            ids = list(connection.execute(old).scalars())
            if ids:
                connection.execute(delete(DTM_AUDIT).where(_AUDIT.id.in_(ids)))
            return len(ids)

        return await self._transact(forgotten)
