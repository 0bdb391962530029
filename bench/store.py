"""CPU and throughput of the store alone, against bare SQL by the same driver in the same run.

    .venv/bin/python -m bench.store                   # throw-away MariaDB and PostgreSQL, SQLite in a folder
    .venv/bin/python -m bench.store --sagas 20000 --concurrent 64 --rounds 5
    .venv/bin/python -m bench.store --only mysql --profile /tmp/store.prof

One saga is three writes: insert with four branches, the first branch's result, and the second's together with
the end. The bare writer knows only this one case: no fences, no errors, no bounds, no results compared. It is
what batches over aiomysql cost at the least, and the store is aimed at 1.35 times its CPU. Times are of this
process alone; the database has its own. Both take turns, round by round, so that a busy machine is unfair to
neither.
"""

import argparse
import asyncio
import cProfile
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import uvloop

from bench.bare_store import KEYS, PAYLOAD, URLS, new_gid, open_bare
from coordinator.clock import SystemClock
from coordinator.model import Branch, BranchStatus, Options, Status, Transaction
from coordinator.store.base import Assign, Change, Changed, Store
from coordinator.store.open import StoreConfig, open_store
from tests.support.servers import MariaDBServer, PostgresServer
from tests.support.store_config import config_of

Saga = Callable[[], Awaitable[None]]


# --- the store ---


def store_saga(store: Store) -> Saga:
    """Return one saga over a store, as the engine would write it."""
    count = 0
    submitted = frozenset({Status.SUBMITTED})
    options = Options(wait_result=True)

    async def saga() -> None:
        nonlocal count
        count += 1
        gid, owner = new_gid(), f"bench/1/{count}"
        transaction = Transaction(
            gid=gid,
            trans_type="saga",
            status=Status.SUBMITTED,
            options=options,
            next_cron_interval=10,
            next_cron_time=datetime.now(UTC) + timedelta(seconds=10),
            owner=owner,
        )
        branches = [Branch(gid, step, op, URLS[op], PAYLOAD) for step, op in KEYS]
        assert await store.insert(transaction, branches, timeout=10)
        first = Change(gid, submitted, owner, ((("01", "action"), BranchStatus.SUCCEED),))
        assert await store.change(first, timeout=10) is Changed.APPLIED
        finish = Assign(status=Status.SUCCEED, owner="")
        last = Change(gid, submitted, owner, ((("02", "action"), BranchStatus.SUCCEED),), finish)
        assert await store.change(last, timeout=10) is Changed.APPLIED

    return saga


class Batches:
    """How large they were."""

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def batch_written(self, size: int, size_bytes: int, seconds: float, /) -> None:
        self.sizes.append(size)

    def average(self) -> float:
        return statistics.mean(self.sizes) if self.sizes else 0.0


# --- measuring ---


async def run(saga: Saga, sagas: int, concurrent: int) -> tuple[float, float]:
    """Return microseconds of CPU of this process per saga, and sagas per second."""

    async def one_after_the_other(count: int) -> None:
        for _ in range(count):
            await saga()

    each = sagas // concurrent
    started, cpu = time.perf_counter(), time.process_time()
    await asyncio.gather(*(one_after_the_other(each) for _ in range(concurrent)))
    done = each * concurrent
    return (time.process_time() - cpu) / done * 1e6, done / (time.perf_counter() - started)


async def measure(contestants: dict[str, Saga], given: argparse.Namespace) -> dict[str, list[float]]:
    cpu: dict[str, list[float]] = {name: [] for name in contestants}
    for saga in contestants.values():
        await run(saga, given.concurrent * 20, given.concurrent)  # caches, connections
    for _ in range(given.rounds):
        for name, saga in contestants.items():
            spent, speed = await run(saga, given.sagas, given.concurrent)
            cpu[name].append(spent)
            print(f"{name:8} {spent:6.0f} µs CPU a saga, {speed:6.0f} sagas a second")
    return cpu


async def measure_mysql(given: argparse.Namespace) -> None:
    with MariaDBServer() as server:
        database = server.create_database()
        config = StoreConfig(driver="mysql", host=database.host, port=database.port, database=database.name)
        batches = Batches()
        store = await open_store(config, clock=SystemClock(), zone=None, wait_seconds=5, observer=batches)
        bare = await open_bare(database, writers=2)
        cpu = await measure({"bare": bare.saga, "mysql": store_saga(store)}, given)
        await bare.close()
        await store.close()
    ratio = statistics.median(cpu["mysql"]) / statistics.median(cpu["bare"])
    print(f"store to bare: {ratio:.2f} (aim: at most 1.35); {batches.average():.1f} writes a batch")


async def measure_postgres(given: argparse.Namespace) -> None:
    with PostgresServer() as server:
        database = server.create_database()
        batches = Batches()
        store = await open_store(
            config_of(database), clock=SystemClock(), zone=None, wait_seconds=5, observer=batches
        )
        await measure({"postgres": store_saga(store)}, given)
        await store.close()
    print(f"{batches.average():.1f} writes a batch")


async def measure_sqlite(given: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as folder:
        config = StoreConfig(path=str(Path(folder) / "bench.db"))
        batches = Batches()
        store = await open_store(config, clock=SystemClock(), zone=None, wait_seconds=0, observer=batches)
        await measure({"sqlite": store_saga(store)}, given)
        await store.close()
    print(f"{batches.average():.1f} writes a batch")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sagas", type=int, default=6400, help="a round")
    parser.add_argument("--concurrent", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", choices=["mysql", "postgres", "sqlite"])
    parser.add_argument("--profile", help="write a profile of it all to this file")
    given = parser.parse_args()
    profiler = cProfile.Profile()
    if given.profile:
        profiler.enable()
    for name, measured in (
        ("mysql", measure_mysql),
        ("postgres", measure_postgres),
        ("sqlite", measure_sqlite),
    ):
        if given.only in (None, name):
            uvloop.run(measured(given))
    if given.profile:
        profiler.dump_stats(given.profile)


if __name__ == "__main__":
    main()
