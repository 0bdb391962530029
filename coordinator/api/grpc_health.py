"""grpc.health.v1, tied to readiness: SERVING only while nothing is wrong."""

import asyncio
from collections.abc import Collection, Mapping
from typing import Any, Final

from grpclib.const import Status
from grpclib.exceptions import GRPCError
from grpclib.health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

from coordinator.api.grpc_call import Answer, Call
from coordinator.api.grpc_messages import received
from coordinator.watching.readiness import Readiness

HEALTH: Final = "grpc.health.v1.Health"
WATCH_SECONDS: Final = 1.0  # between two looks on behalf of a client that watches


class Health:
    """Answers for the server as a whole ("") and for the services named."""

    def __init__(self, readiness: Readiness, services: Collection[str]) -> None:
        """`services`: full names, such as `dtmgimp.Dtm`."""
        self._readiness = readiness
        self._services = frozenset({"", *services})
        self._watching = 0  # calls
        self._change: asyncio.Future[None] | None = None
        self._had_problems = False
        self._timer: asyncio.TimerHandle | None = None  # only while somebody watches

    @property
    def methods(self) -> Mapping[str, Answer]:
        """By their paths."""
        return {f"/{HEALTH}/Check": self.check, f"/{HEALTH}/Watch": self.watch}

    async def check(self, call: Call) -> None:
        """The state now; NOT_FOUND for a service that is not here."""
        request = await received(HealthCheckRequest, call)
        if request is None or request.service not in self._services:
            raise GRPCError(Status.NOT_FOUND, f"no service {request.service if request else ''}")
        await call.reply(self._state(request.service))

    async def watch(self, call: Call) -> None:
        """The state now, and again whenever it changes, until the client goes away."""
        request = await received(HealthCheckRequest, call)
        service = request.service if request else ""
        call.incoming.stay()
        sent = None
        self._watching += 1
        try:
            while True:
                change = self._look()
                state = self._state(service)
                if state != sent:
                    await call.send(state)
                    sent = state
                await asyncio.wait((change,))
        finally:
            self._watching -= 1

    def _look(self) -> "asyncio.Future[None]":
        """Look at the state, once for all who watch; returns what is done when it is another one."""
        loop = asyncio.get_running_loop()
        problems = bool(self._readiness.problems())
        if self._change is None or problems != self._had_problems:
            if self._change is not None:
                self._change.set_result(None)
            self._change, self._had_problems = loop.create_future(), problems
        if self._watching and self._timer is None:
            self._timer = loop.call_later(WATCH_SECONDS, self._look_again)
        return self._change

    def _look_again(self) -> None:
        self._timer = None
        _ = self._look()

    def _state(self, service: str) -> bytes:
        status: Any
        if service not in self._services:
            status = HealthCheckResponse.SERVICE_UNKNOWN
        elif self._readiness.problems():
            status = HealthCheckResponse.NOT_SERVING
        else:
            status = HealthCheckResponse.SERVING
        return HealthCheckResponse(status=status).SerializeToString()
