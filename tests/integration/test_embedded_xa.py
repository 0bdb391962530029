"""XA whose branches are functions of the program that has the coordinator inside."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiomysql
import pytest

from coordinator.client import Failure, LocalCall, Status
from coordinator.client.barriers.table import barrier_schema
from coordinator.embedded import Coordinator
from tests.support.servers import Database

AMOUNT = 30


class Bank:
    """Two accounts in a database that knows XA; `withdraw` and `deposit` are branches of an XA."""

    def __init__(self, database: Database, folder: Path) -> None:
        self.database = database
        self.deposits_fail = False
        self.coordinator = Coordinator.embedded(
            f"sqlite:///{folder / 'dtm.db'}", [self.withdraw, self.deposit], settings={"TransCronInterval": 1}
        )

    async def withdraw(self, call: LocalCall) -> None:
        async with self.coordinator.client.xa_branch(call, self.connect) as transaction:
            if transaction.runs:
                await transaction.connection.query(
                    f"UPDATE account SET balance = balance - {AMOUNT} WHERE id = 1"
                )

    async def deposit(self, call: LocalCall) -> None:
        async with self.coordinator.client.xa_branch(call, self.connect) as transaction:
            if transaction.runs:
                if self.deposits_fail:
                    raise Failure("account 2 is locked")
                await transaction.connection.query(
                    f"UPDATE account SET balance = balance + {AMOUNT} WHERE id = 2"
                )

    async def connect(self) -> Any:
        one = self.database
        return await aiomysql.connect(host=one.host, port=one.port, user=one.user, db=one.name)

    async def transfer(self) -> str:
        async with self.coordinator.client.xa(wait_result=True) as xa:
            await xa.call_branch("local://withdraw", {})
            await xa.call_branch("local://deposit", {})
        return xa.gid

    def seen(self) -> tuple[list[Any], list[Any]]:
        """The balances, and what hangs prepared."""
        balances = self.database.execute("SELECT balance FROM account ORDER BY id")
        return [row[0] for row in balances], list(self.database.execute("XA RECOVER"))


@pytest.fixture
async def bank(mariadb_database: Database, tmp_path: Path) -> AsyncIterator[Bank]:
    mariadb_database.execute(
        f"{barrier_schema('mysql')} CREATE TABLE account (id INT PRIMARY KEY, balance INT NOT NULL);"
        "INSERT INTO account VALUES (1, 100), (2, 100)"
    )
    bank = Bank(mariadb_database, tmp_path)
    async with bank.coordinator:
        yield bank


async def test_both_databases_commit(bank: Bank) -> None:
    gid = await bank.transfer()
    assert (await bank.coordinator.client.query(gid)).status is Status.SUCCEED
    assert bank.seen() == ([70, 130], [])


async def test_a_failure_of_one_leaves_both_as_they_were_and_nothing_prepared(bank: Bank) -> None:
    bank.deposits_fail = True
    with pytest.raises(Failure, match="account 2 is locked"):
        await bank.transfer()
    assert bank.seen() == ([100, 100], [])
