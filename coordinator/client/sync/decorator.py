"""Blocking handlers that run once, in one transaction with the barrier (PROTOCOL §12)."""

import functools
from collections.abc import Callable
from contextlib import AbstractContextManager
from http import HTTPStatus
from typing import Any, TypeVar

from coordinator.client.barriers.barrier import BarrierTransaction
from coordinator.client.barriers.with_barrier import is_no_success, says_no
from coordinator.client.errors import NoBranchContext
from coordinator.client.frameworks.for_wsgi import blocking_branch_of, request_among
from coordinator.client.frameworks.request import Source
from coordinator.client.sync.barriers import barrier
from coordinator.client.transport.context import BranchContext, current_branch

T = TypeVar("T")


def with_barrier(
    lend: Callable[[], AbstractContextManager[Any]],
    *,
    repeated: Callable[[], T],
    request: Source | None = None,
    table: str = "",
) -> Callable[[Callable[..., T]], Callable[..., T]]:
    """Decorate a branch handler: it runs once for each call, with the barrier's row (PROTOCOL §12).

    The handler gets the keyword `connection`, lent by `lend()`, which returns a context manager
    (`pool.connection`). An answer other than 200 that it returns rolls back, as an exception does: only 200
    is done for the coordinator; so does a code that is set on grpcio's context. repeated: makes the answer of
    a call that is not to run, a success. request: `flask.request`; not needed where the handler is called
    with the request (Django), with grpcio's context or with a BranchContext. table: as for `barrier`. The
    handler then raises NoBranchContext where none of them is, and what `barrier` raises.

    Example:
        @application.post("/withdraw")
        @with_barrier(pool.connection, request=flask.request, repeated=lambda: "done before")
        def withdraw(*, connection: psycopg.Connection) -> str:
            ...

        @with_barrier(pool.connection, repeated=HttpResponse)
        def withdraw(request: HttpRequest, *, connection: psycopg.Connection) -> HttpResponse:
            ...
    """

    def decorate(handler: Callable[..., T]) -> Callable[..., T]:
        @functools.wraps(handler)
        def guarded(*arguments: Any, **named: Any) -> T:
            source = request_among(arguments) if request is None else request
            branch = _branch_of(source)
            answer: T

            def work(transaction: BarrierTransaction[Any]) -> T:
                nonlocal answer
                if not transaction.runs:
                    return repeated()
                answer = handler(*arguments, connection=transaction.connection, **named)
                if _refuses(answer, source) or says_no((*arguments, *named.values())):
                    raise _NotDone
                return answer

            try:
                with lend() as connection:
                    return barrier(branch, connection, table=table).run(work)
            except _NotDone:
                return answer

        return guarded

    return decorate


class _NotDone(Exception):
    """Rolls the barrier back; the handler's own answer goes out."""


def _branch_of(source: Source | None) -> BranchContext:
    if source is not None:
        return blocking_branch_of(source)
    try:
        return current_branch()
    except NoBranchContext as error:
        raise NoBranchContext(
            "this handler was called without a request that says which branch it is: with Flask write "
            "with_barrier(…, request=flask.request), elsewhere hand the request in as an argument"
        ) from error


def _refuses(answer: object, source: Source | None) -> bool:
    if not isinstance(answer, tuple) or not hasattr(source, "environ"):
        return is_no_success(answer)
    body, *rest = answer  # Flask's body, status, headers, or body, headers
    status = rest[0] if rest else None
    if isinstance(status, str):
        return int(status.split()[0]) != HTTPStatus.OK
    return status != HTTPStatus.OK if isinstance(status, int) else is_no_success(body)
