"""Programs with a coordinator inside over one database: killed with kill -9, each effect is there once."""

import asyncio
import json
import os
import random
import sqlite3
import sys
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from coordinator.client import Dtm, DtmError
from tests.conftest import StartCoordinator
from tests.support.looking import until
from tests.support.ports import HOST, answers, free_port
from tests.support.processes import Process, ProcessFailed
from tests.support.servers import Database, PostgresDatabase
from tests.support.under_test import ROOT

LEASE_SECONDS = 20  # longer than a lease, and the look after it

SERVICE = """
import asyncio, json, os, signal, sys
from pathlib import Path
import aiosqlite
from aiohttp import web
from coordinator.client import Failure, LocalCall, barrier, from_result
from coordinator.embedded import Coordinator

url, port, name, folder = sys.argv[1:5]
known = sys.argv[5].split(",")
file = Path(folder) / "business.db"


def die(call, where):
    # Once for each place that the order names, whichever process comes there.
    place = f"{call.json().get('step')}:{call.op}:{where}"
    if place in call.json()["die"]:
        try:
            (Path(folder) / place).touch(exist_ok=False)
        except FileExistsError:
            return
        os.kill(os.getpid(), signal.SIGKILL)


async def effect(call, told=""):
    die(call, "before")
    if call.json()["step"] == "ship" and call.op == "action" and call.json()["fails"]:
        raise Failure("nobody ships that")
    async with aiosqlite.connect(file, timeout=20) as connection:
        row = (call.gid, call.json()["step"], call.op, told)
        await barrier(call, connection).call(
            lambda it: it.execute("INSERT INTO effect VALUES (?, ?, ?, ?)", row)
        )
    die(call, "after")
    return {"number": f"{call.json()['step']}-{call.gid}"}  # the same whenever it is asked


async def take(call: LocalCall):
    return await effect(call)


async def pay(call: LocalCall):
    return await effect(call, call.json()["taken"])


async def ship(call: LocalCall):
    return await effect(call)


async def undo(call: LocalCall):
    return await effect(call)


async def running(app):
    functions = {one: globals()[one] for one in known}
    settings = {"TransCronInterval": 1, "InstanceName": name}
    async with Coordinator.embedded(url, functions, settings=settings) as coordinator:
        app["dtm"] = coordinator.client
        yield


async def order(request):
    wanted = await request.json()
    saga = request.app["dtm"].saga(wanted["gid"], retry_interval=1)
    given = lambda step: {"step": step, "die": wanted["die"], "fails": wanted["fails"]}
    saga.add("local://take", "local://undo", given("take"), keep_result=True)
    saga.add("local://pay", "local://undo", {**given("pay"), "taken": from_result(0, "$.number")})
    saga.add("local://ship", "local://undo", given("ship"))
    await saga.submit()
    return web.Response()


async def status(request):
    view = await request.app["dtm"].query(request.match_info["gid"])
    return web.json_response({"status": view and view.status})


app = web.Application()
app.cleanup_ctx.append(running)
app.router.add_post("/orders", order)
app.router.add_get("/orders/{gid}", status)
app.router.add_get("/up", lambda _: asyncio.sleep(0, web.Response()))
web.run_app(app, host="127.0.0.1", port=int(port), print=None)
"""

SCHEMA = """
CREATE TABLE effect (gid TEXT, step TEXT, op TEXT, told TEXT);
"""


class Program(Process):
    """The program, by a name that it keeps."""

    def __init__(self, url: str, folder: Path, name: str, functions: str = "take,pay,ship,undo") -> None:
        self.port = free_port()
        super().__init__(
            [sys.executable, "-c", SERVICE, url, str(self.port), name, str(folder), functions],
            name=name,
            environment={**os.environ, "PYTHONPATH": str(ROOT)},
            folder=folder,
            ready=lambda: answers(f"http://{HOST}:{self.port}/up"),
        )

    def order(
        self, gid: str, *, die: tuple[str, ...] = (), fails: bool = False, may_die: bool = False
    ) -> None:
        body = json.dumps({"gid": gid, "die": die, "fails": fails}).encode()
        url = f"http://{HOST}:{self.port}/orders"
        try:
            with urllib.request.urlopen(urllib.request.Request(url, body, method="POST"), timeout=20):
                pass
        except OSError:  # it died before it could answer; what it has stored counts
            assert die or may_die

    def status(self, gid: str) -> Any:
        with urllib.request.urlopen(f"http://{HOST}:{self.port}/orders/{gid}", timeout=20) as answer:
            return json.loads(answer.read())["status"]

    def has_ended(self, gid: str, end: str) -> bool:
        return bool(self.status(gid) == end)


Start = Callable[..., Program]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Return a function that starts a program over a store; the business is of all of them."""
    with sqlite3.connect(tmp_path / "business.db") as connection:
        connection.executescript(SCHEMA)
    table = (ROOT / "sql" / "barrier.sqlite.sql").read_text(encoding="utf-8")
    with sqlite3.connect(tmp_path / "business.db") as connection:
        connection.executescript(table)
    connection.close()
    with ExitStack() as stack:

        def begin(url: str, name: str, **more: Any) -> Program:
            program = Program(url, tmp_path, name, **more)
            stack.callback(program.close)
            stack.callback(lambda: print(f"---- {name} printed ----\n{program.output()}"))
            return program.start()

        yield begin


def effects(folder: Path, gid: str) -> list[tuple[str, str, str]]:
    connection = sqlite3.connect(folder / "business.db", timeout=20)
    rows = connection.execute("SELECT step, op, told FROM effect WHERE gid = ? ORDER BY rowid", (gid,))
    found = [(step, op, told) for step, op, told in rows]
    connection.close()
    return found


def has_effects(folder: Path, count: int) -> bool:
    connection = sqlite3.connect(folder / "business.db", timeout=20)
    (found,) = connection.execute("SELECT count(*) FROM effect").fetchone()
    connection.close()
    return bool(found >= count)


def url_of(database: Database) -> str:
    scheme = "postgresql" if isinstance(database, PostgresDatabase) else "mysql"
    login = f"{database.user}:{database.password}" if database.password else database.user
    return f"{scheme}://{login}@{database.host}:{database.port}/{database.name}"


def all_done(gid: str) -> list[tuple[str, str, str]]:
    return [("take", "action", ""), ("pay", "action", f"take-{gid}"), ("ship", "action", "")]


def all_undone(gid: str) -> list[tuple[str, str, str]]:
    return [*all_done(gid)[:2], ("pay", "compensate", ""), ("take", "compensate", "")]


def start_again(program: Program) -> None:
    """What it goes on with may kill it before it was seen to be ready."""
    try:
        program.start()
    except ProcessFailed:
        if program.is_running:
            raise


def test_killed_within_and_between_steps_the_next_start_goes_on(start: Start, tmp_path: Path) -> None:
    program = start(f"sqlite:///{tmp_path / 'orders.db'}", "shop")
    places = ("take:action:before", "take:action:after", "pay:action:before", "pay:action:after")
    program.order("done", die=places)
    for _ in places:
        until(lambda: not program.is_running, LEASE_SECONDS)
        program.kill()
        start_again(program)
    until(lambda: program.status("done") == "succeed", LEASE_SECONDS)
    assert effects(tmp_path, "done") == all_done("done")
    undoing = ("ship:action:before", "pay:compensate:before", "take:compensate:after")
    program.order("undone", die=undoing, fails=True)
    for _ in undoing:
        until(lambda: not program.is_running, LEASE_SECONDS)
        program.kill()
        start_again(program)
    until(lambda: program.status("undone") == "failed", LEASE_SECONDS)
    assert effects(tmp_path, "undone") == all_undone("undone")


def test_killed_at_any_moment_each_effect_is_there_once(start: Start, tmp_path: Path, seed: int) -> None:
    program, chance = start(f"sqlite:///{tmp_path / 'orders.db'}", "shop"), random.Random(seed)
    wanted = {f"order-{number}": number % 3 == 0 for number in range(30)}  # every third is refused at its end
    with ThreadPoolExecutor(8) as pool:
        for count in sorted(chance.sample(range(1, 80), 4)):  # of 100 effects
            asked = [pool.submit(program.order, gid, fails=it, may_die=True) for gid, it in wanted.items()]
            until(partial(has_effects, tmp_path, count), LEASE_SECONDS)
            program.kill()
            wait(asked)
            program.start()
        for gid, fails in wanted.items():  # those whose first answer was lost; the others are there
            program.order(gid, fails=fails, may_die=True)
    for gid, fails in wanted.items():
        end = "failed" if fails else "succeed"
        until(partial(program.has_ended, gid, end), LEASE_SECONDS)
        assert effects(tmp_path, gid) == (all_undone(gid) if fails else all_done(gid))


@pytest.mark.timeout(120)
def test_what_a_killed_replica_had_begun_another_one_ends(
    start: Start, tmp_path: Path, database: Database
) -> None:
    first, second = (start(url_of(database), name) for name in ("shop-1", "shop-2"))
    first.order("done", die=("take:action:after", "pay:action:before"))
    until(lambda: not first.is_running, LEASE_SECONDS)  # within a step
    until(lambda: not second.is_running, LEASE_SECONDS)  # between two, of the one that had taken it up
    second.kill()
    second.start()
    until(lambda: second.status("done") == "succeed", LEASE_SECONDS)
    assert effects(tmp_path, "done") == all_done("done")
    second.order("undone", die=("pay:compensate:after",), fails=True)
    until(lambda: not second.is_running, LEASE_SECONDS)
    first.kill()
    first.start()
    until(lambda: first.status("undone") == "failed", LEASE_SECONDS)
    assert effects(tmp_path, "undone") == all_undone("undone")


def test_one_that_has_stopped_leaves_its_work_to_the_other_at_once(
    start: Start, tmp_path: Path, database: Database
) -> None:
    first, second = (start(url_of(database), name) for name in ("shop-1", "shop-2"))
    gids = [f"order-{number}" for number in range(20)]
    for gid in gids:
        first.order(gid)
    assert first.stop() == 0
    for gid in gids:
        until(partial(second.has_ended, gid, "succeed"), LEASE_SECONDS)
        assert effects(tmp_path, gid) == all_done(gid)


def test_a_server_on_the_same_database_leaves_it_to_a_program_that_has_the_function(
    start: Start, start_coordinator: StartCoordinator, tmp_path: Path, database: Database
) -> None:
    program = start(url_of(database), "shop")
    program.order("left", die=("pay:action:before",))
    until(lambda: not program.is_running, LEASE_SECONDS)
    server = start_coordinator(store=database, settings={"TransCronInterval": 1})
    why = "'local://pay' names a function of a program that has its coordinator inside, which alone can call"
    until(lambda: why in json.dumps(server.get("query?gid=left&detail=1")), LEASE_SECONDS)
    assert server.query("left")["transaction"]["status"] == "submitted"
    program.kill()
    program.start()
    server.post("resetNextCronTime", {"gid": "left"})
    server.stop()
    until(lambda: program.status("left") == "succeed", 60)
    assert effects(tmp_path, "left") == all_done("left")


async def test_a_server_refuses_functions_in_every_protocol_and_says_where_to_submit(
    start_coordinator: StartCoordinator,
) -> None:
    server = await asyncio.to_thread(start_coordinator)
    why = (
        "names a function of a program that has its coordinator inside, which alone can call it: submit there"
    )
    saga = {"gid": "g", "trans_type": "saga", "steps": [{"action": "local://pay"}], "payloads": [""]}
    status, answer = await asyncio.to_thread(server.post, "submit", saga)
    assert status == 500
    assert answer["message"].startswith(f"steps[0].action 'local://pay' {why}")
    call = {"jsonrpc": "2.0", "id": 1, "method": "submit", "params": saga}
    request = urllib.request.Request(f"{server.http_url}/api/json-rpc", json.dumps(call).encode())
    with await asyncio.to_thread(urllib.request.urlopen, request, timeout=20) as response:
        assert f"steps[0].action 'local://pay' {why}" in response.read().decode()
    for url in (server.http_url, f"grpc://{server.grpc_address}"):
        async with Dtm(url) as dtm:
            for transaction in (
                dtm.saga().add("local://pay"),
                dtm.saga().add("", "local://pay"),
                dtm.msg().add("local://pay"),
                dtm.msg(query_prepared="local://pay"),
            ):
                with pytest.raises(DtmError, match=r"'local://pay' " + why):
                    await transaction.submit()
                assert await dtm.query(transaction.gid) is None
            with pytest.raises(DtmError, match="names a function of a program"):
                await dtm.subscribe("orders", "local://pay")
            tcc = dtm.tcc()
            with pytest.raises(DtmError, match=why):
                async with tcc:
                    await tcc.call_branch({}, "local://try", "local://pay", "local://cancel")
