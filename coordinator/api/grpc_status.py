"""Errors of gRPC calls that fit the header they travel in."""

from collections.abc import Awaitable, Callable
from typing import Any

from grpclib.exceptions import GRPCError
from grpclib.server import Stream

from coordinator.proto.grpc_message import shortened

_Call = Callable[[Stream[Any, Any]], Awaitable[None]]


def with_short_errors(call: _Call) -> _Call:
    """The same call, whose errors are shortened to what a header may hold."""

    async def shortening(stream: Stream[Any, Any]) -> None:
        try:
            await call(stream)
        except GRPCError as error:
            if error.message is None or (short := shortened(error.message)) == error.message:
                raise
            raise GRPCError(error.status, short, error.details) from error

    return shortening
