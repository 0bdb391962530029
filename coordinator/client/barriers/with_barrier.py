"""Branch handlers that run once, in one transaction with the barrier (PROTOCOL §12)."""

import functools
import inspect
from collections.abc import Awaitable, Callable, Iterable
from contextlib import AbstractAsyncContextManager
from http import HTTPStatus
from typing import Any, TypeVar

from coordinator.client.barriers.barrier import BarrierTransaction, barrier
from coordinator.client.frameworks.request import is_of
from coordinator.client.transport.context import current_branch

T = TypeVar("T")


def with_barrier(
    lend: Callable[[], AbstractAsyncContextManager[Any]], *, repeated: Callable[[], T], table: str = ""
) -> Callable[[Callable[..., Awaitable[T]]], Callable[..., Awaitable[T]]]:
    """Decorate a branch handler: it runs once for each call, with the barrier's row (PROTOCOL §12).

    The handler gets the keyword `connection`, lent by `lend()` (`pool.acquire`, or whatever returns an
    async context manager). A response other than 200 that it returns rolls back, as an exception does: only
    200 is done for the coordinator; so does a code that is set on grpcio's context. repeated: makes the
    answer of a call that is not to run, a success. After a deadlock the handler runs again, in a new local
    transaction. The context is `current_branch()`: the framework's adapter must be there. table: as for
    `barrier`.

    Example:
        @with_barrier(pool.acquire, repeated=web.Response)
        async def withdraw(request: web.Request, *, connection: aiomysql.Connection) -> web.Response:
            ...
    """

    def decorate(handler: Callable[..., Awaitable[T]]) -> Callable[..., Awaitable[T]]:
        @functools.wraps(handler)
        async def guarded(*arguments: Any, **named: Any) -> T:
            branch = current_branch()
            answer: T

            async def work(transaction: BarrierTransaction[Any]) -> T:
                nonlocal answer
                if not transaction.runs:
                    return repeated()
                answer = await handler(*arguments, connection=transaction.connection, **named)
                if is_no_success(answer) or says_no((*arguments, *named.values())):
                    raise _NotDone
                return answer

            try:
                async with lend() as connection:
                    return await barrier(branch, connection, table=table).run(work)
            except _NotDone:
                return answer

        # FastAPI reads what a request has to bring from here.
        setattr(guarded, "__signature__", signature_without_connection(handler))  # noqa: B010 - mypy
        return guarded

    return decorate


def signature_without_connection(handler: Callable[..., object]) -> inspect.Signature:
    """Return the signature of a handler as its framework may see it."""
    signature = inspect.signature(handler)
    kept = [one for name, one in signature.parameters.items() if name != "connection"]
    return signature.replace(parameters=kept)


class _NotDone(Exception):
    """Rolls the barrier back; the handler's own answer goes out."""


def is_no_success(answer: Any) -> bool:
    """True for a response other than 200, of aiohttp or what has `status_code` and `headers` (§2, §10)."""
    if is_of(answer, "aiohttp.web_response"):
        return bool(answer.status != HTTPStatus.OK)
    status = getattr(answer, "status_code", HTTPStatus.OK) if hasattr(answer, "headers") else HTTPStatus.OK
    return isinstance(status, int) and status != HTTPStatus.OK


def says_no(arguments: Iterable[object]) -> bool:
    """True where a handler has set another code than 200 or OK on what it was given.

    That is FastAPI's `response: Response`, or a context of grpcio.
    """
    for given in arguments:
        if hasattr(given, "invocation_metadata") and callable(code := getattr(given, "code", None)):
            if _number(code()) != 0:
                return True
        elif is_no_success(given):
            return True
    return False


def _number(code: Any) -> int:
    """Of None, an int, or a StatusCode, whose value is its number and its name."""
    value = getattr(code, "value", code)
    return int((value[0] if isinstance(value, tuple) else value) or 0)
