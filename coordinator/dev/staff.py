"""Who may log in where people must, one of each role; and a program's token beside them."""

import secrets
from collections.abc import Mapping
from datetime import timedelta
from typing import Final

from coordinator.access.audit import Record, audit_row
from coordinator.access.passwords import Passwords
from coordinator.access.people import People
from coordinator.access.permissions import Role
from coordinator.access.recorder import Recorder
from coordinator.access.tokens import new_token
from coordinator.clock import Clock
from coordinator.dev.past import ANN
from coordinator.store.access_tables import TokenRow
from coordinator.store.sql import SqlStore

STAFF: Final[Mapping[str, Role]] = {"ann": Role.ADMIN, "ben": Role.OPERATOR, "vera": Role.VIEWER}
_HAS_LEFT: Final = "carl"
PASSWORD: Final = "nothing here is secret"


async def let_in(store: SqlStore, recorder: Recorder, clock: Clock) -> str:
    """Add them; returns the token of an operator's script. Raises DtmError."""
    passwords = Passwords()
    try:
        people = People(store.people.users, passwords, recorder)
        for name, role in STAFF.items():
            await people.add(ANN, name, role=role, password=PASSWORD)
        await people.add(ANN, _HAS_LEFT, role=Role.OPERATOR, password=PASSWORD)
        await people.set_disabled(ANN, _HAS_LEFT, True)
    finally:
        passwords.close()
    await _token(store, clock, "order service", Role.SERVICE, gid_prefix="order-")
    return await _token(store, clock, "nightly script", Role.OPERATOR)


async def _token(store: SqlStore, clock: Clock, name: str, role: Role, *, gid_prefix: str = "") -> str:
    token = new_token(secrets.token_bytes)
    expires = clock.now() + timedelta(days=90)
    became = f"role {role}, gid prefix '{gid_prefix}'"
    record = Record("token create", f"{name} ({token.id})", became=became)
    row = TokenRow(token.id, token.hash, name, role, gid_prefix, expires)
    await store.tokens.add(row, audit_row(ANN, record, at=clock.now()))
    return token.text
