"""Branches on aiohttp: the branch context, and errors as the protocol's answers (PROTOCOL §2, §10)."""

from collections.abc import Awaitable, Callable

import orjson
from aiohttp import web

from coordinator.client._barrier import branch_of
from coordinator.client._context import BranchContext, as_current
from coordinator.client._errors import FAILURE_WORD, ONGOING_WORD, DtmError, Failure, NoBranchContext, Ongoing


@web.middleware
async def branch_middleware(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """For an application whose handlers are branches: `web.Application(middlewares=[branch_middleware])`.

    `current_branch()` works in the handlers; Failure answers 409, Ongoing 425, a missing context 400 and
    any other DtmError 500 (asked again), each as the coordinator reads it.
    """
    with as_current(_branch_or_error(request)):
        try:
            return await handler(request)
        except DtmError as error:
            return error_response(error)


def error_response(error: DtmError) -> web.Response:
    """Return the HTTP answer for an error of the client's tree."""
    body = {"message": _unmistakable(error.message)}
    if isinstance(error, Failure):
        body["dtm_result"] = FAILURE_WORD
    elif isinstance(error, Ongoing):
        body["dtm_result"] = ONGOING_WORD
    return web.Response(status=error.http_status, body=orjson.dumps(body), content_type="application/json")


def _unmistakable(message: str) -> str:
    # Coordinators look for these words anywhere in a body, ONGOING first: within a sentence they would
    # change the result.
    return message.replace(ONGOING_WORD, ONGOING_WORD.lower()).replace(FAILURE_WORD, FAILURE_WORD.lower())


def _branch_or_error(request: web.Request) -> BranchContext | NoBranchContext:
    try:
        return branch_of(request)
    except NoBranchContext as error:
        return error
