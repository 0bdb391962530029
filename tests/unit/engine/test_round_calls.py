"""Each call leaves its place, however it ends."""

import asyncio
from random import Random

import pytest

from coordinator.calls.base import SUCCESS, Answer
from coordinator.engine.admission import Admission, Bounds
from coordinator.engine.round_calls import Calls
from coordinator.model import Branch, Result, Status, Transaction
from tests.simulation.world import VirtualClock
from tests.unit.service.bench import Scripted, virtually

TRANSACTION = Transaction("g", "saga", Status.SUBMITTED)
BRANCHES = [Branch("g", f"{number:02d}", "action", "http://a/do") for number in range(3)]


async def answer_slowly(branch: Branch) -> Answer:
    await asyncio.sleep(1 + int(branch.branch_id))
    if branch.branch_id == "02":
        raise RuntimeError("a bug")
    return SUCCESS if branch.branch_id == "01" else Answer(Result.UNKNOWN, "nothing came")


def calls(window_max: int = 2) -> tuple[Calls, Admission]:
    bounds = Bounds(window_max=window_max)
    admission = Admission(bounds, monotonic=VirtualClock().monotonic, random=Random(1))
    return Calls(Scripted(answer_slowly), admission, 3), admission


@virtually
async def test_as_many_are_let_in_as_there_are_places() -> None:
    made, admission = calls()
    let_in = made.let_in(TRANSACTION, BRANCHES)
    assert [one.branch.branch_id for one in let_in] == ["00", "01"]
    for one in let_in:
        made.start(TRANSACTION, one, 7.0)
    ended = [*await made.ended(), *await made.ended()]
    assert [(branch.branch_id, began, answer.result) for branch, began, answer in ended] == [
        ("00", 7.0, Result.UNKNOWN),
        ("01", 7.0, Result.SUCCESS),
    ]
    assert admission.by_endpoint() == {}


@virtually
async def test_what_is_given_back_is_free() -> None:
    made, admission = calls()
    made.give_back(made.let_in(TRANSACTION, BRANCHES))
    assert admission.by_endpoint() == {}


@pytest.mark.parametrize("seconds", [None, 0, 0.5, 1.5])
@virtually
async def test_places_come_back_from_calls_that_are_dropped(seconds: float | None) -> None:
    """Before their first step, too."""
    made, admission = calls()
    for one in made.let_in(TRANSACTION, BRANCHES):
        made.start(TRANSACTION, one, 0.0)
    if seconds is not None:
        await asyncio.sleep(seconds)
    await made.drop()
    assert admission.by_endpoint() == {}
    assert not made


@virtually
async def test_a_call_that_breaks_leaves_its_place() -> None:
    made, admission = calls()
    [one] = made.let_in(TRANSACTION, BRANCHES[2:])
    with pytest.raises(RuntimeError):
        await made.make(TRANSACTION, one)
    [one] = made.let_in(TRANSACTION, BRANCHES[2:])
    made.start(TRANSACTION, one, 0.0)
    with pytest.raises(RuntimeError):
        await made.ended()
    assert admission.by_endpoint() == {}


@virtually
async def test_a_wait_for_a_place_is_short() -> None:
    made, admission = calls(window_max=1)
    [one] = made.let_in(TRANSACTION, BRANCHES[:1])
    loop = asyncio.get_running_loop()
    began = loop.time()
    waiting = asyncio.create_task(made.queue(TRANSACTION, BRANCHES[1]))
    await asyncio.sleep(0.1)
    assert await made.queue(TRANSACTION, BRANCHES[2]) is None, "the queue is full"
    assert loop.time() - began < 0.2
    assert await waiting is None
    assert loop.time() - began == pytest.approx(1)
    waiting = asyncio.create_task(made.queue(TRANSACTION, BRANCHES[1]))
    await asyncio.sleep(0.1)
    made.give_back([one])
    got = await waiting
    assert got is not None
    assert admission.by_endpoint() == {"http://a/do": 1}


@pytest.mark.parametrize("place_comes", [False, True])
@virtually
async def test_who_is_cancelled_while_waiting_takes_no_place(place_comes: bool) -> None:
    made, admission = calls(window_max=1)
    [one] = made.let_in(TRANSACTION, BRANCHES[:1])
    waiting = asyncio.create_task(made.queue(TRANSACTION, BRANCHES[1]))
    await asyncio.sleep(0.1)
    if place_comes:
        made.give_back([one])
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    if not place_comes:
        made.give_back([one])
    assert admission.by_endpoint() == {}
