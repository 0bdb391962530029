"""Endpoints that are held, in a table of our own: put, read, removed, on every store."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from coordinator.access.audit import Actor, Record, audit_row
from coordinator.hold import Hold
from coordinator.store.own_rows import OwnRow
from coordinator.store.sql import SqlStore

AT = datetime(2026, 3, 1, 12, 0, 5, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
ODD = "it's \\ a; reason — für Ünïcode 中 🙂 '); DROP TABLE dtm_hold; --"
BANK = Hold("http://bank:8080", ODD, "anna", AT, AT + MINUTE)


def record(target: str) -> list[OwnRow]:
    return [audit_row(Actor("anna", "token 1"), Record("hold", target), at=AT)]


async def test_what_is_put_stands_until_its_time_is_over(store: SqlStore) -> None:
    assert await store.holds.put(BANK, record(BANK.endpoint))
    assert await store.holds.standing(AT) == [BANK]
    assert await store.holds.standing(AT + MINUTE) == []
    assert [row["target"] for row in await store.audit.latest(10)] == [BANK.endpoint]


async def test_an_endpoint_is_held_once(store: SqlStore) -> None:
    longer = replace(BANK, reason="takes longer", who="bert", until=AT + 60 * MINUTE)
    await store.holds.put(BANK, ())
    await store.holds.put(longer, ())
    await store.holds.put(longer, ())
    assert await store.holds.standing(AT) == [longer]


async def test_names_that_differ_in_case_are_two_endpoints(store: SqlStore) -> None:
    names = ["etcd://e:2379/Pay.rpc", "etcd://e:2379/pay.rpc", "x" * 255]
    for name in names:
        await store.holds.put(replace(BANK, endpoint=name), ())
    assert {hold.endpoint for hold in await store.holds.standing(AT)} == set(names)
    assert await store.holds.remove(names[0], ())
    assert {hold.endpoint for hold in await store.holds.standing(AT)} == set(names[1:])


async def test_what_is_removed_stands_no_more_and_there_is_no_record_of_nothing(store: SqlStore) -> None:
    await store.holds.put(BANK, ())
    assert await store.holds.remove(BANK.endpoint, record("released"))
    assert not await store.holds.remove(BANK.endpoint, record("again"))
    assert await store.holds.standing(AT) == []
    assert [row["target"] for row in await store.audit.latest(10)] == ["released"]


async def test_those_whose_time_is_over_go_when_another_is_put(store: SqlStore) -> None:
    await store.holds.put(BANK, ())
    later = replace(BANK, endpoint="http://mail:80", since=AT + 2 * MINUTE, until=AT + 3 * MINUTE)
    await store.holds.put(later, ())
    assert await store.holds.standing(AT) == [later]


async def test_of_many_at_the_same_moment_one_stands(store: SqlStore) -> None:
    holds = [replace(BANK, who=f"n{number}") for number in range(8)]
    stored = await asyncio.gather(*(store.holds.put(hold, ()) for hold in holds))
    [standing] = await store.holds.standing(AT)
    assert standing in [hold for hold, stands in zip(holds, stored, strict=True) if stands]
