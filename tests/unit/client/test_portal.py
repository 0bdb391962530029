"""The thread behind the blocking client: what becomes of calls when it is closed, or interrupted."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest

from coordinator.client import InvalidUse, Unreachable
from coordinator.client.portal import Portal, in_caller

LONG_SECONDS = 20


async def nothing() -> None: ...


def in_thread(function: Callable[[], Any]) -> "Future[Any]":
    threads = ThreadPoolExecutor(1)
    future = threads.submit(function)
    threads.shutdown(wait=False)
    return future


class Waiting:
    """A coroutine that waits for ever, and takes a moment to undo what it did."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.undone = False

    async def __call__(self) -> None:
        try:
            self.entered.set()
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            self.undone = True


def test_closing_ends_the_calls_of_other_threads_and_waits_for_what_they_undo() -> None:
    portal, waiting = Portal(), [Waiting() for _ in range(3)]
    calls = [in_thread(lambda one=one: portal.call(one)) for one in waiting]
    for one in waiting:
        assert one.entered.wait(LONG_SECONDS)
    portal.close(nothing)
    assert [one.undone for one in waiting] == [True] * 3
    for call in calls:
        with pytest.raises(Unreachable, match="closed by another thread") as caught:
            call.result(LONG_SECONDS)
        assert caught.value.may_exist, "nobody knows how far it got"


def test_the_last_thing_is_done_when_no_call_is_left() -> None:
    portal, waiting, order = Portal(), Waiting(), []

    async def last() -> None:
        order.append(waiting.undone)

    call = in_thread(lambda: portal.call(waiting))
    assert waiting.entered.wait(LONG_SECONDS)
    portal.close(last)
    assert order == [True]
    with pytest.raises(Unreachable):
        call.result(LONG_SECONDS)


def test_what_runs_in_the_waiting_thread_ends_first_and_the_undoing_runs_there_too() -> None:
    portal, began, may_end = Portal(), threading.Event(), threading.Event()
    ran_in: list[int] = []

    def business() -> None:
        ran_in.append(threading.get_ident())
        began.set()
        assert may_end.wait(LONG_SECONDS)

    async def work() -> None:
        try:
            await in_caller(business)
        except asyncio.CancelledError:
            may_end.set()  # the business does not hold the cancelling up
            await in_caller(lambda: ran_in.append(threading.get_ident()))
            raise

    call = in_thread(lambda: portal.call(work))
    assert began.wait(LONG_SECONDS)
    portal.close(nothing)
    with pytest.raises(Unreachable):
        call.result(LONG_SECONDS)
    assert len(ran_in) == 2
    assert len(set(ran_in)) == 1


def test_a_call_after_the_closing_is_refused_at_once() -> None:
    portal = Portal()
    portal.close(nothing)
    with pytest.raises(Unreachable, match="is closed: nothing was sent") as caught:
        portal.call(nothing)
    assert not caught.value.may_exist
    portal.close(nothing)  # a second time is nothing


def test_a_function_that_a_call_runs_cannot_close_what_it_runs_in() -> None:
    portal = Portal()
    with pytest.raises(InvalidUse, match="inside one of its own calls"):
        portal.call(lambda: in_caller(lambda: portal.close(nothing)))
    assert portal.call(lambda: asyncio.sleep(0, "lives on")) == "lives on"
    portal.close(nothing)


def test_an_error_of_the_last_thing_comes_through_and_the_thread_ends_all_the_same() -> None:
    async def fails() -> None:
        raise LookupError("last")

    portal = Portal()
    with pytest.raises(LookupError, match="last"):
        portal.close(fails)
    with pytest.raises(Unreachable):
        portal.call(nothing)


def test_an_interrupted_call_is_cancelled_and_its_undoing_awaited() -> None:
    portal, waiting = Portal(), Waiting()

    async def work() -> None:
        task = asyncio.ensure_future(waiting())
        try:
            await asyncio.sleep(0)
            await in_caller(interrupted)
        finally:
            task.cancel()
            await asyncio.wait([task])

    def interrupted() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        portal.call(work)
    assert waiting.undone
    portal.close(nothing)
