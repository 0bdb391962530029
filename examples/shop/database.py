"""What each service keeps for itself: a SQLite file, with the barrier's table in it."""

from pathlib import Path

import aiosqlite

from coordinator.client import create_barrier_table


class Database:
    """One file. schema: the SQL that makes the tables, unless they are there."""

    def __init__(self, file: Path, schema: str) -> None:
        self.file = file
        self._schema = schema

    async def create(self) -> None:
        """Make the tables, the barrier's too."""
        self.file.parent.mkdir(parents=True, exist_ok=True)
        await create_barrier_table(f"sqlite:///{self.file}")
        async with self.lend() as connection:
            await connection.executescript(self._schema)

    def lend(self) -> aiosqlite.Connection:
        """Return a connection of one's own, for an `async with`."""
        return aiosqlite.connect(self.file)
