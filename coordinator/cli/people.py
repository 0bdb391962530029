"""People who log in, looked up and changed in the store, for `dtm user`."""

from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Final, NamedTuple

from coordinator.access.audit import Actor
from coordinator.access.passwords import Passwords
from coordinator.access.people import People
from coordinator.access.sessions import IDLE
from coordinator.cli.beside import Kept, me, opened
from coordinator.config.settings import Settings
from coordinator.store.people_tables import UserRow

_LINE: Final = "{:<8} {:<9} {:<17} {:<17} {:>8}  {}"


class Listed(NamedTuple):
    """Everybody, by name, and how many browsers of each are logged in."""

    users: Sequence[UserRow]
    sessions: Mapping[str, int]


async def listed(settings: Settings) -> Listed:
    """Who there is. Raises StartError, StoreUnavailable."""
    async with opened(settings, "dtm_user", "dtm_session") as store:
        standing = await store.people.sessions.valid(IDLE)
        return Listed(await store.people.users.all(), Counter(it.subject for it in standing if not it.issuer))


async def change(settings: Settings, change: Callable[[People, Actor], Awaitable[None]]) -> None:
    """Have something changed by who types. Raises what that raises; StartError, StoreUnavailable."""
    async with opened(settings, "dtm_user", "dtm_session") as store:
        passwords = Passwords()
        try:
            await change(People(store.people.users, passwords, Kept()), me())
        finally:
            passwords.close()


def lines(read: Listed) -> Iterator[str]:
    """The people as a table."""
    yield _LINE.format("role", "state", "added", "last login", "sessions", "name")
    for user in read.users:
        state = "disabled" if user.disabled else "enabled"
        times = (_shown(user.made), _shown(user.last_login))
        yield _LINE.format(user.role, state, *times, read.sessions.get(user.name, 0), user.name)


def _shown(time: datetime | None) -> str:
    return f"{time:%Y-%m-%d %H:%M}" if time else "-"
