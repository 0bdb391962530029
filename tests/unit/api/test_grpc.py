"""The gRPC API against a fake service: answers, and bad input method by method (PROTOCOL §2, §4)."""

import asyncio
import contextlib
from struct import pack

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpclib.client import Channel
from grpclib.config import Configuration
from grpclib.const import Cardinality, Status
from grpclib.exceptions import GRPCError
from grpclib.health.v1.health_grpc import HealthStub
from grpclib.health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpclib.metadata import encode_grpc_message
from grpclib.reflection.v1 import reflection_grpc as v1_grpc
from grpclib.reflection.v1 import reflection_pb2 as v1_pb2
from grpclib.reflection.v1alpha import reflection_grpc as v1alpha_grpc
from grpclib.reflection.v1alpha import reflection_pb2 as v1alpha_pb2
from loguru import logger

from coordinator.api import grpc_call, grpc_connection, grpc_health
from coordinator.api.grpc_server import GrpcServer
from coordinator.errors import (
    BranchConflict,
    Busy,
    DtmError,
    Failure,
    Invalid,
    InvalidBranch,
    InvalidTopic,
    NoResult,
    NotFound,
    Ongoing,
    Stopping,
    StoreUnavailable,
    WrongState,
)
from coordinator.model import Branch, BranchRequest, BranchStatus, Transaction
from coordinator.model import Status as ModelStatus
from coordinator.proto.dtmcoordinator import GidRequest, OperatorStub
from coordinator.proto.dtmgimp import (
    DtmBranchRequest,
    DtmProgress,
    DtmProgressesReply,
    DtmRequest,
    DtmStub,
    DtmTopicRequest,
    DtmTransaction,
    DtmTransOptions,
)
from coordinator.proto.grpc_message import MESSAGE_BYTES_MAX
from coordinator.store.base import Stored
from tests.unit.api.fakes import BODY_BYTES_MAX, HOST, FullTransport, Grpc, grpc_api
from tests.unit.api.raw_grpc import Raw, Reply, call, call_framed

SUBMIT = "/dtmgimp.Dtm/Submit"
SERVING = HealthCheckResponse.SERVING
NOT_SERVING = HealthCheckResponse.NOT_SERVING


# ---- plain use ----


async def test_new_gid(grpc: Grpc) -> None:
    assert (await DtmStub(grpc.channel).new_gid()).gid == "gid-1"


@pytest.mark.parametrize("name", ["submit", "prepare", "abort"])
async def test_a_transaction_reaches_the_service(grpc: Grpc, name: str) -> None:
    stub = DtmStub(grpc.channel)
    options = DtmTransOptions(wait_result=True)
    await getattr(stub, name)(DtmRequest(gid="g1", trans_type="saga", trans_options=options))
    [(asked, request)] = grpc.service.asked
    assert (asked, request.gid, request.protocol, request.options.wait_result) == (name, "g1", "grpc", True)


async def test_many_calls_on_one_connection_are_answered_each(grpc: Grpc) -> None:
    stub = DtmStub(grpc.channel)
    await asyncio.gather(*[stub.submit(DtmRequest(gid=f"g{number}")) for number in range(300)])
    assert sorted(request.gid for _, request in grpc.service.asked) == sorted(f"g{n}" for n in range(300))


async def test_three_hundred_calls_of_one_client_wait_at_the_same_time(grpc: Grpc) -> None:
    grpc.service.hold = asyncio.Event()
    stub = DtmStub(grpc.channel)
    await stub.new_gid()  # by now the client knows how many streams it may open
    calls = [asyncio.create_task(stub.submit(DtmRequest(gid=f"g{number}"))) for number in range(300)]
    async with asyncio.timeout(30):
        while len(grpc.service.asked) < 300:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.01)
    grpc.service.hold.set()
    await asyncio.gather(*calls)


async def test_a_message_as_long_as_allowed_is_taken(grpc: Grpc) -> None:
    payload = b"x" * (BODY_BYTES_MAX - 100)
    await DtmStub(grpc.channel).submit(DtmRequest(gid="g1", bin_payloads=[payload]))
    assert grpc.service.asked[0][1].payloads == (payload,)


async def test_a_long_answer_arrives_whole_however_little_its_client_takes_at_a_time(grpc: Grpc) -> None:
    rows = [Branch("g1", f"{at:02}", "action", "", bytes([at]) * 60_000) for at in range(30)]
    grpc.service.stored = Stored(Transaction("g1", "saga", ModelStatus.SUCCEED), rows)
    narrow = Configuration(http2_connection_window_size=2**16, http2_stream_window_size=2**16)
    channel = Channel(HOST, grpc.port, config=narrow)
    stub = OperatorStub(channel)
    replies = await asyncio.gather(*[stub.query(GidRequest(gid="g1"), timeout=20) for _ in range(5)])
    channel.close()
    for reply in replies:
        assert [row.bin_data for row in reply.branches] == [row.payload for row in rows]


async def test_calls_are_counted(grpc: Grpc) -> None:
    stub = DtmStub(grpc.channel)
    await stub.submit(DtmRequest())
    grpc.service.error = Failure("no")
    with pytest.raises(GRPCError):
        await stub.submit(DtmRequest())
    for status in ("ok", "fail"):
        assert grpc.metric(f'dtm_server_process_total{{api="submit",status="{status}",type="grpc"}}') == 1
    assert grpc.metric('dtm_server_response_duration_count{api="submit",type="grpc"}') == 2


# ---- errors ----


ERRORS: list[tuple[DtmError, Status, str]] = [
    (Failure("no money"), Status.ABORTED, "no money FAILURE"),
    (Failure("kein Geld, ünd 100 %\n"), Status.ABORTED, "kein Geld, ünd 100 % FAILURE"),
    (Ongoing(), Status.FAILED_PRECONDITION, "ONGOING"),
    (Invalid("no gid specified"), Status.INTERNAL, "no gid specified"),
    (NotFound.of_gid("g1"), Status.INTERNAL, "no TransGlobal with gid: g1 found"),
    (NoResult("boom"), Status.INTERNAL, "boom"),
    (NoResult("no such row", Status.NOT_FOUND.value), Status.NOT_FOUND, "no such row"),
    (InvalidBranch("unknow trans type: x"), Status.UNKNOWN, "unknow trans type: x"),
    (BranchConflict("registered already"), Status.UNKNOWN, "registered already"),
    (InvalidTopic("empty topic"), Status.UNKNOWN, "empty topic"),
    (WrongState("current status 'failed'"), Status.INTERNAL, "current status 'failed'"),
    (Busy("too much", hint="wait"), Status.RESOURCE_EXHAUSTED, "too much"),
    (Stopping("going", hint="wait"), Status.UNAVAILABLE, "going"),
    (StoreUnavailable("away"), Status.UNAVAILABLE, "away"),
]


@pytest.mark.parametrize(("error", "status", "message"), ERRORS, ids=range(len(ERRORS)))
async def test_an_error_has_the_status_of_its_class(
    grpc: Grpc, error: DtmError, status: Status, message: str
) -> None:
    grpc.service.error = error
    with pytest.raises(GRPCError) as raised:
        await DtmStub(grpc.channel).submit(DtmRequest())
    assert (raised.value.status, raised.value.message) == (status, message)


@pytest.mark.parametrize("character", ["z", "é", "事", "😀", "%"])
async def test_a_long_message_loses_its_middle_and_never_the_connection(grpc: Grpc, character: str) -> None:
    """It travels in a header. A megabyte of it, and the event loop stood still for a minute."""
    grpc.service.error = Failure(f"why: {character * 1_000_000}")
    with pytest.raises(GRPCError) as raised:
        await DtmStub(grpc.channel).submit(DtmRequest(), timeout=5)
    message = raised.value.message or ""
    assert raised.value.status is Status.ABORTED
    assert message.startswith(f"why: {character}")
    assert message.endswith(f"{character} FAILURE")
    assert 4000 < len(encode_grpc_message(message)) <= MESSAGE_BYTES_MAX


async def test_a_message_that_fits_stays_whole(grpc: Grpc) -> None:
    grpc.service.error = Failure("x" * 1016)  # as long as a rollback reason may be
    with pytest.raises(GRPCError) as raised:
        await DtmStub(grpc.channel).submit(DtmRequest())
    assert raised.value.message == "x" * 1016 + " FAILURE"


async def test_a_long_name_of_a_service_is_answered_as_well(grpc: Grpc) -> None:
    with pytest.raises(GRPCError, match="no service zzz") as raised:
        await HealthStub(grpc.channel).Check(HealthCheckRequest(service="z" * 60_000), timeout=5)
    assert len(raised.value.message or "") <= MESSAGE_BYTES_MAX


async def test_a_call_whose_message_never_comes_is_given_up(
    grpc: Grpc, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grpc_call, "MESSAGE_SECONDS_MAX", 0.05)
    with pytest.raises(GRPCError, match="the message did not arrive within") as raised:
        async with grpc.channel.request(SUBMIT, Cardinality.UNARY_UNARY, Raw, Raw, timeout=5) as stream:
            await stream.send_request()
            await stream.recv_message()
    assert raised.value.status is Status.DEADLINE_EXCEEDED
    assert (await DtmStub(grpc.channel).new_gid()).gid == "gid-1"  # the connection is fine


async def test_a_client_that_reads_nothing_is_not_read_from() -> None:
    """Every PING is to be answered: 65 MB of them, no answer read, were 63 MB of memory."""
    protocol = GrpcServer({}).connection()
    transport = FullTransport()
    protocol.connection_made(transport)
    assert transport.reads
    protocol.pause_writing()
    assert not transport.reads
    protocol.resume_writing()
    assert transport.reads
    protocol.connection_lost(None)


async def test_a_fault_of_ours_is_logged_and_tells_nothing_of_the_inside(grpc: Grpc) -> None:
    lines: list[str] = []
    sink = logger.add(lines.append, format="{message} {exception}", diagnose=False)
    grpc.service.error = RuntimeError("secret")
    with pytest.raises(GRPCError) as raised:
        await DtmStub(grpc.channel).submit(DtmRequest())
    logger.remove(sink)
    assert raised.value.status is Status.INTERNAL
    assert "secret" not in (raised.value.message or "")
    assert "gRPC Submit failed" in lines[0]
    assert "RuntimeError: secret" in lines[0]


async def test_a_branch_is_registered(grpc: Grpc) -> None:
    """PROTOCOL §4: DtmBranchRequest; a workflow's op may stand in `Op`."""
    await DtmStub(grpc.channel).register_branch(
        DtmBranchRequest(
            gid="g1",
            trans_type="tcc",
            branch_id="01",
            op="try",
            data={"confirm": "localhost:1/a.B/C", "cancel": "localhost:1/a.B/D"},
            busi_payload=b"\x00\xff",
        )
    )
    data = {"confirm": "localhost:1/a.B/C", "cancel": "localhost:1/a.B/D", "op": "try"}
    assert grpc.service.asked == [("register", BranchRequest("g1", "tcc", "01", b"\x00\xff", data))]


async def test_a_workflow_is_prepared_and_its_progress_told(grpc: Grpc) -> None:
    workflow = Transaction("g1", "workflow", ModelStatus.FAILED, rollback_reason="no money", result="cg==")
    step = Branch("g1", "01", "action", "", b"done", BranchStatus.SUCCEED)
    grpc.service.stored = Stored(workflow, (step,))
    reply = await DtmStub(grpc.channel).prepare_workflow(DtmRequest(gid="g1", trans_type="workflow"))
    assert reply == DtmProgressesReply(
        transaction=DtmTransaction(gid="g1", status="failed", rollback_reason="no money", result="cg=="),
        progresses=[DtmProgress(status="succeed", bin_data=b"done", branch_id="01", op="action")],
    )
    assert [name for name, _ in grpc.service.asked] == ["prepare_workflow"]


async def test_topics_are_subscribed_to(grpc: Grpc) -> None:
    stub = DtmStub(grpc.channel)
    await stub.subscribe(DtmTopicRequest(topic="t", url="u", remark="r"))
    await stub.unsubscribe(DtmTopicRequest(topic="t", url="u"))
    await stub.delete_topic(DtmTopicRequest(topic="t"))
    assert grpc.service.asked == [
        ("subscribe", ("t", "u", "r")),
        ("unsubscribe", ("t", "u")),
        ("delete", "t"),
    ]


@pytest.mark.parametrize(
    "path", ["/dtmgimp.Dtm/Nothing", "/dtmgimp.Dtm/submit", "/other.Service/Submit", "/"]
)
async def test_an_unknown_method_is_unimplemented(grpc: Grpc, path: str) -> None:
    assert (await call(grpc.channel, path, b"")).status == Status.UNIMPLEMENTED.value


def prefix(length: int, compressed: int = 0) -> bytes:
    return pack(">BI", compressed, length)


BAD = [
    (prefix(4) + b"\x0a\x05ab", Status.INTERNAL, "the message is not a dtmgimp.{message}"),
    (prefix(4) + b"\x0a\x02\xff\xfe", Status.INTERNAL, "the message is not a dtmgimp.{message}"),
    (prefix(10) + b"\x0a\x02ab", Status.INTERNAL, "the message is cut short"),
    (prefix(0)[:3], Status.INTERNAL, "the message is cut short"),
    (b"", Status.INTERNAL, "the call has no message"),
    (prefix(4, 1) + b"\x1f\x8b\x08\x00", Status.UNIMPLEMENTED, "compressed messages are not supported"),
    (prefix(BODY_BYTES_MAX + 1), Status.RESOURCE_EXHAUSTED, "the message must have at most 65536 bytes"),
    (prefix(2**32 - 1) + b"x", Status.RESOURCE_EXHAUSTED, "the message must have at most 65536 bytes"),
]


MESSAGES = {
    **dict.fromkeys(("Submit", "Prepare", "Abort", "PrepareWorkflow"), "DtmRequest"),
    "RegisterBranch": "DtmBranchRequest",
    **dict.fromkeys(("Subscribe", "Unsubscribe", "DeleteTopic"), "DtmTopicRequest"),
}


@pytest.mark.parametrize(("framed", "status", "sentence"), BAD, ids=range(len(BAD)))
@pytest.mark.parametrize("name", MESSAGES)
async def test_a_bad_message_is_named(
    grpc: Grpc, name: str, framed: bytes, status: Status, sentence: str
) -> None:
    """PROTOCOL §4: a message that is cut short is no shorter message."""
    reply = await call_framed(grpc.channel, f"/dtmgimp.Dtm/{name}", framed)
    assert reply.status == status.value
    assert reply.message.startswith(sentence.format(message=MESSAGES[name]))
    assert grpc.service.asked == []


TOO_LONG = (
    SUBMIT,
    "/dtmgimp.Dtm/NewGid",
    "/grpc.health.v1.Health/Check",
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
)


@pytest.mark.parametrize("path", TOO_LONG)
async def test_no_method_takes_a_message_that_is_too_long(grpc: Grpc, path: str) -> None:
    reply = await call_framed(grpc.channel, path, prefix(BODY_BYTES_MAX + 1))
    assert reply.status == Status.RESOURCE_EXHAUSTED.value


async def test_a_client_that_sends_a_huge_message_all_the_same_is_refused_and_others_go_on(
    grpc: Grpc,
) -> None:
    huge = bytes(DtmRequest(gid="g1", bin_payloads=[b"x" * 10_000_000]))
    other = Channel(HOST, grpc.port)
    # The client may see the answer, or the stream closed under what it still sends; never a success.
    with contextlib.suppress(Exception):
        assert (await asyncio.wait_for(call(other, SUBMIT, huge), 30)).status == 8
    assert (await DtmStub(grpc.channel).new_gid()).gid == "gid-1"
    other.close()
    assert grpc.service.asked == []


@pytest.mark.parametrize("path", TOO_LONG[2:])
async def test_rubbish_to_reflection_and_health_is_an_error(grpc: Grpc, path: str) -> None:
    reply = await call(grpc.channel, path, b"\xff\xff")
    assert reply.status == Status.INTERNAL.value
    assert "cannot be decoded" in reply.message


async def test_rubbish_instead_of_http2_harms_nobody(grpc: Grpc) -> None:
    reader, writer = await asyncio.open_connection(HOST, grpc.port)
    writer.write(b"GET / HTTP/1.1\r\n\r\n")
    await asyncio.wait_for(reader.read(), 30)
    writer.close()
    assert (await DtmStub(grpc.channel).new_gid()).gid == "gid-1"


# ---- clients that leave ----


async def test_what_was_asked_goes_on_when_the_deadline_passes(grpc: Grpc) -> None:
    grpc.service.hold = asyncio.Event()
    with pytest.raises((GRPCError, TimeoutError)):
        await DtmStub(grpc.channel).submit(DtmRequest(gid="g1"), timeout=0.1)
    await _goes_on(grpc)


async def test_what_was_asked_goes_on_when_the_client_goes_away(grpc: Grpc) -> None:
    grpc.service.hold = asyncio.Event()
    other = Channel(HOST, grpc.port)
    asking = asyncio.create_task(DtmStub(other).submit(DtmRequest(gid="g1")))
    await grpc.service.was_asked.wait()
    other.close()
    await asyncio.wait([asking])
    assert asking.exception() is not None
    await _goes_on(grpc)


async def _goes_on(grpc: Grpc) -> None:
    assert grpc.service.hold is not None
    await asyncio.sleep(0.05)  # time to be cancelled in
    grpc.service.hold.set()
    await asyncio.wait_for(grpc.service.has_finished.wait(), 30)


async def test_a_stopping_server_refuses_new_calls(grpc: Grpc) -> None:
    await grpc.api.drain(1.0)
    reply = await call(grpc.channel, SUBMIT, b"")
    assert reply == Reply(Status.UNAVAILABLE.value, "the coordinator is stopping", b"")


# ---- health ----


async def test_health_is_readiness(grpc: Grpc) -> None:
    stub = HealthStub(grpc.channel)
    for service in ("", "dtmgimp.Dtm"):
        assert (await stub.Check(HealthCheckRequest(service=service))).status == SERVING
    grpc.readiness.found = {"store": "away"}
    for service in ("", "dtmgimp.Dtm"):
        assert (await stub.Check(HealthCheckRequest(service=service))).status == NOT_SERVING


async def test_health_of_an_unknown_service_is_not_found(grpc: Grpc) -> None:
    with pytest.raises(GRPCError) as raised:
        await HealthStub(grpc.channel).Check(HealthCheckRequest(service="other.Service"))
    assert raised.value.status is Status.NOT_FOUND


async def test_who_watches_health_is_told_of_every_change(
    grpc: Grpc, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grpc_health, "WATCH_SECONDS", 0.01)
    async with HealthStub(grpc.channel).Watch.open() as stream:
        await stream.send_message(HealthCheckRequest(), end=True)
        seen = []
        for problems in ({}, {"store": "away"}, {}):
            grpc.readiness.found = dict(problems)
            message = await asyncio.wait_for(stream.recv_message(), 30)
            assert message is not None
            seen.append(message.status)
        await stream.cancel()
    assert seen == [SERVING, NOT_SERVING, SERVING]


# ---- reflection ----


REFLECTIONS = [
    (v1_grpc.ServerReflectionStub, v1_pb2.ServerReflectionRequest),
    (v1alpha_grpc.ServerReflectionStub, v1alpha_pb2.ServerReflectionRequest),
]


@pytest.mark.parametrize(("stub", "request_type"), REFLECTIONS, ids=["v1", "v1alpha"])
async def test_reflection_lists_and_describes_the_services(
    grpc: Grpc, stub: type, request_type: type
) -> None:
    listing, described = await stub(grpc.channel).ServerReflectionInfo(
        [request_type(list_services=""), request_type(file_containing_symbol="dtmgimp.Dtm")]
    )
    names = {service.name for service in listing.list_services_response.service}
    assert names == {
        *("dtmgimp.Dtm", "dtmcoordinator.Operator", "dtmcoordinator.Operate"),
        "grpc.health.v1.Health",
    }
    [encoded] = described.file_descriptor_response.file_descriptor_proto
    file = FileDescriptorProto.FromString(encoded)
    [service] = file.service
    assert [method.name for method in service.method] == [
        "NewGid",
        "Submit",
        "Prepare",
        "Abort",
        "RegisterBranch",
        "PrepareWorkflow",
        "Subscribe",
        "Unsubscribe",
        "DeleteTopic",
    ]
    request = next(message for message in file.message_type if message.name == "DtmRequest")
    assert [(field.name, field.number) for field in request.field][:3] == [
        ("Gid", 1),
        ("TransType", 2),
        ("TransOptions", 3),
    ]


@pytest.mark.parametrize(("stub", "request_type"), REFLECTIONS, ids=["v1", "v1alpha"])
async def test_reflection_says_when_it_knows_no_such_symbol(
    grpc: Grpc, stub: type, request_type: type
) -> None:
    [answer] = await stub(grpc.channel).ServerReflectionInfo(
        [request_type(file_containing_symbol="other.Service")]
    )
    assert answer.error_response.error_code == Status.NOT_FOUND.value


async def test_a_connection_that_never_says_anything_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grpc_connection, "SILENT_SECONDS_MAX", 0.05)
    async with grpc_api() as grpc:
        await DtmStub(grpc.channel).new_gid()
        reader, writer = await asyncio.open_connection(HOST, grpc.port)
        speaking, speaker = await asyncio.open_connection(HOST, grpc.port)
        speaker.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0")  # and no call
        await asyncio.wait_for(reader.read(), 30)  # until it is closed
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(speaking.readexactly(10_000), 0.2)
        for each in (writer, speaker):
            each.close()
