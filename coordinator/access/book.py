"""The tokens that stand, read from the store again and again: known by a look into a dictionary."""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Final, NamedTuple, Protocol

from coordinator.access.believed import Believed, Sleep
from coordinator.access.permissions import ROLES, Principal, Role
from coordinator.access.tokens import hash_of, is_whole
from coordinator.errors import StoreUnavailable, Unauthenticated
from coordinator.store.access_tables import TokenRow, TokensRead

READ_SECONDS: Final = 2.0  # between two reads
_USED_SECONDS: Final = 60.0  # between two notes of which were used
_LENGTH_MAX: Final = 200  # characters of what may be one


class Rows(Protocol):
    """What is asked of the store. Raises StoreUnavailable."""

    async def valid(self) -> TokensRead:
        """See TokenTable."""
        ...

    async def used(self, identifiers: Iterable[str]) -> None:
        """See TokenTable."""
        ...


class _Known(NamedTuple):
    """By hash: who has it, and how it is called."""

    owners: Mapping[str, Principal]
    ids: Mapping[str, str]


class TokenBook:
    """Knows whose a token is. beat: every READ_SECONDS, as long as anybody asks."""

    def __init__(self, rows: Rows, *, monotonic: Callable[[], float], sleep: Sleep = asyncio.sleep) -> None:
        """monotonic: seconds. sleep: for so many."""
        self._rows = rows
        self._monotonic = monotonic
        self._believed = Believed(self._read, _Known({}, {}), monotonic, sleep)
        self._noted_at = -_USED_SECONDS
        self._used: set[str] = set()  # hashes

    @property
    def trouble(self) -> str:
        """Why tokens cannot be looked up; empty when they can."""
        return self._believed.trouble

    async def owner_of(self, token: str) -> Principal:
        """See Tokens. One that was made just now is looked for, but not for everybody who makes some up."""
        if len(token) > _LENGTH_MAX:
            raise _not_known()
        hashed, believed = hash_of(token), self._believed
        if not believed.stands or (hashed not in believed.value.owners and is_whole(token)):
            await believed.renew("tokens")
        owner = believed.value.owners.get(hashed)
        if owner is None:
            raise _not_known()
        self._used.add(hashed)
        return owner

    async def beat(self) -> None:
        """Read what stands; note which were used, once a minute. What goes wrong is in `trouble`."""
        with suppress(StoreUnavailable):
            await self._believed.read()
            now, ids = self._monotonic(), self._believed.value.ids
            if self._used and now - self._noted_at >= _USED_SECONDS:
                used, self._used, self._noted_at = self._used, set(), now
                await self._rows.used([ids[hashed] for hashed in used if hashed in ids])

    async def _read(self) -> _Known:
        read = await self._rows.valid()
        owners = {row.hash: _owner(row) for row in read.tokens if row.role in set(Role)}
        return _Known(owners, {row.hash: row.id for row in read.tokens})


def _owner(row: TokenRow) -> Principal:
    return Principal(row.name, ROLES[Role(row.role)], f"token {row.id}", row.gid_prefix)


def _not_known() -> Unauthenticated:
    return Unauthenticated(
        "this token is not known: it is cut short, revoked, expired or of another coordinator;"
        " `dtm token list` shows those that stand"
    )
