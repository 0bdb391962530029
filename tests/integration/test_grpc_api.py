"""The gRPC API of a running coordinator on SQLite, with a branch beside it (PROTOCOL §2, §4, §5)."""

import asyncio
import json
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from grpclib.client import Channel
from grpclib.const import Status
from grpclib.exceptions import GRPCError
from grpclib.health.v1.health_grpc import HealthStub
from grpclib.health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

from coordinator.proto.dtmgimp import (
    DtmRequest,
    DtmStub,
    DtmTransOptions,
)
from tests.support.branch_server import branch_server
from tests.support.ports import HOST
from tests.support.under_test import ROOT, CoordinatorProcess


@pytest.fixture(scope="module")
def coordinator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CoordinatorProcess]:
    """One for all tests here: each uses gids of its own."""
    process = CoordinatorProcess(tmp_path_factory.mktemp("coordinator")).start()
    yield process
    print(process.output())
    process.close()


@pytest.fixture
async def channel(coordinator: CoordinatorProcess) -> AsyncIterator[Channel]:
    one = Channel(HOST, coordinator.grpc_port)
    yield one
    protocol: Any = one._protocol
    if protocol is not None and hasattr(protocol.connection, "_transport"):
        # What is unsent of a message that was refused must not outlive the loop.
        protocol.connection._transport.abort()
    one.close()


@pytest.fixture
def stub(channel: Channel) -> DtmStub:
    return DtmStub(channel)


@pytest.fixture
async def branch() -> AsyncIterator[str]:
    """The url of an HTTP branch; a gRPC saga may mix such urls in."""
    async with branch_server() as server:
        yield server.http_url


def saga(branch: str, *actions: str, **more: Any) -> DtmRequest:
    steps = [{"action": f"{branch}/{action}", "compensate": f"{branch}/ok/undo"} for action in actions]
    return DtmRequest(
        gid=f"grpc-{uuid.uuid4()}",
        trans_type="saga",
        trans_options=DtmTransOptions(wait_result=True),
        steps=json.dumps(steps),
        bin_payloads=[b"\x08\x01\xff"] * len(actions),
        **more,
    )


async def refusal(pending: Any) -> tuple[Status, str]:
    with pytest.raises(GRPCError) as raised:
        await pending
    return raised.value.status, raised.value.message or ""


# ---- sagas ----


async def test_a_saga_succeeds(coordinator: CoordinatorProcess, stub: DtmStub, branch: str) -> None:
    request = saga(branch, "ok/1", "ok/2")
    await stub.submit(request)
    found = await asyncio.to_thread(coordinator.query, request.gid)
    assert found["transaction"]["status"] == "succeed"
    assert found["transaction"]["protocol"] == "grpc"
    assert [row["bin_data"] for row in found["branches"]] == ["CAH/"] * 4


async def test_a_saga_that_fails_is_aborted_with_its_reason(
    coordinator: CoordinatorProcess, stub: DtmStub, branch: str
) -> None:
    request = saga(branch, "ok/1", "fail/2")
    assert await refusal(stub.submit(request)) == (
        Status.ABORTED,
        f'url:{branch}/fail/2 return failed: {{"dtm_result":"FAILURE","message":"no money"}} FAILURE',
    )
    found = await asyncio.to_thread(coordinator.query, request.gid)
    assert found["transaction"]["status"] == "failed"


async def test_concurrent_travels_in_the_custom_data(
    coordinator: CoordinatorProcess, stub: DtmStub, branch: str
) -> None:
    request = saga(branch, "ok/1", "ok/2", customed_data='{"concurrent":true,"orders":{"1":[0]}}')
    await stub.submit(request)
    found = await asyncio.to_thread(coordinator.query, request.gid)
    assert found["transaction"]["custom_data"] == '{"concurrent":true,"orders":{"1":[0]}}'


async def test_prepare_submit_and_again(stub: DtmStub, branch: str) -> None:
    request = saga(branch, "ok/1")
    await stub.prepare(request)
    await stub.submit(request)
    assert await refusal(stub.submit(request)) == (
        Status.ABORTED,
        "current status 'succeed', cannot sumbmit. FAILURE",
    )


async def test_two_submits_of_one_gid_at_the_same_moment(stub: DtmStub, branch: str) -> None:
    request = saga(branch, "ok/1", "ok/2")
    answers = await asyncio.gather(*[stub.submit(request) for _ in range(5)], return_exceptions=True)
    late = [answer for answer in answers if isinstance(answer, BaseException)]  # those after the end
    assert len(late) < 5
    assert all(isinstance(error, GRPCError) and error.status is Status.ABORTED for error in late)


async def test_new_gids_are_all_different(stub: DtmStub) -> None:
    gids = {(await stub.new_gid()).gid for _ in range(50)}
    assert len(gids) == 50


# ---- bad input ----


OPTIONS = DtmTransOptions
BAD_SUBMITS: list[tuple[str, dict[str, Any], str]] = [
    ("no gid", {"gid": ""}, "no gid specified"),
    ("a gid too long", {"gid": "x" * 129}, "gid has 129 characters"),
    ("a gid that no header can carry", {"gid": "gid-ü"}, "gid 'gid-ü' cannot be sent as a header"),
    ("an unknown trans_type", {"trans_type": "magic"}, "unknown trans_type 'magic'"),
    ("steps that are not JSON", {"steps": "no json"}, "Steps is not JSON"),
    ("steps that are no array", {"steps": "{}"}, "Steps: must be a JSON array"),
    ("a step of a wrong type", {"steps": '[{"action":1}]'}, "Steps[0].action: must be a string"),
    ("fewer payloads than steps", {"bin_payloads": []}, "1 step but 0 payloads"),
    ("a payload too long", {"bin_payloads": [b"x" * 65_536]}, "payloads[0] has 65536 bytes"),
    ("a url without host", {"steps": '[{"action":"http:///a"}]'}, "steps[0].action 'http:///a'"),
    (
        "a negative time",
        {"trans_options": OPTIONS(timeout_to_fail=-1)},
        "TransOptions.TimeoutToFail: must not",
    ),
    (
        "a header that is none",
        {"trans_options": OPTIONS(branch_headers={"a b": "c"})},
        "branch_headers has 'a b'",
    ),
    ("custom_data too long", {"customed_data": "x" * 1025}, "custom_data has 1025 characters"),
]


@pytest.mark.parametrize(
    ("change", "sentence"), [row[1:] for row in BAD_SUBMITS], ids=[row[0] for row in BAD_SUBMITS]
)
@pytest.mark.parametrize("name", ["submit", "prepare"])
async def test_bad_input_is_refused_and_not_stored(
    coordinator: CoordinatorProcess,
    stub: DtmStub,
    branch: str,
    name: str,
    change: dict[str, Any],
    sentence: str,
) -> None:
    request = saga(branch, "ok/1")
    for field, value in change.items():
        setattr(request, field, value)
    status, message = await refusal(getattr(stub, name)(request))
    assert status is Status.INTERNAL
    assert message.startswith(sentence)
    if 0 < len(request.gid) <= 128:
        found = await asyncio.to_thread(coordinator.query, request.gid)
        assert found == {"transaction": None, "branches": []}


async def test_abort_of_an_unknown_gid_names_it(stub: DtmStub) -> None:
    assert await refusal(stub.abort(DtmRequest(gid="nobody", trans_type="saga"))) == (
        Status.INTERNAL,
        "no TransGlobal with gid: nobody found",
    )


async def test_a_message_over_the_limit_is_refused(stub: DtmStub, branch: str) -> None:
    request = saga(branch, "ok/1")
    request.bin_payloads = [b"x" * (4 * 1024 * 1024)]
    status, message = await refusal(stub.submit(request))
    assert status is Status.RESOURCE_EXHAUSTED
    assert message.startswith("the message must have at most 4194304 bytes")


# ---- around it ----


async def test_health_says_that_it_serves(channel: Channel) -> None:
    health = HealthStub(channel)
    for service in ("", "dtmgimp.Dtm"):
        answer = await health.Check(HealthCheckRequest(service=service))
        assert answer.status == HealthCheckResponse.SERVING


FOREIGN_CLIENT = """
import sys
import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

address = sys.argv[1]
with grpc.insecure_channel(address) as channel:
    for version in ("v1", "v1alpha"):
        # The messages are the same in both versions, and simple enough to write by hand.
        info = channel.stream_stream(f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo")
        [listing] = info(iter([b"\\x3a\\x01*"]), timeout=10)
        assert b"dtmgimp.Dtm" in listing and b"grpc.health.v1.Health" in listing, listing
        [answer] = info(iter([b"\\x22\\x0bdtmgimp.Dtm"]), timeout=10)

    # What follows knows of the service only what reflection told.
    start = answer.index(b"\\n\\rdtmgimp.proto")
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(
        descriptor_pb2.FileDescriptorProto(
            name="google/protobuf/empty.proto",
            package="google.protobuf",
            message_type=[descriptor_pb2.DescriptorProto(name="Empty")],
        ).SerializeToString()
    )
    pool.AddSerializedFile(answer[start:])
    method = pool.FindServiceByName("dtmgimp.Dtm").FindMethodByName("NewGid")
    reply = message_factory.GetMessageClass(method.output_type)
    call = channel.unary_unary("/dtmgimp.Dtm/NewGid", response_deserializer=reply.FromString)
    assert call(b"", timeout=10).Gid

    try:
        channel.unary_unary("/dtmgimp.Dtm/Nothing")(b"", timeout=10)
    except grpc.RpcError as error:
        assert error.code() is grpc.StatusCode.UNIMPLEMENTED, error
print("understood")
"""


async def test_a_foreign_client_finds_its_way_by_reflection(coordinator: CoordinatorProcess) -> None:
    # In a process of its own: it shares no descriptors with us.
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", FOREIGN_CLIENT, coordinator.grpc_address],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=50,
    )
    assert done.stdout == "understood\n", done.stderr


async def test_the_server_lives_after_all_that(coordinator: CoordinatorProcess) -> None:
    assert coordinator.is_running
    assert '"stacktrace"' not in coordinator.output()
