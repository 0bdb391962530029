"""The gRPC service of this coordinator's own says and does what HTTP's query, all, forceStop … say and do."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from grpclib.const import Status as GrpcStatus
from grpclib.exceptions import GRPCError

from coordinator.errors import Failure, Invalid
from coordinator.model import Branch, BranchStatus, Options, Status, Transaction
from coordinator.proto.dtmcoordinator import GidRequest, ListRequest, OperatorStub, QueryReply
from coordinator.proto.google.protobuf import Empty
from coordinator.store.base import Stored
from coordinator.store.listed import Filter
from tests.unit.api.fakes import Grpc, Http

AT = datetime(2024, 5, 1, 10, tzinfo=UTC)
FAILED = Transaction(
    "g1",
    "saga",
    Status.FAILED,
    options=Options(branch_headers={"x-team": "blue"}),
    rollback_reason="no money FAILURE",
    create_time=AT,
    update_time=AT,
    rollback_time=AT,
    next_cron_interval=10,
    next_cron_time=AT,
    id=3,
)
BRANCH = Branch("g1", "01", "action", "http://h/a", b"\xff", BranchStatus.FAILED, AT, AT, AT, None, 1)


def told(message: Any) -> dict[str, Any]:
    """The fields of a message that are not empty."""
    return {name: value for name in message.__annotations__ if (value := getattr(message, name))}


async def test_query_says_what_http_says(grpc: Grpc, http: Http) -> None:
    grpc.service.stored = http.service.stored = Stored(FAILED, (BRANCH,))
    reply = await OperatorStub(grpc.channel).query(GidRequest(gid="g1"))
    shown = json.loads((await http.call("GET", "/api/dtmsvr/query?gid=g1"))[2])
    assert reply.transaction is not None
    assert told(reply.transaction) == {name: it for name, it in shown["transaction"].items() if it}
    [row] = shown["branches"]
    assert [told(it) for it in reply.branches] == [{**row, "bin_data": b"\xff"}]
    assert grpc.service.asked == http.service.asked


async def test_a_gid_that_nobody_has_is_no_error(grpc: Grpc) -> None:
    assert await OperatorStub(grpc.channel).query(GidRequest(gid="nobody")) == QueryReply()


async def test_a_page_of_transactions(grpc: Grpc) -> None:
    grpc.service.transactions = [FAILED, FAILED]
    wanted = ListRequest(
        status="failed",
        trans_type="saga",
        create_time_start=1000,
        create_time_end=2000,
        limit=1,
        position="9",
    )
    reply = await OperatorStub(grpc.channel).list(wanted)
    assert [it.gid for it in reply.transactions] == ["g1"]
    assert reply.next_position == "3"
    [(name, asked)] = grpc.service.asked
    start, end = datetime.fromtimestamp(1, UTC), datetime.fromtimestamp(2, UTC)
    assert (name, asked) == ("all", Filter("", "failed", "saga", start, end, 1, 9))


async def test_bad_parameters_of_a_list_are_named(grpc: Grpc) -> None:
    with pytest.raises(GRPCError, match="position"):
        await OperatorStub(grpc.channel).list(ListRequest(position="x"))


@pytest.mark.parametrize(("method", "operation"), [("stop", "force_stop"), ("retry", "reset_next_cron_time")])
async def test_a_transaction_is_stopped_and_retried(grpc: Grpc, method: str, operation: str) -> None:
    call = getattr(OperatorStub(grpc.channel), method)
    assert await call(GidRequest(gid="g1")) == Empty()
    assert grpc.service.asked == [(operation, "g1")]
    for error, status in (
        (Failure("too late"), GrpcStatus.ABORTED),
        (Invalid("no gid"), GrpcStatus.INTERNAL),
    ):
        grpc.service.error = error
        with pytest.raises(GRPCError, match=error.message) as caught:
            await call(GidRequest(gid="g1"))
        assert caught.value.status is status


async def test_what_the_server_knows_beyond_the_protocol(grpc: Grpc) -> None:
    described = await OperatorStub(grpc.channel).describe(Empty())
    assert (described.version, described.features) == (
        "1.2.3",
        ["failure_statuses", "step_headers", "step_results", "workflow_sleep"],
    )
    assert grpc.metric('dtm_server_process_total{api="describe",status="ok",type="grpc"}') == 1
