"""The barrier's few words to a database, and what the classes that say them share (PROTOCOL §12).

Every class speaks of one connection that nobody else uses meanwhile, and of its own local transaction.
"""

from typing import Any, Final, Protocol

from coordinator.client.barriers.rules import BarrierRow
from coordinator.client.errors import BarrierError, InvalidUse

COLUMNS: Final = "trans_type, gid, branch_id, op, barrier_id, reason"
KEY_IS: Final = "gid = %s AND branch_id = %s AND op = %s AND barrier_id = %s"


class BarrierDatabase(Protocol):
    """What the barrier asks of a database (PROTOCOL §12). Bring your own for other drivers.

    One that has an attribute `joined`, set by `begin`: whether the transaction was open before, is repeated
    after a deadlock in a transaction that was not.
    """

    async def begin(self) -> None:
        """Begin the local transaction; one that is open already is joined."""
        ...

    async def insert_ignore(self, row: BarrierRow) -> bool:
        """Insert the row unless its key is there; return whether it was inserted.

        Waits while another transaction holds that key. Raises BarrierError when the table is missing.
        """
        ...

    async def reason_of(self, row: BarrierRow) -> str:
        """Return the stored reason of the row of this key, as committed by whomever; "" without one."""
        ...

    async def commit(self) -> None:
        """Commit the local transaction."""
        ...

    async def rollback(self) -> None:
        """Roll the local transaction back; nothing to do on a lost connection, the server has done it."""
        ...


def libraries_of(connection: Any) -> tuple[str, ...]:
    """Return where the connection's class and those it is made from come from, its own one first."""
    return tuple(one.__module__.partition(".")[0] for one in connection.__class__.__mro__)


def checked_table(table: str) -> str:
    """Return the name if it can stand in SQL as it is: letters, digits, `_`, with one `.` at most."""
    parts = table.split(".")
    if len(parts) > 2 or not all(part.isidentifier() and part.isascii() for part in parts):
        raise InvalidUse(
            f"barrier table {table!r}: write `table` or `database.table`, letters, digits and _ only"
        )
    return table


def row_values(row: BarrierRow) -> tuple[str, ...]:
    """The values for COLUMNS."""
    return (row.trans_type, row.gid, row.branch_id, row.op, row.barrier_id, row.reason)


def key_values(row: BarrierRow) -> tuple[str, ...]:
    """The values for KEY_IS."""
    return (row.gid, row.branch_id, row.op, row.barrier_id)


def undone_by_server() -> BarrierError:
    """The error for a PostgreSQL transaction that cannot be committed, though no exception came through."""
    return BarrierError(
        "a statement of this transaction failed and the error was caught, so PostgreSQL has undone all of "
        "it: let the error out, or run what may fail in a savepoint (a nested transaction)"
    )


def first_of(found: Any) -> str:
    """The first column of a row as text, "" for none; rows may be dicts, where the connection makes such."""
    if not found:
        return ""
    return str(next(iter(found.values())) if isinstance(found, dict) else found[0])


def lost_row(row: BarrierRow) -> BarrierError:
    """The error for a MySQL transaction that was rolled back inside the business, barrier row and all."""
    return BarrierError(
        "the barrier's transaction was rolled back inside the business, which is not done: after a deadlock "
        "MySQL undoes all of it, so let that error out instead of repeating the statement; the coordinator "
        "calls again",
        gid=row.gid,
    )


def missing_table(table: str, file: str, gid: str) -> BarrierError:
    """The error for a database without the barrier's table."""
    return BarrierError(
        f"barrier table {table} is missing: create it with {file}, or with `dtm barrier-table --url …`",
        gid=gid,
    )
