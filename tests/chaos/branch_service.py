"""A branch service that remembers everything: `python -m tests.chaos.branch_service FILE HTTP GRPC`.

One process, two ports, the tables user and user_score in one SQLite file. Every call passes the barrier, and
every effect leaves a row in `effect` in the same local transaction. No table has a unique key on the
business id: an effect that happens twice is seen as two rows.

Over HTTP and gRPC alike: a score over 100 is refused. A gender says how the service behaves: `hang` never
answers, anything else answers after a few milliseconds.
"""

import asyncio
import random
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiosqlite
import orjson
from aiohttp import web
from aiohttp.typedefs import Handler

from branches.proto.user import UserBase, UserRequest, UserResponse
from branches.proto.userscore import UserScoreBase, UserScoreRequest, UserScoreResponse
from coordinator.client import BranchServer, Failure, barrier, branch_middleware, current_branch
from tests.support.ports import HOST

SCORE_MAX = 100
LONGEST_PAUSE_SECONDS = 0.03
BARRIER = Path(__file__).resolve().parents[2] / "sql" / "barrier.sqlite.sql"
SCHEMA = """
CREATE TABLE IF NOT EXISTS user (id integer NOT NULL, name text NOT NULL);
CREATE TABLE IF NOT EXISTS user_score (user_id integer NOT NULL, score integer NOT NULL);
CREATE TABLE IF NOT EXISTS effect (gid text NOT NULL, branch_id text NOT NULL, op text NOT NULL);
"""


class Business:
    """What both protocols do."""

    def __init__(self, connection: aiosqlite.Connection) -> None:
        self._connection = connection
        self._one_writer = asyncio.Lock()
        self.calls = 0
        self.hung = 0  # calls that began to hang

    async def save_user(self, user_id: int, gender: str) -> None:
        """Insert the user, or hang."""
        await self._behave(gender)
        await self._once("INSERT INTO user (id, name) VALUES (?, 'a name')", user_id)

    async def delete_user(self, user_id: int) -> None:
        """Undo save_user."""
        await self._behave("")
        await self._once("DELETE FROM user WHERE id = ?", user_id)

    async def save_score(self, user_id: int, score: int) -> None:
        """Insert the score. Raises Failure for one over the limit."""
        await self._behave("")
        if score > SCORE_MAX:
            raise Failure(f"score {score} is over {SCORE_MAX}")
        await self._once("INSERT INTO user_score (user_id, score) VALUES (?, 1)", user_id)

    async def delete_score(self, user_id: int) -> None:
        """Undo save_score."""
        await self._behave("")
        await self._once("DELETE FROM user_score WHERE user_id = ?", user_id)

    async def confirm_user(self, user_id: int) -> None:
        """Leave the effect of a confirm."""
        await self._behave("")
        await self._once("UPDATE user SET name = 'confirmed' WHERE id = ?", user_id)

    async def confirm_score(self, user_id: int) -> None:
        """Leave the effect of a confirm."""
        await self._behave("")
        await self._once("UPDATE user_score SET score = 2 WHERE user_id = ?", user_id)

    async def _behave(self, gender: str) -> None:
        self.calls += 1
        if gender == "hang":
            self.hung += 1
            await asyncio.Event().wait()
        await _pause()

    async def _once(self, statement: str, user_id: int) -> None:
        branch = current_branch()
        async with self._one_writer, barrier(branch, self._connection) as transaction:
            if transaction.runs:
                await self._connection.execute(statement, (user_id,))
                await self._connection.execute(
                    "INSERT INTO effect (gid, branch_id, op) VALUES (?, ?, ?)",
                    (branch.gid, branch.branch_id, branch.op),
                )
        await _pause()  # the effect stands and the coordinator does not know it yet: a good moment to die


async def _pause() -> None:
    await asyncio.sleep(random.uniform(0, LONGEST_PAUSE_SECONDS))


class UserService(UserBase):
    """user.User."""

    def __init__(self, business: Business) -> None:
        self._business = business

    async def save_user(self, message: UserRequest) -> UserResponse:
        """See Business."""
        await self._business.save_user(int(message.id), message.gender)
        return UserResponse(id=message.id)

    async def save_user_callback(self, message: UserRequest) -> UserResponse:
        """See Business."""
        await self._business.delete_user(int(message.id))
        return UserResponse(id=message.id)


class ScoreService(UserScoreBase):
    """userscore.UserScore."""

    def __init__(self, business: Business) -> None:
        self._business = business

    async def save_user_score(self, message: UserScoreRequest) -> UserScoreResponse:
        """See Business."""
        await self._business.save_score(message.user_id, message.score)
        return UserScoreResponse(user_id=message.user_id)

    async def save_user_score_callback(self, message: UserScoreRequest) -> UserScoreResponse:
        """See Business."""
        await self._business.delete_score(message.user_id)
        return UserScoreResponse(user_id=message.user_id)


def http_application(business: Business) -> web.Application:
    """Build the HTTP side: a path for each operation, and /state for the tests."""

    def branch(operate: Callable[[dict[str, Any]], Awaitable[None]]) -> Handler:
        async def handle(request: web.Request) -> web.StreamResponse:
            await operate(orjson.loads(await request.read()))
            return web.json_response({"dtm_result": "SUCCESS"})

        return handle

    async def state(_request: web.Request) -> web.Response:
        return web.json_response({"calls": business.calls, "hung": business.hung})

    async def query_prepared(request: web.Request) -> web.Response:
        """The sender of a message knows whether it committed: its gid says so."""
        await _pause()
        return web.Response(status=200 if request.query["gid"].endswith("-committed") else 409)

    application = web.Application(middlewares=[branch_middleware])
    routes: dict[str, Callable[[dict[str, Any]], Awaitable[None]]] = {
        "/saveUser": lambda body: business.save_user(body["id"], body.get("gender", "")),
        "/deleteUser": lambda body: business.delete_user(body["id"]),
        "/saveScore": lambda body: business.save_score(body["id"], body["score"]),
        "/deleteScore": lambda body: business.delete_score(body["id"]),
        "/confirmUser": lambda body: business.confirm_user(body["id"]),
        "/confirmScore": lambda body: business.confirm_score(body["id"]),
    }
    for path, operate in routes.items():
        application.router.add_post(path, branch(operate))
    application.router.add_get("/state", state)
    application.router.add_get("/queryPrepared", query_prepared)
    return application


async def serve(file: str, http_port: int, grpc_port: int) -> None:
    """Serve until SIGTERM."""
    connection = await aiosqlite.connect(file, isolation_level=None)
    await connection.execute("PRAGMA journal_mode = WAL")
    await connection.execute("PRAGMA synchronous = OFF")  # this process is not what the tests kill
    await connection.executescript(SCHEMA + BARRIER.read_text(encoding="utf-8"))
    business = Business(connection)
    grpc = BranchServer([UserService(business), ScoreService(business)])
    runner = web.AppRunner(http_application(business), access_log=None, shutdown_timeout=0.5)
    told = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, told.set)
    await grpc.start(HOST, grpc_port)
    await runner.setup()
    await web.TCPSite(runner, HOST, http_port).start()
    await told.wait()
    await grpc.stop(grace=0.5)
    await runner.cleanup()
    await connection.close()


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
