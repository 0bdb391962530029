"""Every program in docs/client/ is run, against a real coordinator and with a service around it."""

import ast
import asyncio
import inspect
import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, AbstractContextManager, asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiomysql
import aiosqlite
import fastapi
import flask
import grpc
import httpx
import pymysql
import pytest
from aiohttp import web
from redis.asyncio import Redis

import coordinator.client
import coordinator.client.sync
import coordinator.testing
from coordinator.client import BranchContext, Status, create_barrier_table
from coordinator.testing import Kit
from tests.support.documents import ROOT, fenced_blocks
from tests.support.logs import logging_as_before
from tests.support.ports import free_port
from tests.support.servers import Database, RedisServer

FOLDER = ROOT / "docs" / "client"
TUTORIAL = FOLDER / "tutorial.md"  # whose programs are those of examples/shop
PAGES = sorted(set(FOLDER.rglob("*.md")) - {TUTORIAL})


@dataclass(frozen=True, slots=True)
class Program:
    """A fenced block of a page."""

    page: Path
    line: int
    text: str

    def __str__(self) -> str:
        return f"{self.page.stem}-{self.line}"


def programs_of(page: Path) -> list[Program]:
    blocks = fenced_blocks(page.read_text(encoding="utf-8"))
    return [Program(page, one.line, one.text) for one in blocks if one.language == "python"]


PROGRAMS = [program for page in PAGES for program in programs_of(page)]
OF_TESTS = [one for one in PROGRAMS if "pytest_plugins" in one.text]
OF_SERVICES = [one for one in PROGRAMS if one not in OF_TESTS]
STATEMENT = "INSERT INTO orders VALUES (7)"


class Shop:
    """A gRPC service without methods."""

    def __mapping__(self) -> dict[str, Any]:
        return {}


class Pool:
    """Lends connections as the pools of all drivers do."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def connection(self) -> AbstractContextManager[sqlite3.Connection]:
        return closing(sqlite3.connect(self._file))

    def acquire(self) -> AbstractAsyncContextManager[aiosqlite.Connection]:
        return aiosqlite.connect(self._file)


def of_blocking_code(text: str) -> bool:
    return "coordinator.client.sync" in text


def used(text: str) -> set[str]:
    """The names in a program."""
    return {node.id for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Name)}


@asynccontextmanager
async def redis_client(url: str) -> AsyncIterator[Redis]:
    client = Redis.from_url(url)
    await client.flushall()
    try:
        yield client
    finally:
        await client.aclose()


@pytest.fixture
async def kit() -> AsyncIterator[Kit]:
    async with Kit() as kit:
        yield kit


@pytest.fixture
async def own(kit: Kit, tmp_path: Path) -> AsyncIterator[dict[str, Any]]:
    """What the document takes for granted: the service that its reader has."""
    shop_file = tmp_path / "shop.db"
    await create_barrier_table(f"sqlite:///{shop_file}")
    kit.branches.answer("/bank/book", {"id": "b-7"})
    await kit.dtm.subscribe("order-paid", f"{kit.branches.http_url}/paid")
    async with aiosqlite.connect(shop_file) as connection:
        await connection.execute("CREATE TABLE orders (id int)")
        await connection.execute("CREATE TABLE account (balance int)")
        await connection.execute("INSERT INTO account VALUES (100)")
        await connection.commit()

        async def save_order(connection: aiosqlite.Connection) -> None:
            await connection.execute(STATEMENT)

        names = ("ann", "bob", "bank", "shop", "mail", "user", "score")
        yield {
            **{name: getattr(coordinator.client, name) for name in coordinator.client.__all__},
            **{name: f"{kit.branches.http_url}/{name}" for name in names},
            "Any": Any,
            "web": web,
            "aiomysql": aiomysql,
            "aiosqlite": aiosqlite,
            "fastapi": fastapi,
            "flask": flask,
            "json": json,
            "sqlite3": sqlite3,
            "grpc": grpc,
            "ThreadPoolExecutor": ThreadPoolExecutor,
            "Shop": Shop,
            "connection": connection,
            "pool": Pool(shop_file),
            "save_order": save_order,
            "dtm": kit.dtm,
            "msg": kit.dtm.msg(query_prepared=f"{kit.branches.http_url}/query-prepared"),
            "request": BranchContext("asked", "saga", "01", "action"),
            "application": web.Application(),
        }


@pytest.fixture
def log_database(mariadb_database: Database) -> Iterator[Database]:
    """What a workflow's own XA step writes to."""
    mariadb_database.execute("CREATE TABLE log (text varchar(20))")
    yield mariadb_database


def own_of_async_workflow(database: Database) -> dict[str, Any]:
    async def connect() -> aiomysql.Connection:
        return await aiomysql.connect(
            host=database.host, port=database.port, user=database.user, db=database.name
        )

    async def write_log(connection: aiomysql.Connection) -> None:
        await connection.query("INSERT INTO log VALUES ('registered')")

    async def choose_number(branch: BranchContext) -> int:
        return 7

    return {"connect": connect, "write_log": write_log, "choose_number": choose_number}


def own_of_blocking_workflow(database: Database) -> dict[str, Any]:
    def connect() -> Any:
        return pymysql.connect(
            host=database.host, port=database.port, user=database.user, database=database.name
        )

    def write_log(connection: Any) -> None:
        connection.query("INSERT INTO log VALUES ('registered')")

    def choose_number(branch: BranchContext) -> int:
        return 7

    return {
        "connect": connect,
        "write_log": write_log,
        "choose_number": choose_number,
        "application": flask.Flask("reader"),
    }


async def run(text: str, names: dict[str, Any]) -> None:
    """Run a program as if its lines stood in the reader's; blocking ones in a thread."""
    code = compile(text, "document", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
    if of_blocking_code(text):
        await asyncio.to_thread(eval, code, names)
        return
    running = eval(code, names)  # noqa: S307 - the document's own lines
    if inspect.isawaitable(running):
        await running


def a_message_that_was_never_sent_is_refused(server: Any) -> None:
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    asked = {"dtm-gid": "asked", "dtm-trans_type": "msg", "dtm-branch_id": "00", "dtm-op": "msg"}
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        with pytest.raises(grpc.RpcError, match="never committed") as caught:
            channel.unary_unary("/shop.Shop/QueryPrepared")(b"", metadata=tuple(asked.items()))
        assert caught.value.code() is grpc.StatusCode.ABORTED
    server.stop(0).wait()


async def fastapi_says_no_and_yes(application: fastapi.FastAPI) -> None:
    transport = httpx.ASGITransport(application)
    async with httpx.AsyncClient(transport=transport, base_url="http://asked") as client:
        for amount, status in ((300, 409), (30, 200), (30, 200)):
            branch = {"gid": "asked", "trans_type": "saga", "branch_id": "01", "op": "action"}
            answer = await client.post("/withdraw", params=branch, json={"amount": amount})
            assert answer.status_code == status


async def orders_are_placed_and_refused(application: fastapi.FastAPI, file: Path) -> None:
    transport = httpx.ASGITransport(application)
    async with (
        application.router.lifespan_context(application),
        httpx.AsyncClient(transport=transport, base_url="http://asked") as client,
    ):
        for amount, status, said in (
            (300, 409, {"detail": "the account is empty"}),
            (30, 200, {"shelf": "A-pear"}),
        ):
            answer = await client.post("/orders", json={"item": "pear", "amount": amount})
            assert (answer.status_code, answer.json()) == (status, said)
    async with aiosqlite.connect(file) as connection:
        assert list(await connection.execute_fetchall("SELECT * FROM orders")) == [(7,)]


@pytest.mark.parametrize("program", OF_SERVICES, ids=str)
async def test_a_program_of_the_documents_does_what_it_says(
    program: Program,
    kit: Kit,
    own: dict[str, Any],
    request: pytest.FixtureRequest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)  # where some leave files
    text = program.text.replace("http://localhost:36789", kit.http_url).replace(
        "localhost:2379", f"localhost:{free_port()}"
    )
    if "write_log" in used(text):
        database = request.getfixturevalue("log_database")
        await create_barrier_table(f"mysql://{database.user}@{database.host}:{database.port}/")
        if of_blocking_code(text):
            own |= own_of_blocking_workflow(database)
            with coordinator.client.sync.Dtm(kit.http_url) as own["dtm"]:
                await run(text, own)
        else:
            own |= own_of_async_workflow(database)
            await run(text, own)
        assert own["answer"] == {"id": 7}
        assert database.execute("SELECT text FROM log") == [("registered",)]
    elif "redis" in used(text):
        server: RedisServer = request.getfixturevalue("redis_server")
        async with redis_client(server.url) as own["redis"]:
            await own["redis"].set("stock", 5)
            await run(text, own)
            assert await own["redis"].get("stock") == b"4"
    elif "with_barrier" in used(text) and of_blocking_code(text):
        own["application"] = flask.Flask("reader")
        await run(text, own)
        called = "/withdraw?gid=asked&trans_type=saga&branch_id=01&op=action"
        answers = [own["application"].test_client().post(called).text for _ in range(2)]
        assert answers == ["done", "was done"]
    elif "BlockingBranchInterceptor" in used(text):
        own |= {"Workflows": coordinator.client.sync.Workflows}
        own["register"] = coordinator.client.sync.workflow("register")(lambda wf, data: None)
        with coordinator.client.sync.Dtm(kit.grpc_url) as own["dtm"]:
            await run(text, own)
            await asyncio.to_thread(a_message_that_was_never_sent_is_refused, own["server"])
    else:
        with logging_as_before():
            await run(text, own)
    if "lifespan" in own:
        await orders_are_placed_and_refused(own["application"], tmp_path / "shop.db")
    if "journey" in used(text):
        assert own["said"] == "ann sits at 12A"
    if "registration" in own:
        await own["registration"].stop()
    if "app" in own:
        await fastapi_says_no_and_yes(own["app"])
    await kit.advance(1)  # what is delayed
    for begun in (own[name] for name in ("saga", "tcc", "xa", "msg") if name in used(text)):
        stored = await kit.dtm.query(begun.gid)
        assert stored is not None and stored.status is Status.SUCCEED


@pytest.mark.parametrize("program", OF_TESTS, ids=str)
def test_a_test_of_the_documents_passes(program: Program, tmp_path: Path) -> None:
    plugins, _, test = program.text.partition("\n")
    (tmp_path / "conftest.py").write_text(f"{plugins}\n")
    (tmp_path / "test_accounts.py").write_text(f"from coordinator.testing import Kit, Says\n{test}\n")
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"),
            *(f"--rootdir={tmp_path}", "-o", "asyncio_mode=auto"),
        ],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert "1 passed" in done.stdout


@pytest.mark.parametrize(
    ("owner", "methods"),
    [
        (coordinator.client.Dtm, "saga tcc nested_tcc msg xa nested_xa xa_branch subscribe unsubscribe wait"),
        (coordinator.client.Workflow, "saga tcc xa do"),
        (coordinator.client.Workflows, "execute handler service grpc_handler"),
        (coordinator.client.Msg, "add add_topic do_and_submit submit prepare sender"),
        (coordinator.client.RedisBarrier, "adjust call"),
        (coordinator.client.RedisCommands, "execute check adjust"),
        (coordinator.client.sync.Dtm, "xa_branch tcc"),
        (coordinator.client.sync.Workflows, "answer wsgi execute grpc_handler"),
        (coordinator.client.sync.Workflow, "saga xa do"),
        (coordinator.testing.Kit, "advance branches dtm"),
    ],
)
def test_the_methods_that_the_pages_name_are_there(owner: type, methods: str) -> None:
    text = "".join(page.read_text(encoding="utf-8") for page in PAGES if page.stem != "reference")
    for method in methods.split():
        assert hasattr(owner, method) or method == "branches", method
        assert method in text


def functions(source: str) -> set[str]:
    """The functions in a program, those inside others too, whatever their layout and marks of tests."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            node.decorator_list = [one for one in node.decorator_list if "pytest" not in ast.unparse(one)]
            found.add(ast.unparse(node))
    return found


def test_the_programs_of_the_tutorial_are_those_of_the_shop() -> None:
    shop = set().union(
        *(functions(file.read_text(encoding="utf-8")) for file in (ROOT / "examples" / "shop").rglob("*.py"))
    )
    shown = programs_of(TUTORIAL)
    assert len(shown) >= 5
    for program in shown:
        assert functions(program.text), program
        assert functions(program.text) <= shop, f"tutorial.md:{program.line} differs from examples/shop"


def test_every_page_of_the_folder_is_reached_from_its_front_page() -> None:
    front = (FOLDER / "README.md").read_text(encoding="utf-8")
    for page in {*PAGES, TUTORIAL} - {FOLDER / "README.md"}:
        assert f"]({page.relative_to(FOLDER)}" in front, page
