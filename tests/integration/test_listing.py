"""Pages of `all` and of the search in a store of many rows: bounded, and nothing is left out."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Connection, delete, event, insert

from coordinator.model import Status
from coordinator.store import id_ranges, listing
from coordinator.store.listed import Filter
from coordinator.store.sql import SqlStore
from coordinator.store.tables import TRANS_GLOBAL

START = datetime(2026, 3, 1, tzinfo=UTC)
COUNT = 3_000
TYPES = ("saga", "tcc", "msg")


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a table of millions is to what a page looks at."""
    monkeypatch.setattr(listing, "WINDOW", 200)
    monkeypatch.setattr(listing, "SECONDS", 0.0)  # a window a page
    monkeypatch.setattr(id_ranges, "KEYS_MAX", 50)
    monkeypatch.setattr(id_ranges, "_NEAR", 50)
    monkeypatch.setattr(id_ranges, "APART", timedelta(seconds=90))


def status_of(number: int) -> Status:
    if number % 1000 == 7:
        return Status.ABORTING
    return Status.FAILED if number % 40 == 3 else Status.SUCCEED


def row(store: SqlStore, number: int) -> dict[str, Any]:
    text = store._wall_clock.text
    # Times go back a little now and then, as those of several coordinators do.
    created = START + timedelta(seconds=number - (60 if number % 7 == 0 else 0))
    values = {"gid": f"g{number}", "trans_type": TYPES[number % 3], "status": status_of(number).value}
    values |= {"query_prepared": "", "protocol": "http", "owner": "", "next_cron_time": text(created)}
    return values | {"create_time": text(created), "update_time": text(created)}


def plant(connection: Connection, store: SqlStore) -> None:
    """Rows with a wide gap among their ids, as deleted ones leave it."""
    every = [row(store, number) for number in range(COUNT)]
    for start in range(0, COUNT, 1000):
        connection.execute(insert(TRANS_GLOBAL), every[start : start + 1000])
    connection.execute(
        delete(TRANS_GLOBAL).where(TRANS_GLOBAL.c.gid.in_([f"g{n}" for n in range(900, 1900)]))
    )


def is_there(number: int) -> bool:
    return not 900 <= number < 1900


async def every_page(store: SqlStore, **wanted: Any) -> tuple[list[str], int]:
    """The gids of all pages, and how many pages there were."""
    gids: list[str] = []
    before_id, pages = None, 0
    while True:
        page = await store.list(Filter(limit=25, before_id=before_id, **wanted))
        gids += [it.gid for it in page.rows]
        before_id, pages = page.before_id, pages + 1
        if before_id is None:
            return gids, pages


def expected(**wanted: Any) -> list[str]:
    def fits(number: int) -> bool:
        created = START + timedelta(seconds=number - (60 if number % 7 == 0 else 0))
        start, end = wanted.get("create_time_start", START - timedelta(9)), wanted.get("create_time_end")
        return (
            is_there(number)
            and wanted.get("status", status_of(number)) == status_of(number)
            and wanted.get("trans_type", TYPES[number % 3]) == TYPES[number % 3]
            and created >= start
            and (end is None or created <= end)
        )

    return [f"g{number}" for number in range(COUNT - 1, -1, -1) if fits(number)]


FILTERS: Sequence[dict[str, Any]] = (
    {},
    {"status": "succeed"},
    {"status": "failed"},
    {"status": "aborting"},
    {"status": "prepared"},
    {"trans_type": "tcc"},
    {"trans_type": "xa"},
    {"status": "failed", "trans_type": "msg"},
    {"status": "aborting", "trans_type": "saga"},
    {"create_time_start": START + timedelta(seconds=2900)},
    {"create_time_end": START + timedelta(seconds=100)},
    {"create_time_start": START + timedelta(seconds=500), "create_time_end": START + timedelta(seconds=600)},
    {"create_time_start": START + timedelta(seconds=2000), "status": "failed"},
    {"create_time_start": START + timedelta(days=2)},
    {"create_time_end": START - timedelta(days=2)},
)


async def test_nothing_is_left_out_and_no_statement_looks_at_much(store: SqlStore) -> None:
    await store._transact(lambda it: plant(it, store))
    for wanted in FILTERS:
        gids, pages = await every_page(store, **wanted)
        assert gids == expected(**wanted), wanted
        assert pages <= len(gids) // 25 + 2 + (COUNT - 1000) // 200 + 1, wanted


async def test_a_time_range_leads_to_its_ids(store: SqlStore) -> None:
    """Not through all that is newer."""
    await store._transact(lambda it: plant(it, store))
    start, end = START + timedelta(seconds=300), START + timedelta(seconds=400)
    _, pages = await every_page(store, create_time_start=start, create_time_end=end)
    assert pages <= 7


async def test_a_page_is_a_handful_of_statements(store: SqlStore) -> None:
    await store._transact(lambda it: plant(it, store))
    counts: list[int] = []

    def counted(connection: Connection, wanted: Filter) -> int:
        statements: list[str] = []

        def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
            statements.append(statement)

        event.listen(connection, "before_cursor_execute", note)
        listing.list_transactions(connection, wanted, store._wall_clock)
        event.remove(connection, "before_cursor_execute", note)
        return len(statements)

    for wanted in FILTERS:
        counts.append(await store._read(lambda it, wanted=wanted: counted(it, Filter(limit=25, **wanted))))
    assert max(counts) <= 2 * 8 + 5
