"""What looking costs in a store of many rows: pages of `all`, the census, what is due. On MariaDB.

.venv/bin/python -m bench.fill --fill 1000000 --delayed 200000 --due 1000 --write
"""

import argparse
import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

from bench.machine import described
from bench.tables import markdown
from coordinator.clock import SystemClock
from coordinator.store.listed import Filter
from coordinator.store.open import open_store
from coordinator.store.sql import SqlStore
from tests.support.servers import Database, MariaDBServer
from tests.support.store_config import config_of
from tests.support.under_test import ROOT

_DOCUMENT: Final = ROOT / "docs" / "performance" / "big_tables.md"
_KINDS: Final = "ELT(1 + seq % 3, 'saga', 'tcc', 'msg')"
_PAGE: Final = 100_000  # rows planted by one statement
_INSERT: Final = """
INSERT INTO trans_global (gid, trans_type, status, query_prepared, protocol, create_time, update_time,
  finish_time, options, custom_data, next_cron_interval, next_cron_time, owner, result, rollback_reason)
SELECT CONCAT('{name}-', seq), {kind}, {status}, '', 'http', {then}, {then},
  NULL, '{{}}', '', 10, {due}, '', '', ''
FROM seq_{first}_to_{last}"""


def plant(
    database: Database, name: str, count: int, *, status: str, then: str, due: str, kind: str = _KINDS
) -> None:
    """Store so many rows. status, then, due, kind: SQL of status, creation, next_cron_time and trans_type."""
    for first in range(1, count + 1, _PAGE):
        last = min(first + _PAGE - 1, count)
        values = {"name": name, "status": status, "then": then, "due": due, "kind": kind}
        database.execute(_INSERT.format(first=first, last=last, **values))


def questions(store: SqlStore, now: datetime, days: int) -> dict[str, Callable[[], Awaitable[Any]]]:
    """What is asked, by how it is called in the table."""
    middle = now - timedelta(days=days / 2)
    filters = {
        "the newest": Filter(),
        "succeeded": Filter(status="succeed"),
        "failed, one in a thousand": Filter(status="failed"),
        "aborting, of which there are none": Filter(status="aborting"),
        "prepared or submitted, of a type": Filter(status="submitted", trans_type="tcc"),
        "of a type": Filter(trans_type="msg"),
        "of a type that there is not": Filter(trans_type="xa"),
        "of an hour in the middle": Filter(
            create_time_start=middle, create_time_end=middle + timedelta(hours=1)
        ),
        "failed, older than the middle": Filter(status="failed", create_time_end=middle),
    }
    asked: dict[str, Callable[[], Awaitable[Any]]] = {
        f"`all`: {name}": lambda wanted=wanted: store.list(wanted)  # type: ignore[misc]
        for name, wanted in filters.items()
    }
    asked["the census"] = lambda: store.backlog(now=now)
    asked["16 that are due"] = lambda: store.find_due(now=now, limit=16)
    asked["what is due next"] = lambda: store.next_due(after=now)
    return asked


async def measured(database: Database, repeats: int, days: int) -> dict[str, list[float]]:
    """Milliseconds of each answer, by question."""
    store = await open_store(config_of(database), clock=SystemClock(), zone=UTC, wait_seconds=10)
    found: dict[str, list[float]] = {}
    try:
        for name, ask in questions(store, await store.utc_now(), days).items():
            for _ in range(repeats):
                began = time.perf_counter()
                await ask()
                found.setdefault(name, []).append((time.perf_counter() - began) * 1000)
    finally:
        await store.close()
    return found


def document(found: dict[str, list[float]], rows: str) -> str:
    """The page that the figures are kept on."""
    machine = [["machine", ""], *([name, value] for name, value in described().items())]
    table = [["what is asked", "median ms", "slowest ms"]]
    table += [[name, f"{statistics.median(ms):.1f}", f"{max(ms):.1f}"] for name, ms in found.items()]
    repeats = len(next(iter(found.values())))
    today = date.today().isoformat()  # noqa: DTZ011 - the date on the wall
    return f"""\
# Looking into big tables

Written by `.venv/bin/python -m bench.fill --write` on {today}: the store's own answers, without HTTP,
{repeats} of each, one at a time, from MariaDB with {rows}.
The slowest is mostly the first, for which nothing is in the caches.

{markdown(machine, words=2)}

{markdown(table, words=1)}
"""


def main() -> None:
    """Plant, ask, print."""
    parser = argparse.ArgumentParser(prog="python -m bench.fill", description=__doc__)
    parser.add_argument("--fill", type=int, default=1_000_000, help="transactions that have ended (1000000)")
    parser.add_argument("--delayed", type=int, default=200_000, help="messages that wait (200000)")
    parser.add_argument("--due", type=int, default=1_000, help="transactions that are due (1000)")
    parser.add_argument("--repeats", type=int, default=20, help="of each question (20)")
    parser.add_argument("--remark", default="", help="said beside the figures, as what else ran meanwhile")
    parser.add_argument("--write", action="store_true", help=f"write {_DOCUMENT.relative_to(ROOT)}")
    options = parser.parse_args()
    days = max(options.fill // 100_000, 1)
    step = days * 86_400 / max(options.fill, 1)
    with MariaDBServer() as server:
        database = server.create_database("fill")
        asyncio.run(_made(database))
        began = time.monotonic()
        then = f"UTC_TIMESTAMP() - INTERVAL {days} DAY + INTERVAL FLOOR(seq * {step}) SECOND"
        plant(
            *(database, "done", options.fill),
            status="IF(seq % 1000 = 0, 'failed', 'succeed')", then=then, due=then,
        )  # fmt: skip
        soon, late = "UTC_TIMESTAMP() - INTERVAL 1 HOUR", "UTC_TIMESTAMP() + INTERVAL 1 DAY"
        plant(database, "late", options.delayed, status="'submitted'", then=soon, due=late)
        plant(database, "due", options.due, status="'submitted'", then=soon, due=soon)
        database.execute("ANALYZE TABLE trans_global")
        print(f"planted in {time.monotonic() - began:.0f} s", flush=True)
        found = asyncio.run(measured(database, options.repeats, days))
    late = f"{options.delayed:,} that are delayed, {options.due:,} that are due"
    rows = f"{options.fill:,} that have ended, {late}"
    text = document(found, rows) + (f"\n{options.remark}\n" if options.remark else "")
    print(text)
    if options.write:
        _DOCUMENT.write_text(text, encoding="utf-8")


async def _made(database: Database) -> None:
    store = await open_store(config_of(database), clock=SystemClock(), zone=UTC, wait_seconds=10)
    await store.close()


if __name__ == "__main__":
    main()
