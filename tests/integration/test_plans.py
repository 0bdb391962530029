"""What claims cost does not depend on how many have ended, are prepared or are delayed: the plans say so."""

import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Connection, event

from coordinator.model import EPOCH
from coordinator.store import due
from coordinator.store.base import Claim, Due
from coordinator.store.sql import SqlStore
from tests.support.servers import Database, PostgresDatabase
from tests.support.store_config import config_of, opened

FINISHED, WAITING, DUE = 20_000, 5_000, 300
LIMIT = 16
_GIDS = [f"submitted-1-{seq}" for seq in range(1, LIMIT + 1)]
_ROWS = {
    "mysql": "SELECT {columns} FROM seq_1_to_{count}",
    "postgres": "SELECT {columns} FROM generate_series(1, {count}) AS n(seq)",
}
_COLUMNS = (
    "gid, trans_type, status, query_prepared, protocol, create_time, update_time, options, custom_data,"
    " next_cron_interval, next_cron_time, owner, result, rollback_reason"
)


def planted(kind: str, name: str, status: str, count: int, days: int) -> str:
    """SQL that stores so many rows of a status, whose next_cron_time is so many days ahead."""
    when = {
        "mysql": f"UTC_TIMESTAMP() + INTERVAL {days} DAY + INTERVAL seq SECOND",
        "postgres": f"now() + interval '{days} days' + seq * interval '1 second'",
    }[kind]
    gid = f"CONCAT('{name}-', seq)"
    columns = f"{gid}, 'msg', '{status}', '', 'http', {when}, {when}, '', '', 10, {when}, '', '', ''"
    return f"INSERT INTO trans_global ({_COLUMNS}) " + _ROWS[kind].format(columns=columns, count=count)


@pytest.fixture(params=["mariadb", "postgres"])
def database(request: pytest.FixtureRequest) -> Iterator[Database]:
    found: Database = request.getfixturevalue(f"{request.param}_database")
    yield found


def rows_read(connection: Connection, statement: str, parameters: Any) -> int:
    """How many rows the database touched for it."""
    if connection.dialect.name == "postgresql":
        told = connection.exec_driver_sql(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}", parameters).scalar()
        return _of_postgres((json.loads(told) if isinstance(told, str) else told)[0]["Plan"])
    told = connection.exec_driver_sql(f"ANALYZE FORMAT=JSON {statement}", parameters).scalar()
    return int(_of_mariadb(json.loads(str(told))))


def _of_postgres(plan: dict[str, Any]) -> int:
    removed = plan.get("Rows Removed by Filter", 0) + plan.get("Rows Removed by Index Recheck", 0)
    own = plan["Actual Rows"] * plan["Actual Loops"] if "Scan" in plan["Node Type"] else 0
    return int(own + removed * plan["Actual Loops"]) + sum(_of_postgres(it) for it in plan.get("Plans", ()))


def _of_mariadb(plan: Any) -> float:
    if isinstance(plan, list):
        return sum(map(_of_mariadb, plan))
    if not isinstance(plan, dict):
        return 0.0
    own = float(plan.get("r_rows") or 0) * float(plan.get("r_loops") or 1) if "access_type" in plan else 0.0
    return own + sum(_of_mariadb(it) for it in plan.values())


class Watched:
    """Runs a function of the store, and counts the rows that its reads touch."""

    def __init__(self, store: SqlStore, *, sorts_bytes: bool) -> None:
        """sorts_bytes: whether a key of text leads to a prefix, as in a PostgreSQL database of our making."""
        self._store = store
        self.sorts_bytes = sorts_bytes

    async def rows(self, function: Any) -> int:
        def run(connection: Connection) -> int:
            statements: list[tuple[str, Any]] = []

            def note(_c: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
                statements.append((statement, parameters))

            event.listen(connection, "before_cursor_execute", note)
            function(connection)
            event.remove(connection, "before_cursor_execute", note)
            reads = [it for it in statements if it[0].lstrip().upper().startswith(("SELECT", "("))]
            assert reads
            return sum(rows_read(connection, *it) for it in reads)

        return await self._store._transact(run)


async def costs(store: SqlStore, watched: Watched) -> dict[str, int]:
    """Rows that each step of a claim touches."""
    clock, now = store._wall_clock, await store.utc_now() + timedelta(hours=1)
    found: list[Due] = []

    def claim(connection: Connection) -> object:
        claims = [Claim(one, now) for one in found]
        return due.claim(connection, claims, [], "o/1/1", now, clock, skip_locked=True)

    cost = {
        "find_due": await watched.rows(lambda it: found.extend(due.find_due(it, now, LIMIT, (), clock))),
        "by gid": await watched.rows(lambda it: due.find_due(it, EPOCH, LIMIT, _GIDS, clock)),
        "look_at": await watched.rows(lambda it: due.look_at(it, found, clock)),
        "claim": await watched.rows(claim),
        "next_due": await watched.rows(lambda it: due.next_due(it, now, clock)),
    }
    if watched.sorts_bytes:
        cost["take_back"] = await watched.rows(lambda it: due.take_back(it, now, "nobody/", "x", clock))
    assert len(found) == LIMIT
    return cost


CROWDS = (
    (("submitted", DUE, -1),),
    (("succeed", FINISHED, -30), ("failed", FINISHED, -30)),
    (("prepared", WAITING, 30), ("submitted", WAITING, 300), ("aborting", WAITING, 30)),
)


async def test_a_claim_touches_what_is_due_and_nothing_else(database: Database) -> None:
    kind = "postgres" if isinstance(database, PostgresDatabase) else "mysql"
    async with opened(config_of(database)) as store:
        watched = Watched(store, sorts_bytes=kind == "mysql")
        for crowd in CROWDS:
            for status, count, days in crowd:
                database.execute(planted(kind, f"{status}{days}", status, count, days))
            # As the database does by itself, at a moment of its own: half of a crowd is no base for plans.
            database.execute("ANALYZE trans_global" if kind == "postgres" else "ANALYZE TABLE trans_global")
            cost = await costs(store, watched)
            assert cost.pop("by gid") <= DUE, "of a table as small as this, all rows are read at once"
            assert max(cost.values()) <= 6 * LIMIT, cost
