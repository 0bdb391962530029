"""The least that group commit of sagas costs: raw aiomysql, for the one case that all goes well."""

import asyncio
import uuid
from datetime import UTC, datetime
from typing import Any

import aiomysql

from tests.support.servers import Database

URLS = {"compensate": "http://127.0.0.1:8080/TransOutRevert", "action": "http://127.0.0.1:8080/TransOut"}
PAYLOAD = b'{"amount":30}'
KEYS = [(step, op) for step in ("01", "02") for op in ("compensate", "action")]

INSERT_GLOBAL = """
INSERT IGNORE INTO trans_global
  (gid, trans_type, status, query_prepared, protocol, create_time, update_time, options, custom_data,
   next_cron_interval, next_cron_time, owner, ext_data)
VALUES """
INSERT_BRANCH = """
INSERT IGNORE INTO trans_branch_op
  (gid, url, bin_data, branch_id, op, status, create_time, update_time)
VALUES """
LOCK = "SELECT gid, status FROM trans_global WHERE gid IN ({}) FOR UPDATE"
RESULT = """
INSERT INTO trans_branch_op
  (gid, url, branch_id, op, status, finish_time, update_time)
VALUES {}
ON DUPLICATE KEY UPDATE
  status = VALUES(status), finish_time = VALUES(finish_time), update_time = VALUES(update_time)"""
FINISH = """
UPDATE trans_global
SET status = 'succeed', finish_time = %s, update_time = %s
WHERE status = 'submitted' AND gid IN ({})"""


class Bare:
    """Group commit over raw aiomysql, for sagas that succeed."""

    def __init__(self, pool: Any, writers: int) -> None:
        self._pool = pool
        self._waiting: list[tuple[str, str, asyncio.Future[None]]] = []
        self._something = asyncio.Event()
        self._writers = [asyncio.create_task(self._write_for_ever()) for _ in range(writers)]

    async def do(self, what: str, gid: str) -> None:
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((what, gid, done))
        self._something.set()
        await done

    async def saga(self) -> None:
        gid = new_gid()
        await self.do("insert", gid)
        await self.do("01", gid)
        await self.do("02", gid)

    async def _write_for_ever(self) -> None:
        async with self._pool.acquire() as connection:
            while True:
                if not self._waiting:
                    self._something.clear()
                    await self._something.wait()
                batch, self._waiting = self._waiting[:512], self._waiting[512:]
                await self._write(connection, batch)
                for _, _, done in batch:
                    done.set_result(None)

    async def _write(self, connection: Any, batch: list[tuple[str, str, "asyncio.Future[None]"]]) -> None:
        now = datetime.now(UTC).replace(tzinfo=None, microsecond=0)
        inserted = [gid for what, gid, _ in batch if what == "insert"]
        results = [(gid, what) for what, gid, _ in batch if what != "insert"]
        finished = [gid for what, gid, _ in batch if what == "02"]
        async with connection.cursor() as cursor:
            if inserted:
                await self._insert(cursor, inserted, now)
            if results:
                gids = [gid for gid, _ in results]
                await cursor.execute(LOCK.format(",".join(["%s"] * len(gids))), gids)
                await cursor.fetchall()
                rows: list[Any] = []
                for gid, step in results:
                    rows += [gid, "", step, "action", "succeed", now, now]
                await cursor.execute(RESULT.format(",".join(["(%s,%s,%s,%s,%s,%s,%s)"] * len(results))), rows)
            if finished:
                await cursor.execute(FINISH.format(",".join(["%s"] * len(finished))), [now, now, *finished])
        await connection.commit()

    async def _insert(self, cursor: Any, gids: list[str], now: datetime) -> None:
        rows: list[Any] = []
        branches: list[Any] = []
        for gid in gids:
            rows += [
                gid,
                "saga",
                "submitted",
                "",
                "http",
                now,
                now,
                '{"wait_result":true}',
                "",
                10,
                now,
                "",
                "",
            ]
            for step, op in KEYS:
                branches += [gid, URLS[op], PAYLOAD, step, op, "prepared", now, now]
        values = "(%s,%s,%s,%s,%s,%s,%s,%s,%s,%s,%s,%s,%s)"
        await cursor.execute(INSERT_GLOBAL + ",".join([values] * len(gids)), rows)
        await cursor.execute(
            INSERT_BRANCH + ",".join(["(%s,%s,%s,%s,%s,%s,%s,%s)"] * len(gids) * 4), branches
        )

    async def close(self) -> None:
        for writer in self._writers:
            writer.cancel()
        await asyncio.gather(*self._writers, return_exceptions=True)
        self._pool.close()
        await self._pool.wait_closed()


async def open_bare(database: Database, writers: int) -> Bare:
    pool = await aiomysql.create_pool(
        host=database.host, port=database.port, user=database.user, db=database.name, minsize=writers,
        autocommit=False,
    )  # fmt: skip
    return Bare(pool, writers)


def new_gid() -> str:
    return uuid.uuid4().hex[:22]
