"""XA's few words to a database (PROTOCOL §7, §12)."""

from typing import Protocol, runtime_checkable

from coordinator.client.barriers.rules import BarrierRow
from coordinator.client.errors import InvalidUse


class Busy(Exception):
    """Another connection holds what is asked for, for now."""


class DuplicateId(Exception):
    """A transaction of that id was begun before, here or elsewhere, and has not ended."""


class XaDatabase(Protocol):
    """What XA asks of one connection."""

    async def begin(self, xid: str) -> None:
        """Begin a transaction of that id. Raises DuplicateId, InvalidUse for an id that is too long."""
        ...

    async def insert_ignore(self, row: BarrierRow) -> bool:
        """Insert the row unless its key is there; return whether it was inserted. Raises DuplicateId."""
        ...

    async def prepare(self, xid: str) -> None:
        """End the work of `begin` and prepare it: from now on it outlives this connection."""
        ...

    async def abandon(self, xid: str) -> None:
        """Undo what `begin` began; never raises for a connection that is lost, the server does it then."""
        ...

    async def commit(self, xid: str) -> bool:
        """Commit what is prepared; False for an unknown id. Raises Busy."""
        ...

    async def is_lost(self, row: BarrierRow) -> bool:
        """After a confirmed commit: whether what was prepared still holds this row, which lies inside it."""
        ...

    async def rollback(self, xid: str) -> bool:
        """Roll back what is prepared; False for an unknown id. Raises Busy."""
        ...

    async def insert_alone(self, row: BarrierRow) -> bool:
        """`insert_ignore` in a transaction of its own, waiting a second at most. Raises Busy."""
        ...

    async def reason_of(self, row: BarrierRow) -> str:
        """Return the committed reason of the row of this key; "" without one. Raises Busy."""
        ...

    async def is_prepared(self, xid: str) -> bool:
        """True when a transaction of that id is prepared."""
        ...

    async def close(self) -> None:
        """Close the connection."""
        ...


@runtime_checkable
class BringsXa(Protocol):
    """A connection that knows its own adapter."""

    def xa_database(self, table: str) -> XaDatabase:
        """Return the adapter. table: of the barrier, "" for the usual one."""
        ...


def check_xid(xid: str, bytes_max: int, database: str) -> None:
    """Raise InvalidUse for an id that is too long. database: its make, for people."""
    if len(xid.encode()) > bytes_max:
        raise InvalidUse(
            f"the XA id {xid!r} (gid, branch id) has more than {bytes_max} bytes, the most that {database} "
            "takes: choose a shorter gid"
        )
