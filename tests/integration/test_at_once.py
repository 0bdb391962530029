"""Batches that a database server compares while it writes them end as those that are looked at first.

The twin is SQLite, where every batch is looked at, and every work is alone in its batch.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, given, settings

from coordinator.access.audit import NOBODY, Record, audit_row
from coordinator.model import Branch, BranchStatus, Status, Transaction
from coordinator.store.attempt_rows import attempt_row, not_stuck, stuck_row
from coordinator.store.base import Assign, Change, Changed, Move, Stored
from coordinator.store.open import StoreConfig, open_store
from coordinator.store.runner import Runner
from coordinator.store.sql import SqlStore
from tests.support.attempts import attempt, stuck
from tests.support.servers import Database
from tests.support.store_config import config_of
from tests.support.store_works import GIDS, NOW, StandingClock, Work, answers, rows, works

EMPTIED = "DELETE FROM trans_global; DELETE FROM trans_branch_op"
SUBMITTED = frozenset({Status.SUBMITTED})


def test_a_batch_without_a_look_ends_as_one_with_it(database: Database) -> None:
    with asyncio.Runner() as loop:
        store = loop.run(opened(config_of(database)))

        @settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
        @given(works(GIDS))
        def check(asked: list[Work]) -> None:
            twin = loop.run(opened(StoreConfig(path=":memory:")))
            expected = loop.run(outcome_of(twin, asked, together=False))
            loop.run(twin.close())
            for together in (True, False):
                database.execute(EMPTIED)
                assert loop.run(outcome_of(store, asked, together=together)) == expected

        check()
        loop.run(store.close())


async def opened(config: StoreConfig, watch: Callable[[Runner], Runner] | None = None) -> SqlStore:
    return await open_store(config, clock=StandingClock(), zone=UTC, wait_seconds=5, watch=watch)


async def outcome_of(
    store: SqlStore, asked: Sequence[Work], *, together: bool
) -> tuple[list[object], list[Stored]]:
    return await answers(store, asked, together=together), await rows(store)


OWN_ROWS = (
    audit_row(NOBODY, Record("stop", "g"), at=NOW),
    attempt_row(attempt("g")),
    stuck_row(stuck("g")),
    not_stuck("another"),
)


class CountedRunner:
    """Counts how batches are written."""

    def __init__(self, inner: Runner, counts: Counter[str]) -> None:
        self._inner = inner
        self._counts = counts

    def __getattr__(self, name: str) -> Any:
        self._counts[name] += 1
        return getattr(self._inner, name)


@pytest.mark.parametrize(
    ("change", "ends", "is_looked_at"),
    [
        pytest.param({"owner": "x/1/1"}, Changed.APPLIED, False, id="as expected"),
        pytest.param({"owner": None, "trans_type": "saga"}, Changed.APPLIED, False, id="any owner"),
        pytest.param({"owner": "x/1/1", "own_rows": OWN_ROWS}, Changed.APPLIED, False, id="rows of our own"),
        pytest.param({"owner": "x/1/2"}, Changed.REFUSED, True, id="another's"),
        pytest.param({"owner": "X/1/1"}, Changed.REFUSED, True, id="another's, told by case alone"),
        pytest.param({"owner": "x/1/1", "trans_type": "tcc"}, Changed.REFUSED, True, id="another type"),
        pytest.param({"owner": "x/1/1", "gid": "gone"}, Changed.MISSING, True, id="missing"),
        pytest.param(
            {"owner": "x/1/1", "expected": frozenset({Status.ABORTING})}, Changed.REFUSED, True, id="moved on"
        ),
    ],
)
async def test_only_what_is_not_as_expected_is_looked_at(
    database: Database, change: dict[str, Any], ends: Changed, is_looked_at: bool
) -> None:
    counts: Counter[str] = Counter()
    store = await opened(config_of(database), lambda runner: cast(Runner, CountedRunner(runner, counts)))
    try:
        branch = Branch("g", "01", "action", "http://host/a", b"{}")
        transaction = Transaction("g", "saga", Status.SUBMITTED, owner="x/1/1", next_cron_time=NOW)
        assert await store.insert(transaction, [branch], timeout=5)
        assert (counts["write_at_once"], counts["write"]) == (1, 0)
        counts.clear()
        asked: dict[str, Any] = {"gid": "g", "expected": SUBMITTED} | change
        done = Change(**asked, results=((branch.key, BranchStatus.SUCCEED),), assign=Assign(owner="y"))
        assert await store.change(done, timeout=5) is ends
        assert (counts["write_at_once"], counts["write"]) == (1, is_looked_at)
        found = await store.find("g")
        assert found is not None
        applied = ends is Changed.APPLIED
        assert found.transaction.owner == ("y" if applied else "x/1/1")
        assert found.branches[0].status is (BranchStatus.SUCCEED if applied else BranchStatus.PREPARED)
    finally:
        await store.close()


PREPARED = frozenset({Status.PREPARED})
CONFIRM = Branch("g", "01", "confirm", "http://host/a", b"{}")
OTHER = Branch("g", "02", "confirm", "http://host/b", b"{}")


@pytest.fixture
def mariadb_config(mariadb_database: Database) -> StoreConfig:
    return config_of(mariadb_database)


@pytest.mark.parametrize(
    ("meanwhile", "is_looked_at"),
    [
        pytest.param((), False, id="nothing"),
        pytest.param((Change("g", PREPARED, None, added=(OTHER,)),), True, id="another registers"),
        pytest.param(
            (Change("g", PREPARED, None, assign=Assign(next_cron_time=NOW + timedelta(seconds=9))),),
            True,
            id="another asks its client",
        ),
        pytest.param(
            (Change("g", PREPARED, None, assign=Assign(status=Status.ABORTING, owner="z")),),
            True,
            id="aborts",
        ),
    ],
)
async def test_a_move_rests_on_what_is_remembered_only_while_that_is_so(
    mariadb_config: StoreConfig, meanwhile: tuple[Change, ...], is_looked_at: bool
) -> None:
    counts: Counter[str] = Counter()
    store = await opened(mariadb_config, lambda runner: cast(Runner, CountedRunner(runner, counts)))
    another = await opened(mariadb_config)
    try:
        transaction = Transaction("g", "tcc", Status.PREPARED, next_cron_time=NOW)
        assert await store.insert(transaction, (), timeout=5)
        registered = Change("g", PREPARED, None, trans_type="tcc", added=(CONFIRM,))
        assert await store.change(registered, timeout=5) is Changed.APPLIED
        for change in meanwhile:
            assert await another.change(change, timeout=5) is Changed.APPLIED
        counts.clear()
        move = Move("g", "tcc", PREPARED, lambda _: Assign(status=Status.SUBMITTED, owner="x/1/1"))
        moved = await store.move(move, timeout=5)
        assert (counts["write_at_once"], counts["write"]) == (1, is_looked_at)
        found = await store.find("g")
        assert found is not None and moved.stored is not None
        has_aborted = bool(meanwhile) and meanwhile[0].assign.status is Status.ABORTING
        assert moved.changed is (Changed.REFUSED if has_aborted else Changed.APPLIED)
        assert found.transaction.status is (Status.ABORTING if has_aborted else Status.SUBMITTED)
        assert [it.key for it in moved.stored.branches] == [it.key for it in found.branches]
    finally:
        await store.close()
        await another.close()


async def test_registrations_and_moves_by_two_coordinators_lose_no_branch(
    mariadb_config: StoreConfig,
) -> None:
    stores = [await opened(mariadb_config), await opened(mariadb_config)]
    try:
        for number in range(40):
            gid = f"g{number}"
            mine, other = replace(CONFIRM, gid=gid), replace(OTHER, gid=gid)
            transaction = Transaction(gid, "tcc", Status.PREPARED, next_cron_time=NOW)
            assert await stores[0].insert(transaction, (mine,), timeout=5)
            move = Move(gid, "tcc", PREPARED, lambda _: Assign(status=Status.SUBMITTED, owner="x/1/1"))
            added = Change(gid, PREPARED, None, trans_type="tcc", added=(other,))
            registered, moved = await asyncio.gather(
                stores[1].change(added, timeout=5), stores[0].move(move, timeout=5)
            )
            assert moved.changed is Changed.APPLIED and moved.stored is not None
            assert len(moved.stored.branches) == 1 + (registered is Changed.APPLIED)
    finally:
        for store in stores:
            await store.close()


@pytest.mark.parametrize("kind", ["insertion", "change"])
async def test_what_arrives_when_it_was_given_up_long_ago_is_written_by_nobody(
    database: Database, kind: str
) -> None:
    """A packet may lie in a frozen server's buffer while the batch is repeated on another connection."""
    counts: Counter[str] = Counter()
    clock = SlowClock()
    store = await open_store(
        config_of(database),
        clock=clock,
        zone=UTC,
        wait_seconds=5,
        watch=lambda runner: cast(Runner, CountedRunner(runner, counts)),
    )
    try:
        transaction = Transaction("g", "saga", Status.SUBMITTED, owner="x/1/1", next_cron_time=NOW)
        if kind == "change":
            assert await store.insert(transaction, (), timeout=5)
        counts.clear()
        clock.time = datetime.now(UTC) - timedelta(seconds=30)  # so long ago it was sent
        if kind == "change":
            change = Change("g", SUBMITTED, "x/1/1", assign=Assign(owner="y"))
            assert await store.change(change, timeout=5) is Changed.APPLIED
        else:
            assert await store.insert(transaction, (), timeout=5)
        assert (counts["write_at_once"], counts["write"]) == (1, 1), "the late packet writes nothing"
    finally:
        await store.close()


class SlowClock:
    """Says what a test wants."""

    time = NOW

    def now(self) -> datetime:
        return self.time

    def monotonic(self) -> float:
        return 0.0
