"""A page of one of our own tables, cleared of what belongs to no transaction any more."""

from collections.abc import Callable
from typing import Any, Final

from sqlalchemy import Connection, Table, delete, select

from coordinator.store.tables import TRANS_GLOBAL

_GLOBAL: Final = TRANS_GLOBAL.c


def swept(
    connection: Connection, table: Table, after: str, is_over: Callable[[Any], bool], limit: int
) -> str:
    """Delete the rows of gids behind `after` that nobody has, or whose row in trans_global is over.

    limit: gids that are looked at. Returns behind which to go on; "" at the end.
    """
    wanted = select(table.c.gid).where(table.c.gid > after).distinct().order_by(table.c.gid)
    gids = list(connection.execute(wanted.limit(limit)).scalars())
    if not gids:
        return ""
    columns = (_GLOBAL.gid, _GLOBAL.status, _GLOBAL.update_time)
    rows = connection.execute(select(*columns).where(_GLOBAL.gid.in_(gids)))
    going_on = {row.gid.casefold() for row in rows if not is_over(row)}
    if over := [gid for gid in gids if gid.casefold() not in going_on]:
        connection.execute(delete(table).where(table.c.gid.in_(over)))
    return gids[-1] if len(gids) == limit else ""
