"""What operators see and do under /api/operate/: on every store, with a handful of statements."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from coordinator.attempt import Kind, Notes, with_notes
from coordinator.errors import Invalid
from coordinator.model import Options, Status
from coordinator.service.filter_grammar import parse_filter
from coordinator.store import search
from coordinator.store.attempt_rows import attempt_row, stuck_row
from coordinator.store.base import Assign, Change, Changed
from coordinator.store.sql import SqlStore
from tests.support.attempts import attempt, stuck
from tests.support.store_contract import TIMEOUT, UNFINISHED, branches, transaction

STATEMENTS_MAX = 5


class Counted:
    """A connection that counts its statements."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self.statements = 0

    def execute(self, *asked: Any) -> Any:
        self.statements += 1
        return self._inner.execute(*asked)


@pytest.fixture
def store(store: SqlStore) -> SqlStore:
    read = store.operate._read

    async def counted(function: Callable[[Any], Any]) -> Any:
        def run(connection: Any) -> Any:
            counting = Counted(connection)
            try:
                return function(counting)
            finally:
                assert counting.statements <= STATEMENTS_MAX

        return await read(run)

    store.operate._read = counted
    return store


async def put(store: SqlStore, gid: str, status: Status = Status.SUBMITTED, **values: Any) -> None:
    assert await store.insert(transaction(gid, **values), branches(gid), timeout=TIMEOUT)
    if status is not Status.SUBMITTED:
        change = Change(gid, UNFINISHED, None, assign=Assign(status=status, owner=""))
        assert await store.change(change, timeout=TIMEOUT) is Changed.APPLIED


async def hold_up(store: SqlStore, gid: str, **values: Any) -> None:
    rows = (attempt_row(attempt(gid)), stuck_row(stuck(gid, **values)))
    noted = Assign(ext_data=with_notes("", Notes({}, 1, "cause")))
    change = Change(gid, UNFINISHED, None, assign=noted, own_rows=rows, by_driver=True)
    assert await store.change(change, timeout=TIMEOUT) is Changed.APPLIED


async def gids(store: SqlStore, text: str, **asked: Any) -> list[str]:
    page = await look(store, text, **asked)
    return [found.transaction.gid for found in page.found]


async def look(store: SqlStore, text: str, **asked: Any) -> search.Page:
    now = datetime.now(UTC) + timedelta(hours=1)  # so that all of them are an hour old
    return await store.operate.search(
        parse_filter(text), after=asked.get("after", ""), limit=asked.get("limit", 100), now=now
    )


@pytest.fixture
async def some(store: SqlStore) -> SqlStore:
    await put(store, "done", Status.SUCCEED)
    await put(store, "going")
    await put(store, "back", Status.ABORTING)
    await put(store, "tcc", trans_type="tcc")
    await hold_up(store, "back", endpoint="http://ledger:80", op="compensate", error="100% refused")
    await hold_up(
        store, "tcc", endpoint="http://stock_1:80", kind=Kind.TIMEOUT, error="no answer", trans_type="tcc"
    )
    return store


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", ["tcc", "back", "going", "done"]),
        ("status:aborting", ["back"]),
        ("status:aborting status:submitted", ["tcc", "back", "going"]),
        ("status:succeed", ["done"]),
        ("-status:succeed", ["tcc", "back", "going"]),
        ("-status:succeed -type:tcc", ["back", "going"]),
        ("type:tcc", ["tcc"]),
        ("gid:going gid:nobody", ["going"]),
        ("gid:going status:aborting", []),
        ("-gid:going", ["tcc", "back", "done"]),
        ("endpoint:LEDGER", ["back"]),
        ("endpoint:ledger endpoint:stock_", ["back", "tcc"]),
        ("endpoint:stock%", []),
        ('error:"100% ref"', ["back"]),
        ("op:compensate", ["back"]),
        ("kind:timeout status:submitted", ["tcc"]),
        ("kind:timeout status:aborting", []),
        ("-kind:timeout", ["back", "going", "done"]),
        ("endpoint:80 -endpoint:ledger", ["tcc"]),
        ("age:>30m", ["tcc", "back", "going", "done"]),
        ("age:>2h", []),
        ("age:<2h status:aborting", ["back"]),
        ("endpoint:80 age:>2h", []),
    ],
)
async def test_what_a_filter_finds(some: SqlStore, text: str, found: list[str]) -> None:
    assert await gids(some, text) == found


async def test_what_holds_a_transaction_up_stands_beside_it(some: SqlStore) -> None:
    page = await look(some, "-status:succeed")
    assert {it.transaction.gid: it.stuck and it.stuck.op for it in page.found} == {
        "tcc": "action",
        "back": "compensate",
        "going": None,
    }


@pytest.mark.parametrize("text", ["", "status:submitted", "endpoint:host", "type:saga"])
async def test_a_list_is_turned_page_by_page(store: SqlStore, text: str) -> None:
    wanted = [f"g{number}" for number in range(7)]
    for gid in wanted:
        await put(store, gid)
        await hold_up(store, gid)
    after, found, pages = "", list[str](), 0
    while pages == 0 or after:
        page = await look(store, text, after=after, limit=3)
        found += [it.transaction.gid for it in page.found]
        after, pages = page.after, pages + 1
    assert (sorted(found), pages) == (wanted, 3)


async def test_where_no_key_leads_a_window_is_looked_at_and_said(
    store: SqlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "WINDOW", 3)
    for gid in ("old", *(f"g{number}" for number in range(5))):
        await put(store, gid, trans_type="tcc" if gid == "old" else "saga")
    page = await look(store, "type:tcc")
    assert (page.found, page.looked_at) == ([], "ids 4 to 6")
    page = await look(store, "type:tcc", after=page.after)
    assert [it.transaction.gid for it in page.found] == ["old"]


@pytest.mark.parametrize(("text", "after"), [("", "x"), ("", "ix"), ("", "sgid"), ("endpoint:a", "i5")])
async def test_a_position_that_no_page_gave_is_refused(store: SqlStore, text: str, after: str) -> None:
    with pytest.raises(Invalid, match="after: must be the `after` of the page before"):
        await look(store, text, after=after)


async def test_one_transaction_with_all_that_is_kept_of_it(some: SqlStore) -> None:
    shown = await some.operate.show("back")
    assert shown is not None
    assert shown.stored.transaction.gid == "back"
    assert [it.op for it in shown.attempts] == ["action"]
    assert await some.operate.show("nobody") is None


async def test_the_inbox_groups_by_cause(store: SqlStore) -> None:
    for number in range(5):
        await put(store, f"g{number}")
        fingerprint = "status 500: # of #" if number < 3 else f"other {'x' * number}"
        since = datetime(2026, 3, 1, 12, number, tzinfo=UTC)
        await hold_up(store, f"g{number}", fingerprint=fingerprint, since=since)
    inbox = await store.operate.inbox()
    assert inbox.total == 5
    assert [(it.fingerprint, it.count, it.since.minute, it.example.gid) for it in inbox.groups] == [
        ("status 500: # of #", 3, 0, "g0"),
        ("other xxx", 1, 3, "g3"),
        ("other xxxx", 1, 4, "g4"),
    ]


async def test_records_page_by_page(store: SqlStore) -> None:
    assert await store.operate.audit(limit=10, before_id=None) == []


async def test_what_comes_of_a_group_is_known_with_those_that_end_at_a_time_limit(store: SqlStore) -> None:
    for gid, limit in (("limited", 60), ("waits", 0)):
        await put(store, gid, options=Options(timeout_to_fail=limit, retry_interval=10))
        await hold_up(store, gid, endpoint="http://ledger:80")
    [outlook] = (await store.operate.outlooks()).values()
    assert [it.gid for it in outlook.limited] == ["limited"]
    assert outlook.next_call is not None and not outlook.is_part
