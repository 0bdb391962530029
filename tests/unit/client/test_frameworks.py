"""Starlette and FastAPI: the context, and errors as answers (PROTOCOL §2, §10)."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiosqlite
import fastapi
import httpx
import pytest
from aiohttp.web import Response
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from coordinator.client import (
    BranchContext,
    BranchMiddleware,
    DtmError,
    Failure,
    InvalidUse,
    NoBranchContext,
    Ongoing,
    as_current,
    barrier,
    branch_of,
    create_barrier_table,
    current_branch,
    with_barrier,
)

QUERY = {"gid": "g1", "trans_type": "saga", "branch_id": "01", "op": "action"}


def take(what: str) -> dict[str, str]:
    match what:
        case "fail":
            raise Failure("no money, and the FAILURE is not ONGOING")
        case "wait":
            raise Ongoing("not yet")
        case "break":
            raise DtmError("the table is missing")
    return {"op": current_branch().op}


def starlette_app() -> Any:
    async def handler(request: Request) -> JSONResponse:
        answer = take(request.path_params["what"])
        assert branch_of(request) is current_branch()
        return JSONResponse(answer)

    application = Starlette(routes=[Route("/{what}", handler, methods=["POST"])])
    application.add_middleware(BranchMiddleware)
    return application


def fastapi_app() -> Any:
    application = fastapi.FastAPI()
    application.add_middleware(BranchMiddleware)

    @application.post("/{what}")
    async def handler(what: str, request: fastapi.Request) -> dict[str, str]:
        answer = take(what)
        assert branch_of(request) is current_branch()
        return answer

    return application


@pytest.fixture(params=[starlette_app, fastapi_app])
async def web(request: pytest.FixtureRequest) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app=request.param())
    async with httpx.AsyncClient(transport=transport, base_url="http://branch") as client:
        yield client


@pytest.mark.parametrize(
    ("what", "status", "body"),
    [
        ("take", 200, {"op": "action"}),
        ("fail", 409, {"dtm_result": "FAILURE", "message": "no money, and the failure is not ongoing"}),
        ("wait", 425, {"dtm_result": "ONGOING", "message": "not yet"}),
        ("break", 500, {"message": "the table is missing"}),
    ],
)
async def test_answers_over_asgi(
    web: httpx.AsyncClient, what: str, status: int, body: dict[str, str]
) -> None:
    response = await web.post(f"/{what}", params=QUERY)
    assert (response.status_code, response.json()) == (status, body)


async def test_a_call_without_context_is_told_so_over_asgi(web: httpx.AsyncClient) -> None:
    response = await web.post("/take")
    assert response.status_code == 400
    assert "lacks gid, trans_type, branch_id, op" in response.json()["message"]


def test_a_request_that_nobody_knows_is_explained() -> None:
    with pytest.raises(InvalidUse, match="carries no branch context that is known here"):
        branch_of(object())


async def test_a_decorated_handler_runs_once(tmp_path: Path) -> None:
    file = tmp_path / "bank.db"
    await create_barrier_table(f"sqlite:///{file}")

    @asynccontextmanager
    async def lend() -> AsyncIterator[aiosqlite.Connection]:
        async with aiosqlite.connect(file) as connection:
            yield connection

    async with lend() as connection:
        await connection.execute("CREATE TABLE account (balance int)")

    class Bank:
        @with_barrier(lend, repeated=lambda: "was done")
        async def deposit(self, amount: int, *, connection: aiosqlite.Connection) -> str:
            """Take the money."""
            await connection.execute("INSERT INTO account VALUES (?)", (amount,))
            return "done"

    answers = []
    for _ in range(2):
        with as_current(BranchContext(**QUERY)):
            answers.append(await Bank().deposit(30))
    assert answers == ["done", "was done"]
    assert Bank.deposit.__doc__ == "Take the money."
    async with lend() as connection:
        assert await connection.execute_fetchall("SELECT balance FROM account") == [(30,)]
    with pytest.raises(NoBranchContext):
        await Bank().deposit(30)
    with pytest.raises(InvalidUse, match="an AsyncSession or AsyncConnection"):
        from sqlalchemy import create_engine

        barrier(BranchContext(**QUERY), create_engine("sqlite://"))


async def test_a_decorated_handler_is_one_of_fastapi_which_does_not_see_the_connection(
    tmp_path: Path,
) -> None:
    file = tmp_path / "bank.db"
    await create_barrier_table(f"sqlite:///{file}")
    application = fastapi.FastAPI()
    application.add_middleware(BranchMiddleware)

    @application.post("/deposit")
    @with_barrier(lambda: aiosqlite.connect(file), repeated=dict)
    async def deposit(amount: int, *, connection: aiosqlite.Connection) -> dict[str, int]:
        await connection.execute("SELECT 1")
        return {"deposited": amount}

    transport = httpx.ASGITransport(app=application)
    async with httpx.AsyncClient(transport=transport, base_url="http://branch") as client:
        params = QUERY | {"amount": "30"}
        answers = [(await client.post("/deposit", params=params)).json() for _ in range(2)]
    assert answers == [{"deposited": 30}, {}]


async def test_a_code_set_on_fastapi_s_response_rolls_back(tmp_path: Path) -> None:
    file = tmp_path / "bank.db"
    await create_barrier_table(f"sqlite:///{file}")
    application = fastapi.FastAPI()
    application.add_middleware(BranchMiddleware)

    @application.post("/deposit")
    @with_barrier(lambda: aiosqlite.connect(file), repeated=dict)
    async def deposit(response: fastapi.Response, *, connection: aiosqlite.Connection) -> dict[str, str]:
        response.status_code = 409
        return {"because": "the account is closed"}

    transport = httpx.ASGITransport(app=application)
    async with httpx.AsyncClient(transport=transport, base_url="http://branch") as client:
        for _ in range(2):
            answer = await client.post("/deposit", params=QUERY)
            assert (answer.status_code, answer.json()) == (409, {"because": "the account is closed"})
    async with aiosqlite.connect(file) as connection:
        rows = await connection.execute_fetchall("SELECT * FROM barrier")
    assert list(rows) == []


async def test_a_call_without_an_adapter_counts_its_barriers_all_the_same() -> None:
    """§12: `01`, `02`, … within the request; a second `01` would be a repeated call that does nothing."""

    class Stream:  # as grpclib's, of which branch_of looks at the metadata
        metadata = {f"dtm-{name}": value for name, value in QUERY.items()}  # noqa: RUF012

    first, second = Stream(), Stream()
    assert branch_of(first) is branch_of(first)
    assert branch_of(second) is not branch_of(first)


@pytest.mark.parametrize(
    "refusal",
    [Response(status=409), Response(status=425), JSONResponse({}, status_code=500)],
)
async def test_a_decorated_handler_that_answers_no_success_leaves_nothing(
    tmp_path: Path, refusal: object
) -> None:
    """§12: what said no never ran, so its compensation is empty; kept, it would undo what was not done."""
    file = tmp_path / "bank.db"
    await create_barrier_table(f"sqlite:///{file}")

    @asynccontextmanager
    async def lend() -> AsyncIterator[aiosqlite.Connection]:
        async with aiosqlite.connect(file) as connection:
            yield connection

    async with lend() as connection:
        await connection.execute("CREATE TABLE account (balance int)")

    @with_barrier(lend, repeated=lambda: "nothing to do")
    async def change(answer: object, *, connection: aiosqlite.Connection) -> object:
        await connection.execute("INSERT INTO account VALUES (30)")
        return answer

    answers = []
    for op in ("action", "compensate"):
        with as_current(BranchContext(**{**QUERY, "op": op})):
            answers.append(await change(refusal if op == "action" else "undone"))
    assert answers == [refusal, "nothing to do"]
    async with lend() as connection:
        assert await connection.execute_fetchall("SELECT balance FROM account") == []
