"""A thread with an event loop, and the way from blocking code into it and back."""

import asyncio
import os
import threading
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any, TypeVar

from coordinator.client._errors import InvalidUse

T = TypeVar("T")

_Job = tuple[Callable[[], Any], "Future[Any]"]


class Caller:
    """The thread that waits: what must run there, such as a database connection of its own, is sent back."""

    def __init__(self) -> None:
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()

    async def run(self, function: Callable[[], T]) -> T:
        """Run a function in the waiting thread; from the loop."""
        future: Future[T] = Future()
        self._jobs.put((function, future))
        return await asyncio.wrap_future(future)

    def serve(self) -> None:
        """Run what is sent until `done`; in the waiting thread."""
        while (job := self._jobs.get()) is not None:
            function, future = job
            if not future.set_running_or_notify_cancel():
                continue
            try:
                future.set_result(function())
            except BaseException as error:
                future.set_exception(error)
                if not isinstance(error, Exception):
                    raise  # Ctrl-C ends the waiting too

    def done(self) -> None:
        """Let `serve` return."""
        self._jobs.put(None)


class Portal:
    """One loop in one thread; `close` ends both."""

    def __init__(self) -> None:
        self._process = os.getpid()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="dtm client", daemon=True)
        self._thread.start()

    def call(self, work: Callable[[Caller], Coroutine[Any, Any, T]]) -> T:
        """Run a coroutine in the loop and wait for it; one that is not waited for any more is cancelled.

        Raises InvalidUse after a fork, which leaves the thread behind: nobody would ever answer.
        """
        if os.getpid() != self._process:
            raise InvalidUse(
                "this Dtm was opened before its process was forked: open one in each worker (gunicorn's "
                "post_fork, celery's worker_process_init)"
            )
        caller = Caller()
        future = asyncio.run_coroutine_threadsafe(work(caller), self._loop)
        future.add_done_callback(lambda _: caller.done())
        try:
            caller.serve()
        except BaseException:
            future.cancel()
            raise
        return future.result()

    def close(self) -> None:
        """Stop the loop; nothing may run in it any more."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


def at_once(work: Awaitable[T]) -> T:
    """Run to its end a coroutine that never waits, without any loop."""
    iterator = work.__await__()
    try:
        next(iterator)
    except StopIteration as ended:
        result: T = ended.value
        return result
    raise AssertionError("this coroutine waits for something")
