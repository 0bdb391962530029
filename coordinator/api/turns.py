"""Requests that take long to answer: a few at a time, and nobody's who has gone."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final

from aiohttp.web import BaseRequest

from coordinator.access.permissions import Principal
from coordinator.api.http_answer import Answer
from coordinator.errors import Busy

LISTS_AT_ONCE: Final = 2  # each up to a thousand rows, some 40 ms of the event loop
QUERIES_AT_ONCE: Final = 8  # most are small
WAITING_MAX: Final = 200
WAITING_SECONDS_MAX: Final = 10.0

Handler = Callable[[BaseRequest, Principal], Awaitable[Answer]]


class Turns:
    """Lets a few requests be answered at once while some wait; more are told to come later.

    places: answered at once. waiting_max: that wait for a place, each at most `seconds_max`.
    """

    def __init__(
        self, places: int, *, waiting_max: int = WAITING_MAX, seconds_max: float = WAITING_SECONDS_MAX
    ) -> None:
        self._places = asyncio.Semaphore(places)
        self._waiting = 0
        self._waiting_max = waiting_max
        self._seconds_max = seconds_max

    def of(self, answer: Handler) -> Handler:
        """The handler in turn; all that are made here share the places.

        It raises Busy where no turn comes, and for a client that has gone.
        """

        async def answer_in_turn(request: BaseRequest, who: Principal) -> Answer:
            async with self.turn():
                if request.transport is None:  # asked, and left: the work would be for nobody
                    raise Busy("the client has gone")
                return await answer(request, who)

        return answer_in_turn

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """A place until the block ends. Raises Busy where none comes."""
        if self._places.locked():
            await self._wait()
        else:
            await self._places.acquire()
        try:
            yield
        finally:
            self._places.release()

    async def _wait(self) -> None:
        if self._waiting >= self._waiting_max:
            raise Busy("too many ask for this at once", "ask again later")
        self._waiting += 1
        try:
            async with asyncio.timeout(self._seconds_max):
                await self._places.acquire()
        except TimeoutError:
            raise Busy("too many ask for this at once", "ask again later") from None
        finally:
            self._waiting -= 1
