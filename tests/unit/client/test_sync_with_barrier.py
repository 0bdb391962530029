"""Handlers of Flask, Django and grpcio that run once, in one transaction with the barrier (PROTOCOL §12)."""

import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, asynccontextmanager, closing
from http import HTTPStatus
from pathlib import Path
from typing import Any

import aiosqlite
import django.conf
import flask
import grpc
import pytest
from django.http import HttpRequest, HttpResponse
from django.test import RequestFactory
from django.views import View

from coordinator.client import BranchContext, DtmError, Failure, NoBranchContext
from coordinator.client import with_barrier as async_with_barrier
from coordinator.client.barriers.table import barrier_schema
from coordinator.client.grpcio import BlockingBranchInterceptor, BranchInterceptor
from coordinator.client.sync import error_answer, with_barrier

QUERY = {"gid": "g1", "trans_type": "saga", "branch_id": "01", "op": "action"}

if not django.conf.settings.configured:
    django.conf.settings.configure(ALLOWED_HOSTS=["*"])


class Bank:
    """A file with accounts. lend: opens a connection for one call."""

    def __init__(self, file: Path) -> None:
        self._file = file
        with self.lend() as connection:
            connection.executescript(f"{barrier_schema('sqlite')} CREATE TABLE account (balance int)")

    def lend(self) -> AbstractContextManager[sqlite3.Connection]:
        return closing(sqlite3.connect(self._file))

    def rows(self) -> list[Any]:
        with self.lend() as connection:
            return connection.execute("SELECT balance FROM account").fetchall()


@pytest.fixture
def bank(tmp_path: Path) -> Bank:
    return Bank(tmp_path / "bank.db")


def deposit(connection: sqlite3.Connection, amount: int = 30) -> None:
    connection.execute("INSERT INTO account VALUES (?)", (amount,))


# ---- Flask


@pytest.fixture
def application(bank: Bank) -> Iterator[flask.Flask]:
    application = flask.Flask("bank")
    application.register_error_handler(DtmError, error_answer)

    @application.post("/deposit/<int:amount>")
    @with_barrier(bank.lend, request=flask.request, repeated=lambda: "was done")
    def take(amount: int, *, connection: sqlite3.Connection) -> Any:
        """Take the money."""
        deposit(connection, amount)
        answer = flask.request.get_data(as_text=True)
        return {"refused": ("no", 409), "failure": None}.get(answer, "done")

    assert take.__doc__ == "Take the money."
    yield application


def test_a_view_of_flask_runs_once(application: flask.Flask, bank: Bank) -> None:
    client = application.test_client()
    answers = [client.post("/deposit/30", query_string=QUERY) for _ in range(2)]
    assert [(one.status_code, one.text) for one in answers] == [(200, "done"), (200, "was done")]
    assert bank.rows() == [(30,)]
    missing = client.post("/deposit/30", query_string={"gid": "g1"})
    assert (missing.status_code, bank.rows()) == (400, [(30,)])
    assert "lacks trans_type, branch_id, op" in missing.json["message"]


def conflict() -> Any:
    return flask.Response("no", status=409)


def aborted() -> Any:
    flask.abort(409)


def failed() -> Any:
    raise Failure("no money")


@pytest.mark.parametrize(
    ("says", "status"),
    [
        (conflict, 409),
        (aborted, 409),
        (failed, 409),
        (lambda: ("no", 409), 409),
        (lambda: ("later", HTTPStatus.TOO_EARLY), 425),
        (lambda: ("no", "409 CONFLICT"), 409),
        (lambda: ({"why": "no"}, 409, {"X-Why": "no"}), 409),
        (lambda: (flask.Response("no", status=409), {"X-Why": "no"}), 409),
        (lambda: ("made", 201), 201),
    ],
)
def test_an_answer_of_flask_other_than_200_leaves_nothing(
    bank: Bank, says: Callable[[], Any], status: int
) -> None:
    application = flask.Flask("bank")
    application.register_error_handler(DtmError, error_answer)

    @application.post("/")
    @with_barrier(bank.lend, request=flask.request, repeated=lambda: "nothing to do")
    def take(*, connection: sqlite3.Connection) -> Any:
        deposit(connection)
        return says()

    client = application.test_client()
    assert client.post("/", query_string=QUERY).status_code == status
    undone = client.post("/", query_string={**QUERY, "op": "compensate"})
    assert (undone.status_code, undone.text) == (200, "nothing to do"), "what said no never ran"
    assert bank.rows() == []


@pytest.mark.parametrize(
    "answer",
    [
        "done",
        {"id": 7},
        ("done", 200),
        ("done", "200 OK"),
        ("done", {"X-Made": "7"}),
        ("done", [("X-Made", "7")]),
        ("done", HTTPStatus.OK, {}),
    ],
)
def test_every_200_of_flask_is_a_success(bank: Bank, answer: Any) -> None:
    application = flask.Flask("bank")

    @application.post("/")
    @with_barrier(bank.lend, request=flask.request, repeated=lambda: "nothing to do")
    def take(*, connection: sqlite3.Connection) -> Any:
        deposit(connection)
        return answer

    assert application.test_client().post("/", query_string=QUERY).status_code == 200
    assert bank.rows() == [(30,)]


# ---- Django


def django_call(view: Callable[..., HttpResponse], op: str = "action", body: str = "") -> HttpResponse:
    query = "&".join(f"{name}={value}" for name, value in {**QUERY, "op": op}.items())
    return view(RequestFactory().post(f"/deposit?{query}", body, content_type="text/plain"))


def function_view(bank: Bank) -> Callable[..., HttpResponse]:
    @with_barrier(bank.lend, repeated=lambda: HttpResponse("was done"))
    def view(request: HttpRequest, *, connection: sqlite3.Connection) -> HttpResponse:
        deposit(connection)
        return HttpResponse("done", status=int(request.body or 200))

    return view


def class_view(bank: Bank) -> Callable[..., HttpResponse]:
    class Deposits(View):
        @with_barrier(bank.lend, repeated=lambda: HttpResponse("was done"))
        def post(self, request: HttpRequest, *, connection: sqlite3.Connection) -> HttpResponse:
            deposit(connection)
            return HttpResponse("done", status=int(request.body or 200))

    view: Callable[..., HttpResponse] = Deposits.as_view()
    return view


@pytest.mark.parametrize("make", [function_view, class_view])
def test_a_view_of_django_runs_once_and_its_refusal_leaves_nothing(
    bank: Bank, make: Callable[[Bank], Callable[..., HttpResponse]]
) -> None:
    view = make(bank)
    assert django_call(view, body="409").status_code == 409
    assert bank.rows() == []
    assert [django_call(view).content for _ in range(2)] == [b"done", b"was done"]
    assert bank.rows() == [(30,)]


# ---- grpcio, and what is no request


def test_a_method_of_grpcio_runs_once_and_its_refusal_leaves_nothing(bank: Bank) -> None:
    class Service:
        @with_barrier(bank.lend, repeated=lambda: b"was done")
        def deposit(self, request: bytes, context: Any, *, connection: sqlite3.Connection) -> bytes:
            deposit(connection)
            if request == b"code":
                context.set_code(grpc.StatusCode.ABORTED)
            if request == b"fail":
                raise Failure("no money")
            return b"done"

    with ThreadPoolExecutor(2) as threads:
        server = grpc.server(threads, interceptors=[BlockingBranchInterceptor()])
        method = grpc.unary_unary_rpc_method_handler(Service().deposit)
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("bank.Bank", {"In": method}),))
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            call = channel.unary_unary("/bank.Bank/In")
            metadata = tuple((f"dtm-{name}", value) for name, value in QUERY.items())
            for refusal in (b"code", b"fail"):
                with pytest.raises(grpc.RpcError) as caught:
                    call(refusal, metadata=metadata)
                assert caught.value.code() is grpc.StatusCode.ABORTED
                assert bank.rows() == []
            assert [call(b"", metadata=metadata) for _ in range(2)] == [b"done", b"was done"]
        server.stop(0).wait()
    assert bank.rows() == [(30,)]


def test_a_local_step_of_a_workflow_has_its_context_as_argument(bank: Bank) -> None:
    @with_barrier(bank.lend, repeated=lambda: "was done")
    def step(branch: BranchContext, *, connection: sqlite3.Connection) -> Any:
        deposit(connection)
        return "done", 409  # a pair, and no answer of Flask

    assert step(BranchContext(**QUERY)) == ("done", 409)
    assert step(BranchContext(**QUERY)) == "was done"
    assert bank.rows() == [(30,)]


def test_a_handler_without_any_request_is_told_how_to_hand_it_in(bank: Bank) -> None:
    @with_barrier(bank.lend, repeated=lambda: "was done")
    def take(amount: int, *, connection: sqlite3.Connection) -> str:
        return "done"

    with pytest.raises(NoBranchContext, match=r"request=flask\.request"):
        take(30)


async def test_a_code_on_the_context_of_the_async_server_rolls_back_too(tmp_path: Path, bank: Bank) -> None:
    @asynccontextmanager
    async def lend() -> AsyncIterator[aiosqlite.Connection]:
        async with aiosqlite.connect(tmp_path / "bank.db") as connection:
            yield connection

    @async_with_barrier(lend, repeated=lambda: b"was done")
    async def method(request: bytes, context: Any, *, connection: aiosqlite.Connection) -> bytes:
        await connection.execute("INSERT INTO account VALUES (30)")
        if request == b"code":
            context.set_code(grpc.StatusCode.ABORTED)
        return b"done"

    server = grpc.aio.server(interceptors=[BranchInterceptor()])
    server.add_generic_rpc_handlers(
        (
            grpc.method_handlers_generic_handler(
                "bank.Bank", {"In": grpc.unary_unary_rpc_method_handler(method)}
            ),
        )
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        call = channel.unary_unary("/bank.Bank/In")
        metadata = tuple((f"dtm-{name}", value) for name, value in QUERY.items())
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call(b"code", metadata=metadata)
        assert (caught.value.code(), bank.rows()) == (grpc.StatusCode.ABORTED, [])
        assert [await call(b"", metadata=metadata) for _ in range(2)] == [b"done", b"was done"]
    await server.stop(0)
    assert bank.rows() == [(30,)]
