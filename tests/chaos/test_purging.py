"""`kill -9` while old transactions are deleted: nothing unfinished goes, no branch is left alone."""

import asyncio
import itertools
from random import Random

import pytest

from coordinator.client import Dtm
from tests.conftest import StartCoordinator
from tests.support.branch_server import branch_server
from tests.support.servers import Database

OLD, UNFINISHED = 600, 100
KILLS = 3
_NUMBERS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {count}) "
_GLOBALS = """
INSERT INTO trans_global (gid, trans_type, status, query_prepared, protocol, create_time, update_time,
  finish_time, options, custom_data, next_cron_interval, next_cron_time, owner, result, rollback_reason)
{numbers} SELECT CONCAT('{name}-', i), 'msg', {status}, '', 'http', {then}, {then},
  {then}, '{{}}', '', 10, {due}, '', '', '' FROM n"""
_BRANCHES = """
INSERT INTO trans_branch_op (gid, url, bin_data, branch_id, op, status, create_time, update_time)
SELECT gid, 'http://localhost:1/', '{}', branch.id, 'action', 'prepared', create_time, create_time
FROM trans_global CROSS JOIN (SELECT '01' AS id UNION ALL SELECT '02') AS branch
WHERE gid LIKE 'old-%' OR gid LIKE 'waits-%' OR gid LIKE 'young-%'"""
_ALONE = """SELECT COUNT(*) FROM trans_branch_op b
WHERE NOT EXISTS (SELECT 1 FROM trans_global g WHERE g.gid = b.gid)"""


def plant(database: Database) -> None:
    """Old ones that have ended, as old ones that wait for a delay, and young ones that have ended."""
    succeeded, old, later = (
        "'succeed'",
        "UTC_TIMESTAMP() - INTERVAL 9 DAY",
        "UTC_TIMESTAMP() + INTERVAL 9 DAY",
    )
    either = "CASE WHEN i % 2 = 0 THEN 'submitted' ELSE 'prepared' END"
    for name, count, status, then, due in (
        ("old", OLD, succeeded, old, old),
        ("waits", UNFINISHED, either, old, later),
        ("old-2", OLD, succeeded, old, old),
        ("young", UNFINISHED, succeeded, "UTC_TIMESTAMP()", "UTC_TIMESTAMP()"),
    ):
        numbers = _NUMBERS.format(count=count)
        sql = _GLOBALS.format(numbers=numbers, name=name, status=status, then=then, due=due)
        database.execute(f"SET SESSION max_recursive_iterations = 1000000; {sql}")
    database.execute(_BRANCHES)


def count(database: Database, like: str, table: str = "trans_global") -> int:
    [(found,)] = database.execute(f"SELECT COUNT(*) FROM {table} WHERE gid LIKE '{like}'")
    assert isinstance(found, int)
    return found


def check_purged(database: Database) -> None:
    """What has not ended and what is young are there with their branches, and no branch is left alone."""
    assert database.execute(_ALONE) == [(0,)]
    for name in ("waits", "young"):
        assert count(database, f"{name}-%") == UNFINISHED
        assert count(database, f"{name}-%", "trans_branch_op") == 2 * UNFINISHED


async def at_most(left: int, database: Database) -> None:
    """Return when no more of the old ones are left; another process has no event for this."""
    while True:
        if await asyncio.to_thread(count, database, "old-%") <= max(left, 0):
            return
        await asyncio.sleep(0.05)


@pytest.mark.timeout(180)
async def test_a_purge_that_is_killed_half_way_harms_nothing(
    start_coordinator: StartCoordinator, mariadb_database: Database, seed: int
) -> None:
    random = Random(seed)
    coordinator = await asyncio.to_thread(
        start_coordinator, store=mariadb_database, settings={"TimeZoneOffset": "+0"}
    )
    await asyncio.to_thread(coordinator.kill)
    await asyncio.to_thread(plant, mariadb_database)
    succeeded: set[str] = set()
    async with branch_server() as branches:

        async def submit_all(name: int) -> None:
            async with Dtm(coordinator.api_url, timeout=60) as dtm:
                for number in itertools.count():
                    saga = dtm.saga(f"load-{name}-{number}", wait_result=True)
                    saga.add(branches.url("http", "ok"), branches.url("http", "fine"), {})
                    await saga.submit()
                    succeeded.add(saga.gid)

        load = [asyncio.create_task(submit_all(name)) for name in range(2)]
        before = OLD * 2
        for _ in range(KILLS):
            await asyncio.to_thread(coordinator.start)
            await at_most(before - 150, mariadb_database)
            await asyncio.sleep(random.uniform(0, 0.1))
            await asyncio.to_thread(coordinator.kill)
            before = await asyncio.to_thread(count, mariadb_database, "old-%")
            await asyncio.to_thread(check_purged, mariadb_database)
        await asyncio.to_thread(coordinator.start)
        await at_most(0, mariadb_database)
        for task in load:
            task.cancel()
        await asyncio.gather(*load, return_exceptions=True)
    await asyncio.to_thread(check_purged, mariadb_database)
    stored = await asyncio.to_thread(
        mariadb_database.execute,
        "SELECT gid FROM trans_global WHERE gid LIKE 'load-%'",
    )
    assert succeeded
    assert succeeded <= {gid for (gid,) in stored}
