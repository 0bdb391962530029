"""The ports: opened, each with the calls that are answered there, and closed in bounded time."""

from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any, Final

from coordinator import __version__
from coordinator.access.gate import Gate
from coordinator.access.permissions import Needs, is_for_clients, is_for_operators
from coordinator.api.connections import operators_connections_max
from coordinator.api.grpc import GrpcApi
from coordinator.api.http import HttpApi
from coordinator.api.room import Room
from coordinator.api.serve import Listener, start_grpc, start_http
from coordinator.calls.places import Places
from coordinator.config.settings import Settings
from coordinator.engine.pressure import Pressure
from coordinator.server.admitting import own_hosts
from coordinator.server.certificates import Certificates
from coordinator.server.looking import Shown
from coordinator.server.observing import Observing
from coordinator.service import Operations
from coordinator.watching.readiness import Readiness
from coordinator.watching.siblings import Siblings

STOP_SECONDS: Final = 5.0  # how long running requests and calls may take to end


@dataclass(frozen=True, slots=True)
class Ports:
    """Those that were found. operators_http, operators_grpc: of operators alone; 0 where they have none."""

    http: int
    grpc: int
    operators_http: int = 0
    operators_grpc: int = 0


class Listening:
    """Opens the ports. What it opens is closed by `opened`, the operators' last."""

    def __init__(
        self,
        settings: Settings,
        operations: Operations,
        readiness: Readiness,
        observing: Observing,
        gate: Gate,
        certificates: Certificates,
        places: Places,
        opened: AsyncExitStack,
        console: Callable[[Room], Shown] | None = None,
        siblings: Siblings | None = None,
        pressure: Pressure | None = None,
    ) -> None:
        """places: take note of each port, so that no branch may live there.

        console: made over the room of requests' bytes; None: no pages. siblings: with whom the ports are
        shared; None: with nobody. pressure: whether new transactions are taken in; None: always.
        """
        self._settings = settings
        self._gate = gate
        self._certificates = certificates
        self._places = places
        self._opened = opened
        self._subjects = (operations, readiness, observing.metrics)
        room = Room()
        self._pages = console(room).calls() if console else ()
        self._options: dict[str, Any] = {
            "version": __version__,
            "zone": settings.time_zone,
            "body_bytes_max": settings.body_bytes_max,
            "tracing": observing.tracing,
            "room": room,
            "pressure": pressure,
        }
        self._siblings = siblings

    async def open(self) -> Ports:
        """Open every port that the settings name. Raises StartError for one that cannot be had."""
        settings, operators = self._settings, self._settings.operators
        if not operators.port:
            http = await self._http(settings.host, settings.http_port, "HttpPort", _all)
            return Ports(http, await self._grpc(settings.host, settings.grpc_port, "GrpcPort", _all))
        theirs = await self._http(operators.host, operators.port, "Operators.Port", is_for_operators)
        theirs_grpc = 0
        if operators.grpc_port:
            theirs_grpc = await self._grpc(
                operators.host, operators.grpc_port, "Operators.GrpcPort", is_for_operators
            )
        http = await self._http(settings.host, settings.http_port, "HttpPort", is_for_clients)
        grpc = await self._grpc(settings.host, settings.grpc_port, "GrpcPort", is_for_clients)
        return Ports(http, grpc, theirs, theirs_grpc)

    async def open_http(self) -> Ports:
        """Open the one for HTTP alone, with all that is answered there. Raises StartError."""
        settings = self._settings
        return Ports(await self._http(settings.host, settings.http_port, "HttpPort", _all), 0)

    async def _http(self, host: str, port: int, key: str, serves: Callable[[Needs], bool]) -> int:
        gate = self._gate.asked_by(own_hosts(self._settings, host))
        api = HttpApi(
            *self._subjects,
            **self._options,
            gate=gate,
            serves=serves,
            connections_at_most=_connections(serves),
            pages=() if serves is is_for_clients else self._pages,
            siblings=self._siblings,
        )
        return self._opened_at(await start_http(api, host, port, **self._how(key)))

    async def _grpc(self, host: str, port: int, key: str, serves: Callable[[Needs], bool]) -> int:
        api = GrpcApi(
            *self._subjects,
            **self._options,
            gate=self._gate,
            serves=serves,
            connections_at_most=_connections(serves),
        )
        return self._opened_at(await start_grpc(api, host, port, **self._how(key)))

    def _how(self, key: str) -> dict[str, Any]:
        return {
            "tls": self._certificates.of_port(key),
            "key": key,
            "is_shared": self._siblings is not None,
        }

    def _opened_at(self, listener: Listener) -> int:
        self._opened.push_async_callback(listener.stop, STOP_SECONDS)
        self._places.listens_on(listener.port)
        return listener.port


def _all(_: Needs) -> bool:
    return True


def _connections(serves: Callable[[Needs], bool]) -> int | None:
    return operators_connections_max() if serves is is_for_operators else None
