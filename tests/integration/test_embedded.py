"""A coordinator inside of a program: its functions as branches, without a port, by the rules of a server."""

import asyncio
import contextlib
import json
import logging
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
import aiosqlite
import fastapi
import httpx
import pytest
from loguru import logger as loguru_logger
from yarl import URL

from coordinator.client import (
    Dtm,
    DtmError,
    Failure,
    InvalidUse,
    LocalCall,
    Ongoing,
    Status,
    Workflow,
    barrier,
    create_barrier_table,
    from_result,
    with_barrier,
    workflow,
)
from coordinator.embedded import Coordinator, Function, StartError
from coordinator.telemetry.log import log
from coordinator.testing import FakeBranches

WAIT_SECONDS = 30.0
SOON: dict[str, object] = {"TransCronInterval": 1}


class Recording:
    """Functions that note what they were called with. answer: by name, what they return or raise."""

    def __init__(self, *names: str) -> None:
        self.calls: list[tuple[str, str, Any]] = []
        self.answers: dict[str, list[Any]] = {}
        self._called = asyncio.Condition()
        self.functions: dict[str, Function] = {name: self._made(name) for name in names}

    def answer(self, name: str, *answers: Any) -> None:
        self.answers[name] = list(answers)

    def ops(self) -> list[tuple[str, str]]:
        return [(name, op) for name, op, _ in self.calls]

    async def until(self, times: int) -> None:
        async with asyncio.timeout(WAIT_SECONDS), self._called:
            await self._called.wait_for(lambda: len(self.calls) >= times)

    def _made(self, name: str) -> Function:
        async def function(call: LocalCall) -> Any:
            async with self._called:
                self.calls.append((name, call.op, call.json()))
                self._called.notify_all()
            answers = self.answers.get(name) or [None]
            answer = answers.pop(0) if len(answers) > 1 else answers[0]
            if isinstance(answer, BaseException):
                raise answer
            return await answer() if callable(answer) else answer

        return function


@pytest.fixture
def recording() -> Recording:
    return Recording("take", "put_back", "pay", "give_back")


@pytest.fixture(params=["memory", "file"])
async def coordinator(
    request: pytest.FixtureRequest, tmp_path: Path, recording: Recording
) -> AsyncIterator[Coordinator]:
    url = "sqlite:///:memory:" if request.param == "memory" else f"sqlite:///{tmp_path / 'orders.db'}"
    async with Coordinator.embedded(url, recording.functions, settings=SOON) as made:
        yield made


async def test_a_saga_of_functions_and_what_they_return(
    coordinator: Coordinator, recording: Recording
) -> None:
    recording.answer("take", {"shelf": 7})
    saga = coordinator.client.saga(wait_result=True)
    saga.add("local://take", "local://put_back", {"item": "pear"}, keep_result=True)
    saga.add("local://pay", "local://give_back", {"amount": 3, "shelf": from_result(0, "$.shelf")})
    done = await saga.submit()
    assert (done.status, done.result(0)) == (Status.SUCCEED, {"shelf": 7})
    assert recording.calls == [
        ("take", "action", {"item": "pear"}),
        ("pay", "action", {"amount": 3, "shelf": 7}),
    ]


async def test_failure_rolls_back_and_says_why(coordinator: Coordinator, recording: Recording) -> None:
    recording.answer("pay", Failure("ann cannot pay 3"))
    saga = coordinator.client.saga(wait_result=True)
    saga.add("local://take", "local://put_back", {"item": "pear"})
    saga.add("local://pay", "local://give_back", {"amount": 3})
    with pytest.raises(Failure) as raised:
        await saga.submit()
    error = raised.value
    assert (error.reason, error.url, error.branch_id, error.status) == (
        *("ann cannot pay 3", "local://pay", "02"),
        409,
    )
    assert (await coordinator.client.wait(saga.gid)).status is Status.FAILED
    assert recording.ops() == [
        ("take", "action"),
        ("pay", "action"),
        ("give_back", "compensate"),
        ("put_back", "compensate"),
    ]


@pytest.mark.parametrize(
    "first",
    [Ongoing("the bank has not answered"), DtmError("who knows"), ZeroDivisionError("of the program's own")],
    ids=["ongoing", "dtm_error", "any_other"],
)
async def test_what_is_no_result_is_asked_again(
    first: Exception, coordinator: Coordinator, recording: Recording
) -> None:
    recording.answer("pay", first, None)
    saga = coordinator.client.saga(retry_interval=1)
    await saga.add("local://pay").submit()
    assert (await coordinator.client.wait(saga.gid)).status is Status.SUCCEED
    assert recording.ops() == [("pay", "action")] * 2


async def test_one_that_is_late_is_cancelled_at_its_time_out_and_called_again(
    coordinator: Coordinator, recording: Recording
) -> None:
    recording.answer("pay", asyncio.Event().wait, None)
    saga = coordinator.client.saga(request_timeout=1, retry_interval=1)
    await saga.add("local://pay").submit()
    assert (await coordinator.client.wait(saga.gid)).status is Status.SUCCEED
    assert recording.ops() == [("pay", "action")] * 2


async def test_headers_come_with_the_call(coordinator: Coordinator) -> None:
    seen: list[dict[str, str]] = []

    async def pay(call: LocalCall) -> None:
        seen.append(dict(call.headers))

    async with Coordinator.embedded("sqlite:///:memory:", [pay]) as other:
        saga = other.client.saga(wait_result=True, branch_headers={"tenant": "a"})
        await saga.add("local://pay", headers={"trace": "1"}).submit()
    assert seen == [{"tenant": "a", "trace": "1"}]


async def test_a_name_that_is_not_there_is_refused_before_anything_is_stored(
    coordinator: Coordinator,
) -> None:
    saga = coordinator.client.saga().add("local://take").add("local://tkae")
    with pytest.raises(InvalidUse, match=r"steps\[1\]\.action 'local://tkae' names no function of this"):
        await saga.submit()
    assert await coordinator.client.query(saga.gid) is None
    with pytest.raises(InvalidUse, match="names no function of this program"):
        await coordinator.client.subscribe("orders", "local://tkae")


async def test_functions_and_services_in_one_transaction(
    coordinator: Coordinator, recording: Recording
) -> None:
    async with FakeBranches() as branches:
        saga = coordinator.client.saga(wait_result=True)
        saga.add("local://take").add(f"{branches.http_url}/pay", payload={"amount": 3})
        await saga.submit()
        assert branches.ops("/pay") == ["action"]


async def test_a_message_whose_sender_is_asked_in_the_same_process(
    coordinator: Coordinator, recording: Recording
) -> None:
    await coordinator.client.subscribe("orders", "local://take")
    msg = coordinator.client.msg(query_prepared="local://pay", timeout_to_fail=1)
    msg.add("topic://orders", {"number": 1})
    await msg.prepare()
    assert (await coordinator.client.wait(msg.gid)).status is Status.SUCCEED
    assert recording.calls == [("pay", "msg", None), ("take", "action", {"number": 1})]
    await coordinator.client.unsubscribe("orders", "local://take")
    await coordinator.client.delete_topic("orders")


async def test_tcc_tries_and_confirms_or_cancels_functions(
    coordinator: Coordinator, recording: Recording
) -> None:
    recording.answer("take", {"shelf": 7}, Failure("no pear left"))
    async with coordinator.client.tcc(wait_result=True) as tcc:
        answer = await tcc.call_branch({"n": 1}, "local://take", "local://pay", "local://put_back")
        assert answer.json() == {"shelf": 7}
    with pytest.raises(Failure, match="no pear left"):
        async with coordinator.client.tcc(wait_result=True) as tcc:
            await tcc.call_branch({"n": 2}, "local://take", "local://pay", "local://put_back")
    await coordinator.client.wait(tcc.gid)
    assert recording.ops() == [
        ("take", "try"),
        ("pay", "confirm"),
        ("take", "try"),
        ("put_back", "cancel"),
    ]
    with pytest.raises(InvalidUse, match="names no function of this program"):
        async with coordinator.client.tcc() as tcc:
            await tcc.call_branch({}, "local://tkae", "local://pay", "local://put_back")


async def test_what_is_asked_of_the_coordinator_is_answered_as_over_a_port(
    coordinator: Coordinator, recording: Recording
) -> None:
    client = coordinator.client
    first = client.saga().add("local://take", payload={"a": 1})
    assert (await first.submit()).status is Status.SUBMITTED
    view = await client.wait(first.gid)
    assert [(it.op, it.url, it.payload) for it in view.branches] == [
        ("compensate", "", b'{"a":1}'),
        ("action", "local://take", b'{"a":1}'),
    ]
    assert [it.gid for it in (await client.list(status=Status.SUCCEED, limit=10)).transactions] == [first.gid]
    assert await client.query("unknown") is None
    assert await client.new_gid() != await client.new_gid()
    with pytest.raises(DtmError, match="no TransGlobal with gid: unknown found"):
        await client.retry("unknown")
    with pytest.raises(Failure, match="global transaction force stop error"):
        await client.stop(first.gid)
    with pytest.raises(Failure, match="is of trans type 'saga', not 'msg', cannot sumbmit"):
        await client.msg(first.gid).add("local://take").submit()


async def test_workflows_are_called_back_without_a_port(tmp_path: Path, recording: Recording) -> None:
    @workflow("order")
    async def order(wf: Workflow, data: dict[str, str]) -> dict[str, Any]:
        taken = await wf.saga("local://take", "local://put_back", data)
        await wf.sleep(1)
        await wf.tcc(data, "local://pay", "local://pay", "local://give_back")
        return {"shelf": taken.json()["shelf"]}

    recording.answer("take", {"shelf": 7})
    url = f"sqlite:///{tmp_path / 'orders.db'}"
    options: dict[str, Any] = {"workflows": [order], "settings": SOON}
    async with Coordinator.embedded(url, recording.functions, **options) as coordinator:
        with pytest.raises(Ongoing, match="sleeps until"):
            await coordinator.workflows.execute(order, {"item": "pear"}, gid="g1")
    async with Coordinator.embedded(url, recording.functions, **options) as coordinator:
        await coordinator.client.wait("g1", timeout=WAIT_SECONDS)
        assert await coordinator.workflows.execute(order, {"item": "pear"}, gid="g1") == {"shelf": 7}
    assert recording.ops() == [("take", "action"), ("pay", "action"), ("pay", "commit")]


async def test_a_workflow_that_takes_longer_than_one_call_is_not_cut_off(recording: Recording) -> None:
    may_end = asyncio.Event()

    @workflow("slow")
    async def slow(wf: Workflow, data: None) -> str:
        await wf.sleep(0.5)
        await wf.do(wait_for_it)
        return "done"

    async def wait_for_it(_: object) -> None:
        recording.calls.append(("do", "action", None))
        await may_end.wait()

    settings = {"TransCronInterval": 1, "RequestTimeout": 1}
    async with Coordinator.embedded("sqlite:///:memory:", workflows=[slow], settings=settings) as coordinator:
        with pytest.raises(Ongoing):
            await coordinator.workflows.execute(slow, None, gid="g1")
        stored = None
        while stored is None or "workflow 'slow' runs on in this process" not in stored:
            await asyncio.sleep(0.05)
            stored = await _attempts(coordinator, "g1")
        may_end.set()
        assert (await coordinator.client.wait("g1", timeout=WAIT_SECONDS)).status is Status.SUCCEED
    assert len(recording.calls) == 1


async def _attempts(coordinator: Coordinator, gid: str) -> str:
    running = coordinator._running
    assert running is not None
    explained = await running.server.operations.operate.show(gid)
    return str(explained)


async def test_the_barrier_keeps_a_function_from_doing_it_twice(tmp_path: Path) -> None:
    file = tmp_path / "shop.db"
    await create_barrier_table(f"sqlite:///{file}")
    async with aiosqlite.connect(file) as connection:
        await connection.executescript("CREATE TABLE taken (n INTEGER)")
    broken = [True, True]

    async def take(call: LocalCall) -> None:
        async with aiosqlite.connect(file) as connection:
            await barrier(call, connection).call(lambda it: it.execute("INSERT INTO taken VALUES (1)"))
        if broken.pop():
            raise RuntimeError("after the commit")

    @with_barrier(lambda: aiosqlite.connect(file), repeated=lambda: None)
    async def pay(call: LocalCall, *, connection: aiosqlite.Connection) -> None:
        await connection.execute("INSERT INTO taken VALUES (:amount)", call.json())

    broken[:] = [False, True]
    async with Coordinator.embedded("sqlite:///:memory:", [take, pay], settings=SOON) as coordinator:
        saga = coordinator.client.saga(retry_interval=1)
        await saga.add("local://take").add("local://pay", payload={"amount": 20}).submit()
        await coordinator.client.wait(saga.gid)
    async with aiosqlite.connect(file) as connection:
        assert list(await connection.execute_fetchall("SELECT n FROM taken")) == [(1,), (20,)]


async def test_a_stop_waits_for_the_function_that_runs_and_the_next_start_goes_on(
    tmp_path: Path, recording: Recording
) -> None:
    url = f"sqlite:///{tmp_path / 'orders.db'}"
    stopping = asyncio.Event()
    recording.answer("take", stopping.wait)
    recording.answer("pay", asyncio.Event().wait, None)  # longer than a stop waits
    async with Coordinator.embedded(url, recording.functions) as coordinator:
        client = coordinator.client
        long = client.saga(request_timeout=60)
        await long.add("local://pay").submit()
        short = client.saga(request_timeout=60)
        await short.add("local://take").submit()
        await recording.until(2)
        asyncio.get_running_loop().call_later(0.2, stopping.set)
    with pytest.raises(InvalidUse, match="is not open"):
        await client.query(short.gid)
    assert recording.ops() == [("pay", "action"), ("take", "action")]
    async with Coordinator.embedded(url, recording.functions, settings=SOON) as coordinator:
        found = await coordinator.client.query(short.gid)
        assert found is not None
        assert found.status is Status.SUCCEED
        assert (await coordinator.client.wait(long.gid)).status is Status.SUCCEED
    assert recording.ops()[2:] == [("pay", "action")]


async def test_a_function_that_another_version_has_waits_for_it_and_is_never_a_failure(
    tmp_path: Path, recording: Recording
) -> None:
    url = f"sqlite:///{tmp_path / 'orders.db'}"
    newer = {**recording.functions}
    older = {"take": newer["take"]}
    recording.answer("pay", Ongoing("later"), None)
    async with Coordinator.embedded(url, newer) as coordinator:
        saga = coordinator.client.saga(retry_interval=1)
        await saga.add("local://take").add("local://pay", "local://give_back").submit()
        await recording.until(2)
    async with Coordinator.embedded(url, older, http="127.0.0.1:0", settings=SOON) as coordinator:
        told = ""
        async with aiohttp.ClientSession() as session:
            while "names no function of this program, which has take" not in told:
                await asyncio.sleep(0.05)
                detail = f"{coordinator.http_url}/api/dtmsvr/query?gid={saga.gid}&detail=1"
                async with session.get(detail) as answer:
                    told = await answer.text()
        assert "is done when a program that has it takes it up" in told
        assert json.loads(told)["transaction"]["status"] == "submitted"
    async with Coordinator.embedded(url, newer, settings=SOON) as coordinator:
        await coordinator.client.retry(saga.gid)
        assert (await coordinator.client.wait(saga.gid)).status is Status.SUCCEED
    assert recording.ops() == [("take", "action"), ("pay", "action"), ("pay", "action")]


async def test_several_in_one_process_keep_out_of_each_others_way(
    tmp_path: Path, recording: Recording
) -> None:
    others = Recording("take")
    urls = ["sqlite:///:memory:", f"sqlite:///{tmp_path / 'b.db'}"]
    async with (
        Coordinator.embedded(urls[0], recording.functions) as first,
        Coordinator.embedded(urls[1], others.functions, http="127.0.0.1:0") as second,
    ):
        for coordinator in (first, second):
            await coordinator.client.saga("same", wait_result=True).add("local://take").submit()
        assert (first.http_url, second.http_url[:17]) == ("", "http://127.0.0.1:")
    assert recording.ops() == others.ops() == [("take", "action")]


async def test_one_file_has_one_coordinator(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'orders.db'}"
    async with Coordinator.embedded(url) as coordinator:
        with pytest.raises(StartError, match=r"orders\.db"):
            async with Coordinator.embedded(url):
                pass
        with pytest.raises(InvalidUse, match="runs already"):
            await coordinator.__aenter__()
        assert await coordinator.client.query("g") is None


async def test_the_program_keeps_its_signals_its_logging_and_its_traces(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    caplog.set_level(logging.INFO, "coordinator.embedded")
    signals = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    handlers, level = list(logging.root.handlers), logging.root.level
    told: list[str] = []

    async def pay(call: LocalCall) -> None:
        log.info("said by the program")
        raise Failure("no")

    said = loguru_logger.add(told.append, format="{message}")
    sinks = dict(loguru_logger._core.handlers)  # type: ignore[attr-defined]
    async with Coordinator.embedded("sqlite:///:memory:", [pay]) as coordinator:
        with pytest.raises(Failure):
            await coordinator.client.saga("g1", wait_result=True).add("local://pay").submit()
        await coordinator.client.wait("g1")
        assert {number: signal.getsignal(number) for number in signals} == signals
        assert (list(logging.root.handlers), logging.root.level) == (handlers, level)
        assert loguru_logger._core.handlers == sinks  # type: ignore[attr-defined]
    lines = [it.getMessage() for it in caplog.records if it.name == "coordinator.embedded"]
    assert "rolling back: url:local://pay return failed: no FAILURE gid=g1" in lines
    assert not any("spans go to" in line for line in lines)
    loguru_logger.remove(said)
    assert set(told) == {"said by the program\n"}


def listening() -> set[int]:
    """The sockets of this process that somebody can connect to, by inode."""
    own = set()
    for descriptor in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            own.add(str(descriptor.readlink()))
    rows = [
        line.split()
        for name in ("tcp", "tcp6")
        for line in Path(f"/proc/self/net/{name}").read_text().splitlines()
    ]
    return {int(row[9]) for row in rows if row[3] == "0A" and f"socket:[{row[9]}]" in own}


async def test_nothing_listens_unless_it_is_asked_for_and_then_the_pages_are_there(
    recording: Recording,
) -> None:
    before = listening()
    async with Coordinator.embedded("sqlite:///:memory:", recording.functions) as coordinator:
        await coordinator.client.saga(wait_result=True).add("local://take").submit()
        assert (coordinator.http_url, listening() - before) == ("", set())
    url = "sqlite:///:memory:"
    async with Coordinator.embedded(url, recording.functions, http="127.0.0.1:0") as coordinator:
        await coordinator.client.saga("shown", wait_result=True).add("local://take").submit()
        assert len(listening() - before) == 1
        async with aiohttp.ClientSession(coordinator.http_url) as session:
            async with session.get("/transactions/shown") as page:
                assert page.status == 200
                assert "<title>shown succeeded" in await page.text()
            async with session.get("/api/version") as nothing:
                assert nothing.status == 404
        async with Dtm(coordinator.http_url) as dtm:  # another program of this machine
            await dtm.saga(wait_result=True).add("local://pay").submit()
            with pytest.raises(DtmError, match=r"steps\[0\]\.action 'local://tkae' names no function of"):
                await dtm.saga().add("local://tkae").submit()
    assert recording.ops()[-1] == ("pay", "action")


def shop_application(url: str, take: Function) -> fastapi.FastAPI:
    coordinator = Coordinator.embedded(url, {"take": take})

    @asynccontextmanager
    async def lifespan(_: fastapi.FastAPI) -> AsyncIterator[None]:
        async with coordinator:
            yield

    application = fastapi.FastAPI(lifespan=lifespan)

    @application.post("/orders/{item}")
    async def order(item: str) -> dict[str, Any]:
        saga = coordinator.client.saga(wait_result=True)
        done = await saga.add("local://take", payload={"item": item}, keep_result=True).submit()
        return dict(done.result(0))

    return application


async def test_in_the_lifespan_of_fastapi(tmp_path: Path) -> None:
    async def take(call: LocalCall) -> dict[str, str]:
        return {"taken": call.json()["item"]}

    application = shop_application(f"sqlite:///{tmp_path / 'orders.db'}", take)
    for item in ("pear", "melon"):  # a second start over the same file
        transport = httpx.ASGITransport(app=application)
        async with (
            application.router.lifespan_context(application),
            httpx.AsyncClient(transport=transport, base_url="http://shop") as client,
        ):
            assert (await client.post(f"/orders/{item}")).json() == {"taken": item}


async def test_what_is_asked_goes_on_when_nobody_waits_any_more(recording: Recording) -> None:
    may_end = asyncio.Event()
    recording.answer("take", may_end.wait)
    async with Coordinator.embedded("sqlite:///:memory:", recording.functions, timeout=1) as coordinator:
        saga = coordinator.client.saga("g1", wait_result=True, request_timeout=30).add("local://take")
        waiting = asyncio.create_task(saga.submit())
        await recording.until(1)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        may_end.set()
        assert (await coordinator.client.wait("g1")).status is Status.SUCCEED


async def test_a_function_is_an_endpoint_that_is_held_and_released(recording: Recording) -> None:
    async with Coordinator.embedded(
        "sqlite:///:memory:", recording.functions, http="127.0.0.1:0", settings=SOON
    ) as coordinator:
        hold = {"endpoint": "local://pay", "seconds": 60, "reason": "the bank is away"}
        async with aiohttp.ClientSession(coordinator.http_url) as session:
            async with session.post("/api/operate/holds", json=hold) as answer:
                assert answer.status == 200, await answer.text()
            saga = coordinator.client.saga(retry_interval=1).add("local://take").add("local://pay")
            await saga.submit()
            await recording.until(1)
            for path in ("/endpoints", f"/endpoints/{quote('local://pay', safe='')}"):
                async with session.get(URL(coordinator.http_url + path, encoded=True)) as page:
                    assert "local://pay" in await page.text()
            released = {"endpoint": "local://pay", "reason": "the bank is back"}
            async with session.post("/api/operate/holds/release", json=released) as answer:
                assert answer.status == 200, await answer.text()
        assert (await coordinator.client.wait(saga.gid)).status is Status.SUCCEED
    assert recording.ops() == [("take", "action"), ("pay", "action")]
