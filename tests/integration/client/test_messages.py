"""Messages with a local transaction, whose sender dies on the way; over HTTP and gRPC (PROTOCOL §8, §12)."""

import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path

import aiosqlite
import pytest

from coordinator.client import (
    BarrierRow,
    Duplicated,
    InvalidUse,
    Msg,
    SqliteBarrier,
    Status,
    query_prepared,
)
from coordinator.client.barriers.table import barrier_schema
from coordinator.testing import Call
from tests.integration.client.conftest import World

MAIL, QUERY = "/mail.Mail/Send", "/shop.Shop/Query"


class Died(BaseException):
    """The sender's process is gone: it says nothing more to anybody."""


class DiesAtCommit:
    """The barrier on SQLite, of a process that ends just before or just after its commit."""

    def __init__(self, connection: aiosqlite.Connection, *, committed: bool) -> None:
        self.connection = connection
        self._inner = SqliteBarrier(connection)
        self._committed = committed
        self.begin, self.reason_of = self._inner.begin, self._inner.reason_of
        self.rollback = self._inner.rollback

    async def insert_ignore(self, row: BarrierRow) -> bool:
        return await self._inner.insert_ignore(row)

    async def commit(self) -> None:
        await (self._inner.commit() if self._committed else self._inner.rollback())
        raise Died


@pytest.fixture
async def shop(tmp_path: Path) -> Path:
    path = tmp_path / "shop.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(barrier_schema("sqlite") + "CREATE TABLE orders (id int)")
    return path


def orders(shop: Path) -> int:
    with closing(sqlite3.connect(shop)) as connection:
        return int(connection.execute("SELECT count(*) FROM orders").fetchone()[0])


async def save_order(connection: aiosqlite.Connection) -> None:
    await connection.execute("INSERT INTO orders VALUES (7)")


def message(world: World, answer: Callable[[Call], Awaitable[object]]) -> Msg:
    async def answers(call: Call) -> bytes:
        await answer(call)
        return b""

    world.branches.answer(QUERY, answers)
    msg = world.dtm.msg("g1", query_prepared=world.bank + QUERY, timeout_to_fail=20)
    return msg.add(world.bank + MAIL, {"order": 7})


def asked_in(shop: Path) -> Callable[[Call], Awaitable[object]]:
    async def answer(call: Call) -> None:
        async with aiosqlite.connect(shop) as connection:
            await query_prepared(call.branch, connection)

    return answer


@pytest.mark.parametrize("committed", [True, False], ids=["after-commit", "before-commit"])
async def test_a_sender_that_died_around_its_commit_has_both_or_neither(
    world: World, shop: Path, committed: bool
) -> None:
    msg = message(world, asked_in(shop))
    async with aiosqlite.connect(shop) as connection:
        dying = DiesAtCommit(connection, committed=committed)
        with pytest.raises(Died):
            await msg.do_and_submit(dying, lambda one: save_order(one.connection))
    assert (await world.stored("g1")).status is Status.PREPARED
    await world.kit.advance(22)
    assert (await world.stored("g1")).status is (Status.SUCCEED if committed else Status.FAILED)
    assert (orders(shop), len(world.branches.ops(MAIL))) == ((1, 1) if committed else (0, 0))


async def test_the_same_gid_again_after_the_death_does_not_do_the_business_again(
    world: World, shop: Path
) -> None:
    msg = message(world, asked_in(shop))
    async with aiosqlite.connect(shop) as connection:
        with pytest.raises(Died):
            await msg.do_and_submit(
                DiesAtCommit(connection, committed=True), lambda one: save_order(one.connection)
            )
        with pytest.raises(Duplicated):
            await message(world, asked_in(shop)).do_and_submit(connection, save_order)
    assert (await world.stored("g1")).status is Status.SUCCEED
    assert (orders(shop), world.branches.ops(MAIL)) == (1, ["action"])


async def test_the_same_gid_again_after_the_end_is_duplicated_too(world: World, shop: Path) -> None:
    """§12. Failure would say that nothing was done."""
    async with aiosqlite.connect(shop) as connection:
        await message(world, asked_in(shop)).do_and_submit(connection, save_order)
        assert (await world.stored("g1")).status is Status.SUCCEED
        with pytest.raises(Duplicated):
            await message(world, asked_in(shop)).do_and_submit(connection, save_order)
    assert (orders(shop), len(world.branches.ops(MAIL))) == (1, 1)


async def test_a_connection_that_is_not_known_is_refused_before_anything_is_sent(world: World) -> None:
    async def nothing(connection: object) -> None: ...

    msg = world.dtm.msg("g1", query_prepared=world.bank + QUERY)
    with pytest.raises(InvalidUse, match="hand in an aiomysql or aiosqlite"):
        await msg.do_and_submit(object(), nothing)
    assert await world.kit.dtm.query("g1") is None
