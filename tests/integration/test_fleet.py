"""Coordinators that share a database: settings that must agree are compared, as are names (PROTOCOL §14)."""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.looking import readiness, until
from tests.support.servers import Database, MariaDBServer, PostgresDatabase
from tests.support.under_test import CoordinatorProcess

CANNOT_START = 1
FREE_SAGA = {"trans_type": "saga", "steps": [{"action": "", "compensate": ""}], "payloads": ["{}"]}

Make = Callable[..., CoordinatorProcess]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """Return a function that makes a coordinator of that name, not started; ended after the test."""
    with contextlib.ExitStack() as stack:
        made: list[CoordinatorProcess] = []

        def new(
            store: Database | None,
            name: str,
            *arguments: str,
            zone: str = "",
            environment: Mapping[str, str] | None = None,
        ) -> CoordinatorProcess:
            process = CoordinatorProcess(
                tmp_path / f"{len(made)}-{name}",
                store=store,
                settings={"InstanceName": name, **({"TimeZoneOffset": zone} if zone else {})},
                environment=environment,
                arguments=arguments,
            )
            made.append(process)
            stack.callback(process.close)
            stack.callback(lambda: print(f"---- {name} ----\n{process.output()}"))
            return process

        yield new


@pytest.fixture(params=["mariadb", "postgres"])
def database(request: pytest.FixtureRequest) -> Database:
    """An empty database on each server in turn."""
    found: Database = request.getfixturevalue(f"{request.param}_database")
    return found


def refused(process: CoordinatorProcess) -> str:
    """Start one that cannot; return its sentence and the hint below it."""
    process.launch()
    assert process.wait(30) == CANNOT_START
    printed = process.output()
    assert "Traceback" not in printed
    *_, sentence, hint = printed.splitlines()
    assert sentence.startswith("dtm: ")
    assert hint.startswith("     ")
    return f"{sentence}\n{hint}"


def rows(database: Database) -> list[tuple[object, ...]]:
    return database.execute("SELECT name, address, settings FROM dtm_node ORDER BY name")


def test_coordinators_of_one_zone_work_side_by_side_and_leave_nothing_behind(
    make: Make, database: Database
) -> None:
    """However the zone is written: TimeZoneOffset, or that of the process."""
    one = make(database, "one", zone="+8").start()
    two = make(database, "two", zone="", environment={"TZ": "XXX-8"}).start()
    assert [row[0] for row in rows(database)] == ["one", "two"]
    for process in (one, two):
        assert process.post("submit", {"gid": f"by-{process.http_port}", **FREE_SAGA})[0] == 200
        assert readiness(process) == {"ready": True}
    assert {one.stop(), two.stop()} == {0}
    assert rows(database) == []


def test_a_second_zone_on_one_database_is_refused(make: Make, mariadb_database: Database) -> None:
    one = make(mariadb_database, "one", zone="+8").start()
    two = make(mariadb_database, "two", environment={"TZ": "UTC"})
    said = refused(two)
    for words in (
        "TimeZoneOffset is +00:00 in coordinator two at ",
        "but +08:00 in coordinator one at ",
        f":{one.http_port}",
        f":{two.http_port}",
        "set TimeZoneOffset alike in both, or stop one first",
    ):
        assert words in said
    assert [row[0] for row in rows(mariadb_database)] == ["one"]
    assert readiness(one) == {"ready": True}
    one.stop()
    two.start()  # now nobody is misled


def test_zones_do_not_matter_where_columns_hold_instants(
    make: Make, postgres_database: PostgresDatabase
) -> None:
    make(postgres_database, "one", zone="+8").start()
    make(postgres_database, "two", zone="-5").start()


def test_of_two_with_one_name_the_newer_works(make: Make, database: Database) -> None:
    older = make(database, "twin").start()
    newer = make(database, "twin").start()
    until(lambda: not readiness(older)["ready"], 10)
    problem = readiness(older)["problems"]["fleet"]
    assert "another coordinator, at " in problem
    assert f":{newer.http_port}, uses the name twin and began later; give each an InstanceName" in problem
    status, answer = older.post("submit", {"gid": "by-older", **FREE_SAGA})
    assert (status, "takes no more work" in answer["message"]) == (503, True)
    assert newer.post("submit", {"gid": "by-newer", **FREE_SAGA})[0] == 200
    assert readiness(newer) == {"ready": True}
    # What becomes due is driven by the one that works.
    database.execute(
        "INSERT INTO trans_global"
        " (gid, trans_type, status, query_prepared, protocol, create_time, update_time, next_cron_interval,"
        " next_cron_time, options) VALUES ('due', 'saga', 'submitted', '', 'http',"
        " '2020-01-01 00:00:00', '2020-01-01 00:00:00', 10, '2020-01-01 00:00:00', '{\"concurrent\":false}')"
    )
    until(lambda: newer.query("due")["transaction"]["status"] == "succeed", 15)
    assert newer.stop() == 0
    until(lambda: readiness(older)["ready"], 10)  # the name is its own again


def test_a_coordinator_that_was_killed_is_started_again_at_once(make: Make, database: Database) -> None:
    process = make(database, "one").start()
    process.kill()
    assert len(rows(database)) == 1
    process.start()
    assert [row[0] for row in rows(database)] == ["one"]
    assert readiness(process) == {"ready": True}


def test_a_reset_is_refused_while_another_works(make: Make, database: Database) -> None:
    one = make(database, "one").start()
    assert one.post("submit", {"gid": "kept", **FREE_SAGA})[0] == 200
    two = make(database, "two", "-r")
    said = refused(two)
    assert "nothing was reset: the database is in use by one at " in said
    assert "stop it, then start with -r" in said
    assert one.query("kept")["transaction"] is not None
    assert one.stop() == 0
    two.start()
    assert two.query("kept")["transaction"] is None


def test_where_the_table_cannot_be_made_all_else_works(make: Make, database: Database) -> None:
    make(database, "maker").start().stop()
    database.execute("DROP TABLE dtm_node; DROP TABLE dtm_result")
    poor = make(with_user(database, ["trans_global", "trans_branch_op", "kv"]), "poor").start()
    said = readiness(poor)
    assert said["ready"] is True
    assert (
        "to have it, run `dtm migrate` as a user who may make tables, or: CREATE TABLE dtm_node ("
        in said["remarks"]["fleet"]
    )
    assert poor.post("submit", {"gid": "one", **FREE_SAGA})[0] == 200
    keeping = {**FREE_SAGA, "steps": [{"action": "http://127.0.0.1:1/", "keep_result": True}]}
    refused_with = "steps[0].keep_result: there is no table dtm_result; /api/ready says how to make it"
    assert poor.post("submit", {"gid": "two", **keeping}) == (500, {"message": refused_with})
    assert poor.query("two")["transaction"] is None
    assert poor.stop() == 0
    for remark in ("fleet", "results"):  # what it says makes the tables that it would have made
        database.execute(said["remarks"][remark].partition(" or: ")[2])
    rich = make(database, "rich").start()
    assert readiness(rich) == {"ready": True}
    assert rich.post("submit", {"gid": "two", **keeping})[0] == 200
    assert [row[0] for row in rows(database)] == ["rich"]


def test_where_the_table_cannot_be_written_all_else_works(make: Make, database: Database) -> None:
    make(database, "maker").start().stop()
    poor_database = with_user(database, ["trans_global", "trans_branch_op", "kv"], only_read="dtm_node")
    poor = make(poor_database, "poor").start()
    said = readiness(poor)
    assert said["ready"] is True
    assert "let the user read and write dtm_node" in said["remarks"]["fleet"]
    assert poor.post("submit", {"gid": "one", **FREE_SAGA})[0] == 200
    assert poor.stop() == 0


def with_user(database: Database, tables: list[str], *, only_read: str = "") -> Database:
    """The database as a user sees it who may use these tables, and make none."""
    user = f"poor_{database.name}"
    if isinstance(database, PostgresDatabase):
        database.execute(
            f"REVOKE CREATE ON SCHEMA public FROM PUBLIC; CREATE ROLE {user} LOGIN;"
            f"GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO {user}"
        )
    else:
        database.execute(f"CREATE USER {user}@'%'")
    for table in tables:
        database.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {table} TO {user}")
    if only_read:
        database.execute(f"GRANT SELECT ON {only_read} TO {user}")
    return replace(database, user=user)


def test_a_row_of_long_ago_is_removed(make: Make, mariadb: MariaDBServer, mariadb_database: Database) -> None:
    make(mariadb_database, "maker").start().stop()
    mariadb_database.execute(
        "INSERT INTO dtm_node VALUES"
        " ('ancient', 't', 'a:1', '1', '{\"TimeZoneOffset\":\"-05:00\"}',"
        "  UTC_TIMESTAMP() - INTERVAL 3 DAY, UTC_TIMESTAMP() - INTERVAL 2 DAY),"
        " ('dead', 't', 'd:1', '1', 'no JSON', UTC_TIMESTAMP() - INTERVAL 3 DAY,"
        "  UTC_TIMESTAMP() - INTERVAL 1 HOUR)"
    )
    make(mariadb_database, "one").start()
    until(lambda: [row[0] for row in rows(mariadb_database)] == ["dead", "one"], 10)
