"""Any row may stand in the database (PROTOCOL §14): it is shown, driven or passed over, and hides no other.

What another program wrote, or a hand: times at both ends of the calendar and beyond, broken JSON, numbers of
any size, values of another kind (SQLite's columns take them all), text that is none.
"""

import asyncio
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordinator.api.render import render_query, render_transaction
from coordinator.backoff import Timing, after_round, failed_rounds, is_marked, noted
from coordinator.clock import SystemClock
from coordinator.errors import Invalid
from coordinator.patterns.by_type import PATTERNS
from coordinator.patterns.decision import Round, Wait
from coordinator.store.base import Claim, Deferral, Stored
from coordinator.store.listed import Filter
from coordinator.store.open import StoreConfig, open_store
from coordinator.store.sql import SqlStore
from coordinator.telemetry.trace_context import trace_field
from tests.conftest import StartCoordinator
from tests.support.servers import Database, PostgresDatabase
from tests.support.store_config import config_of
from tests.support.store_contract import insert

EAST = timezone(timedelta(hours=8))
WEST = timezone(timedelta(hours=-3, minutes=-30))
TIMING = Timing()
DUE_MAX = 200
ENDS_OF_TIME = ["0001-01-01 00:00:00", "1000-01-01 00:00:00", "9999-12-31 23:59:59", "2026-01-02 03:04:05"]
OPTIONS = [
    "{",
    "[]",
    "null",
    '{"concurrent":7}',
    '{"timeout_to_fail":2147483647,"retry_interval":-5,"retry_limit":1e99,"request_timeout":"x"}',
    '{"timeout_to_fail":99999999999999999999,"branch_headers":{"a":1,"b":"c"}}',
    '{"branch_headers":[1]}',
]
CUSTOM_DATA = [
    "{",
    "[1]",
    '{"delay":2147483647}',
    '{"delay":NaN}',
    '{"delay":1e300}',
    '{"concurrent":true,"orders":{"0":[0]}}',
    '{"orders":{"7":[9]}}',
    '{"name":"w","data":"=ü"}',
    '{"name":"w","data":"e30="}',
    "[" * 5000,
]
EXT_DATA = [
    "{",
    "[]",
    '{"failed_rounds":18446744073709551615}',
    '{"headers":7}',
    '{"traceparent":"00-zz"}',
    '{"traceparent":5,"alerted":"yes"}',
]


async def looked_at(store: SqlStore, gids: set[str], driven: str) -> None:
    """Ask all that a running coordinator asks of its rows. driven: the gid of a sound row that is due."""
    shown: set[str] = set()
    before_id: int | None = None
    while True:
        page = await store.list(Filter(limit=1, before_id=before_id))
        orjson.dumps([render_transaction(it, EAST) for it in page.rows])
        shown.update(it.gid for it in page.rows)
        before_id = page.before_id
        if before_id is None:
            break
    assert shown >= {"first", driven, "last"}
    for gid in gids:
        try:
            orjson.dumps(render_query(await store.find(gid), WEST))
        except Invalid as error:
            assert gid in error.message and "unknown status" in error.message
    now = await store.utc_now()
    assert (await store.backlog(now=now)).by_status
    due = await store.find_due(now=now, limit=DUE_MAX)
    candidates = await store.look_at(due)
    assert driven in {it.stored.transaction.gid for it in candidates if it.stored is not None}
    for candidate in candidates:
        if candidate.stored is not None:
            would_be_driven(candidate.stored, now)
    understood = [it.due for it in candidates if it.stored is not None]
    until = now + timedelta(seconds=10)
    claimed = await store.claim([Claim(it, until) for it in understood], [], owner="a/1/1", now=now)
    assert driven in {it.transaction.gid for it in claimed}
    not_understood = [Deferral(it.due, until) for it in candidates if it.stored is None]
    await store.claim([], not_understood, owner="a/1/2", now=now)
    assert await store.find_due(now=now, limit=DUE_MAX) == []
    await store.reset_cron_time(now=now, later_than=now, limit=9)
    await store.take_back(now=now, owner_prefix="a/", except_prefix="")


def would_be_driven(stored: Stored, now: datetime) -> None:
    """All that a driver works out of a row; a ValueError is one line in the log."""
    transaction = stored.transaction
    assert TIMING.lease_end(transaction.options, now) > now
    assert TIMING.deferred_until(transaction, 1.0, now) > now
    assert after_round(TIMING, transaction, succeeded=False, unknown=True) > 0
    assert TIMING.failures(transaction.next_cron_interval, transaction.options) >= 0
    is_marked(noted(transaction.ext_data, failed=failed_rounds(transaction.ext_data) + 1, alerted=True))
    trace_field(transaction.ext_data)
    assert (now - transaction.create_time).total_seconds() is not None
    if transaction.trans_type not in PATTERNS:
        return
    try:
        decision = PATTERNS[transaction.trans_type].decide(transaction, stored.branches, Round(), now)
    except ValueError:
        return
    if isinstance(decision, Wait):
        for until in (decision.until, decision.not_after):
            assert until is None or until > now


# --- SQLite: any value in any column ---


@dataclass(frozen=True)
class Bytes:
    """As text: what no decoder takes."""

    value: bytes


ANYTHING = st.one_of(
    st.none(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False),
    st.text(max_size=20),
    st.binary(max_size=20),
    st.binary(max_size=8).map(Bytes),
)
GLOBAL: dict[str, st.SearchStrategy[Any]] = {
    "trans_type": st.sampled_from([*PATTERNS, "SAGA", "", b"saga", Bytes(b"\xff")]),
    "status": st.sampled_from(
        ["prepared", "submitted", "aborting", "succeed", "failed", "Submitted", "", b"x"]
    ),
    "query_prepared": ANYTHING.map(lambda it: "" if it is None else it),
    "protocol": st.sampled_from(["http", "grpc", "", "smoke", b"\xff"]),
    **{
        name: st.one_of(st.sampled_from(ENDS_OF_TIME), ANYTHING)
        for name in ("create_time", "update_time", "finish_time", "rollback_time", "next_cron_time")
    },
    "options": st.one_of(st.sampled_from(OPTIONS), ANYTHING),
    "custom_data": st.one_of(st.sampled_from(CUSTOM_DATA), ANYTHING),
    "next_cron_interval": ANYTHING,
    "owner": st.sampled_from(["", "a/1/1", b"a/1/1", 7, Bytes(b"a/\xff")]),
    "ext_data": st.one_of(st.sampled_from(EXT_DATA), ANYTHING),
    "result": ANYTHING,
    "rollback_reason": ANYTHING,
}
BRANCH: dict[str, st.SearchStrategy[Any]] = {
    "url": ANYTHING.map(lambda it: "" if it is None else it),
    "data": ANYTHING,
    "bin_data": ANYTHING,
    "branch_id": st.sampled_from(["01", "", 5, b"01", Bytes(b"\xff")]),
    "op": st.sampled_from(["action", "compensate", "try", "", 5, Bytes(b"\xff")]),
    "status": st.sampled_from(["prepared", "succeed", "failed", "Prepared", "", 5]),
    "create_time": st.one_of(st.sampled_from(ENDS_OF_TIME), ANYTHING),
    "update_time": st.one_of(st.sampled_from(ENDS_OF_TIME), ANYTHING),
    "finish_time": ANYTHING,
    "rollback_time": ANYTHING,
}


def put(connection: sqlite3.Connection, table: str, row: dict[str, Any]) -> None:
    values = ",".join("CAST(? AS TEXT)" if isinstance(it, Bytes) else "?" for it in row.values())
    given = [it.value if isinstance(it, Bytes) else it for it in row.values()]
    connection.execute(f"INSERT OR IGNORE INTO {table} ({','.join(row)}) VALUES ({values})", given)


class OnSqlite:
    """One store on a file, and a second hand in it."""

    def __init__(self, path: Path, zone: tzinfo) -> None:
        self.path = path
        self.runner = asyncio.Runner()
        self.store = self.runner.run(self._open(zone))

    async def _open(self, zone: tzinfo) -> SqlStore:
        config = StoreConfig(path=str(self.path))
        return await open_store(config, clock=SystemClock(), zone=zone, wait_seconds=5.0)

    def close(self) -> None:
        self.runner.run(self.store.close())
        self.runner.close()


@pytest.fixture(scope="module", params=[EAST, WEST, UTC], ids=["east", "west", "utc"])
def on_sqlite(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OnSqlite]:
    with closing(OnSqlite(tmp_path_factory.mktemp("any") / "dtm.db", request.param)) as opened:
        yield opened


@given(row=st.fixed_dictionaries(GLOBAL), rows=st.lists(st.fixed_dictionaries(BRANCH), max_size=2))
def test_whatever_stands_in_a_row_is_borne(
    on_sqlite: OnSqlite, row: dict[str, Any], rows: list[dict[str, Any]]
) -> None:
    store = on_sqlite.store

    async def scenario() -> None:
        now = await store.utc_now()
        later = now + timedelta(hours=1)
        await insert(store, "first", next_cron_time=later)
        with closing(sqlite3.connect(on_sqlite.path)) as connection:
            put(connection, "trans_global", {"gid": "odd", **row})
            for it in rows:
                put(connection, "trans_branch_op", {"gid": "odd", **it})
            connection.commit()
        await insert(store, "sound", next_cron_time=now - timedelta(minutes=1))
        await insert(store, "last", next_cron_time=later)
        await looked_at(store, {"odd", "sound"}, "sound")

    try:
        on_sqlite.runner.run(scenario())
    finally:
        with closing(sqlite3.connect(on_sqlite.path)) as connection:
            for table in ("trans_global", "trans_branch_op"):
                connection.execute(f"DELETE FROM {table}")
            connection.commit()


# --- servers: what their columns can hold ---

TIMES_OF_MYSQL = ["0000-00-00 00:00:00", "2026-00-00 00:00:00", *ENDS_OF_TIME]
TIMES_OF_POSTGRES = ["-infinity", "infinity", "0044-03-15 12:00:00 BC", "12026-01-01 00:00:00", *ENDS_OF_TIME]


@pytest.mark.parametrize("zone", [EAST, WEST])
@pytest.mark.parametrize("kind", ["mariadb", "postgres"])
async def test_times_and_texts_of_a_server_are_borne(
    kind: str, zone: tzinfo, request: pytest.FixtureRequest
) -> None:
    database: Database = request.getfixturevalue(f"{kind}_database")
    times = TIMES_OF_POSTGRES if isinstance(database, PostgresDatabase) else TIMES_OF_MYSQL
    store = await open_store(config_of(database), clock=SystemClock(), zone=zone, wait_seconds=5.0)
    try:
        now = await store.utc_now()
        later = now + timedelta(hours=1)
        await insert(store, "first", next_cron_time=later)
        lines, gids = [], {"driven"}
        columns = ("create_time", "update_time", "finish_time", "rollback_time", "next_cron_time")
        for column in columns:
            for number, moment in enumerate(times):
                gid = f"{column}-{number}"
                gids.add(gid)
                await insert(store, gid, trans_type=list(PATTERNS)[number % 5], next_cron_time=later)
                lines.append(f"UPDATE trans_global SET {column} = '{moment}' WHERE gid = '{gid}'")
        texts = [("options", it) for it in OPTIONS]
        texts += [("custom_data", it) for it in CUSTOM_DATA if len(it) < 1024]
        texts += [("ext_data", it) for it in EXT_DATA]
        texts += [("next_cron_interval", it) for it in ("-2147483648", "2147483647", "0")]
        for number, (column, text) in enumerate(texts):
            gids.add(f"text-{number}")
            due = now - timedelta(minutes=2)
            await insert(store, f"text-{number}", trans_type=list(PATTERNS)[number % 5], next_cron_time=due)
            lines.append(f"UPDATE trans_global SET {column} = '{text}' WHERE gid = 'text-{number}'")
        await insert(store, "empty", next_cron_time=later)
        lines.append(
            "UPDATE trans_global SET create_time = NULL, update_time = NULL, next_cron_interval = NULL,"
            " options = NULL, custom_data = NULL, result = NULL, rollback_reason = NULL WHERE gid = 'empty'"
        )
        lines.append("UPDATE trans_branch_op SET bin_data = NULL, create_time = NULL WHERE gid = 'empty'")
        if not isinstance(database, PostgresDatabase):
            lines.insert(0, "SET SESSION sql_mode = ''")
        database.execute(";".join(lines))
        await insert(store, "driven", next_cron_time=now - timedelta(hours=1))
        await insert(store, "last", next_cron_time=later)
        await looked_at(store, gids, "driven")
    finally:
        await store.close()


# --- the program: recovery goes on, and all answers ---


def test_a_row_at_the_beginning_of_time_keeps_no_other_from_being_driven(
    mariadb_database: Database, start_coordinator: StartCoordinator
) -> None:
    ours = start_coordinator(
        store=mariadb_database, settings={"TimeZoneOffset": "+8", "TransCronInterval": 1}
    )
    for gid in ("odd", "sound"):
        mariadb_database.execute(
            "INSERT INTO trans_global (gid, trans_type, status, query_prepared, protocol, create_time,"
            " update_time, options, custom_data, next_cron_interval, next_cron_time, owner) VALUES"
            f" ('{gid}', 'msg', 'submitted', '', 'http', '0001-01-01', '0001-01-01', '', '', 10,"
            " NOW() - INTERVAL 2 DAY, '')"
        )
    give_up = time.monotonic() + 30
    for gid in ("odd", "sound"):
        while ours.query(gid)["transaction"]["status"] != "succeed":
            assert time.monotonic() < give_up
            time.sleep(0.05)
    assert {it["gid"] for it in ours.get("all")["transactions"]} == {"odd", "sound"}
