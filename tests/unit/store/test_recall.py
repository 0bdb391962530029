"""What a process remembers of prepared transactions, and when it does not any more."""

from dataclasses import replace

import pytest

from coordinator.model import Branch, BranchStatus, Status, Transaction
from coordinator.store.base import Assign, Change, Stored
from coordinator.store.recall import Recall

PREPARED = frozenset({Status.PREPARED})
FIRST = Branch("g", "01", "confirm", "http://host/a", b"12345")
SECOND = Branch("g", "02", "confirm", "http://host/b", b"123")


def prepared(gid: str = "g", *branches: Branch) -> Stored:
    return Stored(Transaction(gid, "tcc", Status.PREPARED), branches)


def test_branches_follow_in_the_order_of_their_registration_and_once() -> None:
    recall = Recall()
    recall.inserted(prepared())
    recall.changed(Change("g", PREPARED, None, added=(FIRST,)))
    recall.changed(Change("g", PREPARED, None, added=(FIRST, SECOND)))
    assert recall.take("g") == prepared("g", FIRST, SECOND)
    assert recall.take("g") is None, "who took it moves it"


@pytest.mark.parametrize(
    "change",
    [
        Change("g", PREPARED, None, assign=Assign(status=Status.ABORTING)),
        Change("g", PREPARED, None, assign=Assign(next_cron_interval=20), added=(FIRST,)),
        Change("g", PREPARED, None, ((FIRST.key, BranchStatus.SUCCEED),), added=(FIRST,)),
    ],
)
def test_any_other_change_ends_what_is_known(change: Change) -> None:
    recall = Recall()
    recall.inserted(prepared())
    recall.changed(change)
    assert recall.take("g") is None


def test_only_what_is_prepared_is_remembered() -> None:
    recall = Recall()
    recall.inserted(Stored(Transaction("g", "saga", Status.SUBMITTED), (FIRST,)))
    recall.changed(Change("other", PREPARED, None, added=(FIRST,)))
    assert recall.take("g") is None
    assert recall.take("other") is None


def test_the_oldest_is_forgotten_when_there_are_too_many_or_too_large_ones() -> None:
    recall = Recall(transactions_max=2, bytes_max=10)
    for gid in ("a", "b", "c"):
        recall.inserted(prepared(gid))
    assert recall.take("a") is None
    recall.changed(Change("c", PREPARED, None, added=(replace(FIRST, gid="c", payload=b"x" * 9),)))
    recall.changed(Change("b", PREPARED, None, added=(replace(FIRST, gid="b", payload=b"xx"),)))
    assert recall.take("c") is None
    assert recall.take("b") is not None
