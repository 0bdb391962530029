"""Branches on grpcio's asyncio server; needs `pip install 'dtm-coordinator[grpcio]'` (PROTOCOL §2, §10)."""

from collections.abc import Awaitable, Callable
from typing import Any

import grpc

from coordinator.client import BranchContext, DtmError, NoBranchContext, as_current, branch_of

_CODES = {code.value[0]: code for code in grpc.StatusCode}


class BranchInterceptor(grpc.aio.ServerInterceptor):  # type: ignore[misc] # grpcio has no types
    """For a server whose methods are branches: `grpc.aio.server(interceptors=[BranchInterceptor()])`.

    `current_branch()` works in the methods; Failure answers Aborted, Ongoing FailedPrecondition, a missing
    context InvalidArgument and any other DtmError Internal (asked again). Methods with streams are left as
    they are: branches have none.
    """

    async def intercept_service(
        self, continuation: Callable[[Any], Awaitable[Any]], handler_call_details: Any
    ) -> Any:
        """Wrap the handler of one call."""
        handler = await continuation(handler_call_details)
        if handler is None or handler.unary_unary is None:
            return handler
        method = handler.unary_unary

        async def guarded(request: Any, context: Any) -> Any:
            with as_current(_branch_or_error(context)):
                try:
                    return await method(request, context)
                except DtmError as error:
                    await context.abort(_CODES[error.grpc_status], error.message)

        return grpc.unary_unary_rpc_method_handler(
            guarded, handler.request_deserializer, handler.response_serializer
        )


def _branch_or_error(context: Any) -> BranchContext | NoBranchContext:
    try:
        return branch_of(context)
    except NoBranchContext as error:
        return error
