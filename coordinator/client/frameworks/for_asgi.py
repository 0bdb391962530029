"""Branches on Starlette, FastAPI and every other ASGI framework (PROTOCOL §2, §10). Imports none of them."""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, TypeAlias
from urllib.parse import parse_qsl

from coordinator.client.errors import DtmError, NoBranchContext
from coordinator.client.frameworks.request import branch_of_scope
from coordinator.client.transport.context import BranchContext, as_current
from coordinator.client.transport.http_answer import json_body

Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
App: TypeAlias = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]


class BranchMiddleware:
    """For an application whose handlers are branches: `application.add_middleware(BranchMiddleware)`.

    `current_branch()` works in the handlers; Failure answers 409, Ongoing 425, a missing context 400 and any
    other DtmError 500 (asked again), each as the coordinator reads it (PROTOCOL §2, §10).
    """

    def __init__(self, app: App) -> None:
        self._app = app

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = False

        async def sending(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        with as_current(_branch_or_error(scope)):
            try:
                await self._app(scope, receive, sending)
            except DtmError as error:
                if started:
                    raise  # half an answer is out: the connection breaks, which is an unknown result
                await _answer(error, send)


async def _answer(error: DtmError, send: Send) -> None:
    body = json_body(error)
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": error.http_status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _branch_or_error(scope: MutableMapping[str, Any]) -> BranchContext | NoBranchContext:
    try:
        return branch_of_scope(scope, dict(parse_qsl(scope.get("query_string", b"").decode("latin-1"))))
    except NoBranchContext as error:
        return error
