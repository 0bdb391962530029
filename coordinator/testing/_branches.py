"""A server that plays every branch, over HTTP and gRPC, and answers as it is told."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from types import TracebackType
from typing import Any, Final, Self, TypeAlias

import orjson
from aiohttp import web
from grpclib.const import Cardinality, Handler
from grpclib.const import Status as GrpcStatus
from grpclib.exceptions import GRPCError
from grpclib.server import Stream

from coordinator.client import (
    BranchContext,
    BranchServer,
    DtmError,
    Failure,
    Ongoing,
    branch_of,
    error_response,
)

HOST: Final = "127.0.0.1"
WAIT_SECONDS: Final = 10.0


class Says(Enum):
    """What a branch answers, the same over HTTP and gRPC (PROTOCOL §2)."""

    SUCCESS = "success"
    FAILURE = "failure"
    ONGOING = "ongoing"
    BROKEN = "broken"  # 500 or Internal: an unknown result
    LOST = "lost"  # the connection breaks instead of an answer
    HANGS = "hangs"  # no answer until the caller gives up


@dataclass(frozen=True, slots=True)
class Call:
    """A call that reached the fake (PROTOCOL §10). path: `/withdraw`, or `/bank.Bank/Withdraw` over gRPC."""

    path: str
    branch: BranchContext
    payload: bytes
    headers: Mapping[str, Any] = field(repr=False)

    @property
    def op(self) -> str:
        """The operation: action, compensate, try, …"""
        return self.branch.op

    @property
    def gid(self) -> str:
        """The transaction."""
        return self.branch.gid

    def json(self) -> Any:
        """The decoded payload, None for an empty one."""
        return orjson.loads(self.payload) if self.payload else None


# bytes or JSON: a success with that body. A function: gets the call, returns one of the others or raises
# DtmError, as a branch would.
Scripted: TypeAlias = Says | bytes | Mapping[str, Any] | Callable[[Call], Awaitable[Any]]


class FakeBranches:
    """Plays branches (PROTOCOL §2, §10), as an async context manager. What is not scripted is a success.

    Example:
        async with FakeBranches() as branches:
            branches.answer("/deposit", Says.ONGOING, Says.FAILURE)  # the last one stays
            …
            assert [call.op for call in branches.calls] == ["action", "compensate"]
    """

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self._scripts: dict[tuple[str, str], list[Scripted]] = {}
        self._called = asyncio.Condition()
        self._runner: web.AppRunner | None = None
        self._grpc: BranchServer | None = None
        self.http_url = ""  # `http://127.0.0.1:port`
        self.grpc_url = ""  # `127.0.0.1:port`, as gRPC branches are written

    async def __aenter__(self) -> Self:
        application = web.Application()
        application.router.add_route("*", "/{path:.*}", self._serve_http)
        self._runner = web.AppRunner(application, shutdown_timeout=0.1, handler_cancellation=True)
        await self._runner.setup()
        await web.TCPSite(self._runner, HOST, 0).start()
        self.http_url = f"http://{HOST}:{self._runner.addresses[0][1]}"
        self._grpc = BranchServer([])
        self._grpc._mapping = _EveryMethod(self._serve_grpc)
        await self._grpc.start(HOST, 0)
        self.grpc_url = f"{HOST}:{self._grpc.port}"
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._grpc is not None:
            await self._grpc.stop(grace=0)
        if self._runner is not None:
            await self._runner.cleanup()

    def answer(self, path: str, *answers: Scripted, op: str = "") -> None:
        """Script the calls of a path, one answer for each, the last one for all that follow.

        op: only calls of this operation; a script without it counts where none with it is there. Raises
        ValueError without answers.
        """
        if not answers:
            raise ValueError("give at least one answer")
        self._scripts[path, op] = list(answers)

    def ops(self, path: str = "") -> list[str]:
        """Return the operations in the order of their calls, of one path or of all."""
        return [call.op for call in self.calls if path in ("", call.path)]

    async def until_called(
        self, path: str, *, op: str = "", times: int = 1, timeout: float = WAIT_SECONDS
    ) -> Call:
        """Wait until a path was called (so many times), return the last of these calls.

        timeout: seconds; then AssertionError says what was called instead.
        """

        def found() -> list[Call]:
            return [call for call in self.calls if call.path == path and op in ("", call.op)]

        try:
            async with asyncio.timeout(timeout), self._called:
                await self._called.wait_for(lambda: len(found()) >= times)
        except TimeoutError:
            seen = [(call.path, call.op) for call in self.calls]
            raise AssertionError(f"{path} {op} was not called {times} times in {timeout} s: {seen}") from None
        return found()[times - 1]

    async def _serve_http(self, request: web.Request) -> web.StreamResponse:
        call = Call(request.path, branch_of(request), await request.read(), request.headers)
        try:
            answer = await self._answer_to(call)
        except DtmError as error:
            return error_response(error)
        match answer:
            case Says.FAILURE | Says.ONGOING:
                status = 409 if answer is Says.FAILURE else 425
                return web.json_response({"message": f"told to say {answer.value}"}, status=status)
            case Says.BROKEN:
                return web.json_response({"message": "told to break"}, status=500)
            case Says.LOST:
                assert request.transport is not None
                request.transport.abort()
        return web.Response(body=_body(answer), content_type="application/json")

    async def _serve_grpc(self, path: str, stream: Stream[Any, Any]) -> None:
        message = await stream.recv_message()
        payload = message.data if message else b""
        call = Call(path, branch_of(stream), payload, dict(stream.metadata or {}))
        answer = await self._answer_to(call)
        match answer:
            case Says.FAILURE:
                raise Failure("told to say failure")
            case Says.ONGOING:
                raise Ongoing("told to say ongoing")
            case Says.BROKEN:
                raise GRPCError(GrpcStatus.INTERNAL, "told to break")
            case Says.LOST:
                raise GRPCError(GrpcStatus.UNAVAILABLE, "told to be lost")
        await stream.send_message(_Raw(_body(answer)))

    async def _answer_to(self, call: Call) -> Any:
        async with self._called:
            self.calls.append(call)
            self._called.notify_all()
        key = (call.path, call.op) if (call.path, call.op) in self._scripts else (call.path, "")
        script = self._scripts.get(key, [Says.SUCCESS])
        answer: Any = script.pop(0) if len(script) > 1 else script[0]
        if callable(answer) and not isinstance(answer, Says):
            answer = await answer(call)
        if answer is Says.HANGS:
            await asyncio.Event().wait()
        return answer


class _EveryMethod(dict[str, Handler]):
    """grpclib's table of methods, with one method for every path."""

    def __init__(self, serve: Callable[[str, Stream[Any, Any]], Awaitable[None]]) -> None:
        super().__init__()
        self._serve = serve

    def get(self, path: str, default: Any = None) -> Any:
        """Return the handler of any path."""
        return Handler(
            lambda stream: self._serve(path, stream),
            Cardinality.UNARY_UNARY,
            _Raw,
            _Raw,
        )


class _Raw:
    """A message as its bytes."""

    def __init__(self, data: bytes = b"") -> None:
        self.data = data

    def SerializeToString(self) -> bytes:
        return self.data

    @classmethod
    def FromString(cls, data: bytes) -> "_Raw":
        return cls(data)


def _body(answer: Any) -> bytes:
    if isinstance(answer, bytes):
        return answer
    if answer is None or isinstance(answer, Says):
        return b""
    return orjson.dumps(answer)
