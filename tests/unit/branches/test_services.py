"""user and score behind their barrier, called as a coordinator calls them, on SQLite."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from grpclib.client import Channel
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from branches.data_source import SqliteSource
from branches.database import DatabaseProblem, open_database
from branches.proto.user import UserRequest, UserStub
from branches.proto.userscore import UserScoreRequest, UserScoreStub
from branches.score.service import UserScoreService
from branches.settings import ROOT
from branches.user.service import UserService
from coordinator.client import BranchContext, BranchServer

HOST = "127.0.0.1"
SQL = ROOT / "sql"


def metadata(op: str, gid: str = "g1", branch_id: str = "01") -> dict[str, str]:
    return {"dtm-gid": gid, "dtm-trans_type": "saga", "dtm-branch_id": branch_id, "dtm-op": op}


@pytest.fixture
async def serve(tmp_path: Path) -> AsyncIterator[Any]:
    """Return a function that serves `user` or `user_score` and gives the channel to it."""
    async with AsyncExitStack() as stack:

        async def start(table: str) -> Channel:
            database = open_database(SqliteSource(tmp_path / f"{table}.db"), table, SQL)
            stack.push_async_callback(database.close)
            service: Any = (
                UserService(database, seconds=5)
                if table == "user"
                else UserScoreService(database, limit=100, seconds=5)
            )
            server = BranchServer([service])
            await server.start(HOST, 0)
            stack.push_async_callback(server.stop, grace=0)
            return await stack.enter_async_context(Channel(HOST, server.port))

        yield start


@pytest.fixture
async def user(serve: Any) -> UserStub:
    return UserStub(await serve("user"))


@pytest.fixture
async def score(serve: Any) -> UserScoreStub:
    return UserScoreStub(await serve("user_score"))


def rows(folder: Path, table: str, columns: str) -> list[tuple[Any, ...]]:
    connection = sqlite3.connect(folder / f"{table}.db")
    try:
        return connection.execute(f"SELECT {columns} FROM {table}").fetchall()
    finally:
        connection.close()


async def test_a_user_is_saved_once(user: UserStub, tmp_path: Path) -> None:
    ann = UserRequest(id="7", name="ann", gender="female")
    for _ in range(2):
        answer = await user.save_user(ann, metadata=metadata("action"))
        assert (answer.id, answer.name, answer.gender) == ("7", "ann", "female")
    assert rows(tmp_path, "user", "id, name, gender") == [(7, "ann", "female")]


async def test_the_saving_is_undone_once_and_only_where_it_happened(user: UserStub, tmp_path: Path) -> None:
    ann = UserRequest(id="7", name="ann")
    await user.save_user(ann, metadata=metadata("action"))
    await user.save_user_callback(ann, metadata=metadata("compensate", gid="another"))
    assert rows(tmp_path, "user", "id") == [(7,)]
    for _ in range(2):
        await user.save_user_callback(ann, metadata=metadata("compensate"))
    assert rows(tmp_path, "user", "id") == []
    await user.save_user(ann, metadata=metadata("action"))
    assert rows(tmp_path, "user", "id") == [], "too late"


async def test_an_id_that_is_taken_is_a_rollback_that_leaves_the_owner_alone(
    user: UserStub, tmp_path: Path
) -> None:
    await user.save_user(UserRequest(id="7", name="ann"), metadata=metadata("action"))
    bob = UserRequest(id="7", name="bob")
    with pytest.raises(GRPCError, match="user 7 exists already") as caught:
        await user.save_user(bob, metadata=metadata("action", gid="g2"))
    assert caught.value.status is Status.ABORTED
    await user.save_user_callback(bob, metadata=metadata("compensate", gid="g2"))
    assert rows(tmp_path, "user", "name") == [("ann",)]


@pytest.mark.parametrize(
    ("request_", "sentence"),
    [
        (UserRequest(id="", name="ann"), "no positive 64-bit number"),
        (UserRequest(id="0", name="ann"), "no positive 64-bit number"),
        (UserRequest(id="-1", name="ann"), "no positive 64-bit number"),
        (UserRequest(id="٣", name="ann"), "no positive 64-bit number"),
        (UserRequest(id="9" * 19, name="ann"), "no positive 64-bit number"),
        (UserRequest(id="1" * 5000, name="ann"), "no positive 64-bit number"),
        (UserRequest(id="7"), "name must have 1 to 255"),
        (UserRequest(id="7", name="x" * 256), "name must have 1 to 255"),
        (UserRequest(id="7", name="ann", gender="x" * 33), "gender must have at most 32"),
    ],
)
async def test_a_user_that_is_none_is_a_rollback_and_its_undoing_works(
    user: UserStub, tmp_path: Path, request_: UserRequest, sentence: str
) -> None:
    with pytest.raises(GRPCError, match=sentence) as caught:
        await user.save_user(request_, metadata=metadata("action"))
    assert caught.value.status is Status.ABORTED
    await user.save_user_callback(request_, metadata=metadata("compensate"))
    assert rows(tmp_path, "user", "id") == []


async def test_a_score_is_given_and_taken_back(score: UserScoreStub, tmp_path: Path) -> None:
    ten = UserScoreRequest(user_id=7, score=10)
    assert (await score.save_user_score(ten, metadata=metadata("action"))).score == 10
    assert rows(tmp_path, "user_score", "user_id, score") == [(7, 10)]
    await score.save_user_score_callback(ten, metadata=metadata("compensate"))
    assert rows(tmp_path, "user_score", "user_id, score") == []


@pytest.mark.parametrize(
    ("request_", "sentence"),
    [
        (UserScoreRequest(user_id=7, score=101), "score 101 of user 7 is over the limit of 100"),
        (UserScoreRequest(user_id=7, score=-1), "no number from 0 to"),
        (UserScoreRequest(user_id=0, score=1), "userId 0 is no positive"),
        (UserScoreRequest(user_id=-7, score=1), "userId -7 is no positive"),
    ],
)
async def test_a_score_that_is_not_given_is_a_rollback(
    score: UserScoreStub, tmp_path: Path, request_: UserScoreRequest, sentence: str
) -> None:
    with pytest.raises(GRPCError, match=sentence) as caught:
        await score.save_user_score(request_, metadata=metadata("action"))
    assert caught.value.status is Status.ABORTED
    await score.save_user_score_callback(request_, metadata=metadata("compensate"))
    assert rows(tmp_path, "user_score", "user_id") == []


async def test_many_at_once_each_have_their_row(user: UserStub, tmp_path: Path) -> None:
    await asyncio.gather(
        *(
            user.save_user(
                UserRequest(id=str(number), name="n"), metadata=metadata("action", gid=f"g{number % 20}")
            )
            for number in [*range(1, 21)] * 2
        )
    )
    assert sorted(rows(tmp_path, "user", "id")) == [(number,) for number in range(1, 21)]


async def test_a_locked_database_is_internal_and_asked_again(user: UserStub, tmp_path: Path) -> None:
    ann = UserRequest(id="7", name="ann")
    await user.save_user_callback(ann, metadata=metadata("compensate", gid="g0"))  # the file is there now
    other = sqlite3.connect(tmp_path / "user.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(GRPCError, match=r"no answer within 5\.0 s|database is locked") as caught:
        await user.save_user(ann, metadata=metadata("action"))
    assert caught.value.status is Status.INTERNAL
    other.execute("ROLLBACK")
    other.close()
    await user.save_user(ann, metadata=metadata("action"))
    assert rows(tmp_path, "user", "id") == [(7,)]


async def test_a_folder_that_is_not_there_is_said(tmp_path: Path) -> None:
    database = open_database(SqliteSource(tmp_path / "none" / "user.db"), "user", SQL)
    with pytest.raises(DatabaseProblem, match=r"none/user\.db: there is no folder .*none"):
        await database.prepare()


async def test_missing_schema_files_are_said(tmp_path: Path) -> None:
    database = open_database(SqliteSource(tmp_path / "user.db"), "user", tmp_path)
    with pytest.raises(DatabaseProblem, match="set SqlFolder"):
        await database.prepare()


async def test_a_database_that_was_never_opened_can_be_closed(tmp_path: Path) -> None:
    database = open_database(SqliteSource(tmp_path / "user.db"), "user", SQL)
    await database.close()
    with pytest.raises(DatabaseProblem, match="no answer within"):
        await asyncio.gather(
            database.once(
                BranchContext("g1", "saga", "01", "action"), lambda work: asyncio.sleep(60), seconds=0.2
            )
        )
    await database.close()
