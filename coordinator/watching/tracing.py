"""One trace per transaction: the request that brought it, and every branch call, whoever makes it and when.

Switched off it is an object whose methods do nothing and hand back what they are given, so that nothing of it
is on the way of a request or a call.
"""

from collections.abc import Awaitable, Callable
from typing import Any, Final, Protocol, TypeVar

from coordinator.calls.base import Caller

T = TypeVar("T")


class HttpAnswer(Protocol):
    """What is read of an answer."""

    @property
    def status(self) -> int:
        """HTTP's status code."""
        ...


AnswerT = TypeVar("AnswerT", bound=HttpAnswer)


class Tracing(Protocol):
    """What the rooms ask of tracing."""

    def http(
        self, method: str, path: str, handler: Callable[[Any], Awaitable[AnswerT]]
    ) -> Callable[[Any], Awaitable[AnswerT]]:
        """The handler of an HTTP request, within a span."""
        ...

    def grpc(self, path: str, handler: Callable[[Any], Awaitable[T]]) -> Callable[[Any], Awaitable[T]]:
        """The handler of a gRPC call (its stream → reply), within a span. path: /package.Service/Method."""
        ...

    def about(self, gid: str, trans_type: str) -> None:
        """Say which transaction the request is about that is being handled."""
        ...

    def ext_data(self) -> str:
        """What to store with a transaction that begins now, so that its calls join this trace."""
        ...

    def caller(self, caller: Caller) -> Caller:
        """The caller, with a span around each call that the branch can continue."""
        ...


class NoTracing:
    """Tracing switched off."""

    def http(
        self, method: str, path: str, handler: Callable[[Any], Awaitable[AnswerT]]
    ) -> Callable[[Any], Awaitable[AnswerT]]:
        """The handler itself."""
        return handler

    def grpc(self, path: str, handler: Callable[[Any], Awaitable[T]]) -> Callable[[Any], Awaitable[T]]:
        """The handler itself."""
        return handler

    def about(self, gid: str, trans_type: str) -> None:
        """Do nothing."""

    def ext_data(self) -> str:
        """Nothing is stored."""
        return ""

    def caller(self, caller: Caller) -> Caller:
        """The caller itself."""
        return caller


OFF: Final = NoTracing()
