"""Group commit against its naive twin: the same works, at once or one after the other, leave equal rows."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from coordinator.errors import Invalid
from coordinator.model import EPOCH, Branch, BranchStatus, Status, Transaction
from coordinator.store.base import Assign, Change, Changed, Filter, Stored
from coordinator.store.open import StoreConfig, open_store
from coordinator.store.sql import SqlStore

NOW = datetime(2026, 1, 1, tzinfo=UTC)
Insertion = tuple[Transaction, tuple[Branch, ...]]
Work = Insertion | Change


class StandingClock:
    def now(self) -> datetime:
        return NOW

    def monotonic(self) -> float:
        return 0.0


gids = st.sampled_from(["a", "A", "b", "c", "it's", "d"])
owners = st.sampled_from(["", "x/1/1", "x/1/2", "X/1/2"])
keys = st.sampled_from([("01", "action"), ("01", "compensate"), ("02", "action")])
maybe = st.none


@st.composite
def insertions(draw: st.DrawFn) -> Insertion:
    gid = draw(gids)
    transaction = Transaction(
        gid=gid,
        trans_type="saga",
        status=draw(st.sampled_from(list(Status))),
        owner=draw(owners),
        next_cron_time=NOW,
        custom_data=draw(st.sampled_from(["", "x" * 1024, "x" * 1025])),
        rollback_reason=draw(st.sampled_from(["", "no"])),
    )
    of = draw(st.lists(keys, unique=True, max_size=3))
    return transaction, tuple(Branch(gid, branch_id, op, f"http://host/{op}", b"{}") for branch_id, op in of)


@st.composite
def changes(draw: st.DrawFn) -> Change:
    results = draw(st.dictionaries(keys, st.sampled_from(list(BranchStatus)), max_size=2))
    assign = Assign(
        status=draw(maybe() | st.sampled_from(list(Status))),
        owner=draw(maybe() | owners),
        next_cron_interval=draw(maybe() | st.integers(0, 3)),
        next_cron_time=draw(maybe() | st.integers(0, 5).map(lambda n: NOW + timedelta(seconds=n / 2))),
        rollback_reason=draw(maybe() | st.sampled_from(["", "because", "x" * 1025])),
    )
    expected = draw(st.frozensets(st.sampled_from(list(Status)), min_size=1))
    return Change(draw(gids), expected, draw(maybe() | owners), tuple(results.items()), assign)


async def apply(store: SqlStore, work: Work) -> bool | Changed | str:
    try:
        if isinstance(work, Change):
            return await store.change(work, timeout=10)
        return await store.insert(*work, timeout=10)
    except Invalid as error:
        return error.message


async def rows(store: SqlStore) -> list[Stored]:
    """All that is stored, without ids: those depend on the order of the batch."""
    found = [await store.find(row.gid) for row in await store.list(Filter(limit=1000))]
    without = [
        Stored(replace(it.transaction, id=0), tuple(replace(branch, id=0) for branch in it.branches))
        for it in found
        if it is not None
    ]
    assert len(without) == len(found)
    assert all(it.transaction.create_time > EPOCH for it in without)
    return sorted(without, key=lambda it: it.transaction.gid)


async def outcome_of(works: Sequence[Work], *, at_once: bool) -> tuple[list[object], list[Stored]]:
    config = StoreConfig(path=":memory:")
    store = await open_store(config, clock=StandingClock(), zone=UTC, wait_seconds=0)
    try:
        if at_once:
            answers: list[object] = list(await asyncio.gather(*(apply(store, work) for work in works)))
        else:
            answers = [await apply(store, work) for work in works]
        return answers, await rows(store)
    finally:
        await store.close()


@settings(max_examples=60, deadline=None)
@given(st.lists(insertions() | changes(), max_size=25))
def test_all_at_once_is_as_one_by_one(works: list[Work]) -> None:
    together = asyncio.run(outcome_of(works, at_once=True))
    one_by_one = asyncio.run(outcome_of(works, at_once=False))
    assert together == one_by_one
