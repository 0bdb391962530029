"""Branches on grpcio's servers, async and blocking (PROTOCOL §2, §10).

Needs `pip install 'dtm-coordinator[grpcio]'`. These servers take the content type of Go coordinators,
`application/grpc+dtm_raw`, as they are.
"""

import inspect
from collections.abc import Awaitable, Callable
from typing import Any

import grpc

from coordinator.client.errors import DtmError, NoBranchContext
from coordinator.client.frameworks.for_grpclib import check_method_path
from coordinator.client.frameworks.request import branch_of
from coordinator.client.transport.context import BranchContext, as_current
from coordinator.proto.grpc_message import shortened

__all__ = ["BlockingBranchInterceptor", "BranchInterceptor", "blocking_branch_method", "branch_method"]

_CODES = {code.value[0]: code for code in grpc.StatusCode}

Method = Callable[[Any, Any], Any]


class BranchInterceptor(grpc.aio.ServerInterceptor):  # type: ignore[misc] # grpcio has no types
    """For a server whose methods are branches: `grpc.aio.server(interceptors=[BranchInterceptor()])`.

    `current_branch()` works in the methods; Failure answers Aborted, Ongoing FailedPrecondition, a missing
    context InvalidArgument and any other DtmError Internal (asked again): PROTOCOL §2, §10. Methods with
    streams are left as they are: branches have none.
    """

    async def intercept_service(
        self, continuation: Callable[[Any], Awaitable[Any]], handler_call_details: Any
    ) -> Any:
        """Wrap the handler of one call."""
        return _guarded_handler(await continuation(handler_call_details))


class BlockingBranchInterceptor(grpc.ServerInterceptor):  # type: ignore[misc] # grpcio has no types
    """The same for a blocking server, whose methods run in threads (PROTOCOL §2, §10).

    Example:
        server = grpc.server(ThreadPoolExecutor(20), interceptors=[BlockingBranchInterceptor()])
    """

    def intercept_service(self, continuation: Callable[[Any], Any], handler_call_details: Any) -> Any:
        """Wrap the handler of one call."""
        return _guarded_handler(continuation(handler_call_details))


def branch_method(path: str, answer: Callable[[BranchContext, bytes], Awaitable[bytes]]) -> Any:
    """Return a handler of one method for `add_generic_rpc_handlers` of `grpc.aio.server`.

    path: `/package.Service/Method`. answer: gets the context and the message's bytes, returns those of the
    reply; its DtmErrors become answers, with or without an interceptor (PROTOCOL §2). Raises InvalidUse for
    another form of path.
    """

    async def method(request: bytes, context: Any) -> bytes:
        return await answer(branch_of(context), request)

    return _OneMethod(path, grpc.unary_unary_rpc_method_handler(_guarded(method)))


def blocking_branch_method(path: str, answer: Callable[[BranchContext, bytes], bytes]) -> Any:
    """Return the same for a blocking server, in one of whose threads `answer` runs (PROTOCOL §2).

    Example:
        def answer(branch: BranchContext, body: bytes) -> bytes:
            with pool.connection() as connection:
                query_prepared(branch, connection)
            return b""

        server.add_generic_rpc_handlers((blocking_branch_method("/shop.Shop/QueryPrepared", answer),))
    """

    def method(request: bytes, context: Any) -> bytes:
        return answer(branch_of(context), request)

    return _OneMethod(path, grpc.unary_unary_rpc_method_handler(_guarded(method)))


class _OneMethod(grpc.GenericRpcHandler):  # type: ignore[misc] # grpcio has no types
    """A service of one method whose messages are bytes as they came."""

    def __init__(self, path: str, handler: Any) -> None:
        check_method_path(path)
        self._path = path
        self._handler = handler

    def service(self, handler_call_details: Any) -> Any:
        """Return the handler for its path, None for others."""
        return self._handler if handler_call_details.method == self._path else None


def _guarded_handler(handler: Any) -> Any:
    if handler is None or handler.unary_unary is None:
        return handler
    return grpc.unary_unary_rpc_method_handler(
        _guarded(handler.unary_unary), handler.request_deserializer, handler.response_serializer
    )


def _guarded(method: Method) -> Method:
    """Set the context, and answer the client's errors by their codes."""

    async def awaited(request: Any, context: Any) -> Any:
        with as_current(_branch_or_error(context)):
            try:
                return await method(request, context)
            except DtmError as error:
                await context.abort(_CODES[error.grpc_status], shortened(error.told))

    def called(request: Any, context: Any) -> Any:
        with as_current(_branch_or_error(context)):
            try:
                return method(request, context)
            except DtmError as error:
                context.abort(_CODES[error.grpc_status], shortened(error.told))

    # An async server runs plain functions in threads; there they are what they are on a blocking one.
    return awaited if inspect.iscoroutinefunction(method) else called


def _branch_or_error(context: Any) -> BranchContext | NoBranchContext:
    try:
        return branch_of(context)
    except NoBranchContext as error:
        return error
