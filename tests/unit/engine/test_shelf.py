"""What is remembered of rows that were deferred: found again, taken in order, bounded."""

import gc
from datetime import UTC, datetime, timedelta

import pytest

from coordinator.engine import shelf as shelf_room
from coordinator.engine.shelf import Kind, Known, Shelf
from coordinator.store.base import Due

NOW = datetime(2026, 1, 1, tzinfo=UTC)
KIND = Kind("submitted", "http://shop", 100, 30)
OTHER = Kind("submitted", "http://post", 100, 30)


def due(gid: str, row_id: int = 0) -> Due:
    return Due(row_id, gid, "submitted", "", NOW)


def filled(*rows: Due, kind: Kind = KIND) -> Shelf:
    shelf = Shelf()
    for row in rows:
        shelf.put(row, kind)
    return shelf


def test_it_is_known_as_it_was_left_under_the_id_that_was_found() -> None:
    shelf = filled(due("g"))
    assert shelf.known(due("g", 7)) == Known(due("g", 7), KIND)


@pytest.mark.parametrize(
    "found",
    [
        Due(7, "g", "aborting", "", NOW),
        Due(7, "g", "submitted", "node/1/1", NOW),
        Due(7, "g", "submitted", "", NOW + timedelta(seconds=1)),
        Due(7, "another", "submitted", "", NOW),
    ],
)
def test_what_moved_is_not_known(found: Due) -> None:
    assert filled(due("g", 7)).known(found) is None


def test_what_was_found_is_taken_oldest_first_and_forgotten() -> None:
    shelf = filled(due("b", 2), due("new"), due("a", 1))
    assert shelf.unfound("http://shop", 10) == (), "those that were found go first"
    assert [shelf.take("http://shop"), shelf.take("http://shop")] == [
        Known(due("b", 2), KIND),
        Known(due("a", 1), KIND),
    ]
    assert shelf.take("http://shop") is None
    assert shelf.unfound("http://shop", 10) == ("new",)
    assert shelf.count("http://shop") == 1


def test_what_rests_is_known_and_not_taken() -> None:
    shelf = filled(due("a", 1))
    shelf.rest(due("b", 2), KIND)
    shelf.rest(due("alone", 3), OTHER)
    assert shelf.known(due("b", 2)) == Known(due("b", 2), KIND)
    assert shelf.endpoints() == ["http://shop"]
    assert shelf.take("http://shop") == Known(due("a", 1), KIND)
    assert shelf.nobody_waits
    for gid in ("b", "alone"):
        shelf.forget(gid)
        assert shelf.known(due(gid, 2)) is None


def test_what_waited_and_rests_now_is_not_taken() -> None:
    shelf = filled(due("a", 1))
    shelf.rest(due("a", 1), KIND)
    assert shelf.take("http://shop") is None


def test_put_again_it_is_the_last() -> None:
    shelf = filled(due("a", 1), due("b", 2), due("a", 1))
    assert shelf.count("http://shop") == 2
    taken = [shelf.take("http://shop"), shelf.take("http://shop")]
    assert [it.due.gid for it in taken if it] == ["b", "a"]


def test_endpoints_are_apart() -> None:
    shelf = filled(due("a", 1))
    shelf.put(due("b", 2), OTHER)
    assert shelf.endpoints() == ["http://shop", "http://post"]
    shelf.forget("a")
    shelf.forget("never seen")
    assert shelf.endpoints() == ["http://post"]
    assert (shelf.count("http://shop"), shelf.count("http://post")) == (0, 1)


def test_of_too_many_the_oldest_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shelf_room, "_ROWS_MAX", 300)
    shelf = filled(*(due(f"g{n}", n + 1) for n in range(301)))
    assert shelf.count("http://shop") == 301 - 256
    assert shelf.known(due("g300", 301)) is not None
    assert shelf.known(due("g0", 1)) is None


def test_the_more_there_are_the_more_patient_up_to_a_bound() -> None:
    shelf, seen = Shelf(), []
    for number in range(13_000):
        if number % 1000 == 0:
            seen.append(shelf.patience("http://shop"))
        shelf.put(due(f"g{number}"), KIND)
    assert seen == [1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 6]
    assert shelf.patience("http://post") == 1


@pytest.mark.parametrize("row_id", [0, 1])
def test_ten_thousand_rows_are_nothing_to_the_collector(row_id: int) -> None:
    """Else it looks at them again and again, for as long as a slow answer takes."""
    shelf = filled(due("first", row_id))
    gc.collect()
    before = len(gc.get_objects())
    for number in range(10_000):
        kind = Kind("submitted", "http://shop", 100, 30)
        shelf.put(Due(row_id and number + 1, f"g{number}", "submitted", "", NOW), kind)
    gc.collect()
    assert len(gc.get_objects()) - before < 100
