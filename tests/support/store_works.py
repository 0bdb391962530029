"""Works for a store, generated; and the same works asked of one together, or one after the other."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hypothesis import strategies as st

from coordinator.errors import Invalid
from coordinator.model import EPOCH, Branch, BranchStatus, Status, Transaction
from coordinator.store.base import Assign, Change, Changed, Stored
from coordinator.store.listed import Filter
from coordinator.store.sql import SqlStore

NOW = datetime(2036, 1, 1, tzinfo=UTC)  # later than any database thinks that it is
Insertion = tuple[Transaction, tuple[Branch, ...]]
Work = Insertion | Change


class StandingClock:
    """It is always NOW."""

    def now(self) -> datetime:
        """See Clock."""
        return NOW

    def monotonic(self) -> float:
        """See Clock."""
        return 0.0


GIDS = ("a", "b", "c", "it's", "d|e", "e")
LOOK_ALIKES = (*GIDS, "A")
owners = st.sampled_from(["", "x/1/1", "x/1/2", "X/1/2"])
keys = st.sampled_from([("01", "action"), ("01", "compensate"), ("02", "action")])
maybe = st.none


@st.composite
def insertions(draw: st.DrawFn, gids: Sequence[str]) -> Insertion:
    """New transactions, some with values that no column keeps."""
    gid = draw(st.sampled_from(gids))
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
def changes(draw: st.DrawFn, gids: Sequence[str]) -> Change:
    """Changes of any of them, with results and new branches."""
    gid = draw(st.sampled_from(gids))
    results = draw(st.dictionaries(keys, st.sampled_from(list(BranchStatus)), max_size=2))
    assign = Assign(
        status=draw(maybe() | st.sampled_from(list(Status))),
        owner=draw(maybe() | owners),
        next_cron_interval=draw(maybe() | st.integers(0, 3)),
        next_cron_time=draw(maybe() | st.integers(0, 5).map(lambda n: NOW + timedelta(seconds=n / 2))),
        rollback_reason=draw(maybe() | st.sampled_from(["", "because", "x" * 1025])),
    )
    expected = draw(st.frozensets(st.sampled_from(list(Status)), min_size=1))
    return Change(
        gid,
        expected,
        draw(maybe() | owners),
        tuple(results.items()),
        assign,
        trans_type=draw(st.sampled_from(["", "", "saga", "tcc"])),
        added=draw(st.just(()) | added_branches(gid)),
    )


def added_branches(gid: str) -> st.SearchStrategy[tuple[Branch, ...]]:
    """Rows to register, some of which will be stored already, as they are or otherwise."""
    urls = st.sampled_from(["http://host/action", "http://host/other"])
    made = st.builds(lambda key, url: Branch(gid, key[0], key[1], url, b"{}"), keys, urls)
    return st.lists(made, min_size=1, max_size=2, unique_by=lambda it: it.key).map(tuple)


def works(gids: Sequence[str]) -> st.SearchStrategy[list[Work]]:
    """What many clients might ask at the same time."""
    return st.lists(insertions(gids) | changes(gids), max_size=25)


async def answers(store: SqlStore, works: Sequence[Work], *, together: bool) -> list[object]:
    """What each work is answered; one error of a value that does not fit is a text."""
    if together:
        return list(await asyncio.gather(*(_apply(store, work) for work in works)))
    return [await _apply(store, work) for work in works]


async def _apply(store: SqlStore, work: Work) -> bool | Changed | str:
    try:
        if isinstance(work, Change):
            return await store.change(work, timeout=10)
        return await store.insert(*work, timeout=10)
    except Invalid as error:
        return error.message


async def rows(store: SqlStore) -> list[Stored]:
    """All that is stored, without ids: those depend on the order of the batch."""
    found = [await store.find(row.gid) for row in (await store.list(Filter(limit=1000))).rows]
    without = [
        Stored(replace(it.transaction, id=0), tuple(replace(branch, id=0) for branch in it.branches))
        for it in found
        if it is not None
    ]
    assert len(without) == len(found)
    assert all(it.transaction.create_time > EPOCH for it in without)
    return sorted(without, key=lambda it: it.transaction.gid)
