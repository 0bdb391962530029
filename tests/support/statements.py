"""Which statements a store is asked for the sake of one request, whatever else looks at it meanwhile."""

from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from functools import partial
from typing import Any, Final
from unittest.mock import patch

from aiohttp.web import BaseRequest
from sqlalchemy import event
from sqlalchemy.engine import Engine

from coordinator.access.book import TokenBook
from coordinator.access.permissions import Principal
from coordinator.access.session_book import SessionBook
from coordinator.api.http import HttpApi
from coordinator.api.http_answer import Answer
from coordinator.store.sqlite_runner import SqliteRunner

_NO_LOOK: Final = "BEGIN"  # of SQLite, which asks nobody for it


@contextmanager
def statements_of_requests() -> Iterator[dict[str, list[str]]]:
    """Those of the latest request of each path and query that servers here answer meanwhile.

    Nothing that is believed of sessions and tokens is believed: each request looks its own up.
    """
    seen: dict[str, list[str]] = {}
    asked: ContextVar[list[str] | None] = ContextVar("asked", default=None)
    handle, in_thread = HttpApi.handle, SqliteRunner._in_thread

    async def handled(api: HttpApi, request: BaseRequest) -> Answer:
        fresh: list[str] = []
        seen[request.rel_url.raw_path_qs] = fresh
        asked.set(fresh)
        return await handle(api, request)

    def in_thread_with_context(
        runner: SqliteRunner, executor: ThreadPoolExecutor, function: Callable[[], Any], seconds: float
    ) -> Awaitable[Any]:
        return in_thread(runner, executor, partial(copy_context().run, function), seconds)

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        noted = asked.get()
        if noted is not None and not statement.startswith(_NO_LOOK):
            noted.append(statement)

    event.listen(Engine, "before_cursor_execute", note)
    try:
        with (
            patch.object(HttpApi, "handle", handled),
            patch.object(SessionBook, "owner_of", _doubting(SessionBook.owner_of)),
            patch.object(TokenBook, "owner_of", _doubting(TokenBook.owner_of)),
            patch.object(SqliteRunner, "_in_thread", in_thread_with_context),
        ):
            yield seen
    finally:
        event.remove(Engine, "before_cursor_execute", note)


def _doubting(
    owner_of: Callable[[Any, str], Awaitable[Principal]],
) -> Callable[[Any, str], Awaitable[Principal]]:
    """The same, asking the store each time."""

    async def looked_up(book: Any, credential: str) -> Principal:
        book._believed.has_changed()
        return await owner_of(book, credential)

    return looked_up
