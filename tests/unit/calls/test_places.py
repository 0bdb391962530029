"""DESIGN, promise 5: a hanging endpoint fills only its own places."""

import asyncio

from coordinator.calls.places import Places


async def test_an_endpoint_takes_as_many_calls_as_it_has_places() -> None:
    places = Places(running_max=2, waiting_max=0)
    assert [places.try_enter("a") for _ in range(3)] == [True, True, False]
    assert places.try_enter("b"), "another endpoint has its own places"
    places.leave("a")
    assert places.try_enter("a")


async def test_without_patience_a_full_endpoint_turns_away_at_once() -> None:
    places = Places(running_max=1, waiting_max=10)
    assert await places.enter("a", 0)
    assert not await places.enter("a", 0)


async def test_places_go_to_those_who_wait_first_come_first_served() -> None:
    places = Places(running_max=1, waiting_max=10)
    await places.enter("a", 0)
    served: list[int] = []

    async def wait(number: int) -> None:
        assert await places.enter("a", 10)
        served.append(number)
        places.leave("a")

    waiting = [asyncio.create_task(wait(number)) for number in range(3)]
    await asyncio.sleep(0)
    assert not places.try_enter("a")
    places.leave("a")
    await asyncio.gather(*waiting)
    assert served == [0, 1, 2]


async def test_patience_ends() -> None:
    places = Places(running_max=1, waiting_max=10)
    await places.enter("a", 0)
    assert not await places.enter("a", 0.01)
    places.leave("a")
    assert await places.enter("a", 0), "nobody was left in the queue"


async def test_the_queue_is_bounded() -> None:
    places = Places(running_max=1, waiting_max=1)
    await places.enter("a", 0)
    first = asyncio.create_task(places.enter("a", 10))
    await asyncio.sleep(0)
    assert not await places.enter("a", 10)
    places.leave("a")
    assert await first


async def test_a_cancelled_wait_loses_no_place() -> None:
    places = Places(running_max=1, waiting_max=10)
    await places.enter("a", 0)
    cancelled, next_one = (asyncio.create_task(places.enter("a", 10)) for _ in range(2))
    await asyncio.sleep(0)
    cancelled.cancel()
    places.leave("a")  # before the cancelled task has run
    assert await next_one
    places.leave("a")
    assert cancelled.cancelled()
    assert len(places) == 0


async def test_a_place_that_comes_while_the_wait_is_cancelled_is_passed_on() -> None:
    places = Places(running_max=1, waiting_max=10)
    await places.enter("a", 0)
    cancelled, next_one = (asyncio.create_task(places.enter("a", 10)) for _ in range(2))
    await asyncio.sleep(0)
    places.leave("a")
    cancelled.cancel()  # after the place was given to it
    assert await next_one
    places.leave("a")
    assert cancelled.cancelled()
    assert len(places) == 0


async def test_an_endpoint_without_calls_is_forgotten() -> None:
    places = Places(running_max=2, waiting_max=0)
    for number in range(100):
        places.try_enter(f"host-{number}")
        places.leave(f"host-{number}")
    assert len(places) == 0
