"""One action asked of many transactions, on every store: what is found, done, left, and by whom."""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from random import Random

import pytest
from sqlalchemy import update

from coordinator.access.permissions import ANYBODY, Permission, Principal
from coordinator.access.recorder import Recorder
from coordinator.api.fields import INT64_MAX
from coordinator.backoff import Timing
from coordinator.clock import SystemClock
from coordinator.engine.admission import Admission, Bounds
from coordinator.engine.drives import Engine
from coordinator.engine.tools import Tools
from coordinator.errors import Failure, Forbidden, Invalid, NotFound
from coordinator.explain.actions import Action
from coordinator.model import Status
from coordinator.patterns.by_type import PATTERNS
from coordinator.service import bulk as service
from coordinator.service.acting import Acting
from coordinator.service.bulk import Asker, Bulk
from coordinator.service.bulk_plan import Unconfirmed, Wish
from coordinator.service.bulk_runner import BulkRunner
from coordinator.service.filter_grammar import parse_filter
from coordinator.store import bulk_work, gathering
from coordinator.store.base import Assign, Change, Changed
from coordinator.store.bulk_rows import Counts, ItemResult, Job, State
from coordinator.store.search import Search
from coordinator.store.sql import SqlStore
from coordinator.store.tables import TRANS_GLOBAL
from tests.integration.test_operate import hold_up, put
from tests.simulation.world import CountingObserver
from tests.support.store_contract import TIMEOUT, UNFINISHED, transaction
from tests.unit.service.bench import Scripted, succeed

ME = Asker(ANYBODY, "10.0.0.1")
OPERATE = Permission.OPERATE.value


class Hand(SystemClock):
    """This machine's time, and a monotonic clock that is moved by hand."""

    def __init__(self) -> None:
        super().__init__()
        self._at = 1000.0

    def monotonic(self) -> float:
        return self._at

    def move(self, seconds: float) -> None:
        self._at += seconds


class Node:
    """One coordinator over the store: what is asked of it, and who works."""

    def __init__(self, store: SqlStore, name: str = "one", *, is_alone: bool = False) -> None:
        self.store, self.clock = store, Hand()
        tools = Tools(
            store,
            Scripted(succeed),
            self.clock,
            Random(1),
            Timing(),
            PATTERNS,
            CountingObserver(Counter()),
            Admission(Bounds(transactions_max=10), monotonic=self.clock.monotonic, random=Random(1)),
        )
        self.working = True
        engine = Engine(tools, instance=name, start="1", why_no_work=lambda: "" if self.working else "no")
        recorder = Recorder(store.audit, self.clock, coordinator=name, kept=timedelta(days=1))
        acting = Acting(engine, recorder, write_seconds=TIMEOUT, wake=lambda: None)
        self.runner = BulkRunner(engine, acting, store.bulk, is_alone=is_alone, kept=timedelta(days=1))
        self.bulk = Bulk(store.bulk, self.clock, recorder, owner=self.runner.owner, wake=self.runner.wake)

    async def make(self, action: Action, text: str, **asked: object) -> Job:
        wish = replace(Wish(action, text, rate=1000), **asked)  # type: ignore[arg-type]
        return await self.bulk.make(wish, ME, needs=OPERATE)

    async def work(self, job: Job, *, beats: int = 50) -> Job:
        """Let it work until the job is over, or so many beats."""
        for _ in range(beats):
            await self.runner.beat()
            self.clock.move(1)
            if (now := await self.bulk.show(job.id)).state.is_final:
                return now
        return await self.bulk.show(job.id)

    async def results(self, job: Job) -> dict[str, str]:
        items = await self.bulk.items(job.id, limit=1000)
        return {it.gid: f"{it.result}: {it.said}" if it.said else str(it.result) for it in items}


@pytest.fixture
def node(store: SqlStore) -> Node:
    return Node(store)


async def statuses(store: SqlStore, gids: Sequence[str]) -> list[str]:
    found = [await store.find(gid) for gid in gids]
    return [str(it.transaction.status) for it in found if it]


async def targets(store: SqlStore, action: str) -> list[str]:
    return sorted(row["target"] for row in await store.audit.latest(1000) if row["action"] == action)


async def put_many(store: SqlStore, count: int, **values: object) -> list[str]:
    gids = [f"g{number:03d}" for number in range(count)]
    rows = [transaction(gid, owner="", **values) for gid in gids]
    assert all(await asyncio.gather(*[store.insert(row, [], timeout=TIMEOUT) for row in rows]))
    return gids


@pytest.fixture
async def some(store: SqlStore) -> SqlStore:
    await put(store, "done", Status.SUCCEED)
    await put(store, "going")
    await put(store, "back", Status.ABORTING)
    await put(store, "tcc", trans_type="tcc")
    await hold_up(store, "back", endpoint="http://ledger:80", op="compensate", error="100% refused")
    await hold_up(store, "tcc", endpoint="http://stock_1:80", error="no answer", trans_type="tcc")
    return store


FILTERS = (
    "",
    "status:aborting",
    "status:submitted status:aborting",
    "-status:succeed -type:tcc",
    "-status:succeed -status:failed",
    "status:succeed -status:succeed",
    "gid:going gid:Back",
    "-gid:going",
    "endpoint:LEDGER",
    "endpoint:80 -endpoint:ledger",
    "status:submitted -endpoint:ledger",
    "-op:compensate",
    'error:"100% ref"',
    "age:>30m",
    "age:<30m",
)


async def gathered(
    store: SqlStore, wanted: Search, id_max: int, now: datetime | None = None
) -> tuple[list[str], int]:
    """The gids that a job would take, and how many pages they are."""
    gids, after, now = list[str](), "", now or datetime.now(UTC)
    for pages in range(1, 100):
        page = await store.bulk.matches(
            wanted, id_max=id_max, after=after, limit=10, now=now or datetime.now(UTC)
        )
        gids += [it.gid for it in page.found]
        after = page.after
        if not after:
            return gids, pages
    raise AssertionError("no end")


async def test_a_job_finds_what_a_search_finds(some: SqlStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gathering, "WINDOW", 3)
    monkeypatch.setattr(gathering, "STUCK_PAGE", 1)
    now, id_max = datetime.now(UTC) + timedelta(hours=1), await some.bulk.newest_id()

    for text in FILTERS:
        searched = await some.operate.search(parse_filter(text), after="", limit=100, now=now)
        found, _ = await gathered(some, parse_filter(text), id_max, now)
        assert sorted(found) == sorted(it.transaction.gid for it in searched.found), text


@pytest.mark.parametrize("id_max", [10**15, INT64_MAX])
async def test_ids_that_are_far_apart_are_few_pages(some: SqlStore, id_max: int) -> None:
    """They were looked through window by window, from the highest that was named: for ever, as good as."""
    await some._transact(
        lambda connection: connection.execute(
            update(TRANS_GLOBAL).where(TRANS_GLOBAL.c.gid == "going").values(id=10**14)
        )
    )
    found, pages = await gathered(some, parse_filter("-type:msg"), id_max)
    assert sorted(found) == ["back", "done", "going", "tcc"]
    assert pages == 2


async def test_it_does_what_is_allowed_and_says_why_the_rest_is_not(some: SqlStore, node: Node) -> None:
    plan = await node.bulk.plan(Wish(Action.ROLLBACK, "-type:msg"), ME)
    assert {(group.why_not, group.examples) for group in plan.groups} == {
        ("", ("going",)),
        ("it is succeed already", ("done",)),
        ("it rolls back already", ("back",)),
        ("it is decided: every branch will be confirmed", ("tcc",)),
    }
    job = await node.make(Action.ROLLBACK, "-type:msg", reason="wrong price")
    assert (job.state, job.items, job.counts.total) == (State.RUNNING, 4, 0)
    job = await node.work(job)
    assert (job.state, job.counts) == (State.DONE, Counts(done=1, not_eligible=3))
    assert await node.results(job) == {
        "done": "not_eligible: it is succeed already",
        "going": "done",
        "back": "not_eligible: it rolls back already",
        "tcc": "not_eligible: it is decided: every branch will be confirmed",
    }
    found = await some.find("going")
    assert found is not None
    assert found.transaction.status is Status.ABORTING
    assert found.transaction.rollback_reason == "rolled back by an operator: wrong price"
    done, asked = await some.audit.latest(10)
    assert (done["action"], done["target"], done["reason"]) == (
        "rollback", "going", f"bulk job {job.id}: wrong price"
    )  # fmt: skip
    assert (done["who"], done["address"], done["became"]) == ("anybody", "10.0.0.1", "aborting")
    assert (asked["action"], asked["target"]) == ("bulk rollback", "-type:msg")
    assert asked["became"] == f"bulk job {job.id}: 4 transactions"


async def test_what_the_filter_means_later_changes_nothing(store: SqlStore, node: Node) -> None:
    await put(store, "matches")
    await put(store, "moves")
    job = await node.make(Action.STOP, "status:submitted")
    await put(store, "comes")
    moved = Change("moves", UNFINISHED, None, assign=Assign(status=Status.ABORTING, owner=""))
    assert await store.change(moved, timeout=TIMEOUT) is Changed.APPLIED
    job = await node.work(job)
    assert job.counts == Counts(done=2)
    assert await statuses(store, ["matches", "moves", "comes"]) == ["failed", "failed", "submitted"]


async def test_what_is_newer_than_the_dry_run_is_not_found(store: SqlStore, node: Node) -> None:
    await put(store, "old")
    plan = await node.bulk.plan(Wish(Action.STOP, "status:submitted"), ME)
    await put(store, "new")
    job = await node.make(Action.STOP, "status:submitted", id_max=plan.id_max)
    assert [it.gid for it in await node.bulk.items(job.id, limit=10)] == ["old"]


async def test_one_that_was_deleted_and_made_anew_is_another(store: SqlStore, node: Node) -> None:
    await put(store, "again")
    await put(store, "gone")
    job = await node.make(Action.STOP, "gid:again gid:gone")

    def delete(connection: object) -> None:
        connection.exec_driver_sql("DELETE FROM trans_branch_op")  # type: ignore[attr-defined]
        connection.exec_driver_sql("DELETE FROM trans_global")  # type: ignore[attr-defined]

    await put(store, "keeps the ids going")
    await store._transact(delete)
    await put(store, "keeps the ids going")
    await put(store, "other")
    await put(store, "again")
    job = await node.work(job)
    assert job.counts == Counts(failed=2)
    assert await statuses(store, ["again"]) == ["submitted"]


async def test_what_is_not_theirs_is_refused(store: SqlStore, node: Node) -> None:
    await put(store, "shop-1")
    await put(store, "bank-1")
    shop = Principal("shop", frozenset({Permission.OPERATE}), gid_prefix="shop-")
    job = await node.bulk.make(Wish(Action.RETRY, "status:submitted"), Asker(shop), needs=OPERATE)
    job = await node.work(job)
    assert job.counts == Counts(done=1, refused=1)
    assert (await node.results(job))["bank-1"].startswith("refused: shop may use gids that begin")


async def test_more_than_a_hundred_are_confirmed_by_their_number(store: SqlStore, node: Node) -> None:
    gids = await put_many(store, 120)
    with pytest.raises(Unconfirmed, match="finds 120 transactions") as refused:
        await node.make(Action.STOP, "status:submitted")
    assert refused.value.plan.eligible == 120
    assert await node.bulk.jobs(limit=10, before_id=None) == []
    job = await node.work(await node.make(Action.STOP, "status:submitted", confirm=120))
    assert job.counts == Counts(done=120)
    assert set(await statuses(store, gids)) == {"failed"}
    assert await targets(store, "stop") == gids


async def test_a_retry_makes_it_due(store: SqlStore, node: Node) -> None:
    later = datetime.now(UTC) + timedelta(hours=1)
    await put_many(store, 3, next_cron_time=later)
    await node.work(await node.make(Action.RETRY, "status:submitted"))
    assert len(await store.find_due(now=datetime.now(UTC), limit=10)) == 3


async def test_two_that_work_on_it_at_once_do_nothing_twice(
    store: SqlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Leases that are over at once: each takes the job from the other, whose work goes on."""
    monkeypatch.setattr(bulk_work, "LEASE", timedelta(0))
    first, second = Node(store), Node(store, "two")
    gids = await put_many(store, 300)
    job = await first.make(Action.RETRY, "status:submitted", confirm=300)
    portions = []
    for node in (first, second):
        await node.runner.beat()
        node.clock.move(1)
    [held] = first.runner._held.values()
    for runner in (first.runner, second.runner):  # of which one has slept since it looked
        portion = await store.bulk.work.portion(job.id, second.runner.owner, passed=0, limit=150)
        assert portion is not None
        portions.append([runner._item(held, it, portion.transactions[it.gid]) for it in portion.items])
    await asyncio.gather(*portions[0], *portions[1])
    job = await second.work(job)
    assert (job.state, job.counts) == (State.DONE, Counts(done=300))
    assert await targets(store, "retry") == gids


async def test_one_that_died_is_gone_on_with_by_another(
    store: SqlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = Node(store), Node(store, "two")
    gids = await put_many(store, 50)
    job = await first.make(Action.STOP, "status:submitted", rate=10)
    await first.work(job, beats=3)
    done = (await first.bulk.show(job.id)).counts.done
    assert 0 < done < 50
    assert (await second.work(job, beats=3)).counts.done == done  # while the lease lasts
    monkeypatch.setattr(bulk_work, "LEASE", timedelta(0))
    await first.runner.beat()  # whose next lease is over at once
    second.runner.wake()
    job = await second.work(job)
    assert (job.state, job.counts) == (State.DONE, Counts(done=50))
    assert await targets(store, "stop") == gids


async def test_one_that_stops_lets_go_at_once(store: SqlStore) -> None:
    first, second = Node(store), Node(store, "two")
    await put_many(store, 30)
    job = await first.make(Action.STOP, "status:submitted", rate=5)
    await first.work(job, beats=2)
    await first.runner.let_go()
    assert (await second.work(job)).counts == Counts(done=30)


@pytest.mark.parametrize("is_alone", [True, False])
async def test_one_that_starts_again_goes_on_at_once(store: SqlStore, is_alone: bool) -> None:
    first = Node(store)
    await put_many(store, 30)
    job = await first.make(Action.STOP, "status:submitted", rate=5)
    await first.work(job, beats=2)
    after = Node(store, "renamed" if is_alone else "one", is_alone=is_alone)
    assert (await after.work(job)).counts == Counts(done=30)


async def test_one_that_may_take_no_work_takes_none(store: SqlStore, node: Node) -> None:
    await put(store, "one")
    node.working = False
    job = await node.work(await node.make(Action.STOP, "gid:one"), beats=3)
    assert (job.state, job.counts.total) == (State.RUNNING, 0)
    node.working = True
    assert (await node.work(job)).state is State.DONE


async def test_it_goes_as_fast_as_it_may(store: SqlStore, node: Node) -> None:
    await put_many(store, 60)
    job = await node.make(Action.STOP, "status:submitted", rate=10)
    await node.runner.beat()
    for seconds in (1, 1, 0.5, 0, 0.5):
        node.clock.move(seconds)
        await node.runner.beat()
    assert (await node.bulk.show(job.id)).counts.done == 31  # one at once
    node.clock.move(600)  # what was not used is not saved up
    await node.runner.beat()
    assert (await node.bulk.show(job.id)).counts.done == 41


async def test_it_is_paused_resumed_and_cancelled(store: SqlStore, node: Node) -> None:
    await put_many(store, 40)
    job = await node.make(Action.STOP, "status:submitted", rate=10)
    await node.work(job, beats=2)
    paused = await node.bulk.pause(job.id, ME, "wait for the ledger")
    assert paused.state is State.PAUSED
    assert (await node.work(job, beats=3)).counts.done == paused.counts.done
    with pytest.raises(Failure, match=f"bulk job {job.id} is paused: it cannot be asked to pause"):
        await node.bulk.pause(job.id, ME)
    assert (await node.bulk.resume(job.id, ME)).state is State.RUNNING
    await node.work(job, beats=2)
    cancelled = await node.bulk.cancel(job.id, ME)
    assert cancelled.state is State.CANCELLED
    assert cancelled.ended is not None
    assert paused.counts.done < cancelled.counts.done < 40
    assert (await node.work(job, beats=2)).counts == cancelled.counts
    for ask in (node.bulk.pause, node.bulk.resume, node.bulk.cancel):
        with pytest.raises(Failure, match="is cancelled"):
            await ask(job.id, ME)
    told = [row["action"] for row in await store.audit.latest(200) if row["action"].startswith("bulk")]
    assert told == ["bulk cancel", "bulk resume", "bulk pause", "bulk stop"]


async def test_more_is_asked_only_by_who_may_do_what_it_does(store: SqlStore, node: Node) -> None:
    await put(store, "one")
    job = await node.bulk.make(Wish(Action.STOP, "gid:one"), ME, needs=Permission.OPERATE_FORCE.value)
    operator = Asker(Principal("o", frozenset({Permission.OPERATE})))
    await node.bulk.pause(job.id, operator)
    with pytest.raises(Forbidden, match=r"o lacks the permission operate\.force"):
        await node.bulk.resume(job.id, operator)
    await node.bulk.cancel(job.id, operator)
    with pytest.raises(Forbidden):
        await node.bulk.again(job.id, operator, reason="")


async def test_those_that_failed_are_tried_again_in_a_job_of_their_own(store: SqlStore, node: Node) -> None:
    await put(store, "good")
    await put(store, "bad")
    job = await node.make(Action.STOP, "status:submitted", reason="gone")
    with pytest.raises(Failure, match="is running: it has not ended"):
        await node.bulk.again(job.id, ME, reason="")
    held = "UPDATE trans_global SET trans_type = 'sagas of old', status = 'nothing' WHERE gid = 'bad'"
    mended = "UPDATE trans_global SET trans_type = 'saga', status = 'submitted' WHERE gid = 'bad'"
    await store._transact(lambda it: it.exec_driver_sql(held))
    job = await node.work(job)
    assert job.counts == Counts(done=1, failed=1)
    await store._transact(lambda it: it.exec_driver_sql(mended))
    again = await node.bulk.again(job.id, ME, reason="it is mended")
    assert (again.items, again.source, again.action, again.reason) == (1, job.id, "stop", "it is mended")
    again = await node.work(again)
    assert (again.counts, await statuses(store, ["bad"])) == (Counts(done=1), ["failed"])
    with pytest.raises(Failure, match="there is nothing to do"):
        await node.bulk.again(again.id, ME, reason="")


async def test_one_that_was_never_whole_does_nothing(store: SqlStore, node: Node) -> None:
    await put(store, "one")
    unmade = Job("stop", "", 9, 1, 50, "", "anybody", "none", "", "", OPERATE, owner="died/1/")
    job_id = await store.bulk.make(unmade)
    await node.runner.beat()
    assert (await node.bulk.show(job_id)).state is State.MAKING
    await store._transact(
        lambda it: it.exec_driver_sql(f"UPDATE dtm_bulk SET until = made WHERE id = {job_id}")
    )
    node.runner.wake()
    await node.runner.beat()
    assert (await node.bulk.show(job_id)).state is State.CANCELLED
    assert await statuses(store, ["one"]) == ["submitted"]
    assert not await store.bulk.move(replace(unmade, id=job_id), State.RUNNING, owner="died/1/")


async def test_too_many_are_refused(store: SqlStore, node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    await put_many(store, 4)
    monkeypatch.setattr(service, "ITEMS_MAX", 3)
    for text in ("", "status:submitted"):
        with pytest.raises(Invalid, match="finds more than 3 transactions, the most that one job takes"):
            await node.bulk.plan(Wish(Action.STOP, text), ME)
    await node.make(Action.STOP, "gid:g001")
    monkeypatch.setattr(service, "UNFINISHED_MAX", 1)
    with pytest.raises(Exception, match="1 bulk jobs have not ended"):
        await node.make(Action.STOP, "gid:g002")


async def test_old_jobs_are_forgotten_a_few_items_at_a_time(store: SqlStore, node: Node) -> None:
    await put_many(store, 5)
    job = await node.work(await node.make(Action.STOP, "status:submitted"))
    late, age = datetime.now(UTC) + timedelta(days=2), timedelta(days=1)

    async def forget(now: datetime) -> bool:
        return await store.bulk.forget(now, age, limit=3)

    assert not await forget(datetime.now(UTC))
    assert [await forget(late) for _ in range(4)] == [True, True, True, False]
    with pytest.raises(NotFound, match=f"there is no bulk job {job.id}"):
        await node.bulk.show(job.id)
    rows = await store._read(lambda it: it.exec_driver_sql("SELECT count(*) FROM dtm_bulk_result").scalar())
    assert rows == 0


async def test_items_are_turned_page_by_page_and_by_result(store: SqlStore, node: Node) -> None:
    gids = await put_many(store, 5)
    job = await node.make(Action.STOP, "status:submitted")
    ended = Change(gids[1], UNFINISHED, None, assign=Assign(status=Status.SUCCEED, owner=""))
    assert await store.change(ended, timeout=TIMEOUT) is Changed.APPLIED
    waiting = await node.bulk.items(job.id, results={""}, limit=10)
    assert [it.gid for it in waiting] == gids
    await node.work(job)
    pages = [await node.bulk.items(job.id, after=after, limit=2) for after in (0, 2, 4)]
    assert [[it.gid for it in page] for page in pages] == [gids[:2], gids[2:4], gids[4:]]
    left = await node.bulk.items(job.id, results={ItemResult.NOT_ELIGIBLE.value}, limit=10)
    assert [(it.gid, it.said) for it in left] == [(gids[1], "it is succeed already")]
    assert not await node.bulk.items(job.id, results={""}, limit=10)


async def test_nothing_is_asked_of_the_store_while_there_is_no_job(store: SqlStore, node: Node) -> None:
    asked = 0
    read = store.bulk.work._read

    async def counted(function: Callable[..., object]) -> object:
        nonlocal asked
        asked += 1
        return await read(function)

    await node.runner.beat()
    store.bulk.work._read = counted  # type: ignore[assignment, method-assign]
    for _ in range(8):
        await node.runner.beat()
        node.clock.move(0.5)
    assert asked == 0
    node.clock.move(5)
    await node.runner.beat()
    assert asked == 1
