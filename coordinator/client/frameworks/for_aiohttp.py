"""Branches on aiohttp: the branch context, and errors as the protocol's answers (PROTOCOL §2, §10)."""

from collections.abc import Awaitable, Callable

from aiohttp import web

from coordinator.client.errors import DtmError, NoBranchContext
from coordinator.client.frameworks.request import branch_of
from coordinator.client.transport.context import BranchContext, as_current
from coordinator.client.transport.http_answer import json_body


@web.middleware
async def branch_middleware(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """For an application whose handlers are branches: `web.Application(middlewares=[branch_middleware])`.

    `current_branch()` works in the handlers; Failure answers 409, Ongoing 425, a missing context 400 and
    any other DtmError 500 (asked again), each as the coordinator reads it (PROTOCOL §2, §10).
    """
    with as_current(_branch_or_error(request)):
        try:
            return await handler(request)
        except DtmError as error:
            return error_response(error)


def error_response(error: DtmError) -> web.Response:
    """Return the HTTP answer for an error of the client's tree (PROTOCOL §2)."""
    return web.Response(status=error.http_status, body=json_body(error), content_type="application/json")


def branch_endpoint(
    answer: Callable[[BranchContext, bytes], Awaitable[bytes]],
) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """Return a handler that stands by itself, with or without `branch_middleware` around it.

    answer: gets the context and the body, returns the JSON of a success; its DtmErrors become answers.
    """

    async def handler(request: web.Request) -> web.StreamResponse:
        try:
            body = await answer(branch_of(request), await request.read())
        except DtmError as error:
            return error_response(error)
        return web.Response(body=body, content_type="application/json")

    return handler


def _branch_or_error(request: web.Request) -> BranchContext | NoBranchContext:
    try:
        return branch_of(request)
    except NoBranchContext as error:
        return error
