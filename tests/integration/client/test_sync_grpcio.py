"""A blocking service on grpcio's server: branches, and workflows called back (PROTOCOL §2, §7, §10)."""

import sqlite3
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import grpc
import pytest

from coordinator.client import Failure, Ongoing, Status, current_branch
from coordinator.client.barriers.table import barrier_schema
from coordinator.client.grpcio import BlockingBranchInterceptor
from coordinator.client.sync import Dtm, Workflow, Workflows, barrier, workflow
from coordinator.testing import Kit, Says
from tests.integration.client.conftest import OwnLoop

OUT, IN = "/bank.Bank/Out", "/bank.Bank/In"


class Service:
    """grpcio's blocking server, which serves the bank and the workflows that were started last."""

    def __init__(self, dtm: Dtm, file: Path) -> None:
        self.dtm = dtm
        self._file = file
        self._threads = ThreadPoolExecutor(8, thread_name_prefix="server")
        self._server = grpc.server(self._threads, interceptors=[BlockingBranchInterceptor()])
        self._handler: Any = None
        self._server.add_generic_rpc_handlers(
            (
                grpc.method_handlers_generic_handler(
                    "bank.Bank", {"Deposit": grpc.unary_unary_rpc_method_handler(self.deposit)}
                ),
                _Latest(self),
            )
        )
        self.address = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        self.loses_answers = 0
        self._server.start()

    def deposit(self, request: bytes, context: Any) -> bytes:
        is_undone = current_branch().op == "compensate"
        with (
            closing(sqlite3.connect(self._file, timeout=30)) as connection,
            barrier(context, connection) as transaction,
        ):
            if transaction.runs:
                connection.execute("UPDATE account SET balance = balance + ?", (-30 if is_undone else 30,))
            if request == b"no" and not is_undone:
                raise Failure("the account is closed")
        if self.loses_answers:
            self.loses_answers -= 1
            raise LookupError("an error after the commit")
        return b""

    def balance(self) -> int:
        with closing(sqlite3.connect(self._file)) as connection:
            return int(connection.execute("SELECT balance FROM account").fetchone()[0])

    def start(self, *functions: Any) -> Workflows:
        """Serve these; the process that served others before is gone."""
        workflows = Workflows(self.dtm, functions, callback=f"{self.address}/workflow.Workflow/Execute")
        self._handler = workflows.grpc_handler()
        return workflows

    def stop(self) -> None:
        self._server.stop(0).wait()
        self._threads.shutdown()


class _Latest(grpc.GenericRpcHandler):  # type: ignore[misc]
    def __init__(self, service: Service) -> None:
        self._service = service

    def service(self, details: Any) -> Any:
        return self._service._handler.service(details) if self._service._handler else None


@pytest.fixture
def grpc_dtm(kit: Kit) -> Iterator[Dtm]:
    with Dtm(kit.grpc_url) as opened:
        yield opened


@pytest.fixture
def service(grpc_dtm: Dtm, tmp_path: Path) -> Iterator[Service]:
    file = tmp_path / "bank.db"
    with closing(sqlite3.connect(file)) as connection:
        connection.executescript(
            f"{barrier_schema('sqlite')} CREATE TABLE account (balance int); INSERT INTO account VALUES (0)"
        )
    service = Service(grpc_dtm, file)
    yield service
    service.stop()


def status(kit: Kit, loop: OwnLoop, gid: str = "g1") -> Status:
    loop.run(kit.settle())
    found = loop.run(kit.dtm.query(gid))
    assert found is not None
    return found.status


def test_a_call_that_is_repeated_has_one_effect(service: Service, kit: Kit, loop: OwnLoop) -> None:  # §12
    service.loses_answers = 1
    service.dtm.saga("g1").add(f"{service.address}/bank.Bank/Deposit", "", b"yes").submit()
    assert status(kit, loop) is Status.SUBMITTED, "any other error is asked again (§2)"
    loop.run(kit.advance(25))
    assert status(kit, loop) is Status.SUCCEED
    assert service.balance() == 30


def test_a_refusal_rolls_back_and_what_was_done_is_undone(service: Service, kit: Kit, loop: OwnLoop) -> None:
    url = f"{service.address}/bank.Bank/Deposit"
    saga = service.dtm.saga("g1", wait_result=True).add(url, url, b"yes").add(url, url, b"no")
    with pytest.raises(Failure, match="the account is closed"):
        saga.submit()
    assert status(kit, loop) is Status.FAILED
    assert service.balance() == 0


def transfer(bank: str, notes: list[str], *, dies: bool = False) -> Any:
    @workflow("transfer")
    def function(wf: Workflow, data: Any) -> Any:
        wf.do(lambda branch: notes.append(threading.current_thread().name))
        out = wf.saga(bank + OUT, "", data)
        if dies:
            raise LookupError("the process dies here")
        wf.saga(bank + IN, "", data)
        return {"out": out.json(), "for": data["amount"]}

    return function


def test_an_ongoing_step_is_gone_on_with_by_the_coordinator_s_callback(
    service: Service, kit: Kit, loop: OwnLoop
) -> None:
    kit.branches.answer(IN, Says.ONGOING, Says.SUCCESS)
    notes: list[str] = []
    function = transfer(kit.branches.grpc_url, notes)
    workflows = service.start(function)
    with pytest.raises(Ongoing):
        workflows.execute(function, {"amount": 30}, gid="g1")
    loop.run(kit.advance(12))
    assert status(kit, loop) is Status.SUCCEED
    assert [call.path for call in kit.branches.calls] == [OUT, IN, IN]
    assert notes == [threading.current_thread().name], "what is recorded is not done again"


def test_a_crash_in_the_middle_is_gone_on_with_by_the_next_process(
    service: Service, kit: Kit, loop: OwnLoop
) -> None:
    notes: list[str] = []
    dying = transfer(kit.branches.grpc_url, notes, dies=True)
    with pytest.raises(LookupError):
        service.start(dying).execute(dying, {"amount": 30}, gid="g1")
    assert status(kit, loop) is Status.PREPARED
    function = transfer(kit.branches.grpc_url, notes)
    workflows = service.start(function)
    loop.run(kit.advance(12))
    assert status(kit, loop) is Status.SUCCEED
    assert [call.path for call in kit.branches.calls] == [OUT, IN]
    assert workflows.execute(function, {"amount": 30}, gid="g1")["for"] == 30


def test_a_workflow_that_is_refused_in_a_callback_has_ended_well_for_the_coordinator(
    service: Service, kit: Kit, loop: OwnLoop
) -> None:
    kit.branches.answer(IN, Says.ONGOING, Says.FAILURE)
    function = transfer(kit.branches.grpc_url, [])
    with pytest.raises(Ongoing):
        service.start(function).execute(function, {"amount": 30}, gid="g1")
    loop.run(kit.advance(12))
    assert status(kit, loop) is Status.FAILED


@pytest.mark.parametrize(
    ("metadata", "code", "text"),
    [
        ({"dtm-op": "other"}, "INTERNAL", "workflow 'other' is not known here, only transfer"),
        ({"dtm-gid": ""}, "INVALID_ARGUMENT", "lacks dtm-gid"),
    ],
)
def test_what_cannot_be_gone_on_with_is_answered_by_its_code(
    service: Service, kit: Kit, metadata: dict[str, str], code: str, text: str
) -> None:
    service.start(transfer(kit.branches.grpc_url, []))
    sent = {"dtm-gid": "g1", "dtm-trans_type": "workflow", "dtm-branch_id": "00", "dtm-op": "transfer"}
    with grpc.insecure_channel(service.address) as channel:
        call = channel.unary_unary("/workflow.Workflow/Execute")
        with pytest.raises(grpc.RpcError, match=text) as caught:
            call(b"", metadata=tuple({**sent, **metadata}.items()))
    assert caught.value.code().name == code
