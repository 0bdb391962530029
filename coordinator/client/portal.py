"""A thread with an event loop, and the way from blocking code into it and back."""

import asyncio
import os
import threading
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import Future
from contextvars import ContextVar
from queue import SimpleQueue
from typing import Any, Final, TypeVar

from coordinator.client.errors import InvalidUse, Unreachable

T = TypeVar("T")

_Job = tuple[Callable[[], Any], "Future[Any]"]


class Caller:
    """The thread that waits: what must run there, such as a database connection of its own, is sent back."""

    def __init__(self) -> None:
        self.thread = threading.get_ident()
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self.has_ended = False

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
        while not self.has_ended:
            job = self._jobs.get()
            if job is None:
                self.has_ended = True
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


class _Call:
    """One task of the loop, and the thread that waits for it."""

    def __init__(self, loop: asyncio.AbstractEventLoop, work: Callable[[], Coroutine[Any, Any, Any]]) -> None:
        self.caller = Caller()
        self.task: asyncio.Task[Any] | None = None
        self._loop = loop
        self._work = work

    def begin(self) -> None:
        """Make the task; in the loop."""
        self.task = self._loop.create_task(self._working())
        self.task.add_done_callback(self._ended)  # also of one that is cancelled before it began

    def cancel(self) -> None:
        """Cancel the task, which begins before this; in the loop."""
        if self.task is not None:
            self.task.cancel()

    async def _working(self) -> Any:
        _waiting.set(self.caller)  # of this task, and of those it begins
        return await self._work()

    def _ended(self, task: "asyncio.Task[Any]") -> None:
        if not task.cancelled():
            task.exception()  # is looked at, also where the thread was interrupted and does not ask
        self.caller.done()


class Portal:
    """One loop in one thread; `close` ends both."""

    def __init__(self) -> None:
        self._process = os.getpid()
        self._loop = asyncio.new_event_loop()
        self._lock = threading.Lock()  # of the next two, which several threads change
        self._calls: set[_Call] = set()
        self._is_closed = False
        self._thread = threading.Thread(target=self._run, name="dtm client", daemon=True)
        self._thread.start()

    def call(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Run a coroutine in the loop and wait for it.

        Where the waiting ends early (Ctrl-C), the coroutine is cancelled, and what it undoes on its way out
        is still waited for. Raises Unreachable when the portal is closed, before or meanwhile; InvalidUse
        after a fork, which leaves the thread behind: nobody would ever answer.
        """
        self._check_process()
        call = _Call(self._loop, work)
        with self._lock:
            if self._is_closed:
                raise Unreachable("this Dtm is closed: nothing was sent")
            self._calls.add(call)
            self._loop.call_soon_threadsafe(call.begin)
        try:
            self._wait(call)
        finally:
            with self._lock:
                self._calls.discard(call)
        assert call.task is not None
        if call.task.cancelled() and self._is_closed:
            raise Unreachable(
                "this Dtm was closed by another thread during the call: not known whether it was done. "
                "Submit the same gid again, which is safe, or ask query",
                may_exist=True,
            )
        result: T = call.task.result()
        return result

    def close(self, last: Callable[[], Coroutine[Any, Any, object]]) -> None:
        """End the calls of other threads, then run `last` in the loop, and end the thread.

        Returns when the calls have undone what they undo; a function that runs in a waiting thread ends
        first. Raises what `last` raises, and InvalidUse inside such a function or after a fork.
        """
        self._check_process()
        with self._lock:
            if any(call.caller.thread == threading.get_ident() for call in self._calls):
                raise InvalidUse(
                    "this Dtm cannot be closed inside one of its own calls, which would wait for itself: "
                    "close it where it was opened"
                )
            if self._is_closed:
                return
            self._is_closed = True
            ending = asyncio.run_coroutine_threadsafe(self._end(last), self._loop)
        ending.add_done_callback(lambda _: self._loop.call_soon_threadsafe(self._loop.stop))
        self._thread.join()
        ending.result()

    def _wait(self, call: _Call) -> None:
        try:
            call.caller.serve()
        except BaseException:
            if not call.caller.has_ended:
                self._loop.call_soon_threadsafe(call.cancel)
                call.caller.serve()
            raise

    def _run(self) -> None:
        try:
            self._loop.run_forever()
            self._loop.run_until_complete(_end_all_others())
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        finally:
            self._loop.close()

    async def _end(self, last: Callable[[], Coroutine[Any, Any, object]]) -> None:
        with self._lock:  # whoever is in here has begun: the loop keeps the order
            tasks = [call.task for call in self._calls if call.task is not None]
        await _cancelled(tasks)
        await last()

    def _check_process(self) -> None:
        if os.getpid() != self._process:
            raise InvalidUse(
                "this Dtm was opened before its process was forked: open one in each worker (gunicorn's "
                "post_fork, celery's worker_process_init)"
            )


async def _cancelled(tasks: "list[asyncio.Task[Any]]") -> None:
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks)


async def _end_all_others() -> None:
    """End what calls left behind: nothing is thrown away half done."""
    await _cancelled([task for task in asyncio.all_tasks() if task is not asyncio.current_task()])


def at_once(work: Awaitable[T]) -> T:
    """Run to its end a coroutine that never waits, without any loop."""
    iterator = work.__await__()
    try:
        next(iterator)
    except StopIteration as ended:
        result: T = ended.value
        return result
    raise AssertionError("this coroutine waits for something")
