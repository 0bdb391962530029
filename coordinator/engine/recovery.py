"""Takes up unfinished transactions whose time has come, many at once, bounded (PROTOCOL §9)."""

import asyncio

from coordinator.engine.drive import Ended
from coordinator.engine.drives import Engine
from coordinator.errors import DtmError
from coordinator.model import Options
from coordinator.telemetry.log import log


class Recovery:
    """Polls the store every `interval` seconds, or when woken, and drives what it could claim.

    running_max: how many recovered transactions run at once. Submits have their own places.
    """

    def __init__(self, engine: Engine, *, interval: float, running_max: int, batch: int = 200) -> None:
        self._engine = engine
        self._interval = interval
        self._running_max = running_max
        self._batch = batch
        self._drives: set[asyncio.Task[Ended]] = set()
        self._wake = asyncio.Event()
        self._problem = "has not looked yet"

    @property
    def problem(self) -> str:
        """Why recovery does not work just now; empty when it does."""
        return self._problem

    def wake(self) -> None:
        """Look now rather than at the next interval."""
        self._wake.set()

    async def run(self) -> None:
        """Go on until cancelled. A store that is away is waited for."""
        while True:
            self._wake.clear()
            try:
                more = await self.claim_once()
                self._problem = ""
            except DtmError as error:
                self._problem = str(error)
                log.warning("recovery could not look for due transactions: {}", error)
                more = False
            if not more:
                await self._rest()

    async def claim_once(self) -> bool:
        """Claim and start what is due, as far as there are places; True when there may be more."""
        places = min(self._batch, self._running_max - len(self._drives))
        if places <= 0:
            return False  # a place that comes free wakes us
        engine, tools = self._engine, self._engine.tools
        owner = engine.new_owner()
        before = tools.clock.monotonic()
        claimed = await tools.store.claim_due(
            now=tools.clock.now(),
            limit=places,
            trans_types=tuple(tools.patterns),
            owner=owner,
            lease_least=tools.timing.lease(Options()),
        )
        for stored in claimed:
            lease = engine.lease(owner, stored.transaction.options)
            lease.expires_at -= tools.clock.monotonic() - before
            task = engine.start(stored, lease, patient=False)
            self._drives.add(task)
            task.add_done_callback(self._place_free)
        return len(claimed) == places

    async def _rest(self) -> None:
        try:
            async with asyncio.timeout(self._interval):
                await self._wake.wait()
        except TimeoutError:
            pass

    def _place_free(self, task: asyncio.Task[Ended]) -> None:
        was_full = len(self._drives) >= self._running_max
        self._drives.discard(task)
        if was_full:
            self.wake()
