"""A thread that runs functions one after the other, with little between the event loop and it.

An executor makes a future of its own for each, with a lock and a condition, and copies its result: as much
work as some commits are.
"""

import asyncio
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, TypeVar

T = TypeVar("T")

_Job = tuple[Callable[[], Any], "asyncio.Future[Any]"]


class OneThread:
    """Runs until `close`; a process that ends does not wait for it."""

    def __init__(self, name: str) -> None:
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        threading.Thread(target=self._run, name=name, daemon=True).start()

    async def run(self, function: Callable[[], T]) -> T:
        """What the function returns or raises. One that nobody waits for any more is not begun."""
        ended: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._jobs.put((function, ended))
        return await ended

    def close(self) -> None:
        """End after what was given; nothing may be given any more."""
        self._jobs.put(None)

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            function, ended = job
            if ended.cancelled():
                continue
            try:
                result, error = function(), None
            except BaseException as raised:  # noqa: BLE001 - who waits for it gets it
                result, error = None, raised
            try:
                ended.get_loop().call_soon_threadsafe(_end, ended, result, error)
            except RuntimeError:  # the loop is closed: nobody waits
                return
            del job, function, ended, result, error  # not kept until the next one comes


def _end(ended: "asyncio.Future[Any]", result: object, error: BaseException | None) -> None:
    if ended.done():
        return
    if error is None:
        ended.set_result(result)
    else:
        ended.set_exception(error)
