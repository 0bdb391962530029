"""grpc.health.v1, tied to readiness: SERVING only while nothing is wrong."""

import asyncio
from collections.abc import Collection
from typing import Any, Final

from grpclib.const import Status
from grpclib.exceptions import GRPCError
from grpclib.health.v1.health_grpc import HealthBase
from grpclib.health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpclib.server import Stream

from coordinator.watching.readiness import Readiness

WATCH_SECONDS: Final = 1.0  # between two looks on behalf of a client that watches

_CheckStream = Stream[HealthCheckRequest, HealthCheckResponse]


class Health(HealthBase):
    """Answers for the server as a whole ("") and for the services named."""

    def __init__(self, readiness: Readiness, services: Collection[str]) -> None:
        """`services`: full names, such as `dtmgimp.Dtm`."""
        self._readiness = readiness
        self._services = frozenset({"", *services})

    async def Check(self, stream: _CheckStream) -> None:
        """The state now; NOT_FOUND for a service that is not here."""
        request = await stream.recv_message()
        if request is None or request.service not in self._services:
            raise GRPCError(Status.NOT_FOUND, f"no service {request.service if request else ''}")
        await stream.send_message(self._state(request.service))

    async def Watch(self, stream: _CheckStream) -> None:
        """The state now, and again whenever it changes, until the client goes away."""
        request = await stream.recv_message()
        service = request.service if request else ""
        sent = None
        while True:
            state = self._state(service)
            if state != sent:
                await stream.send_message(state)
                sent = state
            await asyncio.sleep(WATCH_SECONDS)

    def _state(self, service: str) -> HealthCheckResponse:
        status: Any
        if service not in self._services:
            status = HealthCheckResponse.SERVICE_UNKNOWN
        elif self._readiness.problems():
            status = HealthCheckResponse.NOT_SERVING
        else:
            status = HealthCheckResponse.SERVING
        return HealthCheckResponse(status=status)
