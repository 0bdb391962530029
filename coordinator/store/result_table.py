"""Rows of `dtm_result`: what steps answered that keep it (PROTOCOL §6, *here*). Times are in UTC."""

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Final

from sqlalchemy import Connection, select

from coordinator.store.access_tables import Run
from coordinator.store.own_rows import OwnRow
from coordinator.store.own_tables import DTM_RESULT
from coordinator.store.swept import swept

_RESULT: Final = DTM_RESULT.c
_COLUMNS: Final = ("gid", "branch_id", "content", "at")


def result_row(gid: str, branch_id: str, content: bytes, at: datetime) -> OwnRow:
    """The row of one result; the success of its step does not stand without it. at: aware."""
    return OwnRow(DTM_RESULT.name, _COLUMNS, (gid, branch_id, content, at), replaces=True, must_stand=True)


def results_of(connection: Connection, gids: Collection[str]) -> Mapping[str, Mapping[str, bytes]]:
    """What their steps answered that keep it, by gid and branch_id; the table must be there."""
    kept: dict[str, dict[str, bytes]] = {}
    wanted = select(_RESULT.gid, _RESULT.branch_id, _RESULT.content).where(_RESULT.gid.in_(gids))
    for row in connection.execute(wanted.order_by(_RESULT.branch_id)):
        kept.setdefault(row.gid, {})[row.branch_id] = bytes(row.content)
    return kept


class ResultTable:
    """What is asked of kept results. missing: tables of our own that there are not."""

    def __init__(self, transact: Run, *, missing: Collection[str] = ()) -> None:
        self._transact = transact
        self._is_there = DTM_RESULT.name not in missing

    def of(self, connection: Connection, gid: str) -> Mapping[str, bytes]:
        """Those of this transaction, by branch_id; none where there is no table."""
        return results_of(connection, [gid]).get(gid, {}) if self._is_there else {}

    async def sweep(self, after: str, *, limit: int) -> str:
        """Delete those of transactions that are gone: another program may have deleted them.

        after: the gid behind which to begin, "" for the first. limit: transactions that are looked at.
        Returns where to go on; "" at the end. Raises StoreUnavailable.
        """
        if not self._is_there:
            return ""
        return await self._transact(lambda it: swept(it, DTM_RESULT, after, lambda _: False, limit))
