"""Workflows in a test: a service that the kit's coordinator calls back."""

import socket
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self

from aiohttp import web

from coordinator.client import BranchContext, branch_of, error_response
from coordinator.client.errors import DtmError, Unreachable
from coordinator.testing._branches import HOST


class WorkflowService:
    """A service whose workflows may be exchanged, as by a restart; as an async context manager."""

    def __init__(self) -> None:
        self.url = ""
        self.resume: Callable[[BranchContext, bytes], Awaitable[bytes]] = _nobody
        self._runner: web.AppRunner | None = None

    async def __aenter__(self) -> Self:
        application = web.Application()
        application.router.add_route("*", "/workflow", self._answer)
        self._runner = web.AppRunner(application, shutdown_timeout=0.1)
        await self._runner.setup()
        listening = socket.create_server((HOST, 0))
        await web.SockSite(self._runner, listening).start()
        self.url = f"http://{HOST}:{listening.getsockname()[1]}/workflow"
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        try:
            body = await self.resume(branch_of(request), await request.read())
        except DtmError as error:
            return error_response(error)
        return web.Response(body=body, content_type="application/json")


async def _nobody(branch: BranchContext, body: bytes) -> bytes:
    raise Unreachable("nobody serves workflows", gid=branch.gid)
