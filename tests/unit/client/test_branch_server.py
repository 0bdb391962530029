"""Branches on grpclib: content types, the context, and errors as answers (PROTOCOL §2, §10)."""

import asyncio
import struct
from collections.abc import AsyncIterator
from typing import Any

import pytest
from grpclib.client import Channel
from grpclib.const import Cardinality, Status
from grpclib.encoding.base import CodecBase
from grpclib.exceptions import GRPCError, StreamTerminatedError

from branches.proto.user import UserBase, UserRequest, UserResponse, UserStub
from coordinator.client import BranchServer, DtmError, Failure, Ongoing, current_branch

HOST = "127.0.0.1"
METADATA = {"dtm-gid": "g1", "dtm-trans_type": "saga", "dtm-branch_id": "01", "dtm-op": "action"}


class Service(UserBase):
    """Does what the name of the user says."""

    def __init__(self) -> None:
        self.entered = asyncio.Event()
        self.cancelled = False
        self.served: list[str] = []

    async def save_user(self, message: UserRequest) -> UserResponse:
        self.entered.set()
        match message.name:
            case "fail":
                raise Failure("no room", gid="g1")
            case "wait":
                raise Ongoing("not yet")
            case "break":
                raise DtmError("the table is missing")
            case "slow":
                await asyncio.sleep(0.2)
            case "hang":
                try:
                    await asyncio.sleep(60)
                except asyncio.CancelledError:
                    self.cancelled = True
                    raise
        branch = current_branch()
        self.served.append(message.name)
        return UserResponse(id=f"{branch.gid} {branch.branch_id} {branch.op}", name=message.name)


class RawCodec(CodecBase):
    """Bytes as they are, under a content subtype of choice."""

    __content_subtype__ = "proto"

    def __init__(self, subtype: str) -> None:
        self.__content_subtype__ = subtype

    def encode(self, message: Any, message_type: Any) -> bytes:
        return bytes(message)

    def decode(self, data: bytes, message_type: Any) -> bytes:
        return data


@pytest.fixture
def service() -> Service:
    return Service()


@pytest.fixture
async def server(service: Service) -> AsyncIterator[BranchServer]:
    server = BranchServer([service], message_bytes_max=1000)
    await server.start(HOST, 0)
    yield server
    if server._server is not None:
        await server.stop(grace=0)


@pytest.fixture
async def stub(server: BranchServer) -> AsyncIterator[UserStub]:
    async with Channel(HOST, server.port) as channel:
        yield UserStub(channel, metadata=METADATA)


async def test_a_handler_knows_its_branch(stub: UserStub) -> None:
    assert (await stub.save_user(UserRequest(name="ann"))).id == "g1 01 action"


async def call_raw(server: BranchServer, subtype: str) -> bytes:
    """Send a message under `application/grpc+<subtype>`, return the message that comes back."""
    async with (
        Channel(HOST, server.port, codec=RawCodec(subtype)) as channel,
        channel.request(
            "/user.User/saveUser", Cardinality.UNARY_UNARY, bytes, bytes, metadata=METADATA
        ) as stream,
    ):
        await stream.send_message(bytes(UserRequest(name="ann")), end=True)
        prefix = await stream._stream.recv_data(5)
        return await stream._stream.recv_data(struct.unpack(">I", prefix[1:])[0])


async def test_a_raw_client_is_answered(server: BranchServer) -> None:
    assert UserResponse.FromString(await call_raw(server, "proto")).name == "ann"


async def test_the_content_type_of_go_coordinators_is_answered(
    server: BranchServer, service: Service
) -> None:
    # The call is served; then grpclib's own client finds that the answer says `application/grpc+proto`, which
    # every other gRPC client takes.
    with pytest.raises(GRPCError, match=r"Invalid content-type: 'application/grpc\+proto'"):
        await call_raw(server, "dtm_raw")
    assert service.served == ["ann"]


async def test_another_content_type_is_still_refused(server: BranchServer) -> None:
    async with Channel(HOST, server.port, codec=RawCodec("json")) as channel:
        with pytest.raises(GRPCError, match="415"):
            async with channel.request(
                "/user.User/saveUser", Cardinality.UNARY_UNARY, bytes, bytes, metadata=METADATA
            ) as stream:
                await stream.send_message(b"", end=True)
                await stream.recv_message()


@pytest.mark.parametrize(
    ("name", "status", "text"),
    [
        ("fail", Status.ABORTED, "no room"),
        ("wait", Status.FAILED_PRECONDITION, "not yet"),
        ("break", Status.INTERNAL, "the table is missing"),
    ],
)
async def test_errors_are_the_protocol_s_answers(
    stub: UserStub, name: str, status: Status, text: str
) -> None:
    with pytest.raises(GRPCError) as caught:
        await stub.save_user(UserRequest(name=name))
    assert (caught.value.status, caught.value.message) == (status, text)


async def test_a_call_from_elsewhere_is_told_what_is_missing(server: BranchServer) -> None:
    async with Channel(HOST, server.port) as channel:
        with pytest.raises(GRPCError, match="the gRPC metadata lacks dtm-gid") as caught:
            await UserStub(channel).save_user(UserRequest(name="ann"))
    assert caught.value.status is Status.INVALID_ARGUMENT


async def test_a_message_over_the_bound_is_refused(stub: UserStub) -> None:
    with pytest.raises(GRPCError, match="this server takes 1000") as caught:
        await stub.save_user(UserRequest(name="x" * 2000))
    assert caught.value.status is Status.RESOURCE_EXHAUSTED
    assert (await stub.save_user(UserRequest(name="ann"))).name == "ann"


async def test_stopping_lets_running_calls_end_and_refuses_new_ones(
    server: BranchServer, stub: UserStub, service: Service
) -> None:
    running = asyncio.create_task(stub.save_user(UserRequest(name="slow")))
    await service.entered.wait()
    stopping = asyncio.create_task(server.stop(grace=5))
    await asyncio.sleep(0)
    with pytest.raises(GRPCError, match="stopping"):
        await stub.save_user(UserRequest(name="late"))
    assert (await running).name == "slow"
    await stopping


async def test_after_the_grace_a_hanging_call_is_cancelled(
    server: BranchServer, stub: UserStub, service: Service
) -> None:
    running = asyncio.create_task(stub.save_user(UserRequest(name="hang")))
    await service.entered.wait()
    await server.stop(grace=0.05)
    with pytest.raises((GRPCError, StreamTerminatedError)):
        await running
    assert service.cancelled
