"""A thread with an event loop, and the way from blocking code into it and back."""

import asyncio
import os
import threading
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import Future
from contextvars import ContextVar
from queue import SimpleQueue
from typing import Any, Final, TypeVar

from coordinator.client._errors import InvalidUse

T = TypeVar("T")

_Job = tuple[Callable[[], Any], "Future[Any]"]


class Caller:
    """The thread that waits: what must run there, such as a database connection of its own, is sent back."""

    def __init__(self) -> None:
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._ended = False

    async def run(self, function: Callable[[], T]) -> T:
        """Run a function in the waiting thread; from the loop."""
        future: Future[T] = Future()
        self._jobs.put((function, future))
        return await asyncio.wrap_future(future)

    def serve(self) -> None:
        """Run what is sent until `done`; in the waiting thread.

        What is no Exception (Ctrl-C) cancels the task, whose undoing still runs here, and is raised at the
        end: raised inside the loop, it would end that for everybody.
        """
        interruption: BaseException | None = None
        while not self._ended:
            job = self._jobs.get()
            if job is None:
                self._ended = True
                break
            function, future = job
            if not future.set_running_or_notify_cancel():
                continue
            try:
                future.set_result(function())
            except BaseException as error:  # noqa: BLE001 # handed on: to the task, or raised at the end
                if not isinstance(error, Exception):
                    interruption, error = error, asyncio.CancelledError()
                future.set_exception(error)
        if interruption is not None:
            raise interruption

    def done(self) -> None:
        """Let `serve` return."""
        self._jobs.put(None)


_waiting: Final[ContextVar[Caller]] = ContextVar("waiting caller")


async def in_caller(function: Callable[[], T]) -> T:
    """Run a function in the thread that waits for this task in `Portal.call`.

    A function that runs there may use `Portal.call` itself: the thread then waits for that, the inner one.
    """
    return await _waiting.get().run(function)


class Portal:
    """One loop in one thread; `close` ends both."""

    def __init__(self) -> None:
        self._process = os.getpid()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="dtm client", daemon=True)
        self._thread.start()

    def call(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Run a coroutine in the loop and wait for it.

        Where the waiting ends early (Ctrl-C), the coroutine is cancelled, and what it undoes on its way out
        is still waited for. Raises InvalidUse after a fork, which leaves the thread behind: nobody would ever
        answer.
        """
        if os.getpid() != self._process:
            raise InvalidUse(
                "this Dtm was opened before its process was forked: open one in each worker (gunicorn's "
                "post_fork, celery's worker_process_init)"
            )
        caller = Caller()
        begun = threading.Event()

        async def working() -> T:
            _waiting.set(caller)  # of this task, and of those it begins
            begun.set()
            try:
                return await work()
            finally:
                caller.done()

        future = asyncio.run_coroutine_threadsafe(working(), self._loop)
        try:
            caller.serve()
        except BaseException:
            future.cancel()
            if begun.is_set():
                caller.serve()
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
