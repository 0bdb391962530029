"""Tables of the coordinator's own: tokens, and rows that travel in the commit of a change, on every store."""

import asyncio
from datetime import UTC, datetime, timedelta

from coordinator.access.audit import Actor, Record, audit_row
from coordinator.model import Status
from coordinator.store.access_tables import TokenRow
from coordinator.store.base import Assign, Change, Changed
from coordinator.store.own_rows import OwnRow
from coordinator.store.sql import SqlStore
from tests.support.store_contract import TIMEOUT, UNFINISHED, branches, transaction

AT = datetime(2026, 3, 1, 12, 0, 5, tzinfo=UTC)
ODD = "it's \\ a; reason — für Ünïcode 中 🙂 '); DROP TABLE dtm_audit; --"


def record(target: str, reason: str = "") -> OwnRow:
    row = Record("forceStop", target, reason, was="submitted", became="failed")
    return audit_row(Actor("anna", "token 1", "10.0.0.1"), row, at=AT, coordinator="one")


def stop(gid: str, *rows: OwnRow, owner: str | None = None) -> Change:
    return Change(gid, UNFINISHED, owner, assign=Assign(status=Status.FAILED, owner=""), own_rows=rows)


async def targets(store: SqlStore) -> list[str]:
    return [row["target"] for row in reversed(await store.audit.latest(100))]


async def test_rows_stand_with_the_change_that_they_came_with(store: SqlStore) -> None:
    await store.insert(transaction("g1"), branches("g1"), timeout=TIMEOUT)
    changed = await store.change(stop("g1", record("g1", ODD), record("second")), timeout=TIMEOUT)
    assert changed is Changed.APPLIED
    second, first = await store.audit.latest(10)
    assert first == {
        "id": first["id"],
        "at": AT,
        "who": "anna",
        "method": "token 1",
        "address": "10.0.0.1",
        "coordinator": "one",
        "action": "forceStop",
        "target": "g1",
        "reason": ODD,
        "was": "submitted",
        "became": "failed",
        "outcome": "done",
    }
    assert (second["target"], second["reason"]) == ("second", "")


async def test_records_are_found_by_their_words(store: SqlStore) -> None:
    await store.audit.add([record("orders/1", ODD), record("ORDERS_2", "sold out"), record("100%")])

    async def found(*words: str) -> list[str]:
        rows = await store.operate.audit(limit=10, before_id=None, words=words)
        return [row["target"] for row in rows]

    assert await found("orders") == ["ORDERS_2", "orders/1"]
    assert await found("Orders", "nïcode") == ["orders/1"]
    assert await found("0%") == ["100%"]
    assert await found("_2", "anna", "force") == ["ORDERS_2"]
    assert await found("anna", "nobody") == []


async def test_there_is_none_of_a_change_that_does_not_stand(store: SqlStore) -> None:
    await store.insert(transaction("g1"), branches("g1"), timeout=TIMEOUT)
    refused = await store.change(stop("g1", record("refused"), owner="somebody else"), timeout=TIMEOUT)
    missing = await store.change(stop("nobody", record("missing")), timeout=TIMEOUT)
    assert (refused, missing) == (Changed.REFUSED, Changed.MISSING)
    assert await targets(store) == []


async def test_a_repeat_of_a_change_that_stands_adds_none(store: SqlStore) -> None:
    await store.insert(transaction("g1"), branches("g1"), timeout=TIMEOUT)
    for _ in range(3):
        assert await store.change(stop("g1", record("g1")), timeout=TIMEOUT) is Changed.APPLIED
    assert await targets(store) == ["g1"]


async def test_rows_of_many_changes_share_their_commits(store: SqlStore) -> None:
    gids = [f"g{number}" for number in range(60)]
    for gid in gids:
        await store.insert(transaction(gid), branches(gid), timeout=TIMEOUT)
    plain = [store.change(stop(gid), timeout=TIMEOUT) for gid in gids[:20]]
    told = [store.change(stop(gid, record(gid)), timeout=TIMEOUT) for gid in gids[20:]]
    assert set(await asyncio.gather(*plain, *told)) == {Changed.APPLIED}
    assert sorted(await targets(store)) == sorted(gids[20:])


async def test_what_is_too_long_or_unprintable_is_cut_and_replaced(store: SqlStore) -> None:
    actor = Actor("w" * 1000 + "\n", "m" * 1000, "a" * 1000)
    row = Record("x" * 1000, "t\0\n" * 1000, "r" * 5000, "w" * 5000, "b" * 5000, "o" * 5000)
    await store.audit.add([audit_row(actor, row, at=AT, coordinator="c" * 1000)])
    [found] = await store.audit.latest(10)
    assert found["target"].startswith("t��t")
    assert {len(value) for value in found.values() if isinstance(value, str)} == {45, 128, 1024}


async def test_old_records_are_forgotten_a_few_at_a_time(store: SqlStore) -> None:
    await store.audit.add([record(str(number)) for number in range(5)])
    assert await store.audit.forget(AT, timedelta(0), limit=10) == 0
    late = AT + timedelta(days=2)
    assert await store.audit.forget(late, timedelta(days=1), limit=3) == 3
    assert await store.audit.forget(late, timedelta(days=1), limit=3) == 2
    assert await targets(store) == []


async def test_tokens_that_stand(store: SqlStore) -> None:
    now = (await store.utc_now()).replace(microsecond=0)
    expires = now + timedelta(days=1)
    for name, until in (("good", expires), ("old", now - timedelta(seconds=5)), ("bad", expires)):
        await store.tokens.add(TokenRow(f"id-{name}", name * 10, ODD, "service", "a-", until), record(name))
    assert await store.tokens.revoke("id-bad", record("revoked"))
    assert not await store.tokens.revoke("id-bad", record("again"))
    assert not await store.tokens.revoke("nobody", record("nobody"))
    [good] = (await store.tokens.valid()).tokens
    assert (good.id, good.hash, good.name, good.role, good.gid_prefix) == (
        "id-good",
        "good" * 10,
        ODD,
        "service",
        "a-",
    )
    assert (good.expires, good.revoked, good.last_used) == (expires, None, None)
    await store.tokens.used(["id-good", "nobody"])
    every = {token.id: token for token in (await store.tokens.all()).tokens}
    assert every.keys() == {"id-good", "id-old", "id-bad"}
    used, revoked = every["id-good"].last_used, every["id-bad"].revoked
    assert used and revoked
    assert abs(used - now) + abs(revoked - now) + abs(good.made - now) < timedelta(seconds=60)
    assert await targets(store) == ["good", "old", "bad", "revoked"]
