"""A program's own functions, called as branches: each in a task of its own, cancelled at its deadline."""

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from contextvars import Context
from typing import Any, Final, TypeAlias

from coordinator.attempt import Kind
from coordinator.calls.answers import unknown
from coordinator.calls.base import Answer
from coordinator.client import DtmError, Failure, InvalidUse, LocalCall, Ongoing, as_current, encode_json
from coordinator.client.patterns.workflow_traceback import cleaned
from coordinator.discovery.local import LOCAL, is_function_name, problem_of
from coordinator.model import Result

CANCEL_SECONDS: Final = 1.0  # that a function has to end in once it is cancelled
_LOG: Final = logging.getLogger("coordinator.embedded")
_BROKEN: Final = 500  # as a framework answers for a handler that raised

Function: TypeAlias = Callable[[LocalCall], Awaitable[Any]]


def by_name(functions: Mapping[str, Function] | Iterable[Function]) -> dict[str, Function]:
    """Return them by what they are called in urls: their own names, or those of the mapping.

    Raises InvalidUse for what cannot be called so.
    """
    named = (
        list(functions.items())
        if isinstance(functions, Mapping)
        else [(getattr(one, "__name__", ""), one) for one in functions]
    )
    found: dict[str, Function] = {}
    for name, function in named:
        if not is_function_name(name):
            raise InvalidUse(
                f"functions: {function!r} has no name that a url can have: give a dict of names and functions"
            )
        if name in found:
            raise InvalidUse(f"functions: two are called {name!r}: give a dict of names and functions")
        if not _is_async(function):
            raise InvalidUse(f"functions: {name} is no `async def`: it would hold up the whole program")
        found[name] = function
    return found


def _is_async(function: object) -> bool:
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
        getattr(function, "__call__", None)  # noqa: B004 - not whether it can be called, but how
    )


class Functions:
    """functions: by name. context: what they find in context variables, whoever caused the call."""

    def __init__(self, functions: Mapping[str, Function], context: Context) -> None:
        self._functions = functions
        self._context = context
        self._running: dict[tuple[str, str, str], asyncio.Task[Any]] = {}

    @property
    def names(self) -> Collection[str]:
        """What can be called."""
        return self._functions.keys()

    def problem(self, url: str) -> str:
        """Why the url cannot be called, as the end of a sentence; empty where it can."""
        return problem_of(url, self._functions)

    async def run(self, name: str, call: LocalCall, *, timeout: float, keep: bool) -> Answer:
        """Call a function that is there. timeout: seconds. keep: whether what it returns is wanted."""
        key = (call.gid, call.branch_id, call.op)
        if key in self._running:
            return unknown(
                f"{LOCAL}{name} still runs since it was called before, although it was cancelled: it must"
                " let CancelledError out",
                Kind.TIMEOUT,
            )
        task = asyncio.create_task(self._called(name, call), name=name, context=self._context.copy())
        self._running[key] = task
        task.add_done_callback(lambda _: self._running.pop(key, None))
        try:
            if not (await asyncio.wait({task}, timeout=timeout))[0]:
                await end([task])
        except asyncio.CancelledError:
            await end([task])
            raise
        if not task.done() or task.cancelled():
            return unknown(f"{LOCAL}{name} gave no answer within {timeout:g} s", Kind.TIMEOUT)
        return _answer_of(name, task, keep=keep)

    async def close(self) -> None:
        """End what was cancelled and runs on."""
        await end(list(self._running.values()))

    async def _called(self, name: str, call: LocalCall) -> Any:
        with as_current(call.branch):
            return await self._functions[name](call)


async def end(tasks: Collection[asyncio.Task[Any]]) -> None:
    """Cancel them; return when they have ended, or had their time for it."""
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks, timeout=CANCEL_SECONDS)


def _answer_of(name: str, task: asyncio.Task[Any], *, keep: bool) -> Answer:
    """What came of it: as a branch over HTTP would have answered."""
    match task.exception():
        case None:
            return _success(name, task.result()) if keep else Answer(Result.SUCCESS)
        case Failure() as error:
            return Answer(Result.FAILURE, error.told, http_status=error.http_status)
        case Ongoing() as error:
            return Answer(Result.ONGOING, error.told, http_status=error.http_status)
        case DtmError() as error:
            return Answer(Result.UNKNOWN, error.told, http_status=error.http_status)
        case error:
            _LOG.error("%s%s raised; it is called again", LOCAL, name, exc_info=error)
            return Answer(Result.UNKNOWN, f"{LOCAL}{name} raised {cleaned(error)}", http_status=_BROKEN)


def _success(name: str, returned: Any) -> Answer:
    """FAILURE for what cannot be kept: it was done, and no repeat would change what it returns."""
    try:
        body = b"" if returned is None else returned if isinstance(returned, bytes) else encode_json(returned)
    except InvalidUse as error:
        return Answer(Result.FAILURE, f"{LOCAL}{name} returned what is no result: {error.message}")
    return Answer(Result.SUCCESS, body=body)
