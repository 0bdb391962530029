"""Spans and slow lines for what a service asks of its database."""

from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter
from typing import Final

from opentelemetry.trace import NoOpTracer, SpanKind, Tracer

from branches.data_source import MySqlSource, SqliteSource
from coordinator.client.service import Slow


class SqlWatch:
    """Told of each statement, and of each transaction with its barrier."""

    def __init__(self, tracer: Tracer, slow: Slow, source: SqliteSource | MySqlSource) -> None:
        self._tracer = tracer
        self._slow = slow
        self._about: dict[str, str | int]
        if isinstance(source, SqliteSource):
            self._about = {"db.system.name": "sqlite", "db.namespace": source.path.name}
        else:
            self._about = {"db.system.name": "mysql", "db.namespace": source.database}
            if source.host:
                self._about |= {"server.address": source.host, "server.port": source.port}

    @contextmanager
    def statement(self, sql: str) -> Iterator[None]:
        """Around one statement. sql: with marks in the place of values."""
        operation, table = _names(sql)
        about = {
            **self._about,
            "db.query.text": sql,
            "db.operation.name": operation,
            "db.collection.name": table,
        }
        with self._tracer.start_as_current_span(
            f"{operation} {table}", kind=SpanKind.CLIENT, attributes=about
        ):
            yield

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Around one local transaction, from BEGIN to the end of its COMMIT."""
        about = {**self._about, "db.operation.name": "COMMIT"}
        started = perf_counter()
        with self._tracer.start_as_current_span(
            f"transaction {self._about['db.namespace']}",
            kind=SpanKind.INTERNAL,
            attributes=about,
            record_exception=False,
        ):
            try:
                yield
            finally:
                seconds = perf_counter() - started
                if seconds >= self._slow.seconds:
                    self._slow.said(seconds, database=self._about["db.namespace"])


def _names(sql: str) -> tuple[str, str]:
    """The statement's kind and table: `INSERT INTO user (…` → INSERT, user."""
    words = sql.split(None, 3)
    operation = words[0].upper()
    after = {"INSERT": 2, "DELETE": 2, "UPDATE": 1}.get(operation, 0)
    return operation, words[after] if 0 < after < len(words) else ""


def unwatched(source: SqliteSource | MySqlSource) -> SqlWatch:
    """Nobody looks."""
    return SqlWatch(NoOpTracer(), _NEVER, source)


_NEVER: Final = Slow("", 0)
