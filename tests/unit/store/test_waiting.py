"""Which of the waiting works make the next batch."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordinator.store.waiting import LEISURE_SECONDS, Item, Limits, Trouble, WaitingLine


def line(loop: asyncio.AbstractEventLoop, *works: tuple[str, int]) -> WaitingLine[str, None]:
    """Works named by key and place, with their sizes."""
    waiting: WaitingLine[str, None] = WaitingLine()
    for place, (key, size) in enumerate(works):
        waiting.append(Item(f"{key}{place}", key, size, 0.0, loop.create_future()))
    return waiting


def taken(
    waiting: WaitingLine[str, None], busy: set[str], items_max: int = 9, bytes_max: int = 99
) -> list[str]:
    limits = Limits(batch_items_max=items_max, batch_bytes_max=bytes_max)
    return [item.work for item in waiting.take_batch(busy, limits)]


async def test_everything_is_taken_in_order() -> None:
    waiting = line(asyncio.get_running_loop(), ("a", 1), ("b", 1), ("c", 1))
    assert taken(waiting, set()) == ["a0", "b1", "c2"]
    assert (len(waiting), waiting.bytes) == (0, 0)


def at_leisure(waiting: WaitingLine[str, None], *keys: str, waited: float = 0.0) -> None:
    loop = asyncio.get_running_loop()
    for key in keys:
        item: Item[str, None] = Item(key, key, 1, 0.0, loop.create_future(), at_leisure=True)
        waiting.append(item)
        item.since -= waited


async def test_what_is_at_leisure_is_taken_after_all_others() -> None:
    waiting = line(asyncio.get_running_loop())
    at_leisure(waiting, "x", "y")
    waiting.append(Item("a0", "a", 1, 0.0, asyncio.get_running_loop().create_future()))
    assert (len(waiting), waiting.bytes, waiting.has_pressing) == (3, 3, True)
    assert taken(waiting, set()) == ["a0"]
    assert (len(waiting), waiting.bytes, waiting.has_pressing) == (2, 2, False)
    assert taken(waiting, set()) == ["x", "y"]
    assert (len(waiting), waiting.bytes) == (0, 0)


async def test_what_has_waited_at_leisure_for_a_while_is_taken_first() -> None:
    waiting = line(asyncio.get_running_loop(), ("a", 1), ("b", 1))
    at_leisure(waiting, *"xyz", waited=LEISURE_SECONDS + 0.1)
    at_leisure(waiting, "later")
    assert taken(waiting, set(), items_max=4) == ["x", "y", "z", "a0"]
    assert taken(waiting, set()) == ["b1"]
    assert taken(waiting, set()) == ["later"]
    assert (len(waiting), waiting.bytes) == (0, 0)


async def test_what_is_pressing_stays_behind_what_is_at_leisure_of_its_key() -> None:
    waiting = line(asyncio.get_running_loop())
    at_leisure(waiting, "a", "x")
    waiting.append(Item("a!", "a", 1, 0.0, asyncio.get_running_loop().create_future()))
    assert taken(waiting, set()) == ["a"]
    held: Item[str, None] = Item(
        "a", "a", 1, 0.0, asyncio.get_running_loop().create_future(), at_leisure=True
    )
    waiting.put_back(held)  # its row was held by another
    assert [taken(waiting, set()) for _ in range(3)] == [["a"], ["a!"], ["x"]]


async def test_what_can_be_taken_does_not_wait_for_a_busy_key_however_pressing() -> None:
    waiting = line(asyncio.get_running_loop(), ("a", 1))
    at_leisure(waiting, "x")
    assert taken(waiting, {"a"}) == ["x"]


async def test_a_key_is_taken_once_and_its_order_kept() -> None:
    waiting = line(asyncio.get_running_loop(), ("a", 1), ("a", 1), ("b", 1), ("a", 1))
    assert taken(waiting, set()) == ["a0", "b2"]
    assert taken(waiting, {"a", "b"}) == []
    assert taken(waiting, set()) == ["a1"]
    assert taken(waiting, set()) == ["a3"]


async def test_a_busy_key_waits_and_keeps_its_place() -> None:
    waiting = line(asyncio.get_running_loop(), ("a", 1), ("b", 1), ("a", 1), ("c", 1))
    assert taken(waiting, {"a"}) == ["b1", "c3"]
    assert [item.work for item in waiting] == ["a0", "a2"]


async def test_a_batch_is_bounded_in_items_and_bytes() -> None:
    waiting = line(asyncio.get_running_loop(), ("a", 40), ("b", 40), ("c", 40), ("d", 200), ("e", 1))
    assert taken(waiting, set(), items_max=1) == ["a0"]
    assert taken(waiting, set()) == ["b1", "c2"]
    assert waiting.bytes == 201
    assert taken(waiting, set()) == ["d3"]  # larger than any batch may be, so alone
    assert taken(waiting, set()) == ["e4"]


async def test_new_ones_wait_as_long_as_the_newest_of_the_last_batch() -> None:
    loop = asyncio.get_running_loop()
    waiting = line(loop, ("a", 1), ("b", 1), ("a", 1))
    for item in waiting:
        item.since -= 3
    assert taken(waiting, set()) == ["a0", "b1"]
    assert 3 <= waiting.waited(loop.time()) < 60
    assert waiting.waited(loop.time() + 10) >= 10  # nothing was taken since
    assert taken(waiting, set()) == ["a2"]
    assert waiting.waited(loop.time() + 10) == 0  # nobody waits


@pytest.mark.parametrize("has_been_busy", [False, True])
async def test_what_comes_after_a_rest_has_waited_for_no_longer_than_it_is_there(has_been_busy: bool) -> None:
    """However long nothing was to be written, and however long the last that was had to wait."""
    loop = asyncio.get_running_loop()
    waiting = line(loop, *([("a", 1), ("b", 1)] if has_been_busy else []))
    for item in waiting:
        item.since -= 60
    taken(waiting, set())
    waiting._taken_at -= 3600
    for key in "cd":
        waiting.append(Item(key, key, 1, loop.time() + 10, loop.create_future()))
    assert waiting.waited(loop.time()) < 60
    assert 5 <= waiting.waited(loop.time() + 5) < 60
    for item in waiting:
        item.future.cancel()


async def test_what_nobody_waits_for_is_dropped() -> None:
    waiting = line(asyncio.get_running_loop(), ("a", 1), ("b", 1), ("c", 1))
    for item in list(waiting)[:2]:
        item.future.cancel()
    assert taken(waiting, set()) == ["c2"]
    assert waiting.bytes == 0


async def test_done_items_are_forgotten() -> None:
    waiting = line(asyncio.get_running_loop(), ("a", 5), ("b", 7))
    next(iter(waiting)).future.cancel()
    waiting.drop_done()
    assert (len(waiting), waiting.bytes) == (1, 7)


@given(
    st.lists(st.tuples(st.sampled_from("abcd"), st.integers(0, 60), st.booleans()), max_size=20),
    st.sets(st.sampled_from("abcd")),
    st.integers(1, 5),
)
def test_nothing_is_lost_or_taken_twice(
    works: list[tuple[str, int, bool]], busy: set[str], items_max: int
) -> None:
    loop = asyncio.new_event_loop()
    waiting = line(loop)
    for place, (key, size, leisure) in enumerate(works):
        name = f"{key}{'-' if leisure else '!'}{place}"
        waiting.append(Item(name, key, size, 0.0, loop.create_future(), at_leisure=leisure))
    total = [item.work for item in waiting]
    seen: list[str] = []
    limits = Limits(batch_items_max=items_max, batch_bytes_max=100)
    while batch := waiting.take_batch(busy, limits):
        keys = [item.key for item in batch]
        assert len(set(keys)) == len(keys) <= items_max
        assert not busy & set(keys)
        assert len(batch) == 1 or sum(item.size for item in batch) <= 100
        seen += [item.work for item in batch]
    left = [item.work for item in waiting]
    assert sorted(seen + left) == sorted(total)
    assert all(work[0] in busy for work in left)
    for key in "abcd":  # order within a key
        of_key = [work for work in seen if work.startswith(key)]
        assert of_key == [work for work in total if work in of_key]
    loop.close()


# --- trouble: writes that go on failing ---


def test_writes_that_go_on_failing_are_trouble_until_one_stands() -> None:
    trouble = Trouble()
    assert trouble.failed("disk full", 100.0) is True
    assert (trouble.reason, trouble.lasting) == ("disk full", "")  # a deadlock is over at the next attempt
    assert trouble.failed("disk full", 100.9) is False
    assert trouble.lasting == ""
    trouble.failed("disk still full", 101.0)
    assert trouble.lasting == "disk still full"
    assert trouble.is_over() is True
    assert (trouble.reason, trouble.lasting, trouble.is_over()) == ("", "", False)
    trouble.failed("again", 102.0)
    assert trouble.lasting == ""


def test_a_write_of_another_kind_ends_trouble_that_nobody_has_run_into_lately() -> None:
    trouble = Trouble()
    for now in (100.0, 105.0):
        trouble.failed("disk full", now)
    trouble.others_write(114.0)  # a small row may fit where a big one does not
    assert trouble.lasting == "disk full"
    trouble.others_write(116.0)
    assert (trouble.reason, trouble.lasting) == ("", "")
