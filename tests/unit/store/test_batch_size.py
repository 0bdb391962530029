"""What a batch weighs: every statement of the heaviest that is let through stays below 4 MiB."""

from collections.abc import Sequence
from typing import Any

import pytest

from coordinator.model import Branch, BranchStatus, Options, Status, Transaction
from coordinator.store.base import Assign, Change
from coordinator.store.batch import Work, size_of, write_batch
from coordinator.store.limits import TEXT_MAX
from coordinator.store.rows import insertion_of, update_of
from coordinator.store.statements_mysql import MySQLStatements
from coordinator.store.waiting import Limits
from coordinator.store.wall_clock import WallClock

CLOCK = WallClock()
PACKET_BYTES = 4 * 1024 * 1024  # max_allowed_packet of a small server
UGLY = "'" + "漢" * (TEXT_MAX - 1)  # the quote makes it hexadecimal: the longest form


class Cursor:
    """Keeps the lengths of the statements; every row that is locked exists."""

    def __init__(self, found: Sequence[Any]) -> None:
        self.lengths: list[int] = []
        self._found = found

    def execute(self, statement: bytes) -> None:
        self.lengths.append(len(statement))

    def fetchall(self) -> Sequence[Any]:
        found, self._found = self._found, []
        return found


def insertion(gid: str) -> Work:
    transaction = Transaction(
        gid, "saga", Status.SUBMITTED, query_prepared=UGLY, custom_data=UGLY,
        options=Options(branch_headers={"h": "漢" * 900}), ext_data="e" * 20_000,
    )  # fmt: skip
    return insertion_of(transaction, [Branch(gid, "01", "action", UGLY, b"x" * 3000)], CLOCK)


def update(gid: str) -> Work:
    assign = Assign(status=Status.ABORTING, rollback_reason=UGLY, result=UGLY, custom_data=UGLY, ext_data=gid)
    return update_of(Change(gid, frozenset({Status.SUBMITTED}), "o", assign=assign), CLOCK)


def results(gid: str) -> Work:
    many = tuple(((f"{n:02d}", "action"), BranchStatus.SUCCEED) for n in range(40_000))
    return update_of(Change(gid, frozenset({Status.SUBMITTED}), "o", results=many), CLOCK)


def urls(gid: str) -> Work:
    branches = [Branch(gid, f"{n}", "action", UGLY, b"x" * 3000) for n in range(2000)]
    return insertion_of(Transaction(gid, "saga", Status.SUBMITTED), branches, CLOCK)


@pytest.mark.parametrize("kind", [insertion, update, results, urls])
def test_every_statement_of_a_batch_that_may_be_written_fits_a_packet(kind: Any) -> None:
    limits = Limits()
    works: list[Work] = []
    size = 0
    while len(works) < limits.batch_items_max:
        work = kind(f"漢{len(works)}" + "x" * 120)
        size += size_of(work)
        if works and size > limits.batch_bytes_max:
            break
        works.append(work)
    stored = [(work.gid, "submitted", "o", "saga") for work in works] if kind in {update, results} else []
    cursor = Cursor(stored)
    write_batch(cursor, MySQLStatements(skip_locked=True, packets=True), works, "2026-01-01 00:00:00")  # type: ignore[arg-type]
    assert len(cursor.lengths) > 1
    assert max(cursor.lengths) < PACKET_BYTES


def test_text_counts() -> None:
    small = size_of(insertion_of(Transaction("g", "saga", Status.SUBMITTED), [], CLOCK))
    big = size_of(insertion("g"))
    assert big > small + 20_000 + 3 * 4 * 1000
    assert size_of(update("g")) > 3 * 4 * 1000
