"""Branches on grpcio, async and blocking: the context, and errors as answers (PROTOCOL §2, §10)."""

import asyncio
import re
import sys
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest
from grpclib.client import Channel
from grpclib.const import Cardinality
from grpclib.encoding.base import CodecBase
from grpclib.exceptions import GRPCError

from coordinator.client import (
    BranchContext,
    DtmError,
    Failure,
    InvalidUse,
    Ongoing,
    branch_of,
    current_branch,
    sync,
)
from coordinator.client.grpcio import (
    BlockingBranchInterceptor,
    BranchInterceptor,
    blocking_branch_method,
    branch_method,
)

METADATA = (
    ("dtm-gid", "g1"),
    ("dtm-trans_type", "saga"),
    ("dtm-branch_id", "01"),
    ("dtm-op", "action"),
)


def take(what: bytes) -> bytes:
    match what:
        case b"fail":
            raise Failure("no money")
        case b"wait":
            raise Ongoing("not yet")
        case b"break":
            raise DtmError("the table is missing")
        case b"long":
            raise Failure(f"{'x' * 20_000} the end")
    return current_branch().op.encode()


def blocking(request: bytes, context: Any) -> bytes:
    answer = take(request)
    assert branch_of(context) is current_branch()
    return answer


async def awaited(request: bytes, context: Any) -> bytes:
    return blocking(request, context)


class Server:
    """One of grpcio's servers. handlers: what `add_generic_rpc_handlers` takes."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.port = 0

    async def start(self, *handlers: Any, guarded: bool = True) -> None:
        self._threads = ThreadPoolExecutor(4)
        if self.kind == "blocking":
            interceptors = [BlockingBranchInterceptor()] if guarded else []
            self._server = grpc.server(self._threads, interceptors=interceptors)
        else:
            self._server = grpc.aio.server(
                self._threads, interceptors=[BranchInterceptor()] if guarded else []
            )
        self._server.add_generic_rpc_handlers(handlers)
        self.port = self._server.add_insecure_port("127.0.0.1:0")
        started = self._server.start()
        if self.kind != "blocking":
            await started

    async def stop(self) -> None:
        stopped = self._server.stop(0)
        await (asyncio.to_thread(stopped.wait) if self.kind == "blocking" else stopped)
        self._threads.shutdown()


@pytest.fixture(params=["blocking", "async", "async-with-plain-functions"])
async def server(request: pytest.FixtureRequest) -> AsyncIterator[Server]:
    """A server that serves `take` as /bank.Bank/In."""
    server = Server(request.param)
    method = grpc.unary_unary_rpc_method_handler(awaited if request.param == "async" else blocking)
    await server.start(grpc.method_handlers_generic_handler("bank.Bank", {"In": method}))
    yield server
    await server.stop()


@pytest.fixture
async def call(server: Server) -> AsyncIterator[Any]:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        yield channel.unary_unary("/bank.Bank/In")


@pytest.mark.parametrize(
    ("what", "code", "text"),
    [
        (b"fail", "ABORTED", "^no money$"),
        (b"wait", "FAILED_PRECONDITION", "not yet"),
        (b"break", "INTERNAL", "the table is missing"),
        (b"long", "ABORTED", "xx…xx.* the end$"),
    ],
)
async def test_errors_are_the_protocol_s_answers(call: Any, what: bytes, code: str, text: str) -> None:
    assert await call(b"take", metadata=METADATA) == b"action"
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call(what, metadata=METADATA)
    assert caught.value.code().name == code
    assert re.search(text, caught.value.details())


async def test_a_call_without_context_is_told_so(call: Any) -> None:
    with pytest.raises(grpc.aio.AioRpcError, match="lacks dtm-gid") as caught:
        await call(b"take")
    assert caught.value.code().name == "INVALID_ARGUMENT"


class RawCodec(CodecBase):
    """Bytes as they are, under the content type that Go coordinators send."""

    __content_subtype__ = "dtm_raw"

    def encode(self, message: Any, message_type: Any) -> bytes:
        return bytes(message)

    def decode(self, data: bytes, message_type: Any) -> bytes:
        return data


async def test_the_content_type_of_go_coordinators_is_answered(server: Server) -> None:  # §10
    async with (
        Channel("127.0.0.1", server.port, codec=RawCodec()) as channel,
        channel.request(
            "/bank.Bank/In", Cardinality.UNARY_UNARY, bytes, bytes, metadata=dict(METADATA)
        ) as stream,
    ):
        await stream.send_message(b"take", end=True)
        with pytest.raises(GRPCError, match=r"Invalid content-type: 'application/grpc'"):
            await stream.recv_message()  # grpclib's client is strict about the answer, others are not
        prefix = await stream._stream.recv_data(5)
        assert await stream._stream.recv_data(prefix[-1]) == b"action"


@pytest.mark.parametrize("kind", ["blocking", "async"])
@pytest.mark.parametrize("guarded", [True, False], ids=["with-interceptor", "without"])
async def test_one_method_stands_by_itself(kind: str, guarded: bool) -> None:
    def answer(branch: BranchContext, body: bytes) -> bytes:
        return take(body) + branch.gid.encode()

    async def answer_async(branch: BranchContext, body: bytes) -> bytes:
        return answer(branch, body)

    server = Server(kind)
    path = "/shop.Shop/Query"
    method = blocking_branch_method(path, answer) if kind == "blocking" else branch_method(path, answer_async)
    await server.start(method, guarded=guarded)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        call = channel.unary_unary(path)
        assert await call(b"take", metadata=METADATA) == b"actiong1"
        for what, metadata, code in (
            (b"fail", METADATA, "ABORTED"),
            (b"take", (), "INVALID_ARGUMENT"),
        ):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call(what, metadata=metadata)
            assert caught.value.code().name == code
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await channel.unary_unary("/shop.Shop/Other")(b"")
        assert caught.value.code().name == "UNIMPLEMENTED"
    await server.stop()


@pytest.mark.parametrize("make", [branch_method, blocking_branch_method])
def test_a_path_that_nobody_could_call_is_refused(make: Any) -> None:
    with pytest.raises(InvalidUse, match=r"write /package.Service/Method"):
        make("shop.Shop.Query", lambda branch, body: body)


def test_without_grpcio_the_callback_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("coordinator.client.grpcio", "coordinator.client.frameworks.for_grpcio"):
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "grpc", None)
    with pytest.raises(InvalidUse, match=r"pip install 'dtm-coordinator\[grpcio\]'"):
        sync.Workflows(
            sync.Dtm("grpc://localhost:1"), [], callback="me:1/workflow.Workflow/Execute"
        ).grpc_handler()
