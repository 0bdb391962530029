"""What runs beside the requests for as long as the coordinator does: owned, ended, never silently gone."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from coordinator.telemetry.log import log
from coordinator.watching.beats import repeat
from coordinator.watching.readiness import Readiness


class Tasks:
    """Tasks that go on until they are cancelled; one that ends otherwise makes the coordinator unready."""

    def __init__(self, readiness: Readiness) -> None:
        self._readiness = readiness
        self._running: set[asyncio.Task[None]] = set()

    def keep(self, coroutine: Coroutine[Any, Any, None], part: str) -> None:
        """Run it. part: what it is called in the log and by readiness."""
        task = asyncio.create_task(coroutine, name=part)
        self._running.add(task)
        task.add_done_callback(self._ended)

    def repeat(self, beat: Callable[[], Awaitable[None]], part: str, *, seconds: float) -> None:
        """Run the beat again and again; see coordinator.watching.beats."""
        self.keep(repeat(beat, part, seconds=seconds, tell=self._readiness.set), part)

    async def end(self) -> None:
        """Cancel all of them; none runs afterwards."""
        tasks = list(self._running)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        if task.cancelled():
            return
        error, part = task.exception(), task.get_name()
        self._readiness.set(part, f"broke off: {error!r}" if error else "ended")
        log.error("{} broke off; restart the coordinator", part, exception=error)
