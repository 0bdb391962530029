"""Functions run in order in one thread; who waits gets what they return or raise."""

import asyncio
import threading
from functools import partial

import pytest

from coordinator.store.one_thread import OneThread


async def test_functions_run_in_order_in_a_thread_of_their_own() -> None:
    thread, ran = OneThread("writer"), list[int]()

    def note(number: int) -> str:
        ran.append(number)
        return threading.current_thread().name

    names = await asyncio.gather(*[thread.run(partial(note, number)) for number in range(50)])
    assert ran == list(range(50))
    assert set(names) == {"writer"}
    thread.close()


@pytest.mark.parametrize("error", [ValueError("no"), MemoryError()])
async def test_what_is_raised_reaches_who_waits_and_the_thread_goes_on(error: BaseException) -> None:
    thread = OneThread("writer")

    def fail() -> None:
        raise error

    with pytest.raises(type(error)) as caught:
        await thread.run(fail)
    assert caught.value is error
    assert await thread.run(lambda: 7) == 7
    thread.close()


async def test_what_nobody_waits_for_any_more_is_not_begun() -> None:
    thread, ran = OneThread("writer"), list[str]()
    begun, may_go = threading.Event(), threading.Event()

    def hang() -> None:
        begun.set()
        may_go.wait()

    first = asyncio.create_task(thread.run(hang))
    second = asyncio.create_task(thread.run(lambda: ran.append("second")))
    third = asyncio.create_task(thread.run(lambda: ran.append("third")))
    await asyncio.to_thread(begun.wait, 30)
    first.cancel()  # it has begun, and goes on
    second.cancel()
    await asyncio.sleep(0)
    may_go.set()
    await third
    assert ran == ["third"]
    thread.close()


async def test_it_ends_after_what_it_was_given() -> None:
    thread, names = OneThread("the one that ends"), list[str]()
    last = asyncio.create_task(thread.run(lambda: names.append(threading.current_thread().name)))
    await asyncio.sleep(0)
    thread.close()
    await last
    for own in [it for it in threading.enumerate() if it.name == "the one that ends"]:
        await asyncio.to_thread(own.join, 30)
        assert not own.is_alive()
    assert names == ["the one that ends"]


def test_a_loop_that_is_gone_ends_the_thread() -> None:
    begun, may_go = threading.Event(), threading.Event()

    def hang() -> None:
        begun.set()
        may_go.wait()

    async def leave() -> None:
        thread = OneThread("left behind")
        waiting = asyncio.create_task(thread.run(hang))
        await asyncio.to_thread(begun.wait, 30)
        waiting.cancel()

    asyncio.run(leave())
    [own] = [it for it in threading.enumerate() if it.name == "left behind"]
    may_go.set()
    own.join(30)
    assert not own.is_alive()
