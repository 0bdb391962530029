"""What a service does with the client, run by the tests in environments that hold nothing else of ours.

`python program.py HTTP_URL GRPC_URL` prints one line of JSON; imports what the environment has.
"""

import asyncio
import importlib
import importlib.util
import json
import sqlite3
import sys
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Any

from aiohttp import web

from coordinator.client import (
    BranchContext,
    BranchServer,
    Dtm,
    Failure,
    barrier,
    branch_method,
    branch_middleware,
    create_barrier_table,
    current_branch,
)
from coordinator.client.sync import barrier as blocking_barrier

HOST = "127.0.0.1"
MOST = 100  # that an account may be given at once


class Bank:
    """One account in SQLite, served over HTTP and gRPC."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def book(self, what: str, amount: int) -> None:
        if what == "deposit" and amount > MOST:
            raise Failure("account is full")
        with (
            closing(sqlite3.connect(self.file)) as connection,
            blocking_barrier(current_branch(), connection) as transaction,
        ):
            if transaction.runs:
                sign = -1 if what in ("withdraw", "deposit-back") else 1
                connection.execute("UPDATE account SET balance = balance + ?", (sign * amount,))

    def balance(self) -> int:
        with closing(sqlite3.connect(self.file)) as connection:
            (found,) = connection.execute("SELECT balance FROM account").fetchone()
        return int(found)

    async def over_http(self, request: web.Request) -> web.Response:
        self.book(request.match_info["what"], (await request.json())["amount"])
        return web.json_response({})

    def over_grpc(self, what: str) -> Any:
        async def answer(_branch: BranchContext, body: bytes) -> bytes:
            self.book(what, json.loads(body)["amount"])
            return b""

        return branch_method(f"/bank.Bank/{what}", answer)


STEPS = ("withdraw", "withdraw-back", "deposit", "deposit-back")


async def transfer(dtm: Dtm, bank: str, amount: int) -> str:
    out, out_back, into, into_back = (f"{bank}/{step}" for step in STEPS)
    saga = dtm.saga(wait_result=True)
    saga.add(out, out_back, {"amount": amount}).add(into, into_back, {"amount": amount})
    try:
        return str((await saga.submit()).status)
    except Failure as failure:
        return f"rolled back: {'account is full' in str(failure)}"


async def over_both(bank: Bank, http_url: str, grpc_url: str) -> dict[str, Any]:
    application = web.Application(middlewares=[branch_middleware])
    application.router.add_post("/{what}", bank.over_http)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, HOST, 0).start()
    server = BranchServer([bank.over_grpc(step) for step in STEPS])
    await server.start(HOST, 0)
    found: dict[str, Any] = {}
    homes = {
        "http": (http_url, f"http://{HOST}:{runner.addresses[0][1]}"),
        "grpc": (grpc_url, f"{HOST}:{server.port}/bank.Bank"),
    }
    for name, (coordinator, branches) in homes.items():
        async with Dtm(coordinator) as dtm:
            found[name] = [await transfer(dtm, branches, amount) for amount in (30, 300)]
    await server.stop(grace=5)
    await runner.cleanup()
    return found


async def with_sqlalchemy(file: Path) -> str:
    """Go through the barrier on sessions of both kinds, twice for each call; return SQLAlchemy's version."""
    sqlalchemy, orm = importlib.import_module("sqlalchemy"), importlib.import_module("sqlalchemy.orm")
    add_one = sqlalchemy.text("UPDATE account SET balance = balance + 1")
    engine = sqlalchemy.create_engine(f"sqlite:///{file}")
    for _ in range(2):
        call = BranchContext("blocking", "saga", "01", "action")
        with orm.Session(engine) as session, blocking_barrier(call, session) as transaction:
            if transaction.runs:
                session.execute(add_one)
    engine.dispose()
    asynchronous = importlib.import_module("sqlalchemy.ext.asyncio")
    engine = asynchronous.create_async_engine(f"sqlite+aiosqlite:///{file}")
    for _ in range(2):
        call = BranchContext("async", "saga", "01", "action")
        async with asynchronous.AsyncSession(engine) as session, barrier(call, session) as transaction:
            if transaction.runs:
                await session.execute(add_one)
    await engine.dispose()
    return str(sqlalchemy.__version__)


def trace_here() -> Any:
    """Set tracing up as a program does; return what collects the spans."""
    api = importlib.import_module("opentelemetry.trace")
    sdk = importlib.import_module("opentelemetry.sdk.trace")
    export = importlib.import_module("opentelemetry.sdk.trace.export")
    memory = importlib.import_module("opentelemetry.sdk.trace.export.in_memory_span_exporter")
    provider, spans = sdk.TracerProvider(), memory.InMemorySpanExporter()
    provider.add_span_processor(export.SimpleSpanProcessor(spans))
    api.set_tracer_provider(provider)
    return spans


async def main(http_url: str, grpc_url: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "bank.db"
        with closing(sqlite3.connect(file)) as connection:
            connection.execute("CREATE TABLE account (balance INTEGER)")
            connection.execute("INSERT INTO account VALUES (1000)")
            connection.commit()
        await create_barrier_table(f"sqlite:///{file}")
        bank = Bank(file)
        spans = trace_here() if importlib.util.find_spec("opentelemetry") else None
        found = await over_both(bank, http_url, grpc_url)
        if spans is not None:
            found["spans"] = sorted({span.name for span in spans.get_finished_spans()})
        if importlib.util.find_spec("sqlalchemy"):
            found["sqlalchemy"] = await with_sqlalchemy(file)
        found["balance"] = bank.balance()
    print(json.dumps(found))


asyncio.run(main(*sys.argv[1:]))
