"""PostgreSQL alone: what it does otherwise than MySQL, and databases that another coordinator made there."""

import asyncio
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from coordinator.clock import SystemClock
from coordinator.errors import Invalid, StartError
from coordinator.model import BranchStatus, Status
from coordinator.store.base import Changed
from coordinator.store.listed import Filter
from coordinator.store.open import open_store
from tests.support.servers import PostgresDatabase, PostgresServer
from tests.support.store_config import config_of, opened
from tests.support.store_contract import TIMEOUT, branches, change, claim, insert, stored, transaction

SQL = Path(__file__).resolve().parents[2] / "sql"
TABLES = {
    "trans_global",
    "trans_branch_op",
    "kv",
    "dtm_node",
    "dtm_token",
    "dtm_user",
    "dtm_session",
    "dtm_audit",
    "dtm_attempt",
    "dtm_stuck",
    "dtm_bulk",
    "dtm_bulk_item",
    "dtm_bulk_result",
    "dtm_shared",
    "dtm_hold",
    "dtm_result",
}
EAST = timezone(timedelta(hours=8))

# As the Go server's tables look: ids from sequences of their own, other names of keys, wider columns. {time}
# is the type of times.
OF_ANOTHER_MAKE = """
CREATE SCHEMA theirs;
CREATE SEQUENCE theirs.trans_global_seq;
CREATE TABLE theirs.trans_global (
  id bigint NOT NULL DEFAULT nextval('theirs.trans_global_seq'), gid varchar(128) NOT NULL,
  trans_type varchar(45) NOT NULL, status varchar(45) NOT NULL, query_prepared varchar(1024) NOT NULL,
  protocol varchar(45) NOT NULL, create_time {time}, update_time {time}, finish_time {time},
  rollback_time {time}, options varchar(1024) DEFAULT '', custom_data varchar(1024) DEFAULT '',
  next_cron_interval int, next_cron_time {time}, owner varchar(128) NOT NULL DEFAULT '', ext_data text,
  result varchar(1024) DEFAULT '', rollback_reason varchar(1024) DEFAULT '',
  PRIMARY KEY (id), CONSTRAINT gid UNIQUE (gid));
CREATE INDEX owner ON theirs.trans_global (owner);
CREATE INDEX status_next_cron_time ON theirs.trans_global (status, next_cron_time);
CREATE SEQUENCE theirs.trans_branch_op_seq;
CREATE TABLE theirs.trans_branch_op (
  id bigint NOT NULL DEFAULT nextval('theirs.trans_branch_op_seq'), gid varchar(128) NOT NULL,
  url varchar(1024) NOT NULL, data text, bin_data bytea, branch_id varchar(128) NOT NULL,
  op varchar(45) NOT NULL, status varchar(45) NOT NULL, finish_time {time}, rollback_time {time},
  create_time {time}, update_time {time},
  PRIMARY KEY (id), CONSTRAINT gid_branch_uniq UNIQUE (gid, branch_id, op));
CREATE SEQUENCE theirs.kv_seq;
CREATE TABLE theirs.kv (
  id bigint NOT NULL DEFAULT nextval('theirs.kv_seq'), cat varchar(45) NOT NULL, k varchar(128) NOT NULL,
  v text, version bigint DEFAULT 0, create_time {time}, update_time {time},
  PRIMARY KEY (id), CONSTRAINT uniq_k UNIQUE (cat, k));
ALTER DATABASE "{database}" SET timezone = 'America/New_York';
INSERT INTO theirs.trans_global
  (gid, trans_type, status, query_prepared, protocol, create_time, update_time, next_cron_interval,
   next_cron_time, options)
VALUES
  ('from-them', 'saga', 'submitted', '', 'http', '{early}', '{early}', 10, '{early}',
   '{{"concurrent":false}}');
INSERT INTO theirs.trans_branch_op
  (gid, url, data, bin_data, branch_id, op, status, create_time, update_time)
VALUES
  ('from-them', 'http://host/undo', NULL, '\\x7b7d', '01', 'compensate', 'prepared', '{early}', '{early}'),
  ('from-them', 'http://host/do', '{{"old":1}}', NULL, '01', 'action', 'prepared', '{early}', '{early}')
"""


def tables(database: PostgresDatabase, schema: str) -> set[object]:
    found = database.execute("SELECT tablename FROM pg_tables WHERE schemaname = %s", [schema])
    return {row[0] for row in found}


# --- values ---


async def test_gids_that_differ_only_in_case_are_two_transactions(
    postgres_database: PostgresDatabase,
) -> None:
    async with opened(config_of(postgres_database)) as store:
        for gid in ("Abc", "aBC"):
            await insert(store, gid, custom_data=gid)
        assert await store.change(change("aBC", result="done"), timeout=TIMEOUT) is Changed.APPLIED
        assert (await stored(store, "aBC")).transaction.result == "done"
        other = (await stored(store, "Abc")).transaction
        assert (other.custom_data, other.result) == ("Abc", "")


async def test_the_character_nul_is_refused_by_name(postgres_database: PostgresDatabase) -> None:
    async with opened(config_of(postgres_database)) as store:
        bad = store.insert(transaction("bad", custom_data="a\0b"), [], timeout=TIMEOUT)
        good = store.insert(transaction("good"), [], timeout=TIMEOUT)
        error, inserted = await asyncio.gather(bad, good, return_exceptions=True)
        assert isinstance(error, Invalid)
        assert error.message == "custom_data holds the character NUL, which PostgreSQL cannot store"
        assert inserted is True
        with pytest.raises(Invalid, match=r"^url holds the character NUL"):
            rows = [replace(branches("bad")[0], url="http://a\0")]
            await store.insert(transaction("bad"), rows, timeout=TIMEOUT)
        with pytest.raises(Invalid, match=r"^branch_id holds the character NUL"):
            rows = (replace(branches("good")[0], branch_id="\0"),)
            await store.change(replace(change("good"), added=rows), timeout=TIMEOUT)
        with pytest.raises(Invalid, match=r"^k holds the character NUL"):
            await store.put_value("topics", "a\0", "[]", replaces=None)
        assert await store.find_value("topics", "a\0") is None
        assert await store.find("a\0") is None
        assert list((await store.list(Filter(gid="a\0"))).rows) == []
        assert await store.change(change("a\0", result="x"), timeout=TIMEOUT) is Changed.MISSING


async def test_nul_in_a_reason_does_not_keep_a_transaction_from_rolling_back(
    postgres_database: PostgresDatabase,
) -> None:
    async with opened(config_of(postgres_database)) as store:
        await insert(store, "aborts")
        abort = change("aborts", status=Status.ABORTING, rollback_reason="said a\0b FAILURE")
        assert await store.change(abort, timeout=TIMEOUT) is Changed.APPLIED
        row = (await stored(store, "aborts")).transaction
        assert (row.status, row.rollback_reason) == (Status.ABORTING, "said a\ufffdb FAILURE")


# --- times (PROTOCOL §9) ---


@pytest.mark.parametrize("session", ["UTC", "Asia/Kolkata"])
async def test_columns_hold_the_instant_whatever_zone_anybody_has(
    postgres_database: PostgresDatabase, session: str
) -> None:
    postgres_database.execute(f"ALTER DATABASE \"{postgres_database.name}\" SET timezone = '{session}'")
    due = datetime(2031, 3, 4, 5, 6, 7, 800_000, UTC)
    whole = due.replace(second=8, microsecond=0)
    async with opened(config_of(postgres_database), zone=EAST) as store:
        row = await insert(store, "zoned", next_cron_time=due)
        assert row.next_cron_time == whole
    [(outside,)] = postgres_database.execute("SELECT next_cron_time FROM trans_global")
    assert outside == whole
    async with opened(config_of(postgres_database), zone=timezone(timedelta(hours=-3, minutes=-30))) as store:
        assert (await stored(store, "zoned")).transaction == row
        assert await claim(store, due) == []  # not yet due, by a fraction of a second
        assert len(await claim(store, whole)) == 1
        minute = timedelta(minutes=1)
        now = row.create_time
        around = Filter(create_time_start=now - minute, create_time_end=now + minute)
        assert len((await store.list(around)).rows) == 1
        assert len((await store.list(Filter(create_time_start=now + minute))).rows) == 0


async def test_an_hour_that_happens_twice_loses_nothing(
    postgres_database: PostgresDatabase,
) -> None:
    async with opened(config_of(postgres_database), zone=ZoneInfo("Europe/Berlin")) as store:
        for hour in (0, 1):
            time = datetime(2031, 10, 26, hour, 30, tzinfo=UTC)  # twice 02:30 in Berlin
            row = await insert(store, f"twice-{hour}", next_cron_time=time)
            assert row.next_cron_time == time


# --- databases of another make ---


@pytest.mark.parametrize(
    ("kind", "early"),
    [
        ("timestamp(0) with time zone", "2026-01-02 03:04:05+00"),
        ("timestamp(0) without time zone", "2026-01-02 11:04:05"),
        ("timestamp", "2026-01-02 11:04:05"),
    ],
)
async def test_a_database_of_the_go_server_works_in_place(
    postgres_database: PostgresDatabase, kind: str, early: str
) -> None:
    postgres_database.execute(OF_ANOTHER_MAKE.format(time=kind, early=early, database=postgres_database.name))
    async with opened(config_of(postgres_database, schema="theirs"), zone=EAST) as store:
        found = await stored(store, "from-them")
        then = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
        assert (found.transaction.create_time, found.transaction.next_cron_time) == (then, then)
        assert [(b.op, b.payload) for b in found.branches] == [
            ("compensate", b"{}"),
            ("action", b'{"old":1}'),
        ]
        [claimed] = await claim(store, datetime.now(UTC))
        assert claimed.transaction.gid == "from-them"

        due = datetime(2031, 3, 4, 5, 6, 7, tzinfo=UTC)
        ours = await insert(store, "ours", next_cron_time=due)
        assert ours.next_cron_time == due
        assert abs(ours.create_time - datetime.now(UTC)) < timedelta(seconds=5)
        end = change("ours", status=Status.SUCCEED)
        assert await store.change(end, timeout=TIMEOUT) is Changed.APPLIED
        later = change("from-them", next_cron_time=due)
        assert await store.change(later, timeout=TIMEOUT) is Changed.APPLIED
        assert [it.gid for it in (await store.list(Filter())).rows] == ["ours", "from-them"]
    # As they read it: the instant, or the wall clock of TimeZoneOffset.
    as_they_read = "EXTRACT(epoch FROM next_cron_time)" if "with time" in kind else "next_cron_time"
    read = postgres_database.execute(f"SELECT {as_they_read} FROM theirs.trans_global WHERE gid = 'ours'")
    expected = due.timestamp() if "with time" in kind else due.astimezone(EAST).replace(tzinfo=None)
    assert read == [(expected,)]
    assert tables(postgres_database, "public") == set()


async def test_tables_are_made_where_database_and_schema_are_absent(postgres: PostgresServer) -> None:
    database = postgres.database("Made at start")
    async with opened(config_of(database, schema='odd "name"')) as store:
        await insert(store, "first", custom_data="\N{GRINNING FACE}")
        await stored(store, "first")
    assert tables(database, 'odd "name"') == TABLES
    assert tables(database, "public") == set()
    postgres.drop_database(database.name)


async def test_two_coordinators_make_everything_at_the_same_moment(postgres: PostgresServer) -> None:
    database = postgres.database("made_by_two")
    config = config_of(database, schema="both")
    stores = await asyncio.gather(
        *(open_store(config, clock=SystemClock(), zone=None, wait_seconds=5.0) for _ in range(2))
    )
    await insert(stores[0], "first")
    await stored(stores[1], "first")
    for store in stores:
        await store.close()
    postgres.drop_database(database.name)


async def test_schemas_of_one_database_know_nothing_of_each_other(
    postgres_database: PostgresDatabase,
) -> None:
    async with (
        opened(config_of(postgres_database, schema="one")) as one,
        opened(config_of(postgres_database, schema="two")) as two,
    ):
        await insert(one, "same", custom_data="1")
        await insert(two, "same", custom_data="2")
        assert (await stored(one, "same")).transaction.custom_data == "1"
    async with opened(config_of(postgres_database, schema="one"), reset=True) as one:
        assert await one.find("same") is None
    async with opened(config_of(postgres_database, schema="two")) as two:
        await stored(two, "same")


async def test_a_user_without_rights_is_told_what_is_needed(postgres_database: PostgresDatabase) -> None:
    role = f"poor_{postgres_database.name}"
    postgres_database.execute(f"REVOKE CREATE ON SCHEMA public FROM PUBLIC; CREATE ROLE {role} LOGIN")
    config = replace(config_of(postgres_database), user=role)
    try:
        for there, words in (
            (config, "permission denied for schema public"),
            (replace(config, schema="not_there"), "permission denied for database"),
            (replace(config, database="not_there"), "permission denied to create database"),
        ):
            with pytest.raises(StartError, match=words) as caught:
                async with opened(there):
                    pass
            assert "sql/coordinator.postgres.sql" in caught.value.hint
        # With tables made by somebody else, no more than their use is needed.
        async with opened(config_of(postgres_database)):
            pass
        postgres_database.execute(
            f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {role};"
            f"GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO {role}"
        )
        async with opened(config) as store:
            await insert(store, "allowed")
    finally:
        postgres_database.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")


async def test_a_column_that_holds_no_times_is_named(postgres_database: PostgresDatabase) -> None:
    async with opened(config_of(postgres_database)):
        pass
    postgres_database.execute("ALTER TABLE trans_global ALTER next_cron_time TYPE text")
    with pytest.raises(StartError, match=r"trans_global.next_cron_time of the store .* is text"):
        async with opened(config_of(postgres_database)):
            pass


async def test_a_column_that_is_altered_meanwhile_holds_nobody_up(
    postgres_database: PostgresDatabase,
) -> None:
    async with opened(config_of(postgres_database)) as store:
        await insert(store, "before")
        postgres_database.execute("ALTER TABLE trans_global ALTER status TYPE varchar(45)")
        assert await store.change(change("before", result="x"), timeout=TIMEOUT) is Changed.APPLIED
        await insert(store, "after")


async def test_many_readers_at_once_share_few_connections(postgres_database: PostgresDatabase) -> None:
    async with opened(config_of(postgres_database)) as store:
        await insert(store, "popular")
        found = await asyncio.gather(*(store.find("popular") for _ in range(300)))
        assert all(it is not None for it in found)
        count = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
        [(connections,)] = postgres_database.execute(count)
        assert int(str(connections)) <= 33  # one is ours


# --- plans ---


async def test_rows_are_found_by_key_though_the_tables_were_empty_when_plans_were_made(
    postgres_database: PostgresDatabase,
) -> None:
    async with opened(config_of(postgres_database)):
        pass
    before = scans(postgres_database)
    async with opened(config_of(postgres_database)) as store:
        for start in range(0, 200, 20):
            gids = [f"plan-{n}" for n in range(start, start + 20)]
            await asyncio.gather(
                *(store.insert(transaction(gid), branches(gid), timeout=TIMEOUT) for gid in gids)
            )
            added = replace(branches("x")[0], branch_id="03")
            done = await asyncio.gather(
                *(
                    store.change(
                        replace(
                            change(gid, result="x"),
                            results=((("01", "action"), BranchStatus.SUCCEED),),
                            added=(replace(added, gid=gid),),
                        ),
                        timeout=TIMEOUT,
                    )
                    for gid in gids
                )
            )
            assert set(done) == {Changed.APPLIED}
        now = await store.utc_now()
        await claim(store, now + timedelta(minutes=1), limit=5)
        await store.find("plan-1")
        await store.list(Filter(limit=5))
    # Each connection tells its counts when it ends.
    after = scans(postgres_database)
    assert after == before


def scans(database: PostgresDatabase) -> list[tuple[object, ...]]:
    """How often all of a table was read, by table; asked once nobody else is connected any more."""
    while database.execute(
        "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        " AND backend_type = 'client backend'"
    ):
        time.sleep(0.02)  # there is no event for the end of another's connection
    return database.execute("SELECT relname, seq_scan FROM pg_stat_user_tables ORDER BY relname")


# --- sql/ ---


def columns_and_keys(database: PostgresDatabase) -> list[tuple[object, ...]]:
    columns = database.execute(
        "SELECT table_name, column_name, data_type, character_maximum_length, datetime_precision,"
        " is_nullable, replace(replace(column_default, '''0''', '0'), '::bigint', '')"
        " FROM information_schema.columns WHERE table_schema = 'public' ORDER BY table_name, column_name"
    )
    keys = database.execute("SELECT indexdef FROM pg_indexes WHERE schemaname = 'public' ORDER BY 1")
    return [*columns, *keys]


async def test_the_file_says_what_the_coordinator_makes(postgres: PostgresServer) -> None:
    by_hand = postgres.create_database(schema=SQL / "coordinator.postgres.sql")
    made = postgres.create_database()
    async with opened(config_of(made)):
        assert columns_and_keys(made) == columns_and_keys(by_hand)
    async with opened(config_of(by_hand)) as store:
        await insert(store, "by-hand")
    for database in (by_hand, made):
        postgres.drop_database(database.name)


@pytest.mark.parametrize(
    ("file", "table"),
    [("barrier", "dtm_barrier.barrier"), ("user", '"user"'), ("user_score", "user_score")],
)
async def test_the_other_files_can_be_run_again(
    postgres_database: PostgresDatabase, file: str, table: str
) -> None:
    for _ in range(2):
        postgres_database.execute((SQL / f"{file}.postgres.sql").read_text(encoding="utf-8"))
    assert postgres_database.execute(f"SELECT * FROM {table}") == []
