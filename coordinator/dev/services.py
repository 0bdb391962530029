"""Small services on loopback, each of which fails in a way of its own, until it is mended."""

import asyncio
import socket
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self

from aiohttp import web

HOST: Final = "127.0.0.1"
_MEND: Final = "/mend"
_BROKEN_OFF: Final = b"HTTP/1.1 200 OK\r\nContent-Length: 64\r\n\r\n{"


@dataclass(frozen=True, slots=True)
class Manner:
    """How a service answers. ops: only these operations, all of them where there are none."""

    status: int = 200
    says: str = ""
    ops: tuple[str, ...] = ()
    hangs: bool = False
    breaks_off: bool = False
    refuses: bool = False  # connections


WORKS: Final = Manner()
REFUSES: Final = Manner(refuses=True)

# As they are in the end; the past of some was another one.
SERVICES: Final[Mapping[str, Manner]] = {
    "shop": WORKS,
    "bank": Manner(409, "the account is closed", ops=("action",)),
    "ledger": REFUSES,
    "payment": Manner(503, "no connection to the database is free: 64 of 64 are in use"),
    "mail": Manner(hangs=True),
    "fax": Manner(hangs=True),
    "rooms": Manner(425, "the hotel has not confirmed yet"),
    "tickets": Manner(404, "404 page not found"),
    "invoice": Manner(422, "the field vat_id is missing"),
    "points": Manner(409, "points that are spent cannot be taken back", ops=("compensate",)),
    "courier": Manner(202, "taken, for later"),
    "printer": Manner(breaks_off=True),
    "airline": Manner(500, "NullPointerException at Booking.java:314", ops=("cancel", "rollback")),
    "newsletter": REFUSES,
    "onboarding": REFUSES,
}


class Services:
    """All of them, each on a free port of its own that it keeps, as an async context manager.

    `POST /mend/NAME` to any that listens has the one of that name answer success from then on.
    """

    def __init__(self, manners: Mapping[str, Manner] = SERVICES) -> None:
        self._manners = dict(manners)
        self._will_refuse = {name for name, manner in manners.items() if manner.refuses}
        self._names: dict[int, str] = {}  # by port
        self._ports: dict[str, int] = {}
        self._refusing: dict[str, socket.socket] = {}  # bound, so that nobody takes the port; not listening
        self._sites: dict[str, web.SockSite] = {}
        self._opened = AsyncExitStack()

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as opened:
            application = web.Application()
            application.router.add_post(_MEND + "/{name}", self._mended)
            application.router.add_route("*", "/{path:.*}", self._answer)
            self._runner = web.AppRunner(
                application, access_log=None, shutdown_timeout=0.1, handler_cancellation=True
            )
            await self._runner.setup()
            opened.push_async_callback(self._runner.cleanup)
            opened.callback(self._close_refusing)
            for name, manner in self._manners.items():
                taken = _bound(0)
                port = taken.getsockname()[1]
                self._names[port], self._ports[name], self._refusing[name] = name, port, taken
                await self.turn(name, manner)
            self._opened = opened.pop_all()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """End all of them; what they have not answered breaks off."""
        await self._opened.aclose()

    def url(self, name: str, path: str = "") -> str:
        """Where it is, or would be: `http://127.0.0.1:port/path`."""
        return f"http://{self.endpoint(name)}{path}"

    def endpoint(self, name: str) -> str:
        """`127.0.0.1:port`."""
        return f"{HOST}:{self._ports[name]}"

    async def turn(self, name: str, manner: Manner) -> None:
        """Have it answer so from now on."""
        self._manners[name] = manner
        if manner.refuses and name in self._sites:
            await self._sites.pop(name).stop()
            self._refusing[name] = _bound(self._ports[name])
        elif not manner.refuses and name in self._refusing:
            self._sites[name] = web.SockSite(self._runner, self._refusing.pop(name))
            await self._sites[name].start()

    async def _mended(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        if name not in self._manners:
            return web.Response(status=404, text=f"there is no {name}; there are {', '.join(SERVICES)}\n")
        await self.turn(name, WORKS)
        return web.Response(text=f"{name} works from now on: {self.endpoint(name)}\n")

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        transport = request.transport
        if transport is None:  # the caller has gone
            return web.Response()
        name = self._names[transport.get_extra_info("sockname")[1]]
        manner = self._manners[name]
        await request.read()
        if manner.ops and request.query.get("op") not in manner.ops:
            manner = WORKS
        if manner.hangs:
            await asyncio.Event().wait()
        if manner.breaks_off:
            transport.write(_BROKEN_OFF)
            transport.close()
        body = {"message": manner.says} if manner.says else {}
        response = web.json_response(body, status=manner.status)
        if name in self._will_refuse:  # then there is no connection that is open still
            response.force_close()
        return response

    def _close_refusing(self) -> None:
        for taken in self._refusing.values():
            taken.close()


def _bound(port: int) -> socket.socket:
    taken = socket.socket()
    taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    taken.bind((HOST, port))
    return taken
