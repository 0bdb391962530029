"""Visits of pages without a server: who asks for what, and the page as a browser would get it."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime

from coordinator.access.permissions import ANYBODY, Principal
from coordinator.console.page import Shown, Visit
from coordinator.console.rendering import Files, Renderer, Surroundings
from coordinator.console.words import words_in
from coordinator.model import Transaction
from coordinator.service.operate import Explained
from tests.unit.console.timelines import NOW


def around(now: datetime = NOW) -> Surroundings:
    return Surroundings("here", "1.0", UTC, lambda: now, "")


def visit(
    path: str,
    values: Mapping[str, str],
    who: Principal = ANYBODY,
    *,
    query: Mapping[str, str] | None = None,
    form: Mapping[str, str] | None = None,
    language: str = "en",
) -> Visit:
    return Visit(
        who=who,
        words=words_in(language),
        base="",
        path=path,
        values=values,
        query=query or {},
        form=form or {},
        came_by="/",
        cookies={},
        address="127.0.0.1",
        host="dtm.example",
        is_encrypted=True,
    )


def html(visit_: Visit, shown: Shown) -> str:
    return Renderer(around(), (), Files()).html(visit_, shown).decode()


class Known:
    """Stands for Operate: knows one transaction, and does nothing."""

    def __init__(self, explained: Explained) -> None:
        self.explained = explained

    async def show(self, gid: str) -> Explained:
        return self.explained

    def changed(self, **values: object) -> None:
        """The transaction with these values."""
        stored = self.explained.stored
        transaction: Transaction = replace(stored.transaction, **values)  # type: ignore[arg-type]
        self.explained = replace(self.explained, stored=replace(stored, transaction=transaction))
