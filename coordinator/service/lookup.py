"""Looking at one stored transaction, in bounded time, with the error that a caller understands."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from coordinator.errors import Conflict, Failure, NotFound, StoreUnavailable
from coordinator.model import Transaction
from coordinator.store.base import Store, Stored

T = TypeVar("T")

RACES_MAX: Final = 5  # lost compare-and-sets in a row before the caller is told


class Lookup:
    """seconds: how long a look may take. A store that hangs must not hold up its callers."""

    def __init__(self, store: Store, *, seconds: float) -> None:
        self._store = store
        self._seconds = seconds

    async def read(self, gid: str) -> Stored | None:
        """The transaction and its branches, or None. Raises StoreUnavailable."""
        try:
            async with asyncio.timeout(self._seconds):
                return await self._store.find(gid)
        except TimeoutError as error:
            raise StoreUnavailable("the store did not answer in time") from error

    async def find(self, gid: str) -> Stored:
        """The same; raises NotFound where there is none."""
        stored = await self.read(gid)
        if stored is None:
            raise NotFound.of_gid(gid)
        return stored

    async def settled(self, gid: str, write: Callable[[Stored], Awaitable[T | None]]) -> T:
        """What `write` made of the stored rows; None: somebody else was quicker, so it has those of now.

        Raises NotFound, and Conflict where others were quicker all the time.
        """
        for _ in range(RACES_MAX):
            made = await write(await self.find(gid))
            if made is not None:
                return made
        raise lost_races(gid)

    async def find_conflicting(self, gid: str) -> Stored:
        """What an insertion of this gid met; raises Conflict when that is not exactly this gid."""
        stored = await self.read(gid)
        if stored is None:
            raise Conflict(
                f"gid '{gid}' differs only in case or trailing spaces from one that is stored already"
            )
        return stored


def refuse_other_type(stored: Transaction, trans_type: str, wish: str) -> None:
    """Raise Failure when the stored transaction is of another type than the request says (PROTOCOL §5)."""
    if stored.trans_type != trans_type:
        raise Failure(
            f"gid '{stored.gid}' is of trans type '{stored.trans_type}', not '{trans_type}', cannot {wish}."
        )


def lost_races(gid: str) -> Conflict:
    """The error for a caller whose compare-and-set lost too often."""
    return Conflict(f"gid '{gid}' is being changed by others all the time; ask again")
