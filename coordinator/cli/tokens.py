"""`dtm token`: tokens made, listed and revoked where the store is reached, by who may read conf.yml."""

import secrets
from collections.abc import Iterator
from typing import Final

from coordinator.access.issuing import Issuing, check_token
from coordinator.cli.beside import Kept, me, opened
from coordinator.config.settings import Settings
from coordinator.store.access_tables import TokenRow, TokensRead
from coordinator.store.sql import SqlStore

_LINE: Final = "{:<13} {:<8} {:<9} {:<17} {:<17} {:<20} {}"


async def create(settings: Settings, *, name: str, role: str, gid_prefix: str, days: int) -> str:
    """Make a token and return its text. Raises Invalid, StartError, StoreUnavailable."""
    check_token(name, role, gid_prefix, days)  # before a store is made
    async with opened(settings, "dtm_token") as store:
        issuing = _issuing(store)
        return await issuing.create(me(), name=name, role=role, gid_prefix=gid_prefix, days=days)


async def listed(settings: Settings) -> TokensRead:
    """Every token, the newest first. Raises StartError, StoreUnavailable."""
    async with opened(settings, "dtm_token") as store:
        return await store.tokens.all()


async def revoke(settings: Settings, identifier: str) -> None:
    """Revoke it, for good. Raises NotFound, StartError, StoreUnavailable."""
    async with opened(settings, "dtm_token") as store:
        await _issuing(store).revoke(me(), identifier)


def lines(read: TokensRead) -> Iterator[str]:
    """The tokens as a table."""
    yield _LINE.format("id", "state", "role", "expires", "last used", "gid prefix", "name")
    for row in read.tokens:
        expires, used = (
            f"{row.expires:%Y-%m-%d %H:%M}",
            f"{row.last_used:%Y-%m-%d %H:%M}" if row.last_used else "-",
        )
        state = _state_of(row, read)
        yield _LINE.format(row.id, state, row.role, expires, used, row.gid_prefix or "-", row.name)


def _state_of(row: TokenRow, read: TokensRead) -> str:
    if row.revoked is not None:
        return "revoked"
    return "valid" if row.expires > read.now else "expired"


def _issuing(store: SqlStore) -> Issuing:
    return Issuing(store.tokens, Kept(), now=store.utc_now, random_bytes=secrets.token_bytes)
