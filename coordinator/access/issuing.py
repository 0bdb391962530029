"""Tokens made and revoked, each with its row in the record of who did what."""

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Protocol

from coordinator.access.audit import Actor, Record
from coordinator.access.permissions import Role
from coordinator.access.tokens import DAYS_MAX, NAME_MAX, new_token
from coordinator.config.client_certificates import GID_PREFIX_MAX
from coordinator.errors import Invalid, NotFound
from coordinator.store.access_tables import TokenRow
from coordinator.store.own_rows import OwnRow


class Tokens(Protocol):
    """What is asked of the store; see TokenTable. Raises StoreUnavailable."""

    async def add(self, token: TokenRow, record: OwnRow) -> None:
        """Store it."""
        ...

    async def revoke(self, identifier: str, record: OwnRow) -> bool:
        """Revoke it; False where none of that id stands."""
        ...


class Records(Protocol):
    """Who keeps the record of who did what; see Recorder."""

    def row(self, by: Actor, record: Record) -> OwnRow:
        """What is stored with the change."""
        ...

    def done(self, by: Actor, record: Record) -> None:
        """Tell of a change that stands."""
        ...


class Issuing:
    """now: the database's time. random_bytes: so many, that nobody can guess."""

    def __init__(
        self,
        tokens: Tokens,
        records: Records,
        *,
        now: Callable[[], Awaitable[datetime]],
        random_bytes: Callable[[int], bytes],
    ) -> None:
        self._tokens = tokens
        self._records = records
        self._now = now
        self._random_bytes = random_bytes

    async def create(self, by: Actor, *, name: str, role: str, gid_prefix: str, days: int) -> str:
        """Make a token and return its text, which is stored nowhere. Raises Invalid, StoreUnavailable."""
        check_token(name, role, gid_prefix, days)
        token = new_token(self._random_bytes)
        expires = await self._now() + timedelta(days=days)
        row = TokenRow(token.id, token.hash, name, role, gid_prefix, expires)
        became = f"role {role}, gid prefix '{gid_prefix}', expires {expires:%Y-%m-%d %H:%M} UTC"
        record = Record("token create", f"{name} ({token.id})", became=became)
        await self._tokens.add(row, self._records.row(by, record))
        self._records.done(by, record)
        return token.text

    async def revoke(self, by: Actor, identifier: str) -> None:
        """Revoke it, for good. Raises NotFound, StoreUnavailable."""
        record = Record("token revoke", identifier, was="valid", became="revoked")
        if not await self._tokens.revoke(identifier, self._records.row(by, record)):
            raise NotFound(f"no valid token has the id {identifier[:40]}", "`dtm token list` shows them")
        self._records.done(by, record)


def check_token(name: str, role: str, gid_prefix: str, days: int) -> None:
    """Raise Invalid for what cannot be made."""
    if not name.strip() or len(name) > NAME_MAX or not name.isprintable():
        raise Invalid(f"name: must have 1 to {NAME_MAX} printable characters")
    if role not in set(Role):
        raise Invalid(f"role: is one of {', '.join(Role)}, not '{role[:40]}'")
    if gid_prefix and role != Role.SERVICE:
        raise Invalid(f"gid prefix: is for the role {Role.SERVICE}; a {role} has to do with every gid")
    if len(gid_prefix) > GID_PREFIX_MAX or not gid_prefix.isprintable() or set(gid_prefix) & set("; "):
        raise Invalid(f"gid prefix: has at most {GID_PREFIX_MAX} printable characters, without blanks and ;")
    if not 1 <= days <= DAYS_MAX:
        raise Invalid(f"days: must be 1 to {DAYS_MAX}, not {days}")
