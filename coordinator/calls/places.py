"""A bound on the calls that run at one endpoint: a hanging service fills only its own (DESIGN, promise 5)."""

import asyncio
from collections import deque
from collections.abc import Mapping


class _Endpoint:
    """The calls that run at one endpoint, and who waits for one of them to end, first come first served."""

    __slots__ = ("running", "waiting")

    def __init__(self) -> None:
        self.running = 0
        self.waiting: deque[asyncio.Future[None]] = deque()


class Places:
    """A bound per endpoint. Whoever enters must leave. An endpoint without calls takes no memory.

    running_max: calls at a time. waiting_max: how many more may queue; the next one is turned away at once.
    """

    def __init__(self, *, running_max: int, waiting_max: int) -> None:
        self.running_max = running_max
        self.waiting_max = waiting_max
        self._endpoints: dict[str, _Endpoint] = {}

    def try_enter(self, endpoint: str) -> bool:
        """Take a place if one is free and nobody waits for it."""
        here = self._endpoints.get(endpoint)
        if here is None:
            here = self._endpoints[endpoint] = _Endpoint()
        elif here.running >= self.running_max:
            return False
        here.running += 1
        return True

    async def enter(self, endpoint: str, patience: float) -> bool:
        """Take a place, waiting for it at most `patience` seconds. False when there was none."""
        if self.try_enter(endpoint):
            return True
        here = self._endpoints[endpoint]
        if patience <= 0 or len(here.waiting) >= self.waiting_max:
            return False
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        here.waiting.append(turn)
        try:
            async with asyncio.timeout(patience):
                await turn
        except TimeoutError:
            return self._has_come(here, turn)
        except asyncio.CancelledError:
            if self._has_come(here, turn):
                self.leave(endpoint)
            raise
        return True

    def leave(self, endpoint: str) -> None:
        """Give the place to the first that waits, or free it."""
        here = self._endpoints[endpoint]
        while here.waiting:
            turn = here.waiting.popleft()
            if not turn.done():  # one that was just cancelled has not yet left the queue
                turn.set_result(None)  # the place passes on: `running` stays
                return
        here.running -= 1
        if here.running == 0:
            del self._endpoints[endpoint]

    def running(self, endpoint: str) -> int:
        """How many calls run there now."""
        here = self._endpoints.get(endpoint)
        return here.running if here is not None else 0

    def by_endpoint(self) -> Mapping[str, int]:
        """How many calls run at each endpoint that has any."""
        return {name: here.running for name, here in self._endpoints.items()}

    def __len__(self) -> int:
        """How many endpoints have calls now."""
        return len(self._endpoints)

    @staticmethod
    def _has_come(here: _Endpoint, turn: "asyncio.Future[None]") -> bool:
        """After the wait was broken off: True when the place had come all the same, and is ours."""
        if turn in here.waiting:
            here.waiting.remove(turn)
        return not turn.cancelled()
