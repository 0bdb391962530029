"""Group commit over a database that is played: batches, order, bounds, refusals, trouble, leaving callers."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import pytest

from coordinator.errors import Busy, Conflict, Invalid, StoreUnavailable
from coordinator.store.commits import Rejected, SilentObserver, TryAgain
from coordinator.store.group_commit import GroupCommit
from coordinator.store.waiting import LEISURE_SECONDS, Limits

Commit = GroupCommit[str, str]


class Played:
    """A database: works are texts `key:what`. `open` lets writes through; problems are asked before each."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []  # as attempted
        self.committed: list[str] = []
        self.closely: list[bool] = []  # of each commit
        self.open = asyncio.Event()
        self.open.set()
        self.held: set[str] = set()  # rows that somebody else holds
        self.problem: Callable[[Sequence[str]], Exception | None] = lambda works: None

    async def write(self, works: Sequence[str], closely: bool) -> Sequence[str | None]:
        self.batches.append(list(works))
        await self.open.wait()
        await asyncio.sleep(0)
        problem = self.problem(works)
        if problem is not None:
            raise problem
        self.closely.append(closely)
        self.committed += [work for work in works if work not in self.held]
        return [None if work in self.held else f"{work} done" for work in works]


@asynccontextmanager
async def group_commit(
    played: Played, *, limits: Limits | None = None, observer: SilentObserver | None = None
) -> AsyncIterator[Commit]:
    commit: Commit = GroupCommit(
        played.write,
        limits=limits or Limits(writers=1),
        observer=observer or SilentObserver(),
        jitter=lambda: 0.0,
    )
    try:
        yield commit
    finally:
        played.open.set()
        await commit.close(seconds=1)


async def submit(
    commit: Commit, work: str, *, timeout: float = 5.0, size: int = 1, at_leisure: bool = False
) -> str:
    key = work.partition(":")[0]
    return await commit.submit(work, key=key, size=size, timeout=timeout, at_leisure=at_leisure)


def start(commit: Commit, *works: str, timeout: float = 5.0) -> list["asyncio.Task[str]"]:
    return [asyncio.create_task(submit(commit, work, timeout=timeout)) for work in works]


async def until(condition: Callable[[], bool]) -> None:
    for _ in range(5000):
        if condition():
            return
        await asyncio.sleep(0.001)
    raise AssertionError("it did not happen")


# --- batches ---


async def test_new_works_have_to_wait_only_where_there_is_more_than_a_batch_and_no_writer_free() -> None:
    played = Played()
    played.held = {"a:1"}
    async with group_commit(played, limits=Limits(writers=1, batch_items_max=2)) as commit:
        tasks = start(commit, "a:1", "a:2", "a:3")
        # Two are held up by their own key, and the writer is free.
        await until(lambda: bool(played.batches) and (commit.waiting, commit.seconds_to_wait()) == (2, 0.0))
        played.held = set()
        await asyncio.gather(*tasks)
        played.open.clear()
        tasks = start(commit, "b:1")
        await until(lambda: played.batches[-1] == ["b:1"])
        tasks += start(commit, "c:1")
        await until(lambda: commit.waiting == 1)
        assert (commit.waiting, commit.seconds_to_wait()) == (
            1,
            0.0,
        )  # in the next batch, as another would be
        tasks += start(commit, "d:1")
        await until(lambda: commit.seconds_to_wait() > 0)
        played.open.set()
        await asyncio.gather(*tasks)
        assert (commit.waiting, commit.seconds_to_wait()) == (0, 0.0)


async def test_one_work_is_written_at_once() -> None:
    played = Played()
    async with group_commit(played) as commit:
        assert await submit(commit, "a") == "a done"
    assert played.batches == [["a"]]


async def test_what_comes_during_a_write_goes_together() -> None:
    played = Played()
    played.open.clear()
    async with group_commit(played) as commit:
        first = start(commit, "a")
        await until(lambda: bool(played.batches))
        rest = start(commit, "d", "c", "b")
        await asyncio.sleep(0)
        played.open.set()
        assert await asyncio.gather(*first, *rest) == ["a done", "d done", "c done", "b done"]
    assert played.batches == [["a"], ["b", "c", "d"]]  # in order of key


async def come_turn_by_turn(commit: Commit, *works: str) -> list["asyncio.Task[str]"]:
    tasks = []
    for work in works:
        tasks += start(commit, work)
        await asyncio.sleep(0)
    return tasks


async def test_what_comes_turn_by_turn_behind_a_batch_of_several_goes_together() -> None:
    played = Played()
    async with group_commit(played) as commit:
        await asyncio.gather(*start(commit, "a", "b"))
        await asyncio.gather(*await come_turn_by_turn(commit, "c", "d", "e"))
    assert played.batches == [["a", "b"], ["c", "d", "e"]]


async def test_nobody_waits_for_company_where_works_come_one_by_one() -> None:
    played = Played()
    async with group_commit(played) as commit:
        assert await submit(commit, "a") == "a done"
        tasks = start(commit, "b")
        await asyncio.sleep(0)  # it is in the line
        await asyncio.sleep(0)  # the writer has seen it
        assert played.batches == [["a"], ["b"]]
        await asyncio.gather(*tasks)


async def test_a_line_that_does_not_end_is_not_waited_for() -> None:
    played = Played()
    async with group_commit(played) as commit:
        await asyncio.gather(*start(commit, "a", "b"))
        tasks = await come_turn_by_turn(commit, *(f"c{number}" for number in range(100)))
        assert len(played.batches) > 2  # the first of them are being written, or were, while others came
        await asyncio.gather(*tasks)
        await asyncio.gather(*start(commit, "d", "e"))
    async with group_commit(played, limits=Limits(writers=1, batch_items_max=2)) as commit:
        played.batches.clear()
        await asyncio.gather(*start(commit, "a", "b"))
        await asyncio.gather(*await come_turn_by_turn(commit, *"cdefgh"))
    assert played.batches[1] == ["c", "d"]


async def test_another_writer_helps_where_one_is_held_up() -> None:
    played = Played()
    played.open.clear()
    async with group_commit(played, limits=Limits(writers=2, patience_seconds=0.01)) as commit:
        first = start(commit, "a")
        await until(lambda: len(played.batches) == 1)
        second = start(commit, "b", "c")
        await until(lambda: len(played.batches) == 2)
        played.open.set()
        await asyncio.gather(*first, *second)
    assert played.batches == [["a"], ["b", "c"]]


async def test_what_is_pressing_is_written_beside_what_is_written_at_leisure() -> None:
    played = Played()
    played.open.clear()
    async with group_commit(played, limits=Limits(writers=2, patience_seconds=60)) as commit:
        first = asyncio.create_task(submit(commit, "slow", at_leisure=True))
        await until(lambda: len(played.batches) == 1)
        tasks = start(commit, "a")
        await until(lambda: len(played.batches) == 2)
        tasks += [first, *start(commit, "b"), asyncio.create_task(submit(commit, "later", at_leisure=True))]
        await until(lambda: commit.waiting == 2)
        played.open.set()
        await asyncio.gather(*tasks)
    assert played.batches == [["slow"], ["a"], ["b"], ["later"]]


@asynccontextmanager
async def pressed(commit: Commit) -> AsyncIterator[None]:
    """More clients than a batch of four has room for, each asking again as soon as it is answered."""
    over = asyncio.Event()

    async def press(key: str) -> None:
        while not over.is_set():
            await submit(commit, key)

    clients = [asyncio.create_task(press(key)) for key in "abcdefghijkl"]
    try:
        yield
    finally:
        over.set()
        await asyncio.gather(*clients)


@pytest.mark.parametrize("writers", [1, 2])
async def test_what_is_written_at_leisure_is_written_however_much_is_pressing(writers: int) -> None:
    played = Played()
    async with (
        group_commit(played, limits=Limits(writers=writers, batch_items_max=4)) as commit,
        pressed(commit),
    ):
        assert await submit(commit, "patient", at_leisure=True) == "patient done"


async def test_what_is_pressing_hurries_what_is_at_leisure_of_its_key() -> None:
    played = Played()
    async with group_commit(played, limits=Limits(writers=2, batch_items_max=4)) as commit, pressed(commit):
        first = asyncio.create_task(submit(commit, "z:1", at_leisure=True))
        await asyncio.sleep(0)
        began = asyncio.get_running_loop().time()
        await asyncio.gather(first, submit(commit, "z:2"))
        assert asyncio.get_running_loop().time() - began < LEISURE_SECONDS
    assert [work for work in played.committed if work[0] == "z"] == ["z:1", "z:2"]


async def test_what_comes_while_a_writer_is_busy_is_one_batch_of_its_own() -> None:
    played = Played()
    played.open.clear()
    async with group_commit(played, limits=Limits(writers=2, patience_seconds=60)) as commit:
        first = start(commit, "a")
        await until(lambda: len(played.batches) == 1)
        rest = [task for key in "bcd" for task in start(commit, key)]
        await asyncio.sleep(0)
        played.open.set()
        await asyncio.gather(*first, *rest)
        await asyncio.gather(*start(commit, "e"))
    assert played.batches == [["a"], ["b", "c", "d"], ["e"]]


async def test_works_of_one_key_are_written_in_order_never_together() -> None:
    played = Played()
    async with group_commit(played, limits=Limits(writers=3)) as commit:
        works = [f"{key}:{n}" for n in range(20) for key in "abc"]
        await asyncio.gather(*start(commit, *works))
    for key in "abc":
        assert [work for work in played.committed if work[0] == key] == [f"{key}:{n}" for n in range(20)]
    assert all(len({work[0] for work in batch}) == len(batch) for batch in played.batches)


async def test_a_batch_is_bounded() -> None:
    played = Played()
    async with group_commit(played, limits=Limits(writers=1, batch_items_max=3)) as commit:
        await asyncio.gather(*start(commit, *"abcdefgh"))
    assert [len(batch) for batch in played.batches] == [3, 3, 2]


async def test_the_observer_is_told_of_commits() -> None:
    class Observer(SilentObserver):
        def batch_written(self, size: int, size_bytes: int, seconds: float, /) -> None:
            assert seconds >= 0
            told.append((size, size_bytes))

    told: list[tuple[int, int]] = []
    async with group_commit(Played(), observer=Observer()) as commit:
        await asyncio.gather(submit(commit, "a", size=100), submit(commit, "b", size=20))
    assert told == [(2, 120)]


# --- refusals ---


async def test_a_refused_work_fails_alone_with_its_own_error() -> None:
    played = Played()
    played.problem = lambda works: Rejected(Invalid("bad value")) if "c" in works else None
    async with group_commit(played) as commit:
        outcomes = await asyncio.gather(*start(commit, *"abcdefgh"), return_exceptions=True)
    assert isinstance(outcomes[2], Invalid)
    assert [it for it in outcomes if isinstance(it, str)] == [f"{work} done" for work in "abdefgh"]
    assert sorted(played.committed) == list("abdefgh")
    assert len(played.batches) == 7  # halves, not all one by one


async def test_every_refused_work_gets_its_own_error() -> None:
    played = Played()

    def problem(works: Sequence[str]) -> Exception | None:
        bad = [work for work in works if work in "bf"]
        return Rejected(Invalid(f"bad {bad[0]}")) if bad else None

    played.problem = problem
    async with group_commit(played) as commit:
        outcomes = await asyncio.gather(*start(commit, *"abcdef"), return_exceptions=True)
    assert [str(outcomes[1]), str(outcomes[5])] == ["bad b", "bad f"]
    assert sorted(played.committed) == list("acde")


async def test_what_lost_a_race_is_looked_at_again() -> None:
    played = Played()

    def problem(works: Sequence[str]) -> Exception | None:
        return Rejected(Conflict("exists"), perhaps_raced=True) if len(played.batches) == 1 else None

    played.problem = problem
    async with group_commit(played) as commit:
        assert await asyncio.gather(*start(commit, *"ab")) == ["a done", "b done"]
    assert played.batches == [["a", "b"], ["a", "b"]]
    assert played.closely == [True]


async def test_what_always_loses_is_refused() -> None:
    played = Played()
    played.problem = lambda works: Rejected(Conflict("exists"), perhaps_raced=True) if "a" in works else None
    async with group_commit(played) as commit:
        outcomes = await asyncio.gather(*start(commit, *"ab"), return_exceptions=True)
    assert isinstance(outcomes[0], Conflict)
    assert outcomes[1] == "b done"


# --- trouble ---


async def test_a_batch_that_was_not_written_is_tried_again() -> None:
    played = Played()
    played.problem = lambda works: TryAgain("deadlock") if len(played.batches) < 4 else None
    async with group_commit(played) as commit:
        assert await asyncio.gather(*start(commit, *"ab")) == ["a done", "b done"]
    assert played.batches == [["a", "b"]] * 4


async def test_a_row_held_by_another_keeps_nobody_else_waiting() -> None:
    played = Played()
    held = {"b"}

    def problem(works: Sequence[str]) -> Exception | None:
        return TryAgain("lock wait timeout", one_by_one=True) if held & set(works) else None

    played.problem = problem
    async with group_commit(played) as commit:
        a, b, c = start(commit, *"abc")
        assert await asyncio.wait_for(a, 1) == "a done"
        await until(lambda: played.batches.count(["b"]) >= 2)
        held.clear()
        assert (await b, await c) == ("b done", "c done")


async def test_a_work_that_was_left_out_is_tried_again() -> None:
    played = Played()
    played.held = {"b"}
    async with group_commit(played) as commit:
        a, b, c = start(commit, *"abc")
        assert (await a, await c) == ("a done", "c done")
        await until(lambda: len(played.batches) >= 3)
        assert not b.done()
        played.held = set()
        assert await b == "b done"
        assert await submit(commit, "b") == "b done"


async def test_what_is_behind_a_work_that_was_left_out_keeps_its_order() -> None:
    played = Played()
    played.held = {"b:0", "b:1"}
    async with group_commit(played, limits=Limits(writers=2)) as commit:
        tasks = start(commit, "b:0", "b:1", "b:2")
        await until(lambda: len(played.batches) >= 3)
        played.held = {"b:1"}
        assert await tasks[0] == "b:0 done"
        await until(lambda: played.batches.count(["b:1"]) >= 3)
        assert ["b:2"] not in played.batches
        played.held = set()
        await asyncio.gather(*tasks)
    assert played.committed == ["b:0", "b:1", "b:2"]


async def test_a_work_put_back_while_others_of_its_batch_are_written_is_not_given_up() -> None:
    played = Played()
    held = {"b"}

    def problem(works: Sequence[str]) -> Exception | None:
        if list(works) == ["b"] and held:
            played.open.clear()  # c takes its time; b is due again meanwhile
        return TryAgain("lock wait timeout", one_by_one=True) if held & set(works) else None

    played.problem = problem
    async with group_commit(played, limits=Limits(writers=2)) as commit:
        tasks = start(commit, *"abc")
        await until(lambda: played.batches.count(["b"]) == 2 and ["c"] in played.batches)
        held.clear()
        played.open.set()
        assert await asyncio.gather(*tasks) == ["a done", "b done", "c done"]


async def test_a_work_left_out_until_its_timeout_keeps_nobody_behind_it() -> None:
    played = Played()
    played.held = {"b:0"}
    async with group_commit(played) as commit:
        first, second = *start(commit, "b:0", timeout=0.1), *start(commit, "b:1")
        with pytest.raises(StoreUnavailable):
            await first
        assert await asyncio.wait_for(second, 30) == "b:1 done"


async def test_closing_while_a_work_is_left_out() -> None:
    played = Played()
    played.held = {"a"}
    async with group_commit(played) as commit:
        [task] = start(commit, "a")
        await until(lambda: len(played.batches) >= 2)
        await commit.close(seconds=0.05)
        with pytest.raises(StoreUnavailable):
            await task


async def test_each_caller_waits_until_its_own_timeout() -> None:
    played = Played()
    played.problem = lambda works: TryAgain("the database is away")
    async with group_commit(played) as commit:
        short, long = *start(commit, "a", timeout=0.05), *start(commit, "b", timeout=60)
        with pytest.raises(StoreUnavailable, match="did not confirm in time: the database is away"):
            await short
        assert not long.done()
        await until(lambda: played.batches[-1] == ["b"])  # a is not tried any more
        played.problem = lambda works: None
        assert await long == "b done"
    assert played.committed == ["b"]


async def test_a_frozen_database_keeps_nobody_beyond_the_timeout() -> None:
    played = Played()
    played.open.clear()
    async with group_commit(played) as commit:
        async with asyncio.timeout(30):
            outcomes = await asyncio.gather(*start(commit, *"abcde", timeout=0.1), return_exceptions=True)
        assert all(isinstance(it, StoreUnavailable) for it in outcomes)


async def test_a_bug_hits_only_its_own_batch() -> None:
    played = Played()
    played.problem = lambda works: ZeroDivisionError() if "a" in works else None
    async with group_commit(played) as commit:
        with pytest.raises(StoreUnavailable):
            await submit(commit, "a")
        assert await submit(commit, "b") == "b done"


# --- room ---


async def test_without_room_callers_wait_in_line() -> None:
    played = Played()
    played.open.clear()
    async with group_commit(played, limits=Limits(writers=1, queue_items_max=2)) as commit:
        tasks = []
        for work in "abcdefgh":
            tasks += start(commit, work)
            await asyncio.sleep(0.002)
        played.open.set()
        assert await asyncio.gather(*tasks) == [f"{work} done" for work in "abcdefgh"]
    assert played.committed == list("abcdefgh")
    assert all(len(batch) <= 3 for batch in played.batches)  # one may slip in


async def test_without_room_until_the_timeout_it_is_busy() -> None:
    played = Played()
    played.open.clear()
    async with group_commit(played, limits=Limits(writers=1, queue_items_max=1)) as commit:
        taken = start(commit, "a")
        await until(lambda: bool(played.batches))
        waiting = start(commit, "b")
        await asyncio.sleep(0)
        with pytest.raises(Busy):
            await submit(commit, "c", timeout=0.05)
        played.open.set()
        await asyncio.gather(*taken, *waiting)
    assert played.committed == ["a", "b"]


async def test_room_is_counted_in_bytes_too() -> None:
    played = Played()
    played.open.clear()
    async with group_commit(played, limits=Limits(writers=1, queue_bytes_max=100)) as commit:
        taken = start(commit, "a")
        await until(lambda: bool(played.batches))
        large = asyncio.create_task(submit(commit, "b", size=1000))
        await asyncio.sleep(0)
        with pytest.raises(Busy):
            await submit(commit, "c", timeout=0.05)
        played.open.set()
        await asyncio.gather(*taken, large)


async def test_room_that_its_waiter_left_goes_to_the_next() -> None:
    played = Played()
    played.open.clear()
    async with group_commit(played, limits=Limits(writers=1, queue_items_max=1)) as commit:
        first, second = *start(commit, "a"), *start(commit, "b")
        await until(lambda: bool(played.batches))
        await asyncio.sleep(0)
        third, fourth = start(commit, "c", "d")
        await asyncio.sleep(0)
        third.cancel()
        played.open.set()
        assert (await first, await second, await fourth) == ("a done", "b done", "d done")
        with pytest.raises(asyncio.CancelledError):
            await third


# --- leaving ---


async def test_a_caller_that_leaves_before_its_turn_leaves_nothing_behind() -> None:
    played = Played()
    played.open.clear()
    async with group_commit(played) as commit:
        first = start(commit, "a")
        await until(lambda: bool(played.batches))
        second, third = start(commit, "b", "c")
        await asyncio.sleep(0)
        second.cancel()
        played.open.set()
        await asyncio.gather(*first, third)
    assert played.committed == ["a", "c"]


async def test_the_write_of_a_caller_that_leaves_later_goes_on() -> None:
    played = Played()
    played.open.clear()
    async with group_commit(played) as commit:
        [task] = start(commit, "a")
        await until(lambda: bool(played.batches))
        task.cancel()
        played.open.set()
        assert await submit(commit, "b") == "b done"
    assert played.committed == ["a", "b"]


# --- close ---


async def test_closing_writes_what_was_taken() -> None:
    played = Played()
    async with group_commit(played) as commit:
        tasks = start(commit, *"abc")
        await asyncio.sleep(0)
        await commit.close(seconds=1)
        assert await asyncio.gather(*tasks) == ["a done", "b done", "c done"]
        with pytest.raises(StoreUnavailable):
            await submit(commit, "d")


async def test_closing_does_not_wait_for_ever() -> None:
    played = Played()
    played.open.clear()
    async with group_commit(played, limits=Limits(writers=1, queue_items_max=1)) as commit:
        tasks = start(commit, *"abc")
        await asyncio.sleep(0.01)
        await commit.close(seconds=0.05)
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(it, StoreUnavailable) for it in outcomes)


# --- a work that breaks the connection ---


async def test_a_work_that_breaks_the_connection_takes_no_other_with_it() -> None:
    played = Played()
    played.problem = lambda works: TryAgain("lost connection", broke=True) if "f" in works else None
    async with group_commit(played) as commit:
        tasks = start(commit, *"abcdefgh")
        others = [task for work, task in zip("abcdefgh", tasks, strict=True) if work != "f"]
        assert await asyncio.wait_for(asyncio.gather(*others), 4) == [f"{it} done" for it in "abcdegh"]
        assert not tasks[5].done()
        later = await asyncio.wait_for(asyncio.gather(*start(commit, *"ijk")), 30)
        assert later == ["i done", "j done", "k done"]
        await until(lambda: played.batches.count(["f"]) >= 3)
    assert all("f" not in batch or batch == ["f"] for batch in played.batches[4:]), "alone from then on"


async def test_who_waits_for_a_work_that_breaks_the_connection_is_told_so() -> None:
    played = Played()
    played.problem = lambda works: TryAgain("lost connection", broke=True)
    async with group_commit(played) as commit:
        with pytest.raises(StoreUnavailable, match="did not confirm in time: lost connection"):
            await submit(commit, "a", timeout=0.2)


async def test_a_batch_that_broke_once_is_written_in_two_halves() -> None:
    """As when the database is restarted: what breaks no connection any more costs one commit more."""
    played = Played()
    problems = [
        TryAgain("lost connection", broke=True),
        TryAgain("cannot connect"),
        TryAgain("cannot connect"),
    ]
    played.problem = lambda works: problems.pop(0) if problems else None
    async with group_commit(played) as commit:
        await asyncio.gather(*start(commit, *"abcdefgh"))
    assert played.batches == [list("abcdefgh"), list("abcd"), list("abcd"), list("abcd"), list("efgh")]
