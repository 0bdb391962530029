"""What every store must do, as tests: SQLite, MariaDB, and the twin that the simulation runs on.

A test class inherits StoreContract and has a fixture `stores`:

    class TestTwin(StoreContract):
        @pytest.fixture
        def stores(self) -> Stores: ...

All tests are coroutines and know a store only by its protocol.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from coordinator.errors import Invalid
from coordinator.model import EPOCH, Branch, BranchKey, BranchStatus, Options, Status, Transaction
from coordinator.store.base import Assign, Change, Changed, Claim, Deferral, Due, Move, Moved, Store, Stored
from coordinator.store.listed import Filter
from coordinator.store.result_table import result_row

TIMEOUT = 20.0  # seconds; nothing comes near it
UNFINISHED = frozenset({Status.PREPARED, Status.SUBMITTED, Status.ABORTING})


@dataclass(frozen=True)
class Stores:
    """One store, and more over the same rows, as other coordinators have; where that cannot be, the same."""

    first: Store
    another: Callable[[], Awaitable[Store]]


def transaction(gid: str, **values: Any) -> Transaction:
    """A submitted saga, held by `test/1/<gid>`, unless told otherwise."""
    return replace(
        Transaction(
            gid=gid,
            trans_type="saga",
            status=Status.SUBMITTED,
            next_cron_interval=10,
            owner=f"test/1/{gid}"[:128],
        ),
        **values,
    )


def branches(gid: str, count: int = 2) -> list[Branch]:
    """The rows of a saga of so many steps."""
    return [
        Branch(gid, f"{step:02d}", op, f"http://localhost/{op}", b'{"amount":30}')
        for step in range(1, count + 1)
        for op in ("compensate", "action")
    ]


async def insert(store: Store, gid: str, **values: Any) -> Transaction:
    """Store a transaction of two steps and return it as it is stored."""
    assert await store.insert(transaction(gid, **values), branches(gid), timeout=TIMEOUT)
    return (await stored(store, gid)).transaction


async def prepared(store: Store, gid: str, *, trans_type: str = "tcc") -> None:
    """Store a prepared transaction without branches."""
    row = transaction(gid, trans_type=trans_type, status=Status.PREPARED)
    assert await store.insert(row, [], timeout=TIMEOUT)


def _driven(stored: Stored) -> Stored:
    """What a driver goes by: without ids and the times that the store notes."""
    transaction = replace(stored.transaction, id=0, create_time=EPOCH, update_time=EPOCH)
    branches = [replace(it, id=0, create_time=EPOCH, update_time=EPOCH) for it in stored.branches]
    return Stored(transaction, tuple(branches))


def move(gid: str, *, owner: str = "a/1/1", trans_type: str = "tcc", text: str = "") -> Move:
    """prepared → submitted, with custom_data that tells from what."""

    def assign(stored: Stored) -> Assign:
        said = f"was {stored.transaction.status} with {len(stored.branches) // 2} branches"
        return Assign(status=Status.SUBMITTED, owner=owner, custom_data=text or said)

    return Move(gid, trans_type, frozenset({Status.PREPARED}), assign)


async def register(store: Store, gid: str, branch_id: str, *, payload: bytes = b"\x00\xff") -> Changed:
    """Add the two rows of a TCC branch."""
    rows = tuple(
        Branch(gid, branch_id, op, f"http://localhost/{op}", payload) for op in ("cancel", "confirm")
    )
    added = Change(gid, frozenset({Status.PREPARED}), None, trans_type="tcc", added=rows)
    return await store.change(added, timeout=TIMEOUT)


async def stored(store: Store, gid: str) -> Stored:
    """What is stored; the gid must be there."""
    found = await store.find(gid)
    assert found is not None
    return found


def change(gid: str, *, owner: str | None = None, **values: Any) -> Change:
    """Assign values to an unfinished row; owner None compares nothing."""
    return Change(gid, UNFINISHED, owner, assign=Assign(**values))


def results(
    *keys: BranchKey, status: BranchStatus = BranchStatus.SUCCEED
) -> tuple[tuple[BranchKey, BranchStatus], ...]:
    """The same result for these branches."""
    return tuple((key, status) for key in keys)


def statuses(rows: Sequence[Branch]) -> list[str]:
    """Of each branch, in order."""
    return [row.status.value for row in rows]


class StoreContract:
    """For every store and the twin."""

    # --- insert ---

    async def test_what_is_inserted_is_found(self, stores: Stores) -> None:
        now = await stores.first.utc_now()
        given = transaction(
            "all-values",
            query_prepared="http://localhost/ask",
            protocol="grpc",
            options=Options(
                wait_result=True, timeout_to_fail=60, request_timeout=4, branch_headers={"x-team": "blue"}
            ),
            custom_data='{"concurrent":true}',
            ext_data="more",
            next_cron_time=now + timedelta(seconds=10),
        )
        rows = [*branches("all-values"), Branch("all-values", "03", "action", "", b"")]
        assert await stores.first.insert(given, rows, timeout=TIMEOUT)

        found = await stores.first.find("all-values")
        assert found is not None
        row = found.transaction
        assert row.id > 0
        assert row.next_cron_time >= given.next_cron_time
        assert row.next_cron_time - given.next_cron_time < timedelta(seconds=1)  # rounded up
        assert abs(row.create_time - now) < timedelta(seconds=5)
        assert row.update_time == row.create_time
        assert (row.finish_time, row.rollback_time) == (None, None)
        times = ("id", "create_time", "update_time", "next_cron_time")
        assert replace(row, **{name: getattr(given, name) for name in times}) == given
        assert [(b.branch_id, b.op, b.url, b.payload, b.status) for b in found.branches] == [
            (b.branch_id, b.op, b.url, b.payload, b.status) for b in rows
        ]
        assert [b.id for b in found.branches] == sorted(b.id for b in found.branches)

    async def test_a_transaction_without_branches(self, stores: Stores) -> None:
        assert await stores.first.insert(transaction("bare"), [], timeout=TIMEOUT)
        assert (await stored(stores.first, "bare")).branches == ()

    async def test_a_gid_that_exists_is_not_inserted_again(self, stores: Stores) -> None:
        first = await insert(stores.first, "twice")
        other = transaction("twice", owner="test/1/other", custom_data="{}")
        assert not await stores.first.insert(other, branches("twice", 5), timeout=TIMEOUT)
        found = await stored(stores.first, "twice")
        assert found.transaction == first
        assert len(found.branches) == 4

    async def test_a_repeat_with_the_same_owner_token_is_the_same_insertion(self, stores: Stores) -> None:
        await insert(stores.first, "repeated")
        assert await stores.first.insert(transaction("repeated"), branches("repeated"), timeout=TIMEOUT)
        assert len((await stored(stores.first, "repeated")).branches) == 4

    async def test_of_insertions_at_the_same_moment_one_stands(self, stores: Stores) -> None:
        second = await stores.another()
        answers = await asyncio.gather(
            *(
                store.insert(transaction("race", owner=f"test/1/{n}"), branches("race"), timeout=TIMEOUT)
                for n, store in enumerate([stores.first, second] * 10)
            )
        )
        assert sorted(answers) == [False] * 19 + [True]
        found = await stored(second, "race")
        assert found.transaction.owner == f"test/1/{answers.index(True)}"
        assert len(found.branches) == 4

    async def test_five_hundred_at_once(self, stores: Stores) -> None:
        gids = [f"many-{n:03d}" for n in range(500)]
        inserted = await asyncio.gather(
            *(stores.first.insert(transaction(gid), branches(gid), timeout=TIMEOUT) for gid in gids)
        )
        assert all(inserted)
        listed = (await stores.first.list(Filter(limit=1000))).rows
        assert {row.gid for row in listed} == set(gids)
        for gid in gids[::50]:
            keys = [(b.branch_id, b.op) for b in (await stored(stores.first, gid)).branches]
            assert keys == [("01", "compensate"), ("01", "action"), ("02", "compensate"), ("02", "action")]

    # --- change ---

    async def test_results_and_status_travel_together(self, stores: Stores) -> None:
        row = await insert(stores.first, "end")
        finish = Change(
            "end",
            frozenset({Status.SUBMITTED}),
            row.owner,
            results(("01", "action"), ("02", "action")),
            Assign(status=Status.SUCCEED, owner=""),
        )
        assert await stores.first.change(finish, timeout=TIMEOUT) is Changed.APPLIED
        found = await stored(stores.first, "end")
        assert found.transaction.status is Status.SUCCEED
        assert found.transaction.owner == ""
        assert statuses(found.branches) == ["prepared", "succeed", "prepared", "succeed"]

    async def test_a_result_alone_leaves_the_transaction_as_it_is(self, stores: Stores) -> None:
        row = await insert(stores.first, "step")
        step = Change("step", frozenset({Status.SUBMITTED}), row.owner, results(("01", "action")))
        assert await stores.first.change(step, timeout=TIMEOUT) is Changed.APPLIED
        found = await stored(stores.first, "step")
        assert found.transaction.status is Status.SUBMITTED
        assert found.transaction.owner == row.owner
        assert statuses(found.branches) == ["prepared", "succeed", "prepared", "prepared"]

    async def test_different_results_in_one_change(self, stores: Stores) -> None:
        row = await insert(stores.first, "mixed")
        both = results(("01", "action")) + results(("02", "action"), status=BranchStatus.FAILED)
        fail = Change(
            "mixed",
            frozenset({Status.SUBMITTED}),
            row.owner,
            both,
            Assign(status=Status.ABORTING, rollback_reason="no money"),
        )
        assert await stores.first.change(fail, timeout=TIMEOUT) is Changed.APPLIED
        found = await stored(stores.first, "mixed")
        assert statuses(found.branches) == ["prepared", "succeed", "prepared", "failed"]
        assert found.transaction.rollback_reason == "no money"
        assert found.transaction.owner == row.owner

    async def test_another_owner_is_refused_and_nothing_written(self, stores: Stores) -> None:
        row = await insert(stores.first, "fenced")
        late = Change(
            "fenced",
            frozenset({Status.SUBMITTED}),
            "test/1/an-earlier-driver",
            results(("01", "action")),
            Assign(status=Status.SUCCEED, owner=""),
        )
        assert await stores.first.change(late, timeout=TIMEOUT) is Changed.REFUSED
        found = await stored(stores.first, "fenced")
        assert found.transaction == row
        assert statuses(found.branches) == ["prepared"] * 4

    async def test_another_status_is_refused(self, stores: Stores) -> None:
        row = await insert(stores.first, "moved")
        abort = Change("moved", frozenset({Status.PREPARED}), None, assign=Assign(status=Status.ABORTING))
        assert await stores.first.change(abort, timeout=TIMEOUT) is Changed.REFUSED
        assert (await stored(stores.first, "moved")).transaction == row

    async def test_without_owner_only_the_status_counts(self, stores: Stores) -> None:
        await insert(stores.first, "taken-over", status=Status.PREPARED)
        submit = Change(
            "taken-over",
            frozenset({Status.PREPARED}),
            None,
            assign=Assign(status=Status.SUBMITTED, owner="test/1/new"),
        )
        assert await stores.first.change(submit, timeout=TIMEOUT) is Changed.APPLIED
        row = (await stored(stores.first, "taken-over")).transaction
        assert (row.status, row.owner) == (Status.SUBMITTED, "test/1/new")

    async def test_a_repeat_of_a_change_that_stands_is_applied(self, stores: Stores) -> None:
        await insert(stores.first, "again", status=Status.PREPARED)
        submit = Change(
            "again",
            frozenset({Status.PREPARED}),
            None,
            assign=Assign(status=Status.SUBMITTED, owner="test/1/new"),
        )
        abort = Change(
            "again",
            frozenset({Status.SUBMITTED}),
            "test/1/new",
            assign=Assign(status=Status.ABORTING, rollback_reason="no"),
        )
        finish = Change(
            "again",
            frozenset({Status.ABORTING}),
            "test/1/new",
            results(("01", "compensate")),
            Assign(status=Status.FAILED, owner=""),
        )
        for once in (submit, abort, finish):
            assert await stores.first.change(once, timeout=TIMEOUT) is Changed.APPLIED
            before = await stored(stores.first, "again")
            assert await stores.first.change(once, timeout=TIMEOUT) is Changed.APPLIED
            after = await stored(stores.first, "again")
            assert statuses(after.branches) == statuses(before.branches)
            assert after.transaction.owner == before.transaction.owner

    async def test_a_status_reached_by_another_is_no_repeat(self, stores: Stores) -> None:
        await insert(stores.first, "same-end", status=Status.PREPARED)
        for owner, outcome in (("test/1/a", Changed.APPLIED), ("test/1/b", Changed.REFUSED)):
            submit = Change(
                "same-end",
                frozenset({Status.PREPARED}),
                None,
                assign=Assign(status=Status.SUBMITTED, owner=owner),
            )
            assert await stores.first.change(submit, timeout=TIMEOUT) is outcome

    async def test_a_change_of_a_gid_that_is_not_there_is_missing(self, stores: Stores) -> None:
        assert await stores.first.change(change("nobody", owner="x"), timeout=TIMEOUT) is Changed.MISSING

    async def test_letting_go(self, stores: Stores) -> None:
        row = await insert(stores.first, "released")
        later = row.create_time + timedelta(seconds=20, milliseconds=300)
        release = Change(
            "released",
            frozenset({Status.SUBMITTED}),
            row.owner,
            assign=Assign(owner="", next_cron_interval=20, next_cron_time=later),
        )
        assert await stores.first.change(release, timeout=TIMEOUT) is Changed.APPLIED
        released = (await stored(stores.first, "released")).transaction
        assert (released.owner, released.next_cron_interval) == ("", 20)
        assert timedelta(0) <= released.next_cron_time - later < timedelta(seconds=1)
        late = Change("released", UNFINISHED, row.owner, results(("01", "action")))
        assert await stores.first.change(late, timeout=TIMEOUT) is Changed.REFUSED

    async def test_every_column_that_can_be_assigned(self, stores: Stores) -> None:
        row = await insert(stores.first, "assigned")
        assign = Assign(
            status=Status.ABORTING,
            owner="test/1/next",
            next_cron_interval=40,
            next_cron_time=row.create_time + timedelta(seconds=40),
            rollback_reason='it\'s "no" \\ 100%',
            result="partly",
            options=Options(wait_result=True, retry_limit=3, concurrent=True),
            custom_data='{"delay":3}',
            ext_data='{"alerted":true}',
        )
        both = Change("assigned", UNFINISHED, row.owner, assign=assign)
        assert await stores.first.change(both, timeout=TIMEOUT) is Changed.APPLIED
        after = (await stored(stores.first, "assigned")).transaction
        for name in Assign.__dataclass_fields__:
            assert getattr(after, name) == getattr(assign, name), name

    async def test_changes_of_one_gid_are_applied_in_their_order(self, stores: Stores) -> None:
        await insert(stores.first, "ordered")
        changes = [change("ordered", next_cron_interval=n) for n in range(1, 51)]
        tasks = [asyncio.create_task(stores.first.change(it, timeout=TIMEOUT)) for it in changes]
        assert set(await asyncio.gather(*tasks)) == {Changed.APPLIED}
        assert (await stored(stores.first, "ordered")).transaction.next_cron_interval == 50

    async def test_of_changes_at_the_same_moment_one_stands(self, stores: Stores) -> None:
        await insert(stores.first, "contested", status=Status.PREPARED)
        second = await stores.another()
        submits = [
            Change(
                "contested",
                frozenset({Status.PREPARED}),
                None,
                assign=Assign(status=Status.SUBMITTED, owner=f"test/1/{n}"),
            )
            for n in range(20)
        ]
        outcomes = await asyncio.gather(
            *(
                store.change(submit, timeout=TIMEOUT)
                for store, submit in zip([stores.first, second] * 10, submits, strict=True)
            )
        )
        assert outcomes.count(Changed.APPLIED) == 1
        assert outcomes.count(Changed.REFUSED) == 19
        owner = (await stored(second, "contested")).transaction.owner
        assert owner == f"test/1/{outcomes.index(Changed.APPLIED)}"

    # --- branches that are registered later ---

    async def test_branches_are_added_after_those_before_them(self, stores: Stores) -> None:
        await prepared(stores.first, "tcc")
        for branch_id in ("01", "02"):
            assert await register(stores.first, "tcc", branch_id) is Changed.APPLIED
        rows = (await stored(stores.first, "tcc")).branches
        assert [row.key for row in rows] == [
            ("01", "cancel"),
            ("01", "confirm"),
            ("02", "cancel"),
            ("02", "confirm"),
        ]
        assert {row.payload for row in rows} == {b"\x00\xff"}

    async def test_the_same_branch_again_changes_nothing(self, stores: Stores) -> None:
        await prepared(stores.first, "again")
        assert await register(stores.first, "again", "01") is Changed.APPLIED
        assert await register(stores.first, "again", "01") is Changed.APPLIED
        assert len((await stored(stores.first, "again")).branches) == 2

    async def test_a_branch_that_says_something_else_clashes(self, stores: Stores) -> None:
        await prepared(stores.first, "clash")
        assert await register(stores.first, "clash", "01") is Changed.APPLIED
        assert await register(stores.first, "clash", "01", payload=b"other") is Changed.CLASHES
        assert {row.payload for row in (await stored(stores.first, "clash")).branches} == {b"\x00\xff"}

    async def test_branches_are_added_to_prepared_transactions_of_the_right_kind_only(
        self, stores: Stores
    ) -> None:
        await prepared(stores.first, "xa", trans_type="xa")
        assert await register(stores.first, "xa", "01") is Changed.REFUSED
        await insert(stores.first, "submitted", trans_type="tcc")
        assert await register(stores.first, "submitted", "09") is Changed.REFUSED
        assert await register(stores.first, "nobody", "01") is Changed.MISSING
        assert (await stored(stores.first, "xa")).branches == ()

    async def test_many_branches_at_the_same_moment_all_stand(self, stores: Stores) -> None:
        await prepared(stores.first, "busy")
        second = await stores.another()
        changed = await asyncio.gather(
            *(
                register(store, "busy", f"{n:02d}")
                for n, store in enumerate([stores.first, second, stores.first, second])
            )
        )
        assert set(changed) == {Changed.APPLIED}
        assert len((await stored(second, "busy")).branches) == 8

    # --- what coordinators share ---

    async def test_a_value_is_written_read_and_deleted(self, stores: Stores) -> None:
        store = stores.first
        assert await store.find_value("topics", "pay") is None
        assert await store.put_value("topics", "pay", "[]", replaces=None)
        found = await store.find_value("topics", "pay")
        assert found is not None
        assert (found.category, found.key, found.value, found.version) == ("topics", "pay", "[]", 1)
        assert found.id > 0
        assert await store.put_value("topics", "pay", "[1]", replaces=found)
        changed = await store.find_value("topics", "pay")
        assert changed is not None
        assert (changed.id, changed.value, changed.version) == (found.id, "[1]", 2)
        assert await store.delete_value(changed)
        assert await store.find_value("topics", "pay") is None

    async def test_a_value_of_another_version_is_left_alone(self, stores: Stores) -> None:
        """PROTOCOL §8: optimistic locking."""
        store = stores.first
        assert await store.put_value("topics", "t", "first", replaces=None)
        assert not await store.put_value("topics", "t", "second", replaces=None)
        found = await store.find_value("topics", "t")
        assert found is not None
        for other in (
            replace(found, version=7),
            replace(found, id=found.id + 1),
            replace(found, value="third"),
        ):
            assert not await store.put_value("topics", "t", "second", replaces=other)
            assert not await store.delete_value(other)
        assert await store.find_value("topics", "t") == found
        assert (found.value, found.version) == ("first", 1)

    async def test_a_value_that_was_deleted_and_made_anew_is_another(self, stores: Stores) -> None:
        """PROTOCOL §8: its version is the same again; what was read of the old one must not come back."""
        store = stores.first
        assert await store.put_value("topics", "t", "old", replaces=None)
        old = await store.find_value("topics", "t")
        assert old is not None
        assert await store.delete_value(old)
        assert not await store.put_value("topics", "t", "old and more", replaces=old)
        assert await store.put_value("topics", "t", "new", replaces=None)
        assert not await store.put_value("topics", "t", "old and more", replaces=old)
        assert not await store.delete_value(old)
        found = await store.find_value("topics", "t")
        assert found is not None and found.value == "new"

    async def test_of_writers_at_the_same_moment_one_stands(self, stores: Stores) -> None:
        second = await stores.another()
        stood = await asyncio.gather(
            *(
                store.put_value("topics", "race", f"{n}", replaces=None)
                for n, store in enumerate([stores.first, second] * 5)
            )
        )
        assert sorted(stood) == [False] * 9 + [True]

    async def test_values_are_listed_newest_first(self, stores: Stores) -> None:
        store = stores.first
        for n in range(3):
            assert await store.put_value("topics", f"t{n}", "[]", replaces=None)
        assert await store.put_value("other", "o", "1", replaces=None)
        listed = await store.list_values("topics", limit=2)
        assert [it.key for it in listed] == ["t2", "t1"]
        rest = await store.list_values("topics", limit=2, before_id=listed[-1].id)
        assert [it.key for it in rest] == ["t0"]
        assert [it.key for it in await store.list_values("", limit=9)] == ["o", "t2", "t1", "t0"]

    # --- find and list ---

    async def test_nothing_is_found_of_an_unknown_gid(self, stores: Stores) -> None:
        assert await stores.first.find("nobody") is None
        assert list((await stores.first.list(Filter(gid="nobody"))).rows) == []

    async def test_the_list_is_newest_first_and_in_pages(self, stores: Stores) -> None:
        gids = [f"page-{n}" for n in range(5)]
        for gid in gids:
            await insert(stores.first, gid)
        pages, before_id = [], None
        for _ in range(3):
            listed = await stores.first.list(Filter(limit=2, before_id=before_id))
            pages.append([row.gid for row in listed.rows])
            before_id = listed.before_id
        assert pages == [["page-4", "page-3"], ["page-2", "page-1"], ["page-0"]]
        assert before_id is None
        assert (await stores.first.list(Filter(limit=5))).before_id is None

    async def test_the_list_can_be_narrowed(self, stores: Stores) -> None:
        saga = await insert(stores.first, "saga-1")
        await insert(stores.first, "saga-2", status=Status.PREPARED)
        await insert(stores.first, "msg-1", trans_type="msg")

        async def listed(**wanted: Any) -> list[str]:
            return [row.gid for row in (await stores.first.list(Filter(**wanted))).rows]

        assert await listed() == ["msg-1", "saga-2", "saga-1"]
        assert await listed(trans_type="saga") == ["saga-2", "saga-1"]
        assert await listed(status="prepared") == ["saga-2"]
        assert await listed(status="submitted", trans_type="saga") == ["saga-1"]
        assert await listed(gid="saga-1", status="failed") == ["saga-1"]  # with a gid the others are ignored
        minute = timedelta(minutes=1)
        assert len(await listed(create_time_start=saga.create_time - minute)) == 3
        assert await listed(create_time_start=saga.create_time + minute) == []
        assert await listed(create_time_end=saga.create_time - minute) == []
        assert len(await listed(create_time_end=saga.create_time + minute)) == 3

    # --- moves ---

    async def test_a_move_is_worked_out_from_what_is_stored_and_tells_how_it_stands(
        self, stores: Stores
    ) -> None:
        await prepared(stores.first, "moved")
        for branch_id in ("02", "01"):
            await register(stores.first, "moved", branch_id)
        moved = await stores.first.move(move("moved", owner="a/1/1"), timeout=TIMEOUT)
        assert moved.changed is Changed.APPLIED
        found = await stored(stores.first, "moved")
        assert moved.stored is not None
        assert _driven(moved.stored) == _driven(found)
        assert [b.branch_id for b in found.branches] == ["02", "02", "01", "01"]
        assert (found.transaction.status, found.transaction.owner) == (Status.SUBMITTED, "a/1/1")
        assert found.transaction.custom_data == "was prepared with 2 branches"
        again = await stores.first.move(move("moved", owner="a/1/1"), timeout=TIMEOUT)
        assert again.changed is Changed.APPLIED, "it stands already"
        other = await stores.first.move(move("moved", owner="a/1/2"), timeout=TIMEOUT)
        assert (other.changed, other.stored) == (Changed.REFUSED, found)

    async def test_a_move_of_nothing_and_of_another_type(self, stores: Stores) -> None:
        await prepared(stores.first, "a-tcc")
        nothing = await stores.first.move(move("nothing"), timeout=TIMEOUT)
        assert (nothing.changed, nothing.stored) == (Changed.MISSING, None)
        refused = await stores.first.move(move("a-tcc", trans_type="xa"), timeout=TIMEOUT)
        assert (refused.changed, refused.stored) == (Changed.REFUSED, await stored(stores.first, "a-tcc"))

    async def test_moves_at_once_have_values_of_their_own(self, stores: Stores) -> None:
        """More than one statement may assign; texts that could end one are none's end."""
        texts = ["it's", 'a "b"', "\\", "%s {x}", "ok", "é😀"]
        gids = [f"move-{number:03d}-{texts[number % len(texts)]}" for number in range(150)]
        await asyncio.gather(*(prepared(stores.first, gid) for gid in gids))
        moves = [move(gid, owner=f"a/1/{gid}", text=f"{gid}'\\") for gid in gids]
        moved = await asyncio.gather(*(stores.first.move(one, timeout=TIMEOUT) for one in moves))
        assert {it.changed for it in moved} == {Changed.APPLIED}
        for gid in gids:
            row = (await stored(stores.first, gid)).transaction
            assert (row.owner, row.custom_data) == (f"a/1/{gid}", f"{gid}'\\")
            assert row.status is Status.SUBMITTED

    async def test_a_move_that_cannot_be_worked_out_is_refused_alone(self, stores: Stores) -> None:
        gids = [f"m{number}" for number in range(5)]
        await asyncio.gather(*(prepared(stores.first, gid) for gid in gids))

        def refuse(_stored: Stored) -> Assign:
            raise Invalid("custom_data is not JSON")

        moves = [move(gid) for gid in gids]
        moves[2] = replace(moves[2], assign=refuse)
        said = await asyncio.gather(
            *(stores.first.move(one, timeout=TIMEOUT) for one in moves), return_exceptions=True
        )
        assert isinstance(said[2], Invalid)
        assert [type(it) for it in said].count(Moved) == 4
        assert (await stored(stores.first, "m2")).transaction.status is Status.PREPARED

    # --- what is due ---

    async def test_what_is_due_is_claimed_oldest_first(self, stores: Stores) -> None:
        now = await stores.first.utc_now()
        for n in (3, 1, 2):
            await insert(stores.first, f"due-{n}", next_cron_time=now - timedelta(seconds=10 - n))
        await insert(stores.first, "later", next_cron_time=now + timedelta(seconds=30))
        await insert(stores.first, "over", status=Status.SUCCEED, next_cron_time=now - timedelta(seconds=60))

        first = await claim(stores.first, now, limit=2, owner="test/2/1")
        assert [it.transaction.gid for it in first] == ["due-1", "due-2"]
        second = await claim(stores.first, now, limit=2, owner="test/2/2")
        assert [it.transaction.gid for it in second] == ["due-3"]
        assert await claim(stores.first, now) == []

    async def test_all_unfinished_statuses_are_due_together(self, stores: Stores) -> None:
        now = await stores.first.utc_now()
        for n, status in enumerate((Status.SUBMITTED, Status.ABORTING, Status.PREPARED)):
            due = now - timedelta(seconds=10 - n)
            await insert(stores.first, status.value, trans_type="msg", status=status, next_cron_time=due)
        claimed = await claim(stores.first, now, limit=2)
        assert [it.transaction.gid for it in claimed] == ["submitted", "aborting"]
        assert [it.transaction.gid for it in await claim(stores.first, now)] == ["prepared"]

    async def test_no_crowd_of_one_status_hides_what_is_due_in_another(self, stores: Stores) -> None:
        """A hundred thousand prepared sagas that another program left, for instance."""
        now = await stores.first.utc_now()
        lone = {Status.PREPARED: Status.SUBMITTED, Status.SUBMITTED: Status.ABORTING}
        for crowd, other in lone.items():
            for n in range(12):
                due = now - timedelta(hours=1, seconds=n)
                await insert(stores.first, f"{crowd}-{n}", status=crowd, next_cron_time=due)
            await insert(
                stores.first, f"lone-{other}", status=other, next_cron_time=now - timedelta(seconds=1)
            )
            found = await stores.first.find_due(now=now, limit=9)
            assert len(found) == 9
            assert found[-1].status == other
            assert found == sorted(found, key=lambda it: it.next_cron_time or now)
            await stores.first.claim(
                [], [Deferral(found[-1], now + timedelta(hours=1))], owner="a/1/1", now=now
            )

    async def test_a_claim_is_stored_as_it_is_returned(self, stores: Stores) -> None:
        now = await stores.first.utc_now()
        await insert(stores.first, "claimed", next_cron_time=now - timedelta(seconds=1))
        [claimed] = await claim(stores.first, now, owner="test/2/7")
        assert claimed.transaction.owner == "test/2/7"
        found = await stored(stores.first, "claimed")
        assert found.branches == claimed.branches
        assert [b.key for b in found.branches] == [b.key for b in branches("claimed")]
        assert replace(found.transaction, update_time=now) == replace(claimed.transaction, update_time=now)

    async def test_the_driver_before_is_fenced_off_by_a_claim(self, stores: Stores) -> None:
        now = await stores.first.utc_now()
        row = await insert(stores.first, "paused", next_cron_time=now - timedelta(seconds=1))
        await claim(stores.first, now, owner="test/2/1")
        late = Change("paused", UNFINISHED, row.owner, results(("01", "action")))
        assert await stores.first.change(late, timeout=TIMEOUT) is Changed.REFUSED

    async def test_a_lease_is_stored_in_whole_seconds_and_not_shorter(self, stores: Stores) -> None:
        now = await stores.first.utc_now()
        await insert(stores.first, "leased", next_cron_time=now - timedelta(seconds=1))
        [claimed] = await claim(stores.first, now, seconds=7.5)
        lease = claimed.transaction.next_cron_time - now - timedelta(seconds=7.5)
        assert timedelta(0) <= lease < timedelta(seconds=1)

    async def test_what_is_due_is_looked_at_without_its_payloads(self, stores: Stores) -> None:
        now = await stores.first.utc_now()
        due = now - timedelta(seconds=1)
        for gid in ("first", "second"):
            await insert(stores.first, gid, next_cron_time=due)
        found = await stores.first.find_due(now=now, limit=10)
        looked_at = await stores.first.look_at([found[1], found[0]])
        assert [it.due for it in looked_at] == [found[1], found[0]]
        for it in looked_at:
            assert it.stored is not None
            full = await stored(stores.first, it.stored.transaction.gid)
            assert it.stored.transaction == full.transaction
            assert [replace(b, payload=b"") for b in full.branches] == list(it.stored.branches)
            assert it.payload_bytes == sum(len(b.payload) for b in full.branches)

    async def test_what_is_deferred_is_due_later_and_held_by_nobody(self, stores: Stores) -> None:
        now = await stores.first.utc_now()
        row = await insert(stores.first, "deferred", next_cron_time=now - timedelta(seconds=1))
        [due] = await stores.first.find_due(now=now, limit=10)
        later = now + timedelta(seconds=4)
        assert await stores.first.claim([], [Deferral(due, later)], owner="test/2/1", now=now) == []
        after = (await stored(stores.first, "deferred")).transaction
        assert (after.owner, after.next_cron_interval) == ("", row.next_cron_interval)
        assert timedelta(0) <= after.next_cron_time - later < timedelta(seconds=1)
        assert await stores.first.find_due(now=now, limit=10) == []
        # Whoever remembers how it was left may claim it before its time.
        left = replace(due, owner="", next_cron_time=after.next_cron_time)
        claims = [Claim(left, now + timedelta(seconds=30))]
        [claimed] = await stores.first.claim(claims, [], owner="test/2/2", now=now)
        assert claimed.transaction.owner == "test/2/2"
        assert claimed.branches == (await stored(stores.first, "deferred")).branches

    async def test_what_is_asked_for_by_gid_is_found_before_its_time(self, stores: Stores) -> None:
        now = await stores.first.utc_now()
        await insert(stores.first, "due", next_cron_time=now - timedelta(seconds=1))
        for gid in ("later", "not asked for"):
            await insert(stores.first, gid, next_cron_time=now + timedelta(seconds=60))
        found = await stores.first.find_due(now=now, limit=10, also=["later", "due", "nobody's"])
        assert [one.gid for one in found] == ["due", "later"]
        row = (await stored(stores.first, "later")).transaction
        assert found[1] == Due(row.id, "later", row.status, row.owner, row.next_cron_time)

    @pytest.mark.parametrize("every", [1, 40], ids=["each its own", "some together"])
    async def test_what_is_deferred_in_one_commit_has_times_of_its_own(
        self, stores: Stores, every: int
    ) -> None:
        now = (await stores.first.utc_now()).replace(microsecond=0)
        gids = [f"put-off-{n:03d}" for n in range(150)]
        for gid in gids:
            await insert(stores.first, gid, next_cron_time=now - timedelta(seconds=1))
        found = await stores.first.find_due(now=now, limit=200)
        until = {it.gid: now + timedelta(seconds=5 + n // every) for n, it in enumerate(found)}
        deferrals = [Deferral(it, until[it.gid]) for it in reversed(found)]
        await stores.first.claim([], deferrals, owner="test/2/1", now=now)
        assert {gid: (await stored(stores.first, gid)).transaction.next_cron_time for gid in gids} == until

    async def test_what_moved_since_it_was_found_is_neither_claimed_nor_deferred(
        self, stores: Stores
    ) -> None:
        now = await stores.first.utc_now()
        rows = {}
        for gid in ("claimed", "ended", "made due"):
            rows[gid] = await insert(stores.first, gid, next_cron_time=now - timedelta(seconds=1))
        found = await stores.first.find_due(now=now, limit=10)
        for gid, assign in (
            ("claimed", Assign(owner="other/1/1", next_cron_time=now + timedelta(seconds=60))),
            ("ended", Assign(status=Status.FAILED, owner="")),
            ("made due", Assign(next_cron_time=now - timedelta(seconds=30))),
        ):
            moved = Change(gid, UNFINISHED, rows[gid].owner, assign=assign)
            assert await stores.first.change(moved, timeout=TIMEOUT) is Changed.APPLIED
        before = {gid: (await stored(stores.first, gid)).transaction for gid in rows}
        later = now + timedelta(seconds=20)
        assert (
            await stores.first.claim([Claim(one, later) for one in found], [], owner="a/2/1", now=now) == []
        )
        held = [one for one in found if one.id != rows["made due"].id]
        await stores.first.claim([], [Deferral(one, later) for one in held], owner="a/2/2", now=now)
        assert {gid: (await stored(stores.first, gid)).transaction for gid in rows} == before

    async def test_no_transaction_is_claimed_twice(self, stores: Stores) -> None:
        now = await stores.first.utc_now()
        gids = {f"claim-{n:03d}" for n in range(300)}
        due = now - timedelta(seconds=1)
        inserted = (
            stores.first.insert(transaction(gid, next_cron_time=due), branches(gid), timeout=TIMEOUT)
            for gid in sorted(gids)
        )
        assert all(await asyncio.gather(*inserted))
        second = await stores.another()
        claimed: list[str] = []

        async def claim_all(store: Store, name: str) -> None:
            count = 0
            while found := await claim(store, now, limit=7, owner=f"test/{name}/{count}"):
                count += 1
                claimed.extend(it.transaction.gid for it in found)
                assert all(len(it.branches) == 4 for it in found)

        await asyncio.gather(
            *(claim_all(store, f"{n}") for n, store in enumerate([stores.first, second] * 2))
        )
        assert len(claimed) == len(gids)
        assert set(claimed) == gids

    async def test_a_restarted_coordinator_takes_back_what_it_held(self, stores: Stores) -> None:
        now = await stores.first.utc_now()
        later = now + timedelta(minutes=5)
        for gid, owner in (("mine", "a/1/1"), ("mine-now", "a/2/1"), ("other", "ab/1/1"), ("nobody", "")):
            await insert(stores.first, gid, owner=owner, next_cron_time=later)
        for gid, owner in (("asked about", "a/1/3"), ("prepared", "a.1.4")):
            row = {"trans_type": "msg", "status": Status.PREPARED, "next_cron_time": later}
            await insert(stores.first, gid, owner=owner, **row)
        await insert(stores.first, "over", owner="a/1/2", status=Status.SUCCEED, next_cron_time=later)
        assert await stores.first.take_back(now=now, owner_prefix="a/", except_prefix="a/2/") == 2
        claimed = await claim(stores.first, now)
        assert {it.transaction.gid for it in claimed} == {"mine", "asked about"}

    async def test_an_empty_prefix_takes_back_all_that_is_held(self, stores: Stores) -> None:
        now = await stores.first.utc_now()
        later = now + timedelta(minutes=5)
        for gid, owner in (("mine", "a/1/1"), ("odd", "100%_x/1/1"), ("prepared", "a.1.1"), ("new", "b/1/1")):
            await insert(stores.first, gid, owner=owner, next_cron_time=later)
        assert await stores.first.take_back(now=now, owner_prefix="", except_prefix="b/") == 2
        assert {it.transaction.gid for it in await claim(stores.first, now)} == {"mine", "odd"}

    async def test_what_is_being_driven_is_not_made_due(self, stores: Stores) -> None:
        """Nor claimed by a second driver, therefore (PROTOCOL §9)."""
        now = await stores.first.utc_now()
        later = now + timedelta(minutes=10)
        for gid, owner in (("driven", "a/1/1"), ("let go", ""), ("left by another program", "FnQb7fiK")):
            await insert(stores.first, gid, owner=owner, next_cron_time=later)
        for gid, owner in (("prepared", "a.1.2"), ("asked about", "a/1/3")):
            await insert(stores.first, gid, status=Status.PREPARED, owner=owner, next_cron_time=later)
        assert await stores.first.reset_cron_time(now=now, later_than=now, limit=9) == (2, False)
        due = {it.transaction.gid for it in await claim(stores.first, now)}
        assert due == {"let go", "left by another program"}

    async def test_what_waits_long_is_made_due(self, stores: Stores) -> None:
        now = await stores.first.utc_now()
        for n in range(3):
            await insert(stores.first, f"far-{n}", owner="", next_cron_time=now + timedelta(minutes=10))
        await insert(stores.first, "near", owner="", next_cron_time=now + timedelta(seconds=30))
        later_than = now + timedelta(minutes=1)
        assert await stores.first.reset_cron_time(now=now, later_than=later_than, limit=2) == (2, True)
        assert len(await claim(stores.first, now, seconds=3600)) == 2
        far = now + timedelta(hours=2)
        assert await stores.first.reset_cron_time(now=now, later_than=far, limit=2) == (0, False)
        assert (await stores.first.reset_cron_time(now=now, later_than=later_than, limit=9))[1] is False

    # --- what steps answered ---

    async def test_a_result_is_kept_with_the_success_of_its_step(self, stores: Stores) -> None:
        now = await stores.first.utc_now()
        await insert(stores.first, "kept")
        contents = {"01": bytes(range(256)), "02": "中 🙂 '\\ \0".encode(), "03": b""}
        rows = tuple(result_row("kept", name, content, now) for name, content in contents.items())
        success = Change(
            "kept", UNFINISHED, None, results(("01", "action")), by_driver=True, own_rows=rows[:1]
        )
        assert await stores.first.change(success, timeout=TIMEOUT) is Changed.APPLIED
        others = Change("kept", UNFINISHED, None, by_driver=True, own_rows=rows)
        assert await stores.first.change(others, timeout=TIMEOUT) is Changed.APPLIED
        for store in (stores.first, await stores.another()):
            assert await store.kept_results("kept") == contents
            assert await store.kept_results("Kept") == await store.kept_results("nobody") == {}

    async def test_a_result_is_not_kept_for_who_lost_the_row(self, stores: Stores) -> None:
        await insert(stores.first, "lost", owner="somebody/1/1")
        row = result_row("lost", "01", b"1", await stores.first.utc_now())
        late = Change("lost", UNFINISHED, "another/1/1", by_driver=True, own_rows=(row,))
        assert await stores.first.change(late, timeout=TIMEOUT) is Changed.REFUSED
        assert await stores.first.kept_results("lost") == {}

    # --- the clock ---

    async def test_the_clock_is_aware_and_goes_on(self, stores: Stores) -> None:
        first = await stores.first.utc_now()
        assert first.utcoffset() == timedelta(0)
        assert await stores.first.utc_now() >= first


async def claim(
    store: Store, now: datetime, *, limit: int = 100, owner: str = "test/claim/1", seconds: float = 15.0
) -> list[Stored]:
    """Claim what is due for so many seconds, and return what was claimed."""
    until = now + timedelta(seconds=seconds)
    claims = [Claim(one, until) for one in await store.find_due(now=now, limit=limit)]
    return list(await store.claim(claims, [], owner=owner, now=now))
